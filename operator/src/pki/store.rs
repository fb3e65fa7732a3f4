//! The Secrets: from what they hold to types, and back. Pure.
//!
//! The Secret of the authority holds `tls.crt`, `tls.key` of the current one, `next.crt`, `next.key` of a prepared one, and
//! `previous.crt` of one that is still trusted. When they are to be replaced stands in annotations, since nothing else of
//! the operator needs to take certificates apart; one without it is replaced now.

use std::collections::BTreeMap;

use flickrhub_job::connection::trust::{Trust, TrustError};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use secrecy::{ExposeSecret, SecretString};

use super::authority::{Authority, IssueError};
use super::leaf::Leaf;

/// The type of Secrets with a certificate and its key.
pub(super) const TYPE: &str = "kubernetes.io/tls";
/// When the current authority is to be replaced.
const RENEW_AT: &str = "flickrhub.dev/renew-at";
/// When the prepared one is to be replaced.
const NEXT_RENEW_AT: &str = "flickrhub.dev/next-renew-at";
/// The last wish for another authority that was heard.
const HEARD: &str = "flickrhub.dev/rotate-authority";

/// A certificate, with those between it and its authority.
pub(crate) const CERTIFICATE: &str = "tls.crt";
/// The key of the certificate.
pub(crate) const KEY: &str = "tls.key";
/// What servers and clients trust.
pub(crate) const AUTHORITIES: &str = "ca.crt";
/// Certificate and key in one, as MongoDB wants them.
const COMBINED: &str = "tls-combined.pem";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const PREVIOUS_CERTIFICATE: &str = "previous.crt";

/// The authorities of a hub.
pub(super) struct Authorities {
    pub(super) current: Authority,
    pub(super) next: Option<Authority>,
    /// The certificate of the one before, PEM.
    pub(super) previous: Option<String>,
    /// The last wish of a person that was heard.
    pub(super) heard: Option<String>,
}

/// What the Secret of the authority holds cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A key is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A certificate and its key cannot be used.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl Authorities {
    /// A first one.
    pub(super) fn first(authority: Authority) -> Self {
        Self {
            current: authority,
            next: None,
            previous: None,
            heard: None,
        }
    }

    /// Reads the Secret.
    ///
    /// # Errors
    /// When something is missing or broken.
    pub(super) fn read(secret: &Secret) -> Result<Self, StoreError> {
        let current = authority(secret, CERTIFICATE, KEY, RENEW_AT)?;
        let next = match text(secret, NEXT_CERTIFICATE) {
            Some(_) => Some(authority(secret, NEXT_CERTIFICATE, NEXT_KEY, NEXT_RENEW_AT)?),
            None => None,
        };
        Ok(Self {
            current,
            next,
            previous: text(secret, PREVIOUS_CERTIFICATE).map(str::to_owned),
            heard: secret.annotations().get(HEARD).cloned(),
        })
    }

    /// Writes them into a Secret; whatever else it holds goes.
    pub(super) fn write(&self, secret: &mut Secret) {
        let mut data = BTreeMap::from([
            entry(CERTIFICATE, self.current.certificate()),
            entry(KEY, self.current.key().expose_secret()),
        ]);
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.insert(RENEW_AT.to_owned(), self.current.renew_at.to_string());
        annotations.remove(NEXT_RENEW_AT);
        if let Some(next) = &self.next {
            data.extend([
                entry(NEXT_CERTIFICATE, next.certificate()),
                entry(NEXT_KEY, next.key().expose_secret()),
            ]);
            annotations.insert(NEXT_RENEW_AT.to_owned(), next.renew_at.to_string());
        }
        if let Some(heard) = &self.heard {
            annotations.insert(HEARD.to_owned(), heard.clone());
        }
        data.extend(
            self.previous
                .as_deref()
                .map(|previous| entry(PREVIOUS_CERTIFICATE, previous)),
        );
        secret.type_ = Some(TYPE.to_owned());
        secret.data = Some(data);
    }

    /// Everything that is trusted, the oldest first: to let a successor sign changes nothing here.
    ///
    /// # Errors
    /// When a certificate is none.
    pub(super) fn trust(&self) -> Result<Trust, TrustError> {
        let next = self.next.as_ref().map(Authority::certificate);
        let all = [self.previous.as_deref(), Some(self.current.certificate()), next];
        let lines = all
            .into_iter()
            .flatten()
            .map(|pem| format!("{}\n", pem.trim_end()));
        Trust::from_pem(lines.collect::<String>())
    }
}

fn authority(
    secret: &Secret,
    certificate: &'static str,
    key: &'static str,
    renew_at: &str,
) -> Result<Authority, StoreError> {
    let certificate = text(secret, certificate).ok_or(StoreError::Missing(certificate))?;
    let key = text(secret, key)
        .map(SecretString::from)
        .ok_or(StoreError::Missing(key))?;
    let renew_at = secret.annotations().get(renew_at).and_then(|at| at.parse().ok());
    let renew_at = renew_at.unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Authority::from_pem(certificate, &key, renew_at)?)
}

/// Reads the Secret of a server; `None` if it holds none.
pub(super) fn read_leaf(secret: &Secret) -> Option<Leaf> {
    Some(Leaf {
        certificate: text(secret, CERTIFICATE)?.to_owned(),
        key: SecretString::from(text(secret, KEY)?),
    })
}

/// The authorities in the Secret of a server, PEM.
pub(super) fn authorities(secret: Option<&Secret>) -> &str {
    secret
        .and_then(|secret| text(secret, AUTHORITIES))
        .unwrap_or_default()
}

/// What the Secret of a server holds.
pub(super) fn leaf_data(leaf: &Leaf, trust: &Trust) -> BTreeMap<String, ByteString> {
    let combined = format!("{}\n{}", leaf.certificate.trim_end(), leaf.key.expose_secret());
    BTreeMap::from([
        entry(CERTIFICATE, &leaf.certificate),
        entry(KEY, leaf.key.expose_secret()),
        entry(COMBINED, &combined),
        entry(AUTHORITIES, trust.pem()),
    ])
}

fn entry(key: &str, value: &str) -> (String, ByteString) {
    (key.to_owned(), ByteString(value.as_bytes().to_vec()))
}

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let value = secret.data.as_ref()?.get(key)?;
    std::str::from_utf8(&value.0).ok()
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::authority::tests::{NAME, authority, now};
    use super::super::leaf::is_current;
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let stored = Authorities {
            next: Some(authority()),
            previous: Some(authority().certificate().to_owned()),
            heard: Some("2030-01-01".to_owned()),
            ..Authorities::first(authority())
        };
        let mut secret = Secret::default();
        stored.write(&mut secret);
        let read = Authorities::read(&secret).expect("it was written");
        assert_eq!(read.current.certificate(), stored.current.certificate());
        assert_eq!(read.current.renew_at, stored.current.renew_at);
        assert_eq!(read.trust(), stored.trust());
        assert_eq!((read.previous, read.heard), (stored.previous, stored.heard));
        assert!(read.next.is_some());
    }

    #[test]
    fn to_let_the_successor_sign_changes_nothing_that_is_trusted() {
        let mut stored = Authorities {
            next: Some(authority()),
            ..Authorities::first(authority())
        };
        let before = stored.trust();
        let next = stored.next.take().expect("it was prepared");
        stored.previous = Some(stored.current.certificate().to_owned());
        stored.current = next;
        assert_eq!(stored.trust(), before);
        assert_eq!(
            before.and_then(|trust| trust.roots()).map(|roots| roots.len()),
            Ok(2)
        );
    }

    #[test]
    fn a_secret_without_a_key_cannot_be_used() {
        let mut secret = Secret::default();
        Authorities::first(authority()).write(&mut secret);
        if let Some(data) = &mut secret.data {
            data.remove(KEY);
        }
        assert!(matches!(
            Authorities::read(&secret),
            Err(StoreError::Missing(KEY))
        ));
    }

    #[test]
    fn an_authority_of_unknown_age_is_replaced() {
        let mut secret = Secret::default();
        Authorities::first(authority()).write(&mut secret);
        secret.metadata.annotations = None;
        let read = Authorities::read(&secret).expect("the data is there");
        assert!(read.current.renew_at < now());
    }

    #[test]
    fn the_certificate_of_a_server_is_read_again() {
        let authority = authority();
        let names = [NAME.to_owned()];
        let leaf = authority.issue("gallery-redis", &names, now()).expect("issued");
        let trust = Trust::from_pem(authority.certificate()).expect("an authority");
        let secret = Secret {
            data: Some(leaf_data(&leaf, &trust)),
            ..Secret::default()
        };
        let read = read_leaf(&secret).expect("it was written");
        assert!(is_current(&read, authority.certificate(), &names, now()));
        let combined = text(&secret, COMBINED).unwrap_or_default();
        assert!(combined.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(combined.contains("\n-----BEGIN PRIVATE KEY-----\n"));
    }
}

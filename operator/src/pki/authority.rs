//! A certificate authority of a hub and what it issues: ECDSA P-256 keys, X.509 certificates by RFC 5280.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::leaf::{self, Leaf};

/// How long an authority is valid: ten years.
pub const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// When an authority is replaced: after two thirds of its life.
pub const AUTHORITY_RENEWAL: SignedDuration = SignedDuration::from_hours(24 * 3650 / 3 * 2);
/// How long the certificate of a server is valid: 90 days.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);
/// How much of its life the certificate of a server has left when it is replaced: a third.
pub const LEAF_REMAINDER: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How far before now a certificate begins, for clocks that are slow.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// A certificate cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The key is not one of ECDSA P-256 in PKCS #8, or not the one of the certificate.
    #[error("the key of the certificate authority cannot be used")]
    Key,
    /// A name cannot stand in a certificate.
    #[error("{0:?} cannot stand in a certificate")]
    Name(String),
    /// A moment cannot stand in a certificate.
    #[error("the clock stands before 1970")]
    Clock,
    /// The library refused.
    #[error("a certificate cannot be issued: {0}")]
    Library(#[from] rcgen::Error),
}

/// An authority that can issue.
pub struct Authority {
    certificate: String,
    key: KeyPair,
    /// When it is to be replaced.
    pub renew_at: Timestamp,
}

impl Authority {
    /// A new one. It can vouch for names below these domains only, so that its key is worth nothing elsewhere.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn generate(domains: &[&str], now: Timestamp) -> Result<Self, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(&key)?;
        params.not_before = date_time_ymd(1970, 1, 1) + since_1970(now - BACKDATED)?;
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(now + AUTHORITY_LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: domains
                .iter()
                .map(|domain| GeneralSubtree::DnsName((*domain).to_owned()))
                .collect(),
            excluded_subtrees: Vec::new(),
        });
        Ok(Self {
            certificate: params.self_signed(&key)?.pem(),
            key,
            renew_at: now + AUTHORITY_RENEWAL,
        })
    }

    /// One that was stored.
    ///
    /// # Errors
    /// When the key is none, or not the one of the certificate.
    pub fn from_pem(certificate: &str, key: &SecretString, renew_at: Timestamp) -> Result<Self, IssueError> {
        if !leaf::belong_together(certificate, key) {
            return Err(IssueError::Key);
        }
        let key = KeyPair::from_pem(key.expose_secret()).map_err(|_| IssueError::Key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key,
            renew_at,
        })
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its key, PKCS #8 in PEM.
    pub fn key(&self) -> SecretString {
        SecretString::from(self.key.serialize_pem())
    }

    /// Issues a certificate for a server with these DNS names, which is also good for a client: members of an engine
    /// connect to each other.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or the library refuses.
    pub fn issue(&self, server: &str, names: &[String], now: Timestamp) -> Result<Leaf, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(server);
        params.not_before = date_time_ymd(1970, 1, 1) + since_1970(now - BACKDATED)?;
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(now + LEAF_LIFETIME)?;
        params.subject_alt_names = names
            .iter()
            .map(|name| {
                let name = Ia5String::try_from(name.as_str()).map_err(|_| IssueError::Name(name.clone()))?;
                Ok(SanType::DnsName(name))
            })
            .collect::<Result<_, IssueError>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::new(self::params(&self.key)?, &self.key);
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok(Leaf {
            certificate,
            key: SecretString::from(key.serialize_pem()),
        })
    }
}

/// What an authority is known by follows from its key, so that the key is all that signing takes. Two authorities of one
/// hub have different names: some libraries look for the issuer by its name alone.
fn params(key: &KeyPair) -> Result<CertificateParams, IssueError> {
    let digest = Sha256::digest(key.public_key_raw());
    let short = digest.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = common_name(&format!("FlickrHub {short}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn since_1970(at: Timestamp) -> Result<Duration, IssueError> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| IssueError::Clock)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
pub(super) mod tests {
    use flickrhub_job::connection::trust::Trust;

    use super::*;

    pub(crate) fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000)
    }

    pub(crate) fn authority() -> Authority {
        Authority::generate(&["photos.svc.cluster.local", "localhost"], now()).expect("an authority")
    }

    pub(crate) const NAME: &str = "gallery-redis-0.gallery-redis.photos.svc.cluster.local";

    #[test]
    fn an_authority_that_was_stored_issues_what_the_first_one_vouches_for() {
        let first = authority();
        let stored = Authority::from_pem(first.certificate(), &first.key(), first.renew_at).expect("stored");
        let issued = stored
            .issue("gallery-redis", &[NAME.to_owned()], now())
            .expect("issued");
        assert!(leaf::is_current(
            &issued,
            first.certificate(),
            &[NAME.to_owned()],
            now()
        ));
    }

    #[test]
    fn a_key_of_another_authority_is_refused() {
        let (one, other) = (authority(), authority());
        let mixed = Authority::from_pem(one.certificate(), &other.key(), one.renew_at);
        assert!(matches!(mixed, Err(IssueError::Key)));
    }

    #[test]
    fn a_name_outside_of_the_hub_is_not_vouched_for() {
        let authority = authority();
        let names = ["example.org".to_owned()];
        let issued = authority.issue("gallery-redis", &names, now()).expect("issued");
        assert!(!leaf::is_current(&issued, authority.certificate(), &names, now()));
    }

    #[test]
    fn clients_take_the_certificate_of_an_authority() {
        let (one, other) = (authority(), authority());
        let both = format!("{}{}", one.certificate(), other.certificate());
        let roots = Trust::from_pem(both).and_then(|trust| trust.roots());
        assert_eq!(roots.map(|roots| roots.len()), Ok(2));
    }
}

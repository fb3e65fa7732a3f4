//! The certificate of a server, and whether it will do. Pure.
//!
//! It is judged as a client judges it, by the verification of the TLS library, so that what is kept here is accepted there.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};
use webpki::{EndEntityCert, KeyUsage};

use super::authority::LEAF_REMAINDER;

/// Characters of a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// A certificate and its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate, then those between it and its authority, if there are any.
    pub certificate: String,
    /// PKCS #8.
    pub key: SecretString,
}

impl Leaf {
    /// The certificate as it goes over the wire; `None` if it is none.
    pub fn der(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).ok()
    }
}

/// Whether a certificate needs no successor: this authority issued it, for (at least) these names, its key is there, it has
/// begun, and a third of its life is left.
pub fn is_current(leaf: &Leaf, authority: &str, names: &[String], now: Timestamp) -> bool {
    is_good(leaf, authority, names, &[now, now + LEAF_REMAINDER])
}

/// The certificates in a text (PEM), each by itself and in one form, so that equal ones are equal texts.
pub(super) fn authorities_of(pem: &str) -> Vec<String> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    certificates
        .map_while(Result::ok)
        .map(|der| to_pem(&der))
        .collect()
}

fn to_pem(der: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(der);
    let lines = (0..text.len())
        .step_by(PEM_LINE)
        .filter_map(|at| text.get(at..text.len().min(at + PEM_LINE)));
    let lines: Vec<&str> = lines.collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// Whether this authority (PEM) vouches for a certificate under these names at this time, by way of the certificates that
/// come with it, and its key is there.
pub(super) fn is_vouched_for(leaf: &Leaf, authority: &str, names: &[String], at: Timestamp) -> bool {
    is_good(leaf, authority, names, &[at])
}

/// Whether an authority vouches for a certificate at all of these times and under all of these names, and its key is there.
///
/// Signatures are what costs, so they are verified once for each time, and not for each name.
fn is_good(leaf: &Leaf, authority: &str, names: &[String], times: &[Timestamp]) -> bool {
    let verify = || {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .ok()?;
        let (first, between) = chain.split_first()?;
        let authority = CertificateDer::from_pem_slice(authority.as_bytes()).ok()?;
        let anchors = [webpki::anchor_from_trusted_cert(&authority).ok()?];
        let certificate = EndEntityCert::try_from(first).ok()?;
        for at in times {
            let verified = certificate.verify_for_usage(
                ring::default_provider().signature_verification_algorithms.all,
                &anchors,
                between,
                unix(*at)?,
                KeyUsage::server_auth(),
                None,
                None,
            );
            verified.ok()?;
        }
        for name in names {
            let name = ServerName::try_from(name.as_str()).ok()?;
            certificate.verify_is_valid_for_subject_name(&name).ok()?;
        }
        Some(())
    };
    verify().is_some() && belong_together(&leaf.certificate, &leaf.key)
}

/// Whether the key is that of the certificate.
pub(super) fn belong_together(certificate: &str, key: &SecretString) -> bool {
    let matches = || {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
        let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).ok()?;
        let key = ring::sign::any_supported_type(&key).ok()?;
        CertifiedKey::new(vec![certificate], key).keys_match().ok()
    };
    matches().is_some()
}

fn unix(at: Timestamp) -> Option<UnixTime> {
    let seconds = u64::try_from(at.as_second()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::super::authority::LEAF_LIFETIME;
    use super::super::authority::tests::{NAME, authority, now};
    use super::*;

    fn names() -> Vec<String> {
        vec![NAME.to_owned(), "localhost".to_owned()]
    }

    #[test]
    fn a_certificate_is_kept_until_a_third_of_its_life_is_left() {
        let authority = authority();
        let leaf = authority.issue("gallery-redis", &names(), now()).expect("issued");
        let at = |days: i64| {
            let now = now() + SignedDuration::from_hours(24 * days);
            is_current(&leaf, authority.certificate(), &names(), now)
        };
        assert!(at(0) && at(59));
        assert!(!at(61) && !at(90));
        assert!(!at(-1), "it has not begun");
    }

    #[test]
    fn another_authority_another_name_and_another_key_need_a_successor() {
        let (one, other) = (authority(), authority());
        let leaf = one.issue("gallery-redis", &names(), now()).expect("issued");
        assert!(!is_current(&leaf, other.certificate(), &names(), now()));
        let more = [names(), vec![NAME.replace("-0.", "-1.")]].concat();
        assert!(!is_current(&leaf, one.certificate(), &more, now()));
        assert!(
            is_current(&leaf, one.certificate(), &names()[..1], now()),
            "fewer will do"
        );
        let second = one.issue("gallery-redis", &names(), now()).expect("issued");
        let mixed = Leaf {
            key: second.key,
            ..leaf
        };
        assert!(!is_current(&mixed, one.certificate(), &names(), now()));
    }

    #[test]
    fn an_authority_vouches_for_its_own_under_their_names_while_they_hold() {
        let (one, other) = (authority(), authority());
        let leaf = one.issue("gallery-redis", &names(), now()).expect("issued");
        let vouches = |authority: &str, names: &[String], days: i64| {
            let at = now() + SignedDuration::from_hours(24 * days);
            is_vouched_for(&leaf, authority, names, at)
        };
        assert!(vouches(one.certificate(), &names(), 89) && vouches(one.certificate(), &[], 0));
        assert!(!vouches(one.certificate(), &names(), 91), "it is over");
        assert!(!vouches(other.certificate(), &names(), 0));
        assert!(!vouches(one.certificate(), &["other".to_owned()], 0));
        let key = one.issue("gallery-redis", &names(), now()).expect("issued").key;
        assert!(!is_vouched_for(
            &Leaf { key, ..leaf },
            one.certificate(),
            &[],
            now()
        ));
    }

    #[test]
    fn authorities_are_told_apart_however_their_text_is_laid_out() {
        let (one, other) = (authority(), authority());
        let together = format!("some words\n{}\r\n\n{}", one.certificate(), other.certificate());
        let found = authorities_of(&together);
        assert_eq!(found.len(), 2);
        assert_eq!(found, authorities_of(&found.concat()), "one form");
        assert_eq!(found.first(), authorities_of(one.certificate()).first());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever stands in a Secret is judged and not trusted.
        #[test]
        fn no_text_is_taken_for_a_certificate(certificate in ".{0,200}", key in ".{0,200}") {
            let leaf = Leaf { certificate, key: SecretString::from(key) };
            prop_assert!(!is_current(&leaf, authority().certificate(), &names(), now()));
        }

        /// At every moment at which a certificate is kept it can be used for another 30 days at least.
        #[test]
        fn what_is_kept_outlives_the_time_that_a_renewal_takes(hours in 0_i64..24 * 100) {
            let authority = authority();
            let leaf = authority.issue("gallery-redis", &names(), now()).expect("issued");
            let at = SignedDuration::from_hours(hours);
            if is_current(&leaf, authority.certificate(), &names(), now() + at) {
                prop_assert!(LEAF_LIFETIME - at >= LEAF_REMAINDER);
            }
        }
    }
}

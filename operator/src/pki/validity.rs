//! When a certificate ends. Pure.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use yasna::{ASN1Error, ASN1ErrorKind, Tag};

/// What is left of a certificate when its end is worth a warning: every renewal should long have been.
const WARNING: SignedDuration = SignedDuration::from_hours(24 * 14);
/// The tags of the two forms of a time (RFC 5280, section 4.1.2.5).
const UTC_TIME: u64 = 23;
const GENERALIZED_TIME: u64 = 24;

/// The end of the first certificate in this text (PEM); `None` if it holds none.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the methods are not general over lifetimes, closures are"
)]
pub(super) fn not_after(pem: &str) -> Option<Timestamp> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let end = yasna::parse_der(certificate.as_ref(), |certificate| {
        certificate.read_sequence(|certificate| {
            let end = certificate.next().read_sequence(|fields| {
                fields.read_optional(|version| {
                    version.read_tagged(Tag::context(0), |version| version.read_i64())
                })?;
                // The serial number, the algorithm of the signature, the issuer.
                for _ in 0..3 {
                    fields.next().read_tagged_der()?;
                }
                let end = fields.next().read_sequence(|validity| {
                    validity.next().read_tagged_der()?;
                    validity.next().read_tagged_der()
                })?;
                while fields.read_optional(|field| field.read_tagged_der())?.is_some() {}
                Ok(end)
            })?;
            certificate.next().read_tagged_der()?;
            certificate.next().read_tagged_der()?;
            time(end.tag().tag_number, end.value()).ok_or(ASN1Error::new(ASN1ErrorKind::Invalid))
        })
    });
    end.ok()
}

/// A time as certificates write it: to the second, in UTC.
fn time(tag: u64, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let civil = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Whether the end of a certificate is so near that its renewal must have failed.
pub(super) fn is_near(end: Timestamp, now: Timestamp) -> bool {
    end < now + WARNING
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::super::authority::tests::{NAME, authority, now};
    use super::super::authority::{AUTHORITY_LIFETIME, LEAF_LIFETIME};
    use super::*;

    #[test]
    fn the_end_is_that_which_was_written() {
        let authority = authority();
        let leaf = authority.issue("gallery-redis", &[NAME.to_owned()], now());
        let end = not_after(&leaf.expect("issued").certificate).expect("an end");
        assert_eq!(end.as_second(), (now() + LEAF_LIFETIME).as_second());
        let end = not_after(authority.certificate()).expect("an end");
        assert_eq!(end.as_second(), (now() + AUTHORITY_LIFETIME).as_second());
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let at = |tag, text: &str| time(tag, text.as_bytes()).map(|at| at.to_string());
        assert_eq!(at(23, "490102030405Z").as_deref(), Some("2049-01-02T03:04:05Z"));
        assert_eq!(at(23, "500102030405Z").as_deref(), Some("1950-01-02T03:04:05Z"));
        assert_eq!(at(24, "20500102030405Z").as_deref(), Some("2050-01-02T03:04:05Z"));
        for (tag, text) in [
            (23, "4901020304Z"),
            (24, "205013020304050Z"),
            (23, "é90102030405Z"),
            (4, "x"),
        ] {
            assert_eq!(at(tag, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_a_time(tag in 20_u64..26, text in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = time(tag, &text);
        }
    }
}

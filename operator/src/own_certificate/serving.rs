//! What the Secret of the operator's certificate holds, and when another one is due. Pure, but for the keys that are drawn.
//!
//! Each certificate is signed by a CA of its own, whose key signs nothing else and is thrown away at once: nobody can ever
//! sign by it again. What is kept is the certificate, its key and the CAs of this certificate and of the one before.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// How long a certificate holds.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);
/// How long before its end it is renewed: long enough for a person to notice that it was not.
const RENEWAL: SignedDuration = SignedDuration::from_hours(24 * 30);
/// The clock of whoever checks it may be behind by this.
const BACKDATED: SignedDuration = SignedDuration::from_hours(24);

/// The keys of the Secret.
const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const NOT_AFTER: &str = "not-after";

/// A serving certificate with what the Secret holds of it.
#[derive(Clone)]
pub struct Serving {
    /// The CAs that a client must trust, as PEM: that of this certificate first, then that of the one before.
    pub ca_bundle: String,
    /// The certificate, as PEM.
    pub certificate: String,
    /// Its private key, as PEM.
    pub key: Zeroizing<String>,
    /// Its end.
    pub not_after: Timestamp,
}

/// A certificate cannot be made, or not be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Made(#[from] rcgen::Error),
    /// A value of the Secret is missing or is none.
    #[error("{0} of the Secret is missing or cannot be read")]
    Read(&'static str),
}

impl Serving {
    /// A new certificate for the names, after `before`, whose CA stays trusted.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue(names: &[String], before: Option<&Self>, now: Timestamp) -> Result<Self, CertificateError> {
        let not_after = now + LIFETIME;
        let ((from_year, from_month, from_day), (year, month, end_day)) =
            (day(now - BACKDATED), day(not_after));
        let dated = |mut params: CertificateParams, common_name: &str| {
            params.not_before = date_time_ymd(from_year, from_month, from_day);
            params.not_after = date_time_ymd(year, month, end_day);
            params.distinguished_name.push(DnType::CommonName, common_name);
            params
        };
        let mut ca = dated(CertificateParams::default(), "flickrhub-operator CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

        let common_name = names.first().map(String::as_str).unwrap_or_default();
        let mut params = dated(CertificateParams::new(names.to_vec())?, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &ca)?;

        let former = before
            .and_then(|before| first_pem(&before.ca_bundle))
            .unwrap_or_default();
        Ok(Self {
            ca_bundle: format!("{}{former}", ca.pem()),
            certificate: certificate.pem(),
            key: Zeroizing::new(key.serialize_pem()),
            not_after,
        })
    }

    /// Reads what a Secret holds.
    ///
    /// # Errors
    /// When a value is missing, or is no certificate, no key or no time.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, CertificateError> {
        let text = |key: &'static str| {
            data.get(key)
                .and_then(|value| String::from_utf8(value.0.clone()).ok())
                .ok_or(CertificateError::Read(key))
        };
        let not_after = text(NOT_AFTER)?;
        let serving = Self {
            ca_bundle: text(CA)?,
            certificate: text(CERTIFICATE)?,
            key: Zeroizing::new(text(KEY)?),
            not_after: not_after.parse().map_err(|_| CertificateError::Read(NOT_AFTER))?,
        };
        serving.chain()?;
        serving.private_key()?;
        if first_pem(&serving.ca_bundle).is_none() {
            return Err(CertificateError::Read(CA));
        }
        Ok(serving)
    }

    /// What the Secret is to hold.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        [
            (CA, self.ca_bundle.clone()),
            (CERTIFICATE, self.certificate.clone()),
            (KEY, self.key.to_string()),
            (NOT_AFTER, self.not_after.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())))
        .collect()
    }

    /// Whether it is time for the next one.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now > self.not_after - RENEWAL
    }

    /// The certificate as it is sent.
    ///
    /// # Errors
    /// When it is none.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::Read(CERTIFICATE))?;
        if chain.is_empty() {
            return Err(CertificateError::Read(CERTIFICATE));
        }
        Ok(chain)
    }

    /// The private key.
    ///
    /// # Errors
    /// When it is none.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, CertificateError> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|_| CertificateError::Read(KEY))
    }
}

/// The first certificate of a bundle, with its end of line.
fn first_pem(bundle: &str) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let (first, _) = bundle.split_once(END)?;
    Some(format!("{}{END}\n", first.trim_start()))
}

/// The day of a time in UTC: year, month, day.
fn day(at: Timestamp) -> (i32, u8, u8) {
    let date = at.to_zoned(TimeZone::UTC).date();
    let part = |part: i8| u8::try_from(part).unwrap_or(1);
    (date.year().into(), part(date.month()), part(date.day()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn names() -> Vec<String> {
        vec!["flickrhub-operator.flickrhub-system.svc".to_owned()]
    }

    #[test]
    fn a_certificate_is_read_back_from_its_secret() {
        let issued = Serving::issue(&names(), None, NOW).unwrap();
        let read = Serving::read(&issued.data()).unwrap();
        assert_eq!(read.data(), issued.data());
        assert_eq!(read.chain().unwrap().len(), 1, "the CA is not sent");
    }

    #[test]
    fn a_secret_without_one_of_its_values_or_with_another_is_told() {
        let data = Serving::issue(&names(), None, NOW).unwrap().data();
        for key in [CA, CERTIFICATE, KEY, NOT_AFTER] {
            for value in [None, Some("nonsense")] {
                let mut data = data.clone();
                data.remove(key);
                data.extend(value.map(|value| (key.to_owned(), ByteString(value.into()))));
                let error = Serving::read(&data).err().unwrap().to_string();
                assert!(error.starts_with(key), "{error}");
            }
        }
    }

    #[test]
    fn the_ca_of_the_certificate_before_stays_trusted_and_older_ones_do_not() {
        let first = Serving::issue(&names(), None, NOW).unwrap();
        let second = Serving::issue(&names(), Some(&first), NOW).unwrap();
        let third = Serving::issue(&names(), Some(&second), NOW).unwrap();
        assert!(second.ca_bundle.ends_with(&first.ca_bundle));
        assert!(third.ca_bundle.ends_with(&first_pem(&second.ca_bundle).unwrap()));
        assert_eq!(third.ca_bundle.matches("BEGIN CERTIFICATE").count(), 2);
    }

    #[test]
    fn a_certificate_is_renewed_a_month_before_its_end() {
        let serving = Serving::issue(&names(), None, NOW).unwrap();
        assert!(!serving.is_due(NOW));
        assert!(!serving.is_due(NOW + SignedDuration::from_hours(24 * 60)));
        assert!(serving.is_due(NOW + SignedDuration::from_hours(24 * 60 + 1)));
    }
}

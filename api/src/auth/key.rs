//! An API key as a client presents it.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The longest secret that is looked at: bcrypt reads no further than 72 bytes.
const MAX_SECRET: usize = 72;

/// `fh_<key id>_<secret>`, taken apart.
///
/// The key id has letters and digits only, so the first underscore after it ends it; the secret may hold more. What
/// MongoDB holds is the bcrypt hash of the secret alone.
pub struct PresentedKey {
    /// Which key: not secret, appears in logs.
    pub key_id: String,
    /// The secret half.
    pub secret: SecretString,
    /// The SHA-256 of the whole key, under which a verified result is remembered.
    pub digest: [u8; 32],
}

/// The header holds no API key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header is not of the form Bearer fh_<key id>_<secret>")]
pub struct MalformedKey;

impl PresentedKey {
    /// Reads the value of an `Authorization` header (RFC 6750 section 2.1; the scheme's case does not matter).
    ///
    /// # Errors
    /// [`MalformedKey`] when it is another scheme or not a key of ours.
    pub fn from_authorization(value: &str) -> Result<Self, MalformedKey> {
        let (scheme, token) = value.split_once(' ').ok_or(MalformedKey)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(MalformedKey);
        }
        Self::parse(token.trim())
    }

    fn parse(token: &str) -> Result<Self, MalformedKey> {
        let (key_id, secret) = token
            .strip_prefix("fh_")
            .and_then(|rest| rest.split_once('_'))
            .ok_or(MalformedKey)?;
        let id_fits = (1..=64).contains(&key_id.len()) && key_id.bytes().all(|b| b.is_ascii_alphanumeric());
        let secret_fits =
            (1..=MAX_SECRET).contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_graphic());
        if !id_fits || !secret_fits {
            return Err(MalformedKey);
        }
        Ok(Self {
            key_id: key_id.to_owned(),
            secret: SecretString::from(secret),
            digest: Sha256::digest(token.as_bytes()).into(),
        })
    }

    /// Whether the secret is the one that was hashed. Takes a good part of a second of processor time: never call it
    /// on a thread of the runtime.
    pub fn matches(&self, bcrypt_hash: &str) -> bool {
        bcrypt::verify(self.secret.expose_secret(), bcrypt_hash).unwrap_or(false)
    }
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_taken_apart_at_the_underscore_after_its_id() {
        let key = PresentedKey::from_authorization("Bearer fh_k1_s3_cr-et");
        let parts = key.map(|key| (key.key_id, key.secret.expose_secret().to_owned()));
        assert_eq!(parts, Ok(("k1".to_owned(), "s3_cr-et".to_owned())));
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        assert!(PresentedKey::from_authorization("bEARER fh_k1_secret").is_ok());
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Basic fh_k1_secret",
            "Bearer k1_secret",
            "Bearer fh_k1",
            "Bearer fh__secret",
            "Bearer fh_k1_",
            "Bearer fh_k$1_secret",
            "Bearer fh_k1_se cret",
        ] {
            assert!(PresentedKey::from_authorization(value).is_err(), "{value}");
        }
        let long = format!("Bearer fh_k1_{}", "a".repeat(MAX_SECRET + 1));
        assert!(PresentedKey::from_authorization(&long).is_err());
    }

    #[test]
    fn only_the_secret_that_was_hashed_matches() {
        let hash = bcrypt::hash("secret", 4).unwrap_or_default();
        let matches = |value| PresentedKey::from_authorization(value).map(|key| key.matches(&hash));
        assert_eq!(matches("Bearer fh_k1_secret"), Ok(true));
        assert_eq!(matches("Bearer fh_k1_secreT"), Ok(false));
    }

    #[test]
    fn a_hash_that_is_not_bcrypt_matches_nothing() {
        let key = PresentedKey::from_authorization("Bearer fh_k1_secret");
        assert_eq!(key.map(|key| key.matches("secret")), Ok(false));
    }

    #[test]
    fn the_secret_does_not_appear_in_debug_output() {
        let key = PresentedKey::from_authorization("Bearer fh_k1_hush");
        assert!(!format!("{key:?}").contains("hush"));
    }

    proptest! {
        #[test]
        fn no_header_value_panics(value in ".{0,120}") {
            let _ = PresentedKey::from_authorization(&value);
        }
    }
}

//! The keys of RFC 9421 signatures (`hmac-sha256`): made by whoever makes a client's keys, checked by the API.
//!
//! Told to people and stored (encrypted) as text: the bytes of the key in base64 (RFC 4648 section 4).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// Bytes of a new key.
const NEW_KEY_BYTES: usize = 32;
/// Bytes that a key may have: no fewer than the digest (RFC 2104 section 3), no more than the block of SHA-256.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=64;

/// The text is no signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing key is 32 to 64 bytes in base64")]
pub struct InvalidSigningKey;

/// A new key: 32 random bytes in base64.
pub fn new_signing_key() -> SecretString {
    let key: Zeroizing<[u8; NEW_KEY_BYTES]> = Zeroizing::new(rand::rng().random());
    SecretString::from(BASE64_STANDARD.encode(*key))
}

/// The bytes of a key.
///
/// # Errors
/// When it is not base64, or has another length.
pub fn signing_key_bytes(text: &SecretString) -> Result<Zeroizing<Vec<u8>>, InvalidSigningKey> {
    let bytes = BASE64_STANDARD
        .decode(text.expose_secret().trim())
        .map(Zeroizing::new);
    bytes
        .ok()
        .filter(|bytes| KEY_BYTES.contains(&bytes.len()))
        .ok_or(InvalidSigningKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_read_back_and_is_like_no_other() {
        let (one, two) = (new_signing_key(), new_signing_key());
        assert_eq!(signing_key_bytes(&one).map(|bytes| bytes.len()), Ok(32));
        assert_ne!(one.expose_secret(), two.expose_secret());
    }

    #[test]
    fn what_is_too_short_too_long_or_no_base64_is_refused() {
        let encode = |length| SecretString::from(BASE64_STANDARD.encode(vec![7_u8; length]));
        for text in [
            encode(31),
            encode(65),
            SecretString::from("fh_k1_secret"),
            SecretString::from(""),
        ] {
            assert_eq!(signing_key_bytes(&text), Err(InvalidSigningKey));
        }
    }
}

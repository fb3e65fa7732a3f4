//! The secrets that sign what a client is told: the present one, and for a while the one before it.
//!
//! A client cannot replace the secret in its receivers and here at the same moment. So during a rotation both secrets sign,
//! the present one first, and a receiver that has either accepts (Standard Webhooks, "Multiple signatures").

use std::borrow::Borrow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rand::RngExt;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::sign::PREFIX;
use crate::store::WebhookSecrets;
use crate::vault::{TransitKey, Vault, VaultError};

/// Bytes of a new secret; Standard Webhooks takes 24 to 64.
const NEW_SECRET_BYTES: usize = 32;

/// A new secret: `whsec_` and 32 random bytes in base64.
pub fn new_secret() -> SecretString {
    let key: Zeroizing<[u8; NEW_SECRET_BYTES]> = Zeroizing::new(rand::rng().random());
    let encoded = Zeroizing::new(STANDARD.encode(*key));
    SecretString::from(format!("{PREFIX}{}", *encoded))
}

/// Decrypts webhook secrets.
pub trait OpenSecret {
    /// Why it cannot.
    type Error: Borrow<VaultError>;

    /// The secret of a client, from its ciphertext.
    fn open(
        &self,
        client_id: &str,
        ciphertext: &str,
    ) -> impl Future<Output = Result<SecretString, Self::Error>> + Send;
}

impl OpenSecret for Vault {
    type Error = VaultError;

    async fn open(&self, client_id: &str, ciphertext: &str) -> Result<SecretString, VaultError> {
        self.decrypt(TransitKey::AppCredentials, client_id, ciphertext)
            .await
    }
}

/// What signs a message: one secret, or two during a rotation.
#[derive(Clone, Debug)]
pub struct SigningSecrets {
    present: SecretString,
    previous: Option<SecretString>,
}

impl SigningSecrets {
    /// The present secret, and the one before it while that is valid.
    pub const fn new(present: SecretString, previous: Option<SecretString>) -> Self {
        Self { present, previous }
    }

    /// Decrypts those secrets of a client that are valid at `now`.
    ///
    /// A previous secret that is no ciphertext of our keys is left out: the present one signs alone, as it will soon anyway.
    ///
    /// # Errors
    /// When Vault fails, or the present secret is no ciphertext of our keys.
    pub async fn decrypt<O: OpenSecret + Sync>(
        opener: &O,
        client_id: &str,
        stored: &WebhookSecrets,
        now: Timestamp,
    ) -> Result<Self, O::Error> {
        let present = opener.open(client_id, &stored.present).await?;
        let previous = match stored.previous_at(now) {
            None => None,
            Some(ciphertext) => match opener.open(client_id, ciphertext).await {
                Ok(secret) => Some(secret),
                Err(error) if matches!(error.borrow(), VaultError::Ciphertext) => {
                    tracing::warn!(
                        client_id,
                        "the previous webhook secret cannot be decrypted; it signs no more"
                    );
                    None
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Self { present, previous })
    }

    /// The present one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &SecretString> {
        std::iter::once(&self.present).chain(&self.previous)
    }
}

impl From<SecretString> for SigningSecrets {
    fn from(present: SecretString) -> Self {
        Self::new(present, None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sign;
    use super::*;

    #[test]
    fn a_new_secret_signs_and_is_like_no_other() {
        let sign = |secret: SecretString| sign(&secret.into(), "id", Timestamp::UNIX_EPOCH, "{}");
        let first = sign(new_secret());
        assert!(first.is_ok());
        assert_ne!(first, sign(new_secret()));
    }
}

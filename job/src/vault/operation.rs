//! What is asked of Vault.

use vaultrs::api::transit::requests::{DecryptDataRequest, EncryptDataRequest};
use vaultrs::client::{Client as _, VaultClient};
use vaultrs::transit::data;
use zeroize::Zeroizing;

use super::VaultError;

/// One request. Contexts and plain texts are base64, as the transit engine wants them.
pub(super) enum Operation<'a> {
    Encrypt {
        key: &'a str,
        context: &'a str,
        plain: &'a str,
    },
    Decrypt {
        key: &'a str,
        context: &'a str,
        ciphertext: &'a str,
    },
    Ping,
}

impl Operation<'_> {
    /// Sends it; the answer is a ciphertext, a plain text in base64, or empty.
    pub(super) async fn send(
        &self,
        client: &VaultClient,
        mount: &str,
    ) -> Result<Zeroizing<String>, VaultError> {
        let answer = match *self {
            Self::Encrypt { key, context, plain } => {
                let mut options = EncryptDataRequest::builder();
                let options = options.context(context);
                data::encrypt(client, mount, key, plain, Some(options))
                    .await
                    .map(|answer| answer.ciphertext)
            }
            Self::Decrypt {
                key,
                context,
                ciphertext,
            } => {
                let mut options = DecryptDataRequest::builder();
                let options = options.context(context);
                data::decrypt(client, mount, key, ciphertext, Some(options))
                    .await
                    .map(|answer| answer.plaintext)
            }
            Self::Ping => client.lookup().await.map(|_| String::new()),
        };
        answer
            .map(Zeroizing::new)
            .map_err(|error| VaultError::of_request(&error))
    }
}

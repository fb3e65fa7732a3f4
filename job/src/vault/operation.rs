//! What is asked of Vault.

use std::future::Future;

use rustify::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use serde::{Deserialize, Serialize};
use vaultrs::api;
use vaultrs::api::transit::requests::{DecryptDataRequest, EncryptDataRequest};
use vaultrs::client::{Client as _, VaultClient};
use vaultrs::error::ClientError;
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

/// What can be sent, and may be sent again.
pub(super) trait Request {
    /// What is answered.
    type Answer;

    /// Sends it.
    fn send(
        &self,
        client: &VaultClient,
        mount: &str,
    ) -> impl Future<Output = Result<Self::Answer, VaultError>> + Send;
}

impl Request for Operation<'_> {
    /// A ciphertext, a plain text in base64, or nothing.
    type Answer = Zeroizing<String>;

    async fn send(&self, client: &VaultClient, mount: &str) -> Result<Self::Answer, VaultError> {
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

/// Two ciphertexts of one context, in one request: the batches of the transit engine.
#[derive(Clone, Copy)]
pub(super) struct DecryptPair<'a> {
    pub(super) key: &'a str,
    pub(super) context: &'a str,
    pub(super) ciphertexts: [&'a str; 2],
}

impl Request for DecryptPair<'_> {
    /// The plain texts in base64, in the order of the ciphertexts.
    type Answer = [Zeroizing<String>; 2];

    async fn send(&self, client: &VaultClient, mount: &str) -> Result<Self::Answer, VaultError> {
        let batch = Batch { pair: *self, mount };
        let Decrypted { batch_results } = api::exec_with_result(client, batch)
            .await
            .map_err(|error| of_batch(&error))?;
        let [first, second] = <[Item; 2]>::try_from(batch_results).map_err(|_| VaultError::Unreadable)?;
        Ok([first.opened()?, second.opened()?])
    }
}

/// Where one of a batch cannot be decrypted Vault answers 400 without a list of errors: what is wrong stands with each.
fn of_batch(error: &ClientError) -> VaultError {
    match error {
        ClientError::RestClientError {
            source: rustify::errors::ClientError::ServerResponseError { code: 400, .. },
        } => VaultError::Ciphertext,
        error => VaultError::of_request(error),
    }
}

/// The request, as the HTTP client wants it.
struct Batch<'a> {
    pair: DecryptPair<'a>,
    mount: &'a str,
}

#[derive(Serialize)]
struct Input<'a> {
    ciphertext: &'a str,
    context: &'a str,
}

#[derive(Deserialize)]
struct Decrypted {
    batch_results: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    plaintext: Option<String>,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

impl Item {
    /// Beside an error Vault tells an empty text.
    fn opened(self) -> Result<Zeroizing<String>, VaultError> {
        match self {
            Self {
                plaintext: Some(plaintext),
                error: None,
            } => Ok(Zeroizing::new(plaintext)),
            _ => Err(VaultError::Ciphertext),
        }
    }
}

impl Endpoint for Batch<'_> {
    type Response = Decrypted;

    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        format!("{}/decrypt/{}", self.mount, self.pair.key)
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::POST
    }

    fn body(&self) -> Result<Option<Vec<u8>>, rustify::errors::ClientError> {
        let context = self.pair.context;
        let inputs = self
            .pair
            .ciphertexts
            .map(|ciphertext| Input { ciphertext, context });
        let body = serde_json::to_vec(&serde_json::json!({ "batch_input": inputs }));
        body.map(Some)
            .map_err(|source| rustify::errors::ClientError::DataParseError {
                source: source.into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> Option<String> {
        let item: Item = serde_json::from_str(json).ok()?;
        item.opened().ok().map(|plain| plain.as_str().to_owned())
    }

    #[test]
    fn an_item_with_an_error_is_not_taken_for_an_empty_text() {
        assert_eq!(
            item(r#"{"plaintext":"c2VjcmV0","reference":""}"#).as_deref(),
            Some("c2VjcmV0")
        );
        let failed = r#"{"plaintext":"","error":"cipher: message authentication failed","reference":""}"#;
        assert_eq!(item(failed), None);
        assert_eq!(item("{}"), None);
    }

    #[test]
    fn a_refusal_without_a_list_of_errors_is_about_the_ciphertexts_and_others_are_as_always() {
        let source = |code| rustify::errors::ClientError::ServerResponseError { code, content: None };
        let of = |code| of_batch(&ClientError::RestClientError { source: source(code) });
        assert!(matches!(of(400), VaultError::Ciphertext));
        assert!(of(502).is_transient());
        let missing = ClientError::APIError {
            code: 400,
            errors: vec!["encryption key not found".to_owned()],
        };
        assert!(matches!(of_batch(&missing), VaultError::Refused(400)));
    }
}

//! A transit key over the wire.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::TransitKey;
use super::decide::KeyVersions;
use crate::engine::vault::access::Access;
use crate::engine::vault::api::ApiError;

/// A ciphertext to be rewrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapped<'a> {
    /// The context of the key.
    pub context: &'a str,
    /// The ciphertext.
    pub ciphertext: &'a str,
}

/// The transit engine, as a rotation needs it.
pub trait Transit {
    /// Encrypts anew what the key decrypts; `None` for a ciphertext that it does not decrypt. One answer for each.
    fn rewrap(
        &self,
        key: TransitKey,
        wrapped: &[Wrapped<'_>],
    ) -> impl Future<Output = Result<Vec<Option<String>>, ApiError>> + Send;
}

/// The answer of `GET keys/:name`.
#[derive(Deserialize)]
struct Found {
    latest_version: u32,
    min_decryption_version: u32,
    /// When each version was made, in seconds since 1970.
    keys: BTreeMap<u32, i64>,
}

#[derive(Deserialize)]
struct Batch {
    batch_results: Vec<Rewrapped>,
}

#[derive(Deserialize)]
struct Rewrapped {
    ciphertext: Option<String>,
}

impl Access {
    /// The versions of a key.
    pub(super) async fn versions(&self, key: TransitKey) -> Result<KeyVersions, ApiError> {
        let path = format!("{}/keys/{}", self.mount, key.name());
        let found = self.api.read(&self.token, &path).await?;
        found
            .and_then(versions)
            .ok_or(ApiError::Incomplete("the versions of the key"))
    }

    /// Makes a new version of a key.
    pub(super) async fn rotate(&self, key: TransitKey) -> Result<(), ApiError> {
        let path = format!("keys/{}/rotate", key.name());
        self.write(&path, &json!({})).await.map(drop)
    }

    /// Lets versions before `oldest` decrypt no more. They are kept, and come back when the number is lowered.
    pub(super) async fn disable_before(&self, key: TransitKey, oldest: u32) -> Result<(), ApiError> {
        let path = format!("keys/{}/config", key.name());
        self.write(&path, &json!({ "min_decryption_version": oldest }))
            .await
            .map(drop)
    }

    async fn rewrap_batch(
        &self,
        key: TransitKey,
        wrapped: &[Wrapped<'_>],
    ) -> Result<Vec<Option<String>>, ApiError> {
        let batch: Vec<Value> = wrapped
            .iter()
            .map(|one| json!({ "ciphertext": one.ciphertext, "context": STANDARD.encode(one.context) }))
            .collect();
        let content = json!({ "batch_input": batch });
        let mut answer = self.write(&format!("rewrap/{}", key.name()), &content).await?;
        let results = serde_json::from_value(answer["data"].take()).ok();
        let results = results.map(|Batch { batch_results }| batch_results);
        let results = results.filter(|results| results.len() == wrapped.len());
        let results = results.ok_or(ApiError::Incomplete("the rewrapped ciphertexts"))?;
        // One that failed has an error in place of a ciphertext.
        Ok(results
            .into_iter()
            .map(|one| one.ciphertext.filter(|text| !text.is_empty()))
            .collect())
    }
}

impl Transit for Access {
    async fn rewrap(
        &self,
        key: TransitKey,
        wrapped: &[Wrapped<'_>],
    ) -> Result<Vec<Option<String>>, ApiError> {
        match self.rewrap_batch(key, wrapped).await {
            Err(ApiError::Refused { status: 400, .. }) => {}
            answer => return answer,
        }
        // Servers differ in whether one bad ciphertext spoils a batch; alone it spoils nothing.
        let mut answers = Vec::with_capacity(wrapped.len());
        for one in wrapped {
            answers.push(match self.rewrap_batch(key, std::slice::from_ref(one)).await {
                Ok(mut answer) => answer.pop().flatten(),
                Err(ApiError::Refused { status: 400, .. }) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(answers)
    }
}

fn versions(found: Value) -> Option<KeyVersions> {
    let found: Found = serde_json::from_value(found).ok()?;
    let latest_at = found.keys.get(&found.latest_version)?;
    Some(KeyVersions {
        latest: found.latest_version,
        latest_at: Timestamp::from_second(*latest_at).ok()?,
        // Servers of old begin to count at 0.
        oldest_usable: found.min_decryption_version.max(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_a_key_are_read() {
        let found = json!({
            "latest_version": 3,
            "min_decryption_version": 2,
            "min_encryption_version": 0,
            "type": "aes256-gcm96",
            "keys": { "2": 1_700_000_000, "3": 1_800_000_000 },
        });
        let expected = KeyVersions {
            latest: 3,
            latest_at: Timestamp::constant(1_800_000_000, 0),
            oldest_usable: 2,
        };
        assert_eq!(versions(found), Some(expected));
        assert_eq!(versions(json!({ "latest_version": 1 })), None);
    }
}

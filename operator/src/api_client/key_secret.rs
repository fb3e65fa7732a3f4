//! The Secret of a client. Every write is a create, or a replacement of exactly what was read.

use std::collections::BTreeMap;

use flickrhub_job::signing_key::{new_signing_key, signing_key_bytes};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use kube::{Resource, ResourceExt};
use secrecy::{ExposeSecret, SecretString};

use super::decide::{SecretSeen, Slot};
use crate::build::labels::MANAGED_BY;
use crate::context::FIELD_MANAGER;
use crate::crd::FlickrHubClient;
use crate::secrets::{api_key, webhook_secret};

/// The key to use, `fh_<key id>_<secret>`.
pub const API_KEY: &str = "api-key";
/// The key that takes its place; there during a rotation only, for a second or two.
pub const NEXT_API_KEY: &str = "next-api-key";
/// Signs requests in the place of the key (RFC 9421, `hmac-sha256`): 32 bytes in base64.
pub const SIGNING_KEY: &str = "signing-key";
/// The signing key of the key that takes the place.
pub const NEXT_SIGNING_KEY: &str = "next-signing-key";
/// Signs callbacks, `whsec_<base64>` (Standard Webhooks).
pub const WEBHOOK_SECRET: &str = "webhook-secret";
/// The last request to rotate that was granted.
const ROTATED_FOR: &str = "flickrhub.dev/rotated-for";

/// The Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySecretError {
    /// The API server refused, or did not answer.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    /// A Secret of this name was made by somebody else.
    #[error(
        "Secret {0} was not made for this FlickrHubClient; rename or delete it, or take another name for the client"
    )]
    Foreign(String),
    /// The Secret of a former client of this name is about to go.
    #[error("Secret {0} of a client that is gone is still there; it goes in a moment")]
    Leaving(String),
}

/// A key, taken apart.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The part that is no secret.
    pub id: String,
    /// The part that is.
    pub secret: SecretString,
}

impl ApiKey {
    /// Reads `fh_<key id>_<secret>`; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.trim().strip_prefix("fh_")?.split_once('_')?;
        let fits = !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !secret.is_empty()
            && secret.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self {
            id: id.to_owned(),
            secret: SecretString::from(secret),
        })
    }
}

/// The Secret as it was read.
#[derive(Clone, Debug)]
pub struct KeySecret(Secret);

impl KeySecret {
    fn text(&self, key: &str) -> Option<&str> {
        let value = self.0.data.as_ref()?.get(key)?;
        std::str::from_utf8(&value.0).ok().filter(|text| !text.is_empty())
    }

    /// A key in it.
    pub fn key(&self, slot: Slot) -> Option<ApiKey> {
        ApiKey::parse(self.text(match slot {
            Slot::Present => API_KEY,
            Slot::Next => NEXT_API_KEY,
        })?)
    }

    /// The signing key of a key in it.
    pub fn signing_key(&self, slot: Slot) -> Option<SecretString> {
        let text = self.text(match slot {
            Slot::Present => SIGNING_KEY,
            Slot::Next => NEXT_SIGNING_KEY,
        })?;
        let key = SecretString::from(text.trim());
        signing_key_bytes(&key).is_ok().then_some(key)
    }

    /// The webhook secret in it.
    pub fn webhook_secret(&self) -> Option<SecretString> {
        self.text(WEBHOOK_SECRET)
            .map(|text| SecretString::from(text.trim()))
    }

    /// What it holds, without the secrets.
    pub fn seen(&self) -> SecretSeen {
        let id = |slot| self.key(slot).map(|key| key.id);
        SecretSeen {
            key: id(Slot::Present),
            next: id(Slot::Next),
            is_complete: self.text(WEBHOOK_SECRET).is_some()
                && self.signing_key(Slot::Present).is_some()
                && !self.lacks_next_signing_key(),
            rotated_for: self.0.annotations().get(ROTATED_FOR).cloned(),
        }
    }

    /// With what it lacks made up.
    fn complete(mut self) -> Self {
        if self.key(Slot::Present).is_none() {
            self.set(API_KEY, &api_key());
        }
        if self.signing_key(Slot::Present).is_none() {
            self.set(SIGNING_KEY, new_signing_key().expose_secret());
        }
        if self.lacks_next_signing_key() {
            self.set(NEXT_SIGNING_KEY, new_signing_key().expose_secret());
        }
        if self.text(WEBHOOK_SECRET).is_none() {
            self.set(WEBHOOK_SECRET, &webhook_secret());
        }
        self
    }

    fn lacks_next_signing_key(&self) -> bool {
        self.key(Slot::Next).is_some() && self.signing_key(Slot::Next).is_none()
    }

    /// With a new key beside the present one, for `request`.
    fn prepared(mut self, request: Option<&str>) -> Self {
        self.set(NEXT_API_KEY, &api_key());
        self.set(NEXT_SIGNING_KEY, new_signing_key().expose_secret());
        self.granted(request)
    }

    /// With the next key in the place of the present one.
    fn promoted(mut self) -> Self {
        let data = self.0.data.get_or_insert_default();
        for (next, present) in [(NEXT_API_KEY, API_KEY), (NEXT_SIGNING_KEY, SIGNING_KEY)] {
            if let Some(next) = data.remove(next) {
                data.insert(present.to_owned(), next);
            }
        }
        self
    }

    fn granted(mut self, request: Option<&str>) -> Self {
        let annotations = self.0.annotations_mut();
        match request {
            Some(request) => annotations.insert(ROTATED_FOR.to_owned(), request.to_owned()),
            None => annotations.remove(ROTATED_FOR),
        };
        self
    }

    fn set(&mut self, key: &str, value: &str) {
        let data = self.0.data.get_or_insert_default();
        data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
    }
}

/// The name of the Secret of a client.
pub fn name_of(client: &str) -> String {
    format!("{client}-key")
}

/// Where the Secret of one client is kept.
pub struct KeySecrets<'a> {
    api: Api<Secret>,
    client: &'a FlickrHubClient,
    name: String,
}

impl<'a> KeySecrets<'a> {
    /// The Secret of `client`.
    pub fn new(kube: kube::Client, client: &'a FlickrHubClient) -> Self {
        Self {
            api: Api::namespaced(kube, &client.namespace().unwrap_or_default()),
            client,
            name: name_of(&client.name_any()),
        }
    }

    /// The Secret, if it is there and ours.
    ///
    /// # Errors
    /// When it is somebody else's, or cannot be read.
    pub async fn read(&self) -> Result<Option<KeySecret>, KeySecretError> {
        let Some(secret) = self.api.get_opt(&self.name).await? else {
            return Ok(None);
        };
        let uid = self.client.uid().unwrap_or_default();
        let owners = secret.owner_references();
        if owners.iter().any(|owner| owner.uid == uid) {
            return Ok(Some(KeySecret(secret)));
        }
        let kind = FlickrHubClient::kind(&());
        Err(if owners.iter().any(|owner| owner.kind == kind) {
            KeySecretError::Leaving(self.name.clone())
        } else {
            KeySecretError::Foreign(self.name.clone())
        })
    }

    /// Creates the Secret; a request to rotate that is there already is granted by that.
    ///
    /// # Errors
    /// When there is one by now, or the API server fails.
    pub async fn create(&self, request: Option<&str>) -> Result<(), KeySecretError> {
        let secret = KeySecret(Secret {
            metadata: self.metadata(),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        });
        let secret = secret.complete().granted(request).0;
        self.api.create(&parameters(), &secret).await?;
        Ok(())
    }

    /// Makes up what the Secret lacks.
    ///
    /// # Errors
    /// When it was changed since it was read, or the API server fails.
    pub async fn complete(&self, secret: KeySecret) -> Result<(), KeySecretError> {
        self.replace(secret.complete()).await
    }

    /// Puts a new key beside the present one, for `request`.
    ///
    /// # Errors
    /// When it was changed since it was read, or the API server fails.
    pub async fn prepare_next(&self, secret: KeySecret, request: Option<&str>) -> Result<(), KeySecretError> {
        self.replace(secret.prepared(request)).await
    }

    /// Puts the next key into the place of the present one.
    ///
    /// # Errors
    /// When it was changed since it was read, or the API server fails.
    pub async fn promote(&self, secret: KeySecret) -> Result<(), KeySecretError> {
        self.replace(secret.promoted()).await
    }

    /// The version that was read is in the metadata: the API server refuses the replacement of another one.
    async fn replace(&self, secret: KeySecret) -> Result<(), KeySecretError> {
        self.api.replace(&self.name, &parameters(), &secret.0).await?;
        Ok(())
    }

    fn metadata(&self) -> ObjectMeta {
        let owner = OwnerReference {
            api_version: FlickrHubClient::api_version(&()).into_owned(),
            kind: FlickrHubClient::kind(&()).into_owned(),
            name: self.client.name_any(),
            uid: self.client.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        ObjectMeta {
            name: Some(self.name.clone()),
            labels: Some(BTreeMap::from([(
                MANAGED_BY.0.to_owned(),
                MANAGED_BY.1.to_owned(),
            )])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

impl KeySecretError {
    /// Whether somebody has to act.
    pub const fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }
}

/// Whether a hash is that of the key's secret. Takes tens of milliseconds of computation.
pub(super) fn verify(key: &ApiKey, hash: &str) -> bool {
    bcrypt::verify(key.secret.expose_secret(), hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> KeySecret {
        KeySecret(Secret::default()).complete().granted(Some("1"))
    }

    #[test]
    fn a_new_secret_has_a_key_a_signing_key_and_a_webhook_secret() {
        let seen = new().seen();
        assert!(seen.key.is_some() && seen.next.is_none() && seen.is_complete);
        assert_eq!(seen.rotated_for.as_deref(), Some("1"));
    }

    #[test]
    fn a_rotation_goes_through_the_place_of_the_next_key() {
        let first = new();
        let prepared = first.clone().prepared(Some("2"));
        let (before, during) = (first.seen(), prepared.seen());
        assert_eq!(before.key, during.key);
        assert!(during.next.is_some() && during.next != during.key);
        let signing = |secret: &KeySecret, slot| {
            let key = secret.signing_key(slot);
            key.map(|key| key.expose_secret().to_owned())
        };
        assert_eq!(signing(&first, Slot::Present), signing(&prepared, Slot::Present));
        let promoted = prepared.clone().promoted();
        assert_eq!(signing(&promoted, Slot::Present), signing(&prepared, Slot::Next));
        assert_eq!(signing(&promoted, Slot::Next), None);
        let after = promoted.seen();
        assert_eq!((after.key, after.next), (during.next, None));
        assert_eq!(after.rotated_for.as_deref(), Some("2"));
        assert!(after.is_complete);
    }

    #[test]
    fn only_what_is_missing_is_made_up() {
        for key in [WEBHOOK_SECRET, SIGNING_KEY, NEXT_SIGNING_KEY] {
            let mut secret = new().prepared(None);
            let before = secret.seen();
            if let Some(data) = &mut secret.0.data {
                data.remove(key);
            }
            assert!(!secret.seen().is_complete, "{key}");
            assert_eq!(secret.complete().seen(), before, "{key}");
        }
    }

    #[test]
    fn a_signing_key_that_cannot_be_used_is_replaced() {
        let mut secret = new();
        secret.set(SIGNING_KEY, "hush");
        assert!(!secret.seen().is_complete);
        assert!(secret.complete().seen().is_complete);
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in ["", "fh_k1", "fh__s", "fh_k1_", "xx_k1_s", "fh_k-1_s", "fh_k1_a b"] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
        assert!(ApiKey::parse("fh_k1_s_1").is_some_and(|key| key.secret.expose_secret() == "s_1"));
    }

    #[test]
    fn debug_output_gives_no_secret_away() {
        let key = ApiKey::parse("fh_k1_hush");
        assert!(!format!("{key:?}").contains("hush"));
    }
}

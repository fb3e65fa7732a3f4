//! The Secret with the keys of a managed OpenBao.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use secrecy::{ExposeSecret, SecretString};

use super::Keys;
use crate::build::labels;
use crate::context::{Context, FIELD_MANAGER};
use crate::validate::ValidatedHub;

const UNSEAL_KEY: &str = "unseal-key";
const ROOT_TOKEN: &str = "root-token";
/// Marks the Secret as the intent of an initialisation.
const INTENT_ANNOTATION: &str = "flickrhub.dev/initialisation";
const CONFLICT: u16 = 409;

/// What the Secret holds.
#[derive(Clone, Debug)]
pub enum KeyRecord {
    /// There is no Secret.
    Absent,
    /// An initialisation was intended; whether it happened is not known.
    Intended,
    /// The keys.
    Stored(Keys),
}

/// The Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The Kubernetes API refused, or did not answer.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    /// The Kubernetes API does not answer.
    #[error("the Kubernetes API does not answer")]
    TimedOut,
    /// The Secret exists and holds neither keys nor the intent.
    #[error(
        "Secret {0} lacks unseal-key or root-token; restore it from a backup, or delete it if OpenBao was never used"
    )]
    Incomplete(String),
    /// Keys of another initialisation are there.
    #[error("Secret {0} already holds other keys, which are left alone")]
    OtherKeys(String),
}

/// Where the keys are kept.
pub trait KeyStore: Send + Sync + 'static {
    /// What is kept.
    fn load(&self) -> impl Future<Output = Result<KeyRecord, KeyStoreError>> + Send;

    /// Notes that an initialisation follows; does nothing if something is kept already. Whatever would keep the keys
    /// from being stored (permissions, quota, admission) shows here, before it costs anything.
    fn record_intent(&self) -> impl Future<Output = Result<(), KeyStoreError>> + Send;

    /// Stores the keys in place of the intent; never over other keys.
    fn save(&self, keys: &Keys) -> impl Future<Output = Result<(), KeyStoreError>> + Send;
}

/// The keys in a Secret that lives as long as the volumes do.
#[derive(Clone)]
pub struct SecretKeyStore {
    secrets: Api<Secret>,
    name: String,
    metadata: ObjectMeta,
}

impl SecretKeyStore {
    /// The Secret of a hub.
    pub fn of(context: &Context, hub: &ValidatedHub) -> Self {
        let name = hub.names.vault_keys();
        Self {
            secrets: Api::namespaced(context.client.clone(), hub.names.namespace()),
            metadata: labels::free_meta(hub, name.clone(), "vault"),
            name,
        }
    }

    fn parameters() -> PostParams {
        PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        }
    }
}

impl KeyStore for SecretKeyStore {
    async fn load(&self) -> Result<KeyRecord, KeyStoreError> {
        match self.secrets.get_opt(&self.name).await? {
            None => Ok(KeyRecord::Absent),
            Some(secret) => record_of(&secret).ok_or_else(|| KeyStoreError::Incomplete(self.name.clone())),
        }
    }

    async fn record_intent(&self) -> Result<(), KeyStoreError> {
        let intent = Secret {
            metadata: ObjectMeta {
                annotations: Some([(INTENT_ANNOTATION.to_owned(), "started".to_owned())].into()),
                ..self.metadata.clone()
            },
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        };
        match self.secrets.create(&Self::parameters(), &intent).await {
            Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }

    async fn save(&self, keys: &Keys) -> Result<(), KeyStoreError> {
        let mut secret = if let Some(secret) = self.secrets.get_opt(&self.name).await? {
            secret
        } else {
            // Somebody deleted the intent; the keys matter more.
            self.record_intent().await?;
            self.secrets.get(&self.name).await?
        };
        match record_of(&secret) {
            Some(KeyRecord::Stored(stored)) if same(&stored, keys) => return Ok(()),
            Some(KeyRecord::Stored(_)) => return Err(KeyStoreError::OtherKeys(self.name.clone())),
            _ => {}
        }
        let bytes = |secret: &SecretString| ByteString(secret.expose_secret().as_bytes().to_vec());
        let data = secret.data.get_or_insert_default();
        data.insert(UNSEAL_KEY.to_owned(), bytes(&keys.unseal_key));
        data.insert(ROOT_TOKEN.to_owned(), bytes(&keys.root_token));
        if let Some(annotations) = &mut secret.metadata.annotations {
            annotations.remove(INTENT_ANNOTATION);
        }
        // Carries the version that was read, so a change in between is a conflict and not overwritten.
        self.secrets
            .replace(&self.name, &Self::parameters(), &secret)
            .await?;
        Ok(())
    }
}

/// What a Secret holds; `None` if it is neither keys nor an intent.
fn record_of(secret: &Secret) -> Option<KeyRecord> {
    let value = |name: &str| {
        let bytes = &secret.data.as_ref()?.get(name)?.0;
        let text = std::str::from_utf8(bytes).ok()?.trim();
        (!text.is_empty()).then(|| SecretString::from(text))
    };
    if let (Some(unseal_key), Some(root_token)) = (value(UNSEAL_KEY), value(ROOT_TOKEN)) {
        return Some(KeyRecord::Stored(Keys {
            unseal_key,
            root_token,
        }));
    }
    let intended = secret
        .metadata
        .annotations
        .as_ref()?
        .contains_key(INTENT_ANNOTATION);
    intended.then_some(KeyRecord::Intended)
}

fn same(left: &Keys, right: &Keys) -> bool {
    left.unseal_key.expose_secret() == right.unseal_key.expose_secret()
        && left.root_token.expose_secret() == right.root_token.expose_secret()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(data: &[(&str, &str)], intended: bool) -> Secret {
        Secret {
            metadata: ObjectMeta {
                annotations: intended.then(|| [(INTENT_ANNOTATION.to_owned(), "started".to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(
                data.iter()
                    .map(|(name, value)| ((*name).to_owned(), ByteString(value.as_bytes().to_vec())))
                    .collect(),
            ),
            ..Secret::default()
        }
    }

    #[test]
    fn keys_count_only_together() {
        let both = secret(&[(UNSEAL_KEY, "key"), (ROOT_TOKEN, "token\n")], false);
        let Some(KeyRecord::Stored(keys)) = record_of(&both) else {
            panic!("no keys are found");
        };
        assert_eq!(keys.root_token.expose_secret(), "token");
        assert!(record_of(&secret(&[(UNSEAL_KEY, "key")], false)).is_none());
        assert!(record_of(&secret(&[(UNSEAL_KEY, "key"), (ROOT_TOKEN, " ")], false)).is_none());
    }

    #[test]
    fn an_empty_secret_with_the_mark_is_an_intent() {
        assert!(matches!(record_of(&secret(&[], true)), Some(KeyRecord::Intended)));
        assert!(record_of(&secret(&[], false)).is_none());
    }
}

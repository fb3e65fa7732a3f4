//! Encrypting what the operator itself stores: webhook secrets of clients.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::api::{Api, ApiError, Keys};
use super::key_store::{KeyRecord, KeyStore, KeyStoreError, SecretKeyStore};
use super::login::{self, LoginError};
use crate::context::Context;
use crate::engine::http;
use crate::names::{APP_CREDENTIALS_KEY, TRANSIT_MOUNT};
use crate::validate::{ValidatedHub, VaultPlan};

/// Vault cannot be asked, or nothing was encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
    /// The keys of OpenBao cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// OpenBao is not initialised yet.
    #[error("OpenBao has no keys yet")]
    NotInitialised,
    /// There is no way into the external Vault.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// Vault refused, or did not answer.
    #[error("Vault: {0}")]
    Vault(#[from] ApiError),
}

/// Encrypts with the transit key of application credentials; `key_context` is the id of what it belongs to.
///
/// # Errors
/// When Vault cannot be reached or refuses.
pub async fn encrypt_app_credential(
    context: &Context,
    hub: &ValidatedHub,
    key_context: &str,
    plain: &SecretString,
) -> Result<String, EncryptError> {
    match &hub.vault {
        VaultPlan::Managed(plan) => {
            let KeyRecord::Stored(keys) = SecretKeyStore::of(context, hub).load().await? else {
                return Err(EncryptError::NotInitialised);
            };
            let api = Api::new(http::client()?, plan.address.clone(), None);
            let token = narrow_token(&api, &keys, hub.names.hub()).await?;
            Ok(encrypt(&api, &token, TRANSIT_MOUNT, key_context, plain).await?)
        }
        VaultPlan::External(plan) => {
            let api = login::connect(context, hub, plan).await?;
            let token = login::login(context, hub, plan, &api).await?;
            Ok(encrypt(&api, &token, &plan.transit_mount, key_context, plain).await?)
        }
    }
}

/// What tells the transit keys of a hub from those of any other Vault: its cluster, the namespace in it, and where the
/// transit engine is mounted. What was encrypted under another identity cannot be decrypted any more.
///
/// # Errors
/// When Vault cannot be reached or is sealed.
pub async fn transit_identity(context: &Context, hub: &ValidatedHub) -> Result<String, EncryptError> {
    let (api, namespace, mount) = match &hub.vault {
        VaultPlan::Managed(plan) => {
            let api = Api::new(http::client()?, plan.address.clone(), None);
            (api, None, TRANSIT_MOUNT)
        }
        VaultPlan::External(plan) => {
            let api = login::connect(context, hub, plan).await?;
            (api, plan.namespace.as_deref(), plan.transit_mount.as_str())
        }
    };
    let cluster = api.cluster_id().await?;
    Ok(format!("{cluster} {} {mount}", namespace.unwrap_or_default()))
}

/// A token for one use, that may encrypt and nothing else.
async fn narrow_token(api: &Api, keys: &Keys, hub: &str) -> Result<SecretString, ApiError> {
    let wanted = json!({
        "policies": [format!("{hub}-operator")],
        "no_default_policy": true,
        "renewable": false,
        "num_uses": 1,
        "ttl": "60s",
        "display_name": "flickrhub-operator",
    });
    let answer = api
        .write(Some(&keys.root_token), Method::POST, "auth/token/create", &wanted)
        .await?;
    login::client_token(&answer)
}

async fn encrypt(
    api: &Api,
    token: &SecretString,
    mount: &str,
    key_context: &str,
    plain: &SecretString,
) -> Result<String, ApiError> {
    let content = json!({
        "plaintext": STANDARD.encode(plain.expose_secret()),
        "context": STANDARD.encode(key_context),
    });
    let path = format!("{mount}/encrypt/{APP_CREDENTIALS_KEY}");
    let answer = api.write(Some(token), Method::POST, &path, &content).await?;
    let ciphertext = answer.pointer("/data/ciphertext").and_then(Value::as_str);
    ciphertext
        .map(str::to_owned)
        .ok_or(ApiError::Incomplete("a ciphertext"))
}

//! Encrypting what the operator itself stores: webhook secrets of clients.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::access::{Access, AccessError};
use super::api::{Api, ApiError};
use super::login;
use crate::context::Context;
use crate::engine::http;
use crate::names::{APP_CREDENTIALS_KEY, TRANSIT_MOUNT};
use crate::validate::{ValidatedHub, VaultPlan};

/// Encrypts with the transit key of application credentials; `key_context` is the id of what it belongs to.
///
/// # Errors
/// When Vault cannot be reached or refuses.
pub async fn encrypt_app_credential(
    context: &Context,
    hub: &ValidatedHub,
    key_context: &str,
    plain: &SecretString,
) -> Result<String, AccessError> {
    let access = Access::open(context, hub, true).await?;
    let content = json!({
        "plaintext": STANDARD.encode(plain.expose_secret()),
        "context": STANDARD.encode(key_context),
    });
    let answer = access
        .write(&format!("encrypt/{APP_CREDENTIALS_KEY}"), &content)
        .await?;
    let ciphertext = answer.pointer("/data/ciphertext").and_then(Value::as_str);
    let ciphertext = ciphertext.ok_or(ApiError::Incomplete("a ciphertext"))?;
    Ok(ciphertext.to_owned())
}

/// What tells the transit keys of a hub from those of any other Vault: its cluster, the namespace in it, and where the
/// transit engine is mounted. What was encrypted under another identity cannot be decrypted any more.
///
/// # Errors
/// When Vault cannot be reached or is sealed.
pub async fn transit_identity(context: &Context, hub: &ValidatedHub) -> Result<String, AccessError> {
    let (api, namespace, mount) = match &hub.vault {
        VaultPlan::Managed(plan) => {
            let api = Api::new(http::client(hub.trust.as_ref())?, plan.address.clone(), None);
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

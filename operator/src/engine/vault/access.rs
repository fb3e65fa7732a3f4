//! The way of the operator into the transit engine of a hub: with a token that may do what the operator's policy says, and
//! nothing else, for a minute. The root token of a managed OpenBao is used to make such a token and for its settings only.

use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::api::{Api, ApiError, Keys};
use super::key_store::{KeyRecord, KeyStore, KeyStoreError, SecretKeyStore};
use super::login::{self, LoginError};
use super::policy::Owner;
use crate::context::Context;
use crate::engine::http;
use crate::names::TRANSIT_MOUNT;
use crate::validate::{ValidatedHub, VaultPlan};

/// How long a token of a managed OpenBao lives.
const TOKEN_TTL: &str = "60s";

/// There is no way into the transit engine, or it refused.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
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

/// The transit engine of a hub, and a token for it.
#[derive(Clone, Debug)]
pub struct Access {
    pub(super) api: Api,
    pub(super) token: SecretString,
    pub(super) mount: String,
}

impl Access {
    /// The transit engine at `mount`, with a token that somebody else made.
    pub fn new(api: Api, token: SecretString, mount: impl Into<String>) -> Self {
        Self {
            api,
            token,
            mount: mount.into(),
        }
    }

    /// Logs in to the Vault of a hub; `once` makes a token of a managed OpenBao good for one request.
    pub(super) async fn open(context: &Context, hub: &ValidatedHub, once: bool) -> Result<Self, AccessError> {
        match &hub.vault {
            VaultPlan::Managed(plan) => {
                let KeyRecord::Stored(keys) = SecretKeyStore::of(context, hub).load().await? else {
                    return Err(AccessError::NotInitialised);
                };
                let api = Api::new(http::client(hub.trust.as_ref())?, plan.address.clone(), None);
                let token = narrow_token(&api, &keys, hub.names.hub(), once).await?;
                Ok(Self::new(api, token, TRANSIT_MOUNT))
            }
            VaultPlan::External(plan) => {
                let api = login::connect(context, hub, plan).await?;
                let token = login::login(context, hub, plan, &api).await?;
                Ok(Self::new(api, token, plan.transit_mount.clone()))
            }
        }
    }

    /// Writes to a path below the mount.
    pub(super) async fn write(&self, path: &str, content: &Value) -> Result<Value, ApiError> {
        let path = format!("{}/{path}", self.mount);
        self.api
            .write(Some(&self.token), Method::POST, &path, content)
            .await
    }
}

/// A token with the operator's policy. One that is not for one use is a batch token, which OpenBao does not store.
async fn narrow_token(api: &Api, keys: &Keys, hub: &str, once: bool) -> Result<SecretString, ApiError> {
    let mut wanted = json!({
        "policies": [Owner::Operator.policy_name(hub)],
        "no_default_policy": true,
        "renewable": false,
        "ttl": TOKEN_TTL,
        "display_name": "flickrhub-operator",
    });
    if once {
        wanted["num_uses"] = json!(1);
    } else {
        wanted["type"] = json!("batch");
    }
    let answer = api
        .write(Some(&keys.root_token), Method::POST, "auth/token/create", &wanted)
        .await?;
    login::client_token(&answer)
}

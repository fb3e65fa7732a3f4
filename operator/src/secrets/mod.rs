//! The passwords and keys that the operator makes up, each in a Secret of its own.
//!
//! A Secret that exists is read and kept as it is: nothing here changes a value, because the engine behind it knows
//! the old one. They are created, never applied, so two operators that run at once cannot overwrite each other.
//!
//! If the process dies between two of them, the next one reads the first and creates the second.

mod generate;
mod read;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Resource};
use secrecy::SecretString;

use crate::apply::{ApplyError, apply_metadata, disown};
use crate::build::labels;
use crate::context::Context;
use crate::crd::FlickrHub;
use crate::names::HubNames;
use crate::validate::ValidatedHub;

pub use read::SecretsChecksums;

/// Everything that was made up for one hub.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// For Redis and Sentinel.
    pub redis: RedisSecrets,
    /// For MongoDB.
    pub mongodb: MongoDbSecrets,
    /// For RabbitMQ.
    pub rabbitmq: RabbitMqSecrets,
    /// For a managed Vault; `None` until it was initialised.
    pub vault: Option<VaultKeys>,
    /// For the API client that every hub starts with.
    pub default_client: DefaultClient,
    checksums: SecretsChecksums,
}

impl Secrets {
    /// The checksums of their contents, for the annotations that restart pods after a change.
    pub const fn checksums(&self) -> &SecretsChecksums {
        &self.checksums
    }
}

/// For Redis and Sentinel.
#[derive(Clone, Debug)]
pub struct RedisSecrets {
    /// The password of both.
    pub password: SecretString,
}

/// For MongoDB.
#[derive(Clone, Debug)]
pub struct MongoDbSecrets {
    /// The key by which members know each other, also the password of the user `__system`.
    pub keyfile: SecretString,
    /// The password of the operator's user.
    pub admin_password: SecretString,
    /// The password of the user of the API and the workers.
    pub app_password: SecretString,
}

/// For RabbitMQ.
#[derive(Clone, Debug)]
pub struct RabbitMqSecrets {
    /// The password of the one user.
    pub password: SecretString,
    /// The cookie by which nodes know each other.
    pub erlang_cookie: SecretString,
}

/// For a managed Vault. The vault step writes them when it initialises the Vault.
#[derive(Clone, Debug)]
pub struct VaultKeys {
    /// Unseals a member after its start, base64.
    pub unseal_key: SecretString,
    /// The root token.
    pub root_token: SecretString,
}

/// For the API client that every hub starts with.
#[derive(Clone, Debug)]
pub struct DefaultClient {
    /// The bearer token, `fh_<key id>_<secret>`.
    pub api_key: SecretString,
    /// Signs callbacks, `whsec_<base64>` (Standard Webhooks).
    pub webhook_secret: SecretString,
}

/// The made-up Secrets cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The API server did not answer, or refused.
    #[error("cannot read or create Secret {name}: {source}")]
    Api {
        /// The name of the Secret.
        name: String,
        /// What the client says.
        source: kube::Error,
    },
    /// A Secret exists but lacks a key.
    #[error(
        "Secret {name:?} has no text under {key:?}. The engine still knows the old value: restore it from a backup of the Secret; it is not made up anew."
    )]
    Incomplete {
        /// The name of the Secret.
        name: String,
        /// The key.
        key: &'static str,
    },
}

/// The Secrets of a hub, and the names of those that had to be created.
pub struct Ensured {
    /// What they hold.
    pub secrets: Secrets,
    /// The names of those that did not exist before.
    pub created: Vec<String>,
    /// Labels and owners that could not be written. What the Secrets hold can be used nonetheless.
    pub failures: Vec<ApplyError>,
}

/// Reads every made-up Secret and creates those that do not exist.
///
/// # Errors
/// When the API server fails, or a Secret exists without one of its keys.
pub async fn ensure(ctx: &Context, hub: &ValidatedHub) -> Result<Ensured, SecretError> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let mut found = BTreeMap::new();
    let mut created = Vec::new();
    let mut failures = Vec::new();
    for wanted in generate::wanted(&hub.names) {
        let (secret, is_new) = get_or_create(&api, &wanted).await?;
        if is_new {
            created.push(wanted.name.clone());
        }
        let meta = labels::free_meta(hub, &wanted.name, wanted.component);
        failures.extend(apply_metadata(&ctx.client, &secret, meta).await.err());
        found.insert(wanted.name, secret);
    }
    let vault_keys = hub.names.vault_keys();
    let failed = |source| SecretError::Api {
        name: vault_keys.clone(),
        source,
    };
    if let Some(secret) = api.get_opt(&vault_keys).await.map_err(failed)? {
        // An owner that it was created with is not taken away by an apply.
        let disowned = disown(&api, &secret.metadata, &FlickrHub::kind(&())).await;
        let kind = Secret::kind(&()).into_owned();
        failures.extend(
            disowned
                .map_err(|source| ApplyError::of(kind, vault_keys.clone(), source))
                .err(),
        );
        let meta = labels::free_meta(hub, &vault_keys, "vault");
        failures.extend(apply_metadata(&ctx.client, &secret, meta).await.err());
        found.insert(vault_keys, secret);
    }
    Ok(Ensured {
        secrets: read::read(&hub.names, &found)?,
        created,
        failures,
    })
}

/// The names of every Secret that holds something of a hub that exists nowhere else.
pub fn names(names: &HubNames) -> Vec<String> {
    let made_up = generate::wanted(names).map(|wanted| wanted.name);
    made_up.into_iter().chain([names.vault_keys()]).collect()
}

/// Reads a Secret, or creates it with new values. Whoever comes second takes what the first one made up.
///
/// Labels and owners are applied afterwards: what is created with them could not be taken away by an apply later.
async fn get_or_create(api: &Api<Secret>, wanted: &generate::Wanted) -> Result<(Secret, bool), SecretError> {
    let failed = |source| SecretError::Api {
        name: wanted.name.clone(),
        source,
    };
    if let Some(secret) = api.get_opt(&wanted.name).await.map_err(failed)? {
        return Ok((secret, false));
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(wanted.name.clone()),
            ..ObjectMeta::default()
        },
        string_data: Some(wanted.make_up()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Ok(secret) => Ok((secret, true)),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Ok((api.get(&wanted.name).await.map_err(failed)?, false))
        }
        Err(error) => Err(failed(error)),
    }
}

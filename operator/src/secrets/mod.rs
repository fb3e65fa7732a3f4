//! The passwords and keys that the operator makes up, each in a Secret of its own.
//!
//! A Secret that exists is read and kept as it is: nothing here changes a value, because the engine behind it knows
//! the old one; [`crate::credentials`] replaces values step by step. For the same reason one that is gone is made up anew only while its engine has no data (see `absent`).
//! They are created, never applied, so two operators that run at once cannot overwrite each other.
//!
//! A Secret that cannot be used is a [`SecretLoss`] of its engine alone; the other engines are cared for.
//!
//! If the process dies between two of them, the next one reads the first and creates the second.

mod absent;
mod generate;
mod listed;
mod read;

use std::collections::BTreeMap;

use flickrhub_job::config::Login;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use secrecy::SecretString;
use serde_json::json;

use crate::apply::{ApplyError, apply_metadata, disown};
use crate::build::labels;
use crate::context::Context;
use crate::crd::FlickrHub;
use crate::lack::{Lack, SECRET_LOST};
use crate::names::HubNames;
use crate::validate::ValidatedHub;

use generate::Wanted;

pub(crate) use generate::{api_key, password, successor, webhook_secret};

pub use listed::Listed;
pub use read::SecretsChecksums;

/// Everything that was made up for one hub, each unless it is lost.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// For Redis and Sentinel.
    pub redis: Result<RedisSecrets, SecretLoss>,
    /// For MongoDB.
    pub mongodb: Result<MongoDbSecrets, SecretLoss>,
    /// For RabbitMQ.
    pub rabbitmq: Result<RabbitMqSecrets, SecretLoss>,
    /// For the API client that every hub starts with.
    pub default_client: Result<DefaultClient, SecretLoss>,
    checksums: SecretsChecksums,
}

impl Secrets {
    /// The checksums of their contents, for the annotations that restart pods after a change.
    pub const fn checksums(&self) -> &SecretsChecksums {
        &self.checksums
    }

    /// The Secrets that cannot be used.
    pub fn lacks(&self) -> Vec<Lack> {
        let losses = [
            self.redis.as_ref().err(),
            self.mongodb.as_ref().err(),
            self.rabbitmq.as_ref().err(),
            self.default_client.as_ref().err(),
        ];
        losses.into_iter().flatten().map(SecretLoss::lack).collect()
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
    /// The user of the API and the workers.
    pub app: Login,
}

/// For RabbitMQ.
#[derive(Clone, Debug)]
pub struct RabbitMqSecrets {
    /// The one user.
    pub login: Login,
    /// The cookie by which nodes know each other.
    pub erlang_cookie: SecretString,
}

/// For the API client that every hub starts with.
#[derive(Clone, Debug)]
pub struct DefaultClient {
    /// The bearer token, `fh_<key id>_<secret>`.
    pub api_key: SecretString,
    /// Signs requests in the place of the key (RFC 9421), in base64; `None`: the key does not sign.
    pub signing_key: Option<SecretString>,
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
    /// The API server did not answer when it was asked for all of them, or refused.
    #[error("cannot list the Secrets of the hub: {0}")]
    List(#[source] kube::Error),
    /// Whether an engine has data cannot be told.
    #[error("cannot list the volumes of the hub: {0}")]
    Claims(#[source] kube::Error),
}

/// The values of a Secret are lost; nobody but a person can bring them back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretLoss {
    /// The Secret does not exist although its engine has data.
    #[error(
        "Secret {name:?} is gone, and the data that its values open is still there: restore the Secret from a backup; it is not made up anew, because that would lock everybody out. Only if the data is of no value: delete the FlickrHub and every volume data-{set}-*, and create it again."
    )]
    Gone {
        /// The name of the Secret.
        name: String,
        /// The StatefulSet with the data.
        set: String,
    },
    /// The Secret exists but lacks a key.
    #[error("Secret {name:?} has no text under {key:?}. {}.", .set.as_ref().map_or(NEW_VALUE, |_| OLD_VALUE))]
    Incomplete {
        /// The name of the Secret.
        name: String,
        /// The key.
        key: &'static str,
        /// The StatefulSet with data that knows its values; `None` if others can take their place.
        set: Option<String>,
    },
}

/// What to do where an engine knows a value that is missing.
const OLD_VALUE: &str =
    "The engine still knows the old value: restore it from a backup of the Secret; it is not made up anew";
/// What to do where nothing but clients knows a value that is missing.
const NEW_VALUE: &str =
    "Add the key, or delete the Secret and a new one is made; clients then need the new API key";

impl SecretLoss {
    /// What waits for the Secret, and why.
    pub fn lack(&self) -> Lack {
        let (secret, reason) = match self {
            Self::Gone { name, .. } => (name, SECRET_LOST),
            Self::Incomplete { name, .. } => (name, "SecretIncomplete"),
        };
        Lack {
            secret: secret.clone(),
            reason,
            message: self.to_string(),
            passes: false,
        }
    }
}

/// The Secrets of a hub, and the names of those that had to be created.
pub struct Ensured {
    /// What they hold.
    pub secrets: Secrets,
    /// Those that exist as they were read, by name.
    pub found: BTreeMap<String, Secret>,
    /// The names of those that did not exist before.
    pub created: Vec<String>,
    /// Labels and owners that could not be written. What the Secrets hold can be used nonetheless.
    pub failures: Vec<ApplyError>,
}

/// Takes every made-up Secret and creates those that do not exist, but for those whose engine has data.
///
/// # Errors
/// When the API server fails.
pub async fn ensure(ctx: &Context, hub: &ValidatedHub, listed: &Listed) -> Result<Ensured, SecretError> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let wanted = generate::wanted(&hub.names);
    let vault_keys = hub.names.vault_keys();
    let names = wanted.iter().map(|wanted| &wanted.name).chain([&vault_keys]);
    let reads = names.map(async |name| {
        let found = listed.get(name).await.map_err(|source| failed(name, source))?;
        Ok::<_, SecretError>(found.map(|secret| (name.clone(), secret)))
    });
    let mut existing: BTreeMap<String, Secret> = try_join_all(reads).await?.into_iter().flatten().collect();
    let kept_keys = existing.remove(&vault_keys);
    let claims = if wanted.iter().all(|wanted| existing.contains_key(&wanted.name)) {
        Vec::new()
    } else {
        claims(ctx, hub).await?
    };
    let is_lost = |wanted: &Wanted| {
        wanted.engine.as_ref().is_some_and(|engine| {
            absent::is_lost(
                hub.was_ready(engine.part),
                absent::has_volumes(&engine.set, &claims),
            )
        })
    };
    let mut found = BTreeMap::new();
    let mut created = Vec::new();
    let mut failures = Vec::new();
    for wanted in wanted {
        let secret = match existing.remove(&wanted.name) {
            Some(secret) => secret,
            None if is_lost(&wanted) => continue,
            None => {
                let (secret, is_new) = create(&api, &wanted).await?;
                if is_new {
                    created.push(wanted.name.clone());
                }
                secret
            }
        };
        let secret = complete(&api, &wanted, secret).await?;
        let meta = labels::free_meta(hub, &wanted.name, wanted.component);
        failures.extend(apply_metadata(&ctx.client, &secret, meta).await.err());
        found.insert(wanted.name, secret);
    }
    if let Some(secret) = kept_keys {
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
    }
    Ok(Ensured {
        secrets: read::read(&hub.names, &found),
        found,
        created,
        failures,
    })
}

/// Reads the made-up Secrets that exist, and makes none.
///
/// # Errors
/// When the API server fails.
pub async fn existing(ctx: &Context, hub: &ValidatedHub) -> Result<Secrets, SecretError> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let mut found = BTreeMap::new();
    for Wanted { name, .. } in generate::wanted(&hub.names) {
        found.extend(get(&api, &name).await?.map(|secret| (name, secret)));
    }
    Ok(read::read(&hub.names, &found))
}

/// The names of every Secret that holds something of a hub that exists nowhere else.
pub fn names(names: &HubNames) -> Vec<String> {
    let made_up = generate::wanted(names).map(|wanted| wanted.name);
    made_up.into_iter().chain([names.vault_keys()]).collect()
}

async fn get(api: &Api<Secret>, name: &str) -> Result<Option<Secret>, SecretError> {
    api.get_opt(name).await.map_err(|source| failed(name, source))
}

fn failed(name: &str, source: kube::Error) -> SecretError {
    SecretError::Api {
        name: name.to_owned(),
        source,
    }
}

/// The claims of the volumes of a hub.
async fn claims(ctx: &Context, hub: &ValidatedHub) -> Result<Vec<PersistentVolumeClaim>, SecretError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let params = ListParams::default().labels(&labels::of_hub(hub.names.hub()));
    Ok(api.list(&params).await.map_err(SecretError::Claims)?.items)
}

/// Adds the names of users to a Secret of a version that had none.
async fn complete(api: &Api<Secret>, wanted: &Wanted, secret: Secret) -> Result<Secret, SecretError> {
    let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
    let missing: BTreeMap<&str, &str> = wanted
        .users
        .iter()
        .filter(|(key, _)| !has(key))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(secret);
    }
    let patch = Patch::Merge(json!({"stringData": missing}));
    let patched = api.patch(&wanted.name, &PatchParams::default(), &patch).await;
    patched.map_err(|source| SecretError::Api {
        name: wanted.name.clone(),
        source,
    })
}

/// Creates a Secret with new values; `false` if somebody else did. Whoever comes second takes what the first one made up.
///
/// Labels and owners are applied afterwards: what is created with them could not be taken away by an apply later.
async fn create(api: &Api<Secret>, wanted: &Wanted) -> Result<(Secret, bool), SecretError> {
    let failed = |source| SecretError::Api {
        name: wanted.name.clone(),
        source,
    };
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

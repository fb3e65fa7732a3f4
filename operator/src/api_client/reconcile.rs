//! One reconciliation of one client: look → decide → one step, until there is nothing left to do.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::decide::{Action, Decision, Observed, Slot, Wanted, decide};
use super::hub::{HubState, UsableHub, hub_of};
use super::key_secret::{ApiKey, KeySecret, KeySecretError, KeySecrets};
use super::registry::{
    ClientRegistry, RegistryError, SealedKey, SealedWebhookSecret, SecretKey, Settings, signing_fingerprint,
};
use super::status::{Outcome, status};
use crate::context::{Context, FIELD_MANAGER};
use crate::crd::FlickrHubClient;
use crate::engine::hub_database::ConnectError;
use crate::engine::vault::AccessError;
use crate::pki::PkiError;
use crate::reconcile::ReconcileError;
use crate::validate::ValidatedHub;

/// The finalizer: keys are revoked before the client goes.
pub const FINALIZER: &str = "flickrhub.dev/revoke-keys";
/// The annotation that asks for a rotation, by any value that it did not have before.
pub const ROTATE: &str = "flickrhub.dev/rotate";
/// The cost of hashes. What is hashed is drawn at random, so they need no more to keep it.
const BCRYPT_COST: u32 = 10;
/// Steps in one reconciliation; a rotation takes five.
const MAX_STEPS: usize = 12;
/// How long a client at rest is left alone when nothing changes.
const REST: Duration = Duration::from_mins(5);
/// When to look again at a hub that is not ready.
const SOON: Duration = Duration::from_secs(5);

/// A reconciliation failed in a way that another try may mend.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client, its hub or a Secret of the hub cannot be read, or the status be written.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    /// The hub cannot be read.
    #[error(transparent)]
    Hub(#[from] ReconcileError),
    /// The authorities of the hub cannot be read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The Secret.
    #[error(transparent)]
    Secret(#[from] KeySecretError),
    /// There is no way into MongoDB.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// MongoDB.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The webhook secret or a signing key cannot be encrypted.
    #[error(transparent)]
    Vault(#[from] AccessError),
    /// A secret cannot be hashed.
    #[error("a secret cannot be hashed: {0}")]
    Hash(#[from] bcrypt::BcryptError),
    /// A task that hashes was stopped with the process.
    #[error("the operator was stopped while it hashed a secret")]
    Stopped,
}

/// Brings one client a step on. Returns when to look again; `None` if it is gone.
///
/// # Errors
/// When something failed that another try may mend.
pub async fn reconcile(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Duration>, ClientError> {
    let api: Api<FlickrHubClient> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(client) = api.get_opt(name).await? else {
        return Ok(None);
    };
    let hub = hub_of(ctx, namespace, &client.spec.hub_ref.name).await?;
    if client.metadata.deletion_timestamp.is_some() {
        return leave(ctx, &api, &client, hub).await;
    }
    let usable = match hub {
        HubState::Usable(usable) if usable.is_paused => {
            let message = format!("FlickrHub {} is paused.", client.spec.hub_ref.name);
            let reason = "HubPaused";
            report(&api, &client, &Outcome::Waiting { reason, message }, None).await?;
            return Ok(Some(REST));
        }
        HubState::Usable(usable) => usable,
        HubState::Unusable(outcome) | HubState::Starting(outcome) => {
            report(&api, &client, &outcome, None).await?;
            return Ok(Some(SOON));
        }
        HubState::Gone => {
            let message = format!(
                "There is no FlickrHub {:?} in this namespace; create it, or correct spec.hubRef.",
                client.spec.hub_ref.name
            );
            let reason = "HubMissing";
            report(&api, &client, &Outcome::Stalled { reason, message }, None).await?;
            return Ok(Some(SOON));
        }
    };
    ensure_finalizer(&api, &client).await?;
    let result = bring_on(ctx, &api, &client, &usable).await;
    if let Err(error) = &result {
        let message = format!("{error}.");
        let outcome = match error {
            ClientError::Secret(foreign) if foreign.is_foreign() => Outcome::Stalled {
                reason: "SecretNameTaken",
                message,
            },
            _ => Outcome::Failed {
                message: format!("{message} It is tried again."),
            },
        };
        report(&api, &client, &outcome, None).await?;
    }
    result.map(Some)
}

/// Revokes the keys of a client that is to go, and lets it. Where there is no hub, or it knows no client yet, there is nothing
/// to revoke.
async fn leave(
    ctx: &Context,
    api: &Api<FlickrHubClient>,
    client: &FlickrHubClient,
    hub: HubState,
) -> Result<Option<Duration>, ClientError> {
    if !client.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(None);
    }
    match hub {
        HubState::Gone | HubState::Starting(_) => {}
        HubState::Usable(usable) => {
            let registry = ctx.data_tier.registry(&usable.hub, &usable.login)?;
            let revoked = registry.revoke(&client.name_any(), Timestamp::now()).await;
            registry.close().await;
            revoked?;
            tracing::info!(client_id = client.name_any(), "revoked the keys of a client");
        }
        HubState::Unusable(outcome) => {
            report(api, client, &outcome, None).await?;
            return Ok(Some(SOON));
        }
    }
    let others: Vec<&String> = client
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .collect();
    write_finalizers(api, client, &others).await?;
    Ok(None)
}

async fn ensure_finalizer(api: &Api<FlickrHubClient>, client: &FlickrHubClient) -> Result<(), ClientError> {
    if client.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    let finalizer = FINALIZER.to_owned();
    let all: Vec<&String> = client.finalizers().iter().chain([&finalizer]).collect();
    write_finalizers(api, client, &all).await
}

/// The version in the patch keeps it from undoing what somebody else wrote meanwhile.
async fn write_finalizers(
    api: &Api<FlickrHubClient>,
    client: &FlickrHubClient,
    finalizers: &[&String],
) -> Result<(), ClientError> {
    let patch = json!({
        "metadata": { "resourceVersion": client.resource_version(), "finalizers": finalizers },
    });
    match api
        .patch_metadata(&client.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Everything that is looked at before a step.
struct Look {
    secret: Option<KeySecret>,
    vault: String,
    observed: Observed,
    has_webhook_secret: bool,
}

/// What the steps of one client work with.
struct Work<'a> {
    ctx: &'a Context,
    client: &'a FlickrHubClient,
    hub: &'a ValidatedHub,
    secrets: KeySecrets<'a>,
    registry: Box<dyn ClientRegistry>,
    settings: Settings,
    wanted: Wanted<'a>,
}

async fn bring_on(
    ctx: &Context,
    api: &Api<FlickrHubClient>,
    client: &FlickrHubClient,
    usable: &UsableHub,
) -> Result<Duration, ClientError> {
    let rotation = &client.spec.rotation;
    let work = Work {
        ctx,
        client,
        hub: &usable.hub,
        secrets: KeySecrets::new(ctx.client.clone(), client),
        registry: ctx.data_tier.registry(&usable.hub, &usable.login)?,
        settings: settings(client),
        wanted: Wanted {
            interval: SignedDuration::from_hours(24 * i64::from(rotation.days)),
            overlap: SignedDuration::from_hours(i64::from(rotation.overlap_hours)),
            request: client.annotations().get(ROTATE).map(String::as_str),
        },
    };
    let done = work.steps(api).await;
    work.registry.close().await;
    done
}

fn settings(client: &FlickrHubClient) -> Settings {
    let mut scopes: Vec<String> = client
        .spec
        .scopes
        .iter()
        .map(|scope| scope.name().to_owned())
        .collect();
    scopes.sort();
    scopes.dedup();
    let mut networks = client.spec.allowed_addresses.clone();
    networks.sort();
    networks.dedup();
    Settings {
        scopes,
        networks,
        requests_per_minute: client.spec.requests_per_minute,
    }
}

impl Work<'_> {
    async fn steps(&self, api: &Api<FlickrHubClient>) -> Result<Duration, ClientError> {
        for _ in 0..MAX_STEPS {
            let look = self.look().await?;
            let now = Timestamp::now();
            match decide(&look.observed, &self.wanted, now) {
                Decision::Act(action) => {
                    tracing::info!(client_id = self.client.name_any(), ?action, "brings a client on");
                    self.perform(&action, look, now).await?;
                }
                Decision::Rest(until) => {
                    let looked = Some((&look.observed, &self.wanted));
                    report(api, self.client, &Outcome::Ready, looked).await?;
                    let rest = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                    return Ok(rest.clamp(Duration::from_secs(1), REST));
                }
                Decision::NameTaken => {
                    let message = format!(
                        "The hub has a client {:?} already that was not made for a FlickrHubClient; take another name.",
                        self.client.name_any()
                    );
                    let reason = "NameTaken";
                    report(api, self.client, &Outcome::Stalled { reason, message }, None).await?;
                    return Ok(REST);
                }
            }
        }
        Ok(Duration::from_secs(1))
    }

    async fn look(&self) -> Result<Look, ClientError> {
        let vault = self.ctx.data_tier.transit_identity(self.ctx, self.hub).await?;
        let secret = self.secrets.read().await?;
        let found = self.registry.find(&self.client.name_any()).await?;
        let keys: Vec<SecretKey> = [Slot::Present, Slot::Next]
            .into_iter()
            .filter_map(|slot| {
                let secret = secret.as_ref()?;
                let key = secret.key(slot)?;
                let signing_key = secret.signing_key(slot);
                Some(SecretKey {
                    signing_fingerprint: signing_key
                        .and_then(|signing_key| signing_fingerprint(&key, &signing_key, &vault)),
                    key,
                })
            })
            .collect();
        let webhook_secret = secret.as_ref().and_then(KeySecret::webhook_secret);
        let (settings, of) = (self.settings.clone(), vault.clone());
        // On a thread of its own: comparing hashes takes tens of milliseconds of computation each.
        let compared = tokio::task::spawn_blocking(move || {
            let digest = webhook_secret.as_ref().map(digest);
            let matches = |hash: &str| {
                let digest = digest.as_ref();
                digest.is_some_and(|digest| bcrypt::verify(digest, hash).unwrap_or(false))
            };
            let has_webhook_secret = found.has_webhook_secret(&of, matches);
            (
                found.seen(&settings, has_webhook_secret, &keys),
                has_webhook_secret,
            )
        });
        let (client, has_webhook_secret) = compared.await.map_err(|_| ClientError::Stopped)?;
        Ok(Look {
            observed: Observed {
                secret: secret.as_ref().map(KeySecret::seen),
                client,
            },
            secret,
            vault,
            has_webhook_secret,
        })
    }

    async fn perform(&self, action: &Action, look: Look, now: Timestamp) -> Result<(), ClientError> {
        let name = self.client.name_any();
        let Look { secret, .. } = &look;
        match (action, secret) {
            (Action::CreateSecret, _) => self.secrets.create(self.wanted.request).await?,
            (Action::CompleteSecret, Some(secret)) => self.secrets.complete(secret.clone()).await?,
            (Action::PrepareNext, Some(secret)) => {
                self.secrets
                    .prepare_next(secret.clone(), self.wanted.request)
                    .await?;
            }
            (Action::Promote, Some(secret)) => self.secrets.promote(secret.clone()).await?,
            (Action::WriteSettings, Some(secret)) => self.write_settings(&look, secret, now).await?,
            (Action::Register(slot), Some(secret)) => {
                if let (Some(key), Some(signing_key)) = (secret.key(*slot), secret.signing_key(*slot)) {
                    let sealed = self.seal(&key, &signing_key, &look.vault).await?;
                    self.registry.register(&name, &sealed, now).await?;
                }
            }
            (Action::Retire(ids, until), _) => self.registry.retire(&name, ids, *until).await?,
            (Action::Remove(ids), _) => self.registry.remove(&name, ids, now).await?,
            // Decided from a Secret that is there.
            (
                Action::CompleteSecret
                | Action::PrepareNext
                | Action::Promote
                | Action::WriteSettings
                | Action::Register(_),
                None,
            ) => {}
        }
        Ok(())
    }

    async fn encrypt(&self, client: &str, secret: &SecretString) -> Result<String, AccessError> {
        let data_tier = &self.ctx.data_tier;
        data_tier
            .encrypt_app_credential(self.ctx, self.hub, client, secret)
            .await
    }

    async fn seal(
        &self,
        key: &ApiKey,
        signing_key: &SecretString,
        vault: &str,
    ) -> Result<SealedKey, ClientError> {
        let name = self.client.name_any();
        Ok(SealedKey {
            id: key.id.clone(),
            hash: hash(key.secret.expose_secret().to_owned()).await?,
            signing_key: self.encrypt(&name, signing_key).await?,
            // HMAC takes a key of any length.
            signing_fingerprint: signing_fingerprint(key, signing_key, vault).unwrap_or_default(),
        })
    }

    async fn write_settings(
        &self,
        look: &Look,
        secret: &KeySecret,
        now: Timestamp,
    ) -> Result<(), ClientError> {
        let name = self.client.name_any();
        let webhook_secret = secret.webhook_secret().filter(|_| !look.has_webhook_secret);
        let sealed = match webhook_secret {
            None => None,
            Some(webhook_secret) => Some(SealedWebhookSecret {
                ciphertext: self.encrypt(&name, &webhook_secret).await?,
                hash: hash(digest(&webhook_secret)).await?,
                vault: look.vault.clone(),
            }),
        };
        self.registry
            .write_settings(&name, &self.settings, sealed.as_ref(), now)
            .await?;
        Ok(())
    }
}

/// SHA-256 of a webhook secret in hexadecimal, because bcrypt reads only 72 bytes.
fn digest(webhook_secret: &SecretString) -> String {
    let digest = Sha256::digest(webhook_secret.expose_secret());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn hash(text: String) -> Result<String, ClientError> {
    let hashed = tokio::task::spawn_blocking(move || bcrypt::hash(text, BCRYPT_COST));
    Ok(hashed.await.map_err(|_| ClientError::Stopped)??)
}

/// Writes the status, if it changed.
async fn report(
    api: &Api<FlickrHubClient>,
    client: &FlickrHubClient,
    outcome: &Outcome,
    looked: Option<(&Observed, &Wanted<'_>)>,
) -> Result<(), ClientError> {
    let (name, generation) = (client.name_any(), client.metadata.generation.unwrap_or_default());
    let before = client.status.as_ref();
    let after = status(before, generation, &name, outcome, looked, Timestamp::now());
    if before == Some(&after) {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": FlickrHubClient::api_version(&()),
        "kind": FlickrHubClient::kind(&()),
        "status": after,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

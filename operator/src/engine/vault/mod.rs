//! Vault: OpenBao that the operator initialises, unseals and configures, or a Vault that somebody else runs.
//!
//! The answer to the initialisation is the only copy of the unseal key and the root token, so it is handled as follows:
//! an empty Secret is created first (the intent), then OpenBao is initialised, then the keys are written into that
//! Secret, by a task of its own that outlives the reconciliation and keeps trying, and that a process which ends in order
//! waits for (see [`crate::shutdown`]). If the process dies …
//!
//! * after the intent: the members are still blank, and are initialised next time;
//! * between the answer and the Secret: the keys are lost, but OpenBao was never used. The intent proves that, so the
//!   condition can say that its volumes may be deleted;
//! * while unsealing or configuring: what is still missing is seen and done next time; every setting is compared
//!   before it is written.
//!
//! What each process may do in it is in [`policy`], whom the tokens are for that they log in with in [`audience`], how its
//! keys are rotated in [`rotation`].
//!
//! Keys that are missing *without* an intent belong to data in use, and are only ever reported.

mod access;
mod api;
mod audience;
mod decide;
mod encrypt;
mod external;
mod finding;
mod key_store;
mod login;
mod managed;
mod policy;
mod roster;
pub mod rotation;
mod settings;
#[cfg(test)]
mod simulation;

pub use access::{Access, AccessError};
pub use api::{Api, ApiError, Health, Keys};
pub use decide::{Action, KeyState, Member, MemberState, Observed, SettingsState, decide};
pub use encrypt::{encrypt_app_credential, transit_identity};
pub use external::{ExternalFinding, ExternalObserved, KeyPresence, judge_external};
pub use finding::Finding;
use flickrhub_job::connection::trust::Trust;
pub use key_store::{KeyRecord, KeyStore, KeyStoreError, SecretKeyStore};
pub use login::LoginError;
pub use managed::{ActionError, INITIALISATION_LIMIT, Managed, save_persistently};
pub use policy::{Grant, Owner};
pub use settings::{Setting, SettingState, wanted_settings};
use tokio_util::task::TaskTracker;
use url::Url;

use super::roster::{Members as _, Roster};
use super::{Decision, Engine, Size, Standard, drive, http};
use crate::apply::Live;
use crate::context::Context;
use crate::names;
use crate::part::{Part, PartStatus};
use crate::rolling::{self, Progress};
use crate::validate::{ManagedVaultPlan, ValidatedHub, VaultPlan};

/// The OpenBao that is wanted.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Every member, each at its own address.
    pub members: Vec<Url>,
    /// The authorities by which they are known; without any, they speak plain HTTP.
    pub trust: Option<Trust>,
    /// The name of the hub, the prefix of policies and roles.
    pub hub: String,
    /// Its namespace, where the service accounts are.
    pub namespace: String,
    /// The address of the Kubernetes API as the members reach it.
    pub kubernetes_host: String,
    /// The name of the Secret with the keys.
    pub keys_secret: String,
    /// What it takes to be ready.
    pub standard: Standard,
    /// Whether every login shows [`names::VAULT_AUDIENCE`], so that roles can demand it. If not, what they demand stays.
    pub binds_audience: bool,
}

impl Desired {
    /// What a hub wants, as long as nobody knows what its pods show when they log in.
    ///
    /// # Errors
    /// When a name of the hub makes no address; cannot happen for a validated hub.
    pub fn of(hub: &ValidatedHub, plan: &ManagedVaultPlan) -> Result<Self, url::ParseError> {
        let hosts = hub.names.vault_hosts(plan.replicas);
        Ok(Self {
            members: hosts
                .iter()
                .map(|host| Url::parse(&format!("https://{host}:{}", names::VAULT_PORT)))
                .collect::<Result<_, _>>()?,
            trust: hub.trust.clone(),
            hub: hub.names.hub().to_owned(),
            namespace: hub.names.namespace().to_owned(),
            kubernetes_host: "https://kubernetes.default.svc".to_owned(),
            keys_secret: hub.names.vault_keys(),
            standard: Standard::of(hub.was_ready(Part::Vault)),
            binds_audience: false,
        })
    }
}

/// OpenBao and the Secret with its keys, as [`decide`] needs them.
pub trait Vault {
    /// Looks at every member, at the Secret, and at the settings where a member is active.
    fn observe(&self) -> impl Future<Output = Observed> + Send;

    /// Does what was decided.
    fn perform(&self, action: &Action) -> impl Future<Output = Result<(), ActionError>> + Send;
}

struct Step<'a, V> {
    vault: V,
    desired: &'a Desired,
}

impl<V: Vault + Sync> Engine for Step<'_, V> {
    type Action = Action;
    type Finding = Finding;
    type Error = ActionError;

    async fn next(&self) -> Decision<Action, Finding> {
        decide(&self.vault.observe().await, self.desired)
    }

    async fn perform(&self, action: &Action) -> Result<(), ActionError> {
        self.vault.perform(action).await
    }
}

/// Brings the Vault of a hub closer to what is wanted and tells where it stands.
pub async fn reconcile(context: &Context, hub: &ValidatedHub, live: &Live) -> PartStatus {
    match &hub.vault {
        VaultPlan::External(plan) => external::reconcile(context, hub, plan).await,
        VaultPlan::Managed(plan) => match Desired::of(hub, plan) {
            Ok(desired) => {
                let desired = Desired {
                    binds_audience: audience::is_shown_by_all(context, hub, live).await,
                    ..desired
                };
                let keys = SecretKeyStore::of(context, hub);
                reconcile_desired(&desired, keys, &context.saves).await
            }
            Err(error) => {
                let message = format!("The names of the hub make no address of an OpenBao member: {error}.");
                PartStatus::waiting("InvalidAddress", message, super::LATER)
            }
        },
    }
}

/// The same, for an OpenBao described in full. What must not end before it has stored the keys is added to `saves`.
pub async fn reconcile_desired<K: KeyStore>(desired: &Desired, keys: K, saves: &TaskTracker) -> PartStatus {
    let client = match http::client(desired.trust.as_ref()) {
        Ok(client) => client,
        Err(error) => return http::unusable(&error),
    };
    bring_on(Managed::new(&client, desired, keys, saves.clone()), desired).await
}

/// The same, for an OpenBao however it is reached.
pub async fn bring_on<V: Vault + Sync>(vault: V, desired: &Desired) -> PartStatus {
    drive(&Step { vault, desired }).await
}

/// What a managed OpenBao says of its members.
pub async fn roster(context: &Context, hub: &ValidatedHub, plan: &ManagedVaultPlan) -> Option<Roster> {
    let desired = Desired::of(hub, plan).ok()?;
    let raft = roster::Raft::new(&desired, SecretKeyStore::of(context, hub));
    Some(raft.roster().await)
}

/// Takes the next step of a change of the pods of a managed OpenBao.
pub async fn advance(
    context: &Context,
    hub: &ValidatedHub,
    live: &Live,
    plan: &ManagedVaultPlan,
) -> Progress {
    match Desired::of(hub, plan) {
        Ok(desired) => {
            let raft = roster::Raft::new(&desired, SecretKeyStore::of(context, hub));
            let name = hub.names.vault();
            let size = Size::settled(plan.replicas);
            rolling::advance(context, hub, live, &name, size, &raft).await
        }
        // The step of the engine tells it.
        Err(_) => Progress::Idle,
    }
}

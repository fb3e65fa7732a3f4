//! Redis: one master, replicas that follow it, and Sentinels that agree on it.
//!
//! The Sentinels choose the master and the pods find their role by themselves, so the operator only looks: an action of
//! its own would compete with a failover that is under way. Before it restarts the master it asks the Sentinels for
//! another one; and it has them forget members that were taken away, since they count on them for their majority.
//!
//! If the process dies after a Sentinel was reset, that one learns the others and the replicas anew by itself, and no
//! other is reset before it has.

mod backlog;
mod circuits;
mod decide;
mod finding;
mod hand_over;
mod passwords;
mod roster;
mod servers;

pub use backlog::LookError;
pub(crate) use backlog::look_at_backlogs;
pub use circuits::OpenCircuit;
pub use decide::{Action, Observed, Sentinel, SentinelState, Server, ServerState, decide, judge};
pub use finding::Finding;
use flickrhub_job::connection::trust::Trust;
pub use hand_over::HandOverError;
use secrecy::SecretString;
pub use servers::{ActionError, observe};

use super::roster::{Members, Roster};
use super::{Decision, Engine, Size, Standard, drive};
use crate::names;
use crate::part::{Part, PartStatus};
use crate::secrets::RedisSecrets;
use crate::validate::ValidatedHub;

/// The Redis that is wanted.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Every Redis, as the `host:port` by which it announces itself.
    pub servers: Vec<String>,
    /// Every Sentinel, as `host:port`.
    pub sentinels: Vec<String>,
    /// How many of them are wanted; those after them are to go.
    pub kept: usize,
    /// The name under which the Sentinels monitor the master.
    pub master_name: String,
    /// The password of Redis and its Sentinels.
    pub password: SecretString,
    /// The authorities by which they are known; without any, there is no TLS.
    pub trust: Option<Trust>,
    /// What it takes to be ready.
    pub standard: Standard,
}

impl Desired {
    /// What a hub wants.
    pub fn of(hub: &ValidatedHub, secrets: &RedisSecrets, size: Size) -> Self {
        let hosts = hub.names.redis_hosts(size.all());
        let at = |port: u16| hosts.iter().map(|host| format!("{host}:{port}")).collect();
        Self {
            servers: at(names::REDIS_PORT),
            sentinels: at(names::SENTINEL_PORT),
            kept: size.kept(),
            master_name: names::REDIS_MASTER.to_owned(),
            password: secrets.password.clone(),
            trust: hub.trust.clone(),
            standard: Standard::of(hub.was_ready(Part::Redis)),
        }
    }
}

/// The circuits of the hub's applications that are not closed; `None` if no member answers.
pub async fn open_circuits(hub: &ValidatedHub, secrets: &RedisSecrets) -> Option<Vec<OpenCircuit>> {
    let apps: Vec<&str> = hub.apps.iter().map(|app| app.name.as_str()).collect();
    let desired = Desired::of(hub, secrets, Size::settled(hub.redis.replicas));
    circuits::open_circuits(&desired, &apps).await
}

struct Step<'a> {
    desired: &'a Desired,
}

impl Engine for Step<'_> {
    type Action = Action;
    type Finding = Finding;
    type Error = ActionError;

    async fn next(&self) -> Decision<Action, Finding> {
        decide(&observe(self.desired).await, self.desired)
    }

    async fn perform(&self, action: &Action) -> Result<(), ActionError> {
        servers::perform(self.desired, action).await
    }
}

/// Brings a Redis closer to what is wanted and tells where it stands.
pub async fn reconcile_desired(desired: &Desired) -> PartStatus {
    drive(&Step { desired }).await
}

impl Members for Desired {
    type Error = HandOverError;

    async fn roster(&self) -> Roster {
        roster::roster(&observe(self).await)
    }

    async fn hand_over(&self, ordinal: u32) -> Result<(), HandOverError> {
        let index = usize::try_from(ordinal).unwrap_or(usize::MAX);
        hand_over::hand_over(self, index).await
    }
}

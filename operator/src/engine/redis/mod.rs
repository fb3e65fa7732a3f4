//! Redis: one master, replicas that follow it, and Sentinels that agree on it.
//!
//! The Sentinels choose the master and the pods find their role by themselves, so the operator only looks: an action of
//! its own would compete with a failover that is under way.

mod circuits;
mod decide;
mod finding;
mod servers;

pub use circuits::OpenCircuit;
pub use decide::{Observed, Sentinel, SentinelState, Server, ServerState, decide};
pub use finding::Finding;
use flickrhub_job::connection::trust::Trust;
use secrecy::SecretString;
pub use servers::observe;

use super::Standard;
use crate::context::Context;
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
    pub fn of(hub: &ValidatedHub, secrets: &RedisSecrets) -> Self {
        let hosts = hub.names.redis_hosts(hub.redis.replicas);
        let at = |port: u16| hosts.iter().map(|host| format!("{host}:{port}")).collect();
        Self {
            servers: at(names::REDIS_PORT),
            sentinels: at(names::SENTINEL_PORT),
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
    circuits::open_circuits(&Desired::of(hub, secrets), &apps).await
}

/// Tells where the Redis of a hub stands.
pub async fn reconcile(_context: &Context, hub: &ValidatedHub, secrets: &RedisSecrets) -> PartStatus {
    let desired = Desired::of(hub, secrets);
    decide(&observe(&desired).await, &desired).into()
}

//! RabbitMQ: a cluster that forms itself, and the queues, declared before the first job needs them.
//!
//! If the process dies while the queues are declared, the ones that exist are left alone and the others are declared
//! next time: a declaration of a queue that exists does nothing.

mod decide;
mod finding;
mod nodes;

pub use decide::{Action, Node, Observed, Peer, View, decide};
pub use finding::Finding;
use flickrhub_job::connection::trust::Trust;
pub use nodes::{ActionError, Nodes};
use secrecy::SecretString;
use url::Url;

use super::{Decision, Engine, Standard, drive, http};
use crate::context::Context;
use crate::names;
use crate::part::{Part, PartStatus};
use crate::secrets::RabbitMqSecrets;
use crate::validate::ValidatedHub;

/// The cluster that is wanted.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The management API of every node, each at its own address.
    pub management: Vec<Url>,
    /// The AMQP address of every node, as `host:port`.
    pub amqp: Vec<String>,
    /// The authorities by which they are known; without any, there is no TLS.
    pub trust: Option<Trust>,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// The virtual host.
    pub vhost: String,
    /// Members that a queue starts with.
    pub group_size: u32,
    /// What it takes to be ready.
    pub standard: Standard,
}

impl Desired {
    /// What a hub wants.
    ///
    /// # Errors
    /// When a name of the hub makes no address; cannot happen for a validated hub.
    pub fn of(hub: &ValidatedHub, secrets: &RabbitMqSecrets) -> Result<Self, url::ParseError> {
        let hosts = hub.names.rabbitmq_hosts(hub.rabbitmq.replicas);
        Ok(Self {
            management: hosts
                .iter()
                .map(|host| Url::parse(&format!("https://{host}:{}", names::RABBITMQ_MANAGEMENT_PORT)))
                .collect::<Result<_, _>>()?,
            amqp: hosts
                .iter()
                .map(|host| format!("{host}:{}", names::AMQP_PORT))
                .collect(),
            trust: hub.trust.clone(),
            username: names::RABBITMQ_USER.to_owned(),
            password: secrets.password.clone(),
            vhost: names::RABBITMQ_VHOST.to_owned(),
            group_size: hub.rabbitmq.replicas,
            standard: Standard::of(hub.was_ready(Part::RabbitMq)),
        })
    }
}

/// The cluster, as [`decide`] needs it.
pub trait Cluster {
    /// Asks every node.
    fn observe(&self) -> impl Future<Output = Observed> + Send;

    /// Does what was decided.
    fn perform(&self, action: &Action) -> impl Future<Output = Result<(), ActionError>> + Send;
}

struct Step<'a, C> {
    cluster: C,
    desired: &'a Desired,
}

impl<C: Cluster + Sync> Engine for Step<'_, C> {
    type Action = Action;
    type Finding = Finding;
    type Error = ActionError;

    async fn next(&self) -> Decision<Action, Finding> {
        decide(&self.cluster.observe().await, self.desired)
    }

    async fn perform(&self, action: &Action) -> Result<(), ActionError> {
        self.cluster.perform(action).await
    }
}

/// Brings the cluster of a hub closer to what is wanted and tells where it stands.
pub async fn reconcile(_context: &Context, hub: &ValidatedHub, secrets: &RabbitMqSecrets) -> PartStatus {
    match Desired::of(hub, secrets) {
        Ok(desired) => reconcile_desired(&desired).await,
        Err(error) => {
            let message = format!("The names of the hub make no address of a RabbitMQ node: {error}.");
            PartStatus::waiting("InvalidAddress", message, super::LATER)
        }
    }
}

/// The same, for a cluster described in full.
pub async fn reconcile_desired(desired: &Desired) -> PartStatus {
    let client = match http::client(desired.trust.as_ref()) {
        Ok(client) => client,
        Err(error) => return http::unusable(&error),
    };
    let step = Step {
        cluster: Nodes::new(client, desired),
        desired,
    };
    drive(&step).await
}

//! RabbitMQ: a cluster that forms itself, and the queues, declared before the first job needs them and replicated on
//! every node.
//!
//! A node that is to go is marked in the cluster first, by a global parameter; then its replicas of the queues are taken
//! away. When its pod stops, it sees the mark and leaves the cluster.
//!
//! If the process dies …
//!
//! * while the queues are declared: the ones that exist are left alone and the others are declared next time, as a
//!   declaration of a queue that exists does nothing;
//! * while replicas are added or taken away: the queues say where their replicas are, and the rest follows;
//! * after a node was marked: the marks are compared with what is wanted, and a node that is to stay loses its own.

mod decide;
mod finding;
mod logins;
mod nodes;
mod roster;

use std::convert::Infallible;

pub use decide::{Action, Node, Observed, Peer, View, decide};
pub use finding::Finding;
use flickrhub_job::config::Login;
use flickrhub_job::connection::trust::Trust;
pub use nodes::{ActionError, Nodes};
use url::Url;

use super::roster::{Members, Roster};
use super::{Decision, Engine, Size, Standard, drive, http};
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
    /// How many of them are wanted; those after them are to go.
    pub kept: usize,
    /// The authorities by which they are known; without any, there is no TLS.
    pub trust: Option<Trust>,
    /// The user.
    pub login: Login,
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
    pub fn of(hub: &ValidatedHub, secrets: &RabbitMqSecrets, size: Size) -> Result<Self, url::ParseError> {
        let hosts = hub.names.rabbitmq_hosts(size.all());
        Ok(Self {
            management: hosts
                .iter()
                .map(|host| Url::parse(&format!("https://{host}:{}", names::RABBITMQ_MANAGEMENT_PORT)))
                .collect::<Result<_, _>>()?,
            amqp: hosts
                .iter()
                .map(|host| format!("{host}:{}", names::AMQP_PORT))
                .collect(),
            kept: size.kept(),
            trust: hub.trust.clone(),
            login: secrets.login.clone(),
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

/// That the names of a hub make no addresses; cannot happen for a validated hub.
pub fn unaddressable(error: url::ParseError) -> PartStatus {
    let message = format!("The names of the hub make no address of a RabbitMQ node: {error}.");
    PartStatus::waiting("InvalidAddress", message, super::LATER)
}

/// Brings a cluster closer to what is wanted and tells where it stands.
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

impl Members for Desired {
    type Error = Infallible;

    async fn roster(&self) -> Roster {
        match http::client(self.trust.as_ref()) {
            Ok(client) => roster::roster(&Nodes::new(client, self).sights().await),
            Err(_) => Roster::default(),
        }
    }

    /// A node that stops hands its queue leaders over by itself: `build/scripts/rabbitmq-hand-over.sh`.
    async fn hand_over(&self, _ordinal: u32) -> Result<(), Infallible> {
        Ok(())
    }
}

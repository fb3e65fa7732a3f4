//! The parts of a hub and where each stands: what the engine steps and the rollout checks report to the status.

use std::time::Duration;

/// A part of a hub that has a condition of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Redis and its Sentinels.
    Redis,
    /// The MongoDB replica set.
    MongoDb,
    /// The RabbitMQ cluster.
    RabbitMq,
    /// Vault or OpenBao.
    Vault,
    /// The HTTP API.
    Api,
    /// The dispatcher and the sender of callbacks.
    Dispatcher,
    /// The workers of every queue.
    Workers,
}

impl Part {
    /// Every part, in the order in which the status lists them.
    pub const ALL: [Self; 7] = [
        Self::Redis,
        Self::MongoDb,
        Self::RabbitMq,
        Self::Vault,
        Self::Api,
        Self::Dispatcher,
        Self::Workers,
    ];

    /// The parts that hold data. The others start once these are ready for the first time.
    pub const DATA: [Self; 4] = [Self::Redis, Self::MongoDb, Self::RabbitMq, Self::Vault];

    /// The type of its condition.
    pub const fn condition(self) -> &'static str {
        match self {
            Self::Redis => "RedisReady",
            Self::MongoDb => "MongoDBReady",
            Self::RabbitMq => "RabbitMQReady",
            Self::Vault => "VaultReady",
            Self::Api => "ApiReady",
            Self::Dispatcher => "DispatcherReady",
            Self::Workers => "WorkersReady",
        }
    }
}

/// Where a part stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartStatus {
    /// Whether it does its work, with the settings of the generation that was reconciled.
    pub ready: bool,
    /// One word in `CamelCase` for machines, the `reason` of the condition.
    pub reason: &'static str,
    /// A sentence for a person: what is the case and, if something is wrong, what to do.
    pub message: String,
    /// Whether it cannot go on until somebody does what the message says.
    pub stalled: bool,
    /// When to look again although nothing in Kubernetes changes; `None` leaves it to the watches.
    pub requeue_after: Option<Duration>,
}

impl PartStatus {
    /// It does its work.
    pub fn ready(message: impl Into<String>) -> Self {
        Self {
            ready: true,
            reason: "Ready",
            message: message.into(),
            stalled: false,
            requeue_after: None,
        }
    }

    /// It does not do its work yet, or not any more; look again after `requeue_after`.
    pub fn waiting(reason: &'static str, message: impl Into<String>, requeue_after: Duration) -> Self {
        Self {
            ready: false,
            reason,
            message: message.into(),
            stalled: false,
            requeue_after: Some(requeue_after),
        }
    }

    /// It cannot go on until somebody has acted; look after `requeue_after` whether that happened.
    pub fn stalled(reason: &'static str, message: impl Into<String>, requeue_after: Duration) -> Self {
        Self {
            stalled: true,
            ..Self::waiting(reason, message, requeue_after)
        }
    }
}

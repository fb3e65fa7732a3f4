//! `spec.rabbitmq`: the RabbitMQ cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResourcesSpec, StorageSpec, rules};

/// The RabbitMQ cluster.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.replicas % 2 == 1", "rabbitmq.replicas must be odd, so that quorum queues have an unambiguous majority; use 1, 3, 5 or 7"),
    ("self.replicas > 1 || self.replicas == oldSelf.replicas", "rabbitmq.replicas cannot go down to 1: queues would have no second copy; keep at least 3"),
])))]
pub struct RabbitMqSpec {
    /// Nodes. 3 survive the loss of one; 1 is for trials. Another number makes nodes come and go one at
    /// a time with their replicas of the queues, restarts the others one at a time, and keeps every volume; it cannot go
    /// down to 1.
    #[schemars(range(min = 1, max = 7))]
    pub replicas: u32,
    /// The volume of each node.
    pub storage: StorageSpec,
    /// CPU and memory of one node. Publishers are held back at 60 % of the memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
}

impl Default for RabbitMqSpec {
    fn default() -> Self {
        Self {
            replicas: 3,
            storage: StorageSpec::of_size("4Gi"),
            resources: None,
        }
    }
}

//! `spec.rabbitmq`: the RabbitMQ cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResourcesSpec, StorageSpec, rules};

/// The RabbitMQ cluster.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.replicas % 2 == 1", "rabbitmq.replicas must be odd, so that quorum queues have an unambiguous majority; use 1, 3, 5 or 7"),
    ("self.replicas == oldSelf.replicas", "rabbitmq.replicas cannot be changed: the operator does not move quorum queues to more or fewer nodes yet; keep the number, or create another FlickrHub"),
])))]
pub struct RabbitMqSpec {
    /// Nodes. 3 survive the loss of one; 1 is for trials. Cannot be changed.
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

//! `spec.redis`: Redis with Sentinel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResourcesSpec, StorageSpec, rules};

/// Redis with Sentinel.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.replicas % 2 == 1", "redis.replicas must be odd, so that the Sentinels beside them can form a majority; use 1, 3, 5 or 7"),
    ("self.replicas == oldSelf.replicas", "redis.replicas cannot be changed: the operator does not teach running Sentinels another number of members yet; keep the number, or create another FlickrHub"),
])))]
pub struct RedisSpec {
    /// Pods of Redis, each with a Sentinel. 3 survive the loss of one; 1 is for trials. Cannot be changed.
    #[schemars(range(min = 1, max = 7))]
    pub replicas: u32,
    /// The volume of each pod.
    pub storage: StorageSpec,
    /// CPU and memory of one Redis. Its `maxmemory` is 60 % of the memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
}

impl Default for RedisSpec {
    fn default() -> Self {
        Self {
            replicas: 3,
            storage: StorageSpec::of_size("2Gi"),
            resources: None,
        }
    }
}

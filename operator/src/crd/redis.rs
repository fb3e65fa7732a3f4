//! `spec.redis`: Redis with Sentinel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResourcesSpec, StorageSpec, rules};

/// Redis with Sentinel.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.replicas % 2 == 1", "redis.replicas must be odd, so that the Sentinels beside them can form a majority; use 1, 3, 5 or 7"),
    ("self.replicas > 1 || self.replicas == oldSelf.replicas", "redis.replicas cannot go down to 1: a single Redis survives no loss, and takes no writes while it restarts; keep at least 3"),
])))]
pub struct RedisSpec {
    /// Pods of Redis, each with a Sentinel. 3 survive the loss of one; 1 is for trials. Another number makes pods
    /// come and go one at a time, restarts the others one at a time, and keeps every volume; it cannot go down to 1.
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

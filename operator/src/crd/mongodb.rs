//! `spec.mongodb`: the MongoDB replica set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResourcesSpec, StorageSpec, rules};

/// The MongoDB replica set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.members % 2 == 1", "mongodb.members must be odd, so that a majority is unambiguous; use 1, 3, 5 or 7"),
    ("self.members > 1 || self.members == oldSelf.members", "mongodb.members cannot go down to 1: the only copy of every job would be on one volume; keep at least 3"),
])))]
pub struct MongoDbSpec {
    /// Voting members. 3 survive the loss of one; 1 is for trials. Another number makes members come and
    /// go one at a time and keeps every volume; it cannot go down to 1.
    #[schemars(range(min = 1, max = 7))]
    pub members: u32,
    /// The volume of each member. Photos that wait for their upload are stored here too.
    pub storage: StorageSpec,
    /// CPU and memory of one member. Its cache takes half of the memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
    /// Days after which a finished job is deleted.
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: u32,
}

impl Default for MongoDbSpec {
    fn default() -> Self {
        Self {
            members: 3,
            storage: StorageSpec::of_size("8Gi"),
            resources: None,
            retention_days: 30,
        }
    }
}

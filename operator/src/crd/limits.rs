//! `spec.limits`: what users and clients may ask of the hub. A change takes effect without a restart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// What users and clients may ask of the hub. A change restarts nothing; it takes effect within about a minute.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("!has(self.classes.read) || self.classes.read <= self.perUserPerHour", "classes.read must not be greater than perUserPerHour, which limits all classes together; lower it or leave it out"),
    ("!has(self.classes.write) || self.classes.write <= self.perUserPerHour", "classes.write must not be greater than perUserPerHour, which limits all classes together; lower it or leave it out"),
    ("!has(self.classes.upload) || self.classes.upload <= self.perUserPerHour", "classes.upload must not be greater than perUserPerHour, which limits all classes together; lower it or leave it out"),
])))]
pub struct LimitsSpec {
    /// Jobs that one user may have accepted in any hour; more are answered with 429. Flickr itself counts 3,600 requests.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_user_per_hour: u32,
    /// The same for each class of jobs.
    pub classes: ClassLimitsSpec,
    /// Accepted jobs of one user that are not finished; more are answered with 429.
    #[schemars(range(min = 1, max = 100_000))]
    pub pending_per_user: u32,
    /// Accepted jobs of one queue that are not finished, over all users; more are answered with 503.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub buffer_per_queue: u32,
    /// Jobs that one API client may have accepted in any minute, over all its users; more are answered with 429.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_client_per_minute: u32,
    /// Seconds from acceptance until a job that was not started expires, when its client names no other time.
    #[schemars(range(min = 60, max = 2_592_000))]
    pub default_expires_in_seconds: u32,
    /// Users that get another share of a queue than others: one of weight 3 has three jobs run where others have one.
    #[schemars(
        length(max = 1000),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["userId"])
    )]
    pub weights: Vec<UserWeight>,
}

/// Jobs that one user may have accepted in any hour, by class. A class that is left out is limited by `perUserPerHour` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClassLimitsSpec {
    /// Calls of methods that only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub read: Option<u32>,
    /// Calls of methods that write or delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub write: Option<u32>,
    /// Uploads and replacements.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub upload: Option<u32>,
}

/// The share of one user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserWeight {
    /// The Flickr user (NSID).
    #[schemars(length(min = 1, max = 64))]
    pub user_id: String,
    /// The share relative to other users, who have 1.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            per_user_per_hour: 3500,
            classes: ClassLimitsSpec::default(),
            pending_per_user: 1000,
            buffer_per_queue: 100_000,
            per_client_per_minute: 6000,
            default_expires_in_seconds: 86_400,
            weights: Vec::new(),
        }
    }
}

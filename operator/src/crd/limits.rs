//! `spec.limits`: what users may ask of the hub.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What users may ask of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsSpec {
    /// Flickr requests of one user in an hour. Flickr itself counts 3,600.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_user_per_hour: u32,
    /// Accepted jobs of one user that are not finished; more are answered with 429.
    #[schemars(range(min = 1, max = 100_000))]
    pub pending_per_user: u32,
    /// Accepted jobs of one queue that are not finished, over all users; more are answered with 503.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub buffer_per_queue: u32,
    /// Seconds from acceptance until a job that was not started expires, when its client names no other time.
    #[schemars(range(min = 60, max = 2_592_000))]
    pub default_expires_in_seconds: u32,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            per_user_per_hour: 3500,
            pending_per_user: 1000,
            buffer_per_queue: 100_000,
            default_expires_in_seconds: 86_400,
        }
    }
}

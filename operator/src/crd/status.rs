//! `status`: what the operator saw and did.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator saw and did, by the conventions of kstatus.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlickrHubStatus {
    /// The generation of the spec that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where clients reach the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    /// The last generation in which each part was ready, by the type of its condition. A part that stands here has data,
    /// which is never initialised anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ready_generations: BTreeMap<String, i64>,
    /// `Ready`, `Reconciling` and `Stalled` for the whole, and one condition for each part.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

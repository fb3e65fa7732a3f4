//! `status`: what the operator saw and did.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
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
    /// What the objects of the hub were last built from, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildStatus>,
    /// The transit keys of the Vault, and how far what is stored is rewrapped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub transit_keys: Vec<TransitKeyStatus>,
    /// The credentials by which the hub logs in to its engines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub credentials: Vec<CredentialStatus>,
    /// The answer to the annotation `flickrhub.dev/plan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// `Ready`, `Reconciling` and `Stalled` for the whole, and one condition for each part.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What the objects of a hub were built from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildStatus {
    /// The version of the operator.
    pub operator_version: String,
    /// The generation of the spec.
    pub generation: i64,
    /// A checksum of the spec, without what says nothing of how pods are.
    pub spec: String,
    /// A checksum over the checksums of all Secrets that pods mount.
    pub secrets: String,
}

/// The credentials of an engine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// The engine: `Redis`, `MongoDB` or `RabbitMQ`.
    pub name: String,
    /// How far their replacement is: `Rest`, `Prepared` (the new ones are made), `Promoted` (they are used, the old ones
    /// still hold) or `Retiring` (the old ones are to hold no more).
    pub phase: String,
    /// When they were replaced last, and every member refused the old ones; when they were made if they never were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Time>,
}

/// What a change would do that the annotation `flickrhub.dev/plan` holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// The generation of the spec that would be changed.
    pub generation: i64,
    /// A checksum of what was asked and of the version of the operator; empty while there is no answer yet.
    pub request: String,
    /// The plan, or why there is none.
    pub text: String,
}

/// A transit key of the Vault.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitKeyStatus {
    /// Its name.
    pub name: String,
    /// The newest version, which encrypts.
    pub version: u32,
    /// The oldest version that decrypts. It becomes the newest one when nothing of older versions is stored any more.
    pub oldest_usable_version: u32,
    /// When the newest version was made.
    pub rotated_at: Time,
    /// When the next one is due. It is made when nothing of older versions is left.
    pub next_rotation: Time,
    /// Documents with secrets of older versions, when they were counted last. Absent when older versions are disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<i64>,
    /// When the count first found none left, with nothing on its way; older versions are disabled an hour later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrapped_at: Option<Time>,
}

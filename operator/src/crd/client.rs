//! `FlickrHubClient`: a client of the API of a hub, declared beside what uses it.

use flickrhub_job::scope::ScopeName;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// What a client of the API shall be.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "flickrhub.dev",
    version = "v1alpha1",
    kind = "FlickrHubClient",
    plural = "flickrhubclients",
    shortname = "fhclient",
    category = "flickrhub",
    namespaced,
    status = "FlickrHubClientStatus",
    derive = "PartialEq",
    doc = "A client of the API of a FlickrHub in the same namespace. Its API key, its signing key and its webhook secret are in the Secret <name>-key; MongoDB holds the hash of the API key only.",
    printcolumn(
        name = "Hub",
        type_ = "string",
        json_path = ".spec.hubRef.name",
        description = "The FlickrHub."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the key in the Secret holds."
    ),
    printcolumn(
        name = "Key",
        type_ = "string",
        json_path = ".status.keyId",
        description = "The id of the key in the Secret."
    ),
    printcolumn(
        name = "Next rotation",
        type_ = "string",
        json_path = ".status.nextRotation",
        description = "When the key is replaced."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "What is the case, and what to do if something is wrong.",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 59")
        .message("the name is the id of the client: it must hold only lower-case letters, digits and hyphens, begin and end with a letter or digit, and have at most 59 characters"),
    validation = Rule::new("self.metadata.name != 'default'")
        .message("every hub has a client named default already; take another name")
)]
#[serde(rename_all = "camelCase")]
pub struct FlickrHubClientSpec {
    /// The `FlickrHub`, in the same namespace. It cannot be changed.
    pub hub_ref: HubRef,
    /// What the client may do.
    #[schemars(length(min = 1, max = 7), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Vec<ScopeName>,
    /// The only addresses and networks (CIDR) that the client may call from; any without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-validations" = rules([
        ("self.all(address, isIP(address) || isCIDR(address))", "allowedAddresses takes IP addresses and networks, for example 203.0.113.7 and 203.0.113.0/24"),
    ])))]
    pub allowed_addresses: Vec<String>,
    /// How many requests each of its keys may make of one API process in a minute; 120,000 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_minute: Option<u32>,
    /// How often the key is replaced.
    #[serde(default)]
    pub rotation: KeyRotationSpec,
}

/// A `FlickrHub` in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.name == oldSelf.name", "hubRef cannot be changed: the users of a client are users of its hub; create another FlickrHubClient instead"),
])))]
pub struct HubRef {
    /// Its name.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// How often the key of a client is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.overlapHours < self.days * 24", "rotation.overlapHours must be less than the time between two rotations (rotation.days)"),
])))]
pub struct KeyRotationSpec {
    /// Days between two rotations.
    #[schemars(range(min = 1, max = 3650))]
    pub days: u32,
    /// Hours for which the key before the present one holds after a rotation; 0: it ends at once.
    #[schemars(range(min = 0, max = 2160))]
    pub overlap_hours: u32,
}

impl Default for KeyRotationSpec {
    fn default() -> Self {
        Self {
            days: 90,
            overlap_hours: 24,
        }
    }
}

/// What the operator saw and did, by the conventions of kstatus.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlickrHubClientStatus {
    /// The generation of the spec that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Secret with the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The id of the key in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// When the key was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_created_at: Option<Time>,
    /// When the key is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// Keys before it that still hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous_keys: Vec<PreviousKeyStatus>,
    /// `Ready`, `Reconciling` and `Stalled`.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A key that was replaced and still holds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviousKeyStatus {
    /// Its id.
    pub key_id: String,
    /// It holds until then.
    pub valid_until: Time,
}

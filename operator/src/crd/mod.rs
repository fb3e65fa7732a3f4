//! The `FlickrHub` and `FlickrHubClient` resources: one file per part of the spec of the first, so that a part's fields, defaults, bounds and rules
//! stand together.
//!
//! Everything except `spec.flickr.apps` has a default. What the schema cannot say as a type or a bound is a CEL rule
//! whose message tells what would work.
#![expect(
    unreachable_pub,
    reason = "the derive of `KubeSchema` puts a copy of the struct into a function"
)]

mod api;
mod autoscaling;
mod breaker;
mod cache;
mod client;
mod flickr;
mod images;
mod limits;
mod mongodb;
mod network;
mod quantity;
mod queues;
mod rabbitmq;
mod redis;
mod resources;
mod status;
mod storage;
mod tls;
mod vault;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use api::{ApiSpec, CallbacksSpec, CorsSpec, DispatcherSpec, IngressSpec};
pub use autoscaling::{AutoscalingProvider, AutoscalingSpec};
pub use breaker::BreakerSpec;
pub use cache::{CacheSpec, MethodTtlSpec};
pub use client::{
    FlickrHubClient, FlickrHubClientSpec, FlickrHubClientStatus, HubRef, KeyRotationSpec, PreviousKeyStatus,
};
pub use flickr::{FlickrAppSpec, FlickrEndpointsSpec, FlickrSpec, SecretRef};
pub use images::{ImagesSpec, PullPolicy};
pub use limits::{ClassLimitsSpec, LimitsSpec, UserWeight};
pub use mongodb::MongoDbSpec;
pub use network::NetworkPolicySpec;
pub use quantity::{InvalidQuantity, Quantity};
pub use queues::{QueueSpec, QueuesSpec};
pub use rabbitmq::RabbitMqSpec;
pub use redis::RedisSpec;
pub use resources::{Amounts, ResourcesSpec};
pub use status::{BuildStatus, CredentialStatus, FlickrHubStatus, PlanStatus, TransitKeyStatus};
pub use storage::StorageSpec;
pub use tls::{IssuerRef, TlsSpec};
pub use vault::{
    AppRoleAuthSpec, ExternalVaultSpec, KubernetesAuthSpec, ManagedVaultSpec, TokenAuthSpec, VaultAuthSpec,
    VaultSpec,
};

/// What a `FlickrHub` shall be. Only the credentials of a Flickr application are needed.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "flickrhub.dev",
    version = "v1alpha1",
    kind = "FlickrHub",
    plural = "flickrhubs",
    shortname = "fhub",
    category = "flickrhub",
    namespaced,
    status = "FlickrHubStatus",
    derive = "PartialEq",
    doc = "A gateway to the Flickr API: an HTTP API that takes Flickr calls as jobs, the workers that run them, and the replicated data tier under both.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every part does its work with the current settings."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready or not, in one word."
    ),
    printcolumn(
        name = "API URL",
        type_ = "string",
        json_path = ".status.apiUrl",
        description = "Where clients reach the API."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since it was created."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "What is the case, and what to do if something is wrong.",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 40")
        .message("the name must start with a letter, hold only lower-case letters, digits and hyphens, and have at most 40 characters, because names of Services are made of it")
)]
#[serde(rename_all = "camelCase")]
pub struct FlickrHubSpec {
    /// Flickr and our applications there.
    pub flickr: FlickrSpec,
    /// The HTTP API.
    #[serde(default)]
    pub api: ApiSpec,
    /// The dispatcher, which releases jobs from users' lanes to the workers in fair order.
    #[serde(default)]
    pub dispatcher: DispatcherSpec,
    /// The delivery of callbacks to clients.
    #[serde(default)]
    pub callbacks: CallbacksSpec,
    /// The workers of each queue.
    #[serde(default)]
    pub queues: QueuesSpec,
    /// By what the workers are scaled.
    #[serde(default)]
    pub autoscaling: AutoscalingSpec,
    /// What users and clients may ask of the hub.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Answers of Flickr that are kept.
    #[serde(default)]
    pub cache: CacheSpec,
    /// Redis with Sentinel: lanes, limits and leases.
    #[serde(default)]
    pub redis: RedisSpec,
    /// The MongoDB replica set: jobs, users, clients and photos that wait.
    #[serde(default)]
    pub mongodb: MongoDbSpec,
    /// The RabbitMQ cluster: quorum queues between dispatcher and workers.
    #[serde(default)]
    pub rabbitmq: RabbitMqSpec,
    /// Vault or OpenBao, which encrypts Flickr tokens: one that the operator runs, or one of yours.
    #[serde(default)]
    pub vault: VaultSpec,
    /// Who may talk to whom: the NetworkPolicies of the hub.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,
    /// Who issues the certificates inside of the hub.
    #[serde(default)]
    pub tls: TlsSpec,
    /// Where images come from.
    #[serde(default)]
    pub images: ImagesSpec,
    /// Leave everything as it is: while true, the operator changes nothing of this hub, not even to repair it.
    #[serde(default)]
    pub paused: bool,
    /// Sleep: while true, no pod of the hub runs, and all data is kept. The API goes first, then dispatcher and workers when
    /// they have finished what they hold, then the data tier; they come back in the reverse order.
    #[serde(default)]
    pub hibernated: bool,
    /// Days after which the generated credentials of Redis, MongoDB and RabbitMQ are replaced, at most ten years; 0: only when
    /// the annotation `flickrhub.dev/rotate-credentials` asks for it.
    #[serde(default)]
    #[schemars(range(max = 3650))]
    pub credential_rotation_days: u32,
    /// When pods get what a new version of the operator builds otherwise, which restarts them.
    #[serde(default)]
    pub operator_upgrades: OperatorUpgrades,
    /// What happens to volumes and generated Secrets when this resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// When pods get what a new version of the operator builds otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OperatorUpgrades {
    /// With the next change of the spec, or of a Secret that pods mount. An upgrade of the operator restarts no pod.
    #[default]
    OnChange,
    /// At once, by a rolling restart.
    Automatic,
}

/// What happens to volumes and generated Secrets when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay; a hub of the same name in the same namespace takes them up again.
    #[default]
    Retain,
    /// They are deleted with it: all data is lost.
    Delete,
}

/// A DNS name as RFC 1123 has it and Kubernetes wants it: lower-case labels, apart by dots.
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// CEL rules for `x-kubernetes-validations`, each with the message that a refused request shows.
fn rules<const N: usize>(rules: [(&str, &str); N]) -> Value {
    rules
        .into_iter()
        .map(|(rule, message)| json!({"rule": rule, "message": message}))
        .collect()
}

/// The CustomResourceDefinitions that the operator needs, ready to be applied.
///
/// # Errors
/// Never in practice: the definitions have a JSON form.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [FlickrHub::crd(), FlickrHubClient::crd()]
        .into_iter()
        .map(|definition| {
            let mut definition = serde_json::to_value(definition)?;
            drop_unknown_formats(&mut definition);
            begin_unobserved(&mut definition);
            serde_json::from_value(definition)
        })
        .collect()
}

/// Gives a resource that nobody has looked at yet a generation that no resource has: without it kstatus, and what waits by it,
/// would take a resource without conditions for one that is well.
fn begin_unobserved(definition: &mut Value) {
    let versions = definition
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        if let Some(status) = version.pointer_mut("/schema/openAPIV3Schema/properties/status") {
            status["default"] = json!({"observedGeneration": -1});
        }
    }
}

/// Removes the formats of unsigned integers, which Kubernetes does not know and warns about; the bounds say the same.
fn drop_unknown_formats(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let unsigned = fields
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|f| f.starts_with("uint"));
            if unsigned {
                fields.remove("format");
            }
            fields.values_mut().for_each(drop_unknown_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unknown_formats),
        _ => {}
    }
}

/// The CustomResourceDefinitions cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// A definition has no JSON form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A definition has no YAML form.
    #[error(transparent)]
    Yaml(#[from] serde_yaml_ng::Error),
}

/// The CustomResourceDefinitions as YAML documents, or the one of this plural, as they stand under `crds/`.
///
/// # Errors
/// Never in practice: the definitions have a YAML form.
pub fn definitions_yaml(plural: Option<&str>) -> Result<String, PrintError> {
    let mut text = String::new();
    let all = definitions()?.into_iter();
    for definition in
        all.filter(|definition| plural.is_none_or(|plural| definition.spec.names.plural == plural))
    {
        text.push_str("---\n");
        text.push_str(&serde_yaml_ng::to_string(&definition)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;

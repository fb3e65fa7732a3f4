//! `spec.images`: where images come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where images come from. What is left out is the version that belongs to the operator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImagesSpec {
    /// The registry of every image that is not named below, for example that of a mirror.
    #[schemars(length(min = 1, max = 253))]
    pub registry: String,
    /// The image of the API. Without it `flickrhub/api` of the operator's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub api: Option<String>,
    /// The image of the workers, the dispatcher and the sender of callbacks. Without it `flickrhub/worker` of the
    /// operator's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub worker: Option<String>,
    /// The image of Redis and Sentinel. Without it `library/redis:8.0.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub redis: Option<String>,
    /// The image of MongoDB. Without it `library/mongo:6.0.27`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub mongodb: Option<String>,
    /// The image of RabbitMQ, with the management plugin. Without it `library/rabbitmq:4.3.6-management`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub rabbitmq: Option<String>,
    /// The image of OpenBao. Without it `openbao/openbao:2.7.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub openbao: Option<String>,
    /// When the kubelet pulls an image.
    pub pull_policy: PullPolicy,
    /// Secrets with the credentials of registries, in the namespace of the hub.
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub pull_secrets: Vec<String>,
}

impl Default for ImagesSpec {
    fn default() -> Self {
        Self {
            registry: "docker.io".to_owned(),
            api: None,
            worker: None,
            redis: None,
            mongodb: None,
            rabbitmq: None,
            openbao: None,
            pull_policy: PullPolicy::default(),
            pull_secrets: Vec::new(),
        }
    }
}

/// When the kubelet pulls an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PullPolicy {
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// At every start.
    Always,
    /// Never; it must be on the node.
    Never,
}

impl PullPolicy {
    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

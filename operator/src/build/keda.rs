//! The kinds of KEDA (`keda.sh/v1alpha1`), as far as they are used here: <https://keda.sh/docs/latest/reference/scaledobject-spec/>.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What scales a workload, and by what.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectSpec {
    /// The workload.
    pub scale_target_ref: ScaleTargetRef,
    /// Seconds between two looks at the triggers of a workload without pods.
    pub polling_interval: i32,
    /// Seconds without need after which the last pod goes.
    pub cooldown_period: i32,
    /// Fewest pods, 0 or more.
    pub min_replica_count: i32,
    /// Most pods.
    pub max_replica_count: i32,
    /// Settings of the HPA that KEDA makes.
    pub advanced: Advanced,
    /// By what it scales.
    pub triggers: Vec<Trigger>,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Settings of the HPA that KEDA makes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advanced {
    /// The HPA.
    pub horizontal_pod_autoscaler_config: HorizontalPodAutoscalerConfig,
}

/// Settings of the HPA that KEDA makes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HorizontalPodAutoscalerConfig {
    /// How fast it scales.
    pub behavior: HorizontalPodAutoscalerBehavior,
}

/// Something to scale by.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// The scaler.
    #[serde(rename = "type")]
    pub type_: String,
    /// The settings of the scaler: texts, numbers included.
    pub metadata: BTreeMap<String, String>,
    /// Who says how the scaler logs in.
    pub authentication_ref: AuthenticationRef,
}

/// A `TriggerAuthentication` of the same namespace.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AuthenticationRef {
    /// Its name.
    pub name: String,
}

/// How scalers log in.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "TriggerAuthentication",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct TriggerAuthenticationSpec {
    /// Values of Secrets of the same namespace.
    pub secret_target_ref: Vec<SecretTarget>,
}

/// A value of a Secret.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SecretTarget {
    /// The parameter of the scaler.
    pub parameter: String,
    /// The Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
}

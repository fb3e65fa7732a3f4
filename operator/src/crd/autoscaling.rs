//! `spec.autoscaling`: by what the workers are scaled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// By what the workers of every queue are scaled, between `minReplicas` and `maxReplicas` of their queue.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalingSpec {
    /// Who scales. KEDA takes the place of HPA by itself where another adapter serves the external metrics of the cluster and
    /// KEDA is installed.
    pub provider: AutoscalingProvider,
    /// Seconds without need for a worker before it goes. A queue whose `minReplicas` is 0 loses its last worker after so
    /// long without a job.
    #[schemars(range(min = 0, max = 3600))]
    pub scale_in_delay_seconds: u32,
    /// The namespace that KEDA runs in: NetworkPolicies let its operator in to Redis, where it reads the backlog.
    #[schemars(length(min = 1, max = 63))]
    pub keda_namespace: String,
}

impl Default for AutoscalingSpec {
    fn default() -> Self {
        Self {
            provider: AutoscalingProvider::default(),
            scale_in_delay_seconds: 300,
            keda_namespace: "keda".to_owned(),
        }
    }
}

/// Who scales the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum AutoscalingProvider {
    /// A `HorizontalPodAutoscaler` for each queue, by external metrics that the operator serves.
    #[default]
    #[serde(rename = "HPA")]
    Hpa,
    /// A `ScaledObject` for each queue. KEDA has to be installed.
    #[serde(rename = "KEDA")]
    Keda,
}

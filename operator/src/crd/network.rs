//! `spec.networkPolicy`: who may talk to whom.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Who may talk to whom: every pod of the hub is denied what its work does not need. Policies add up, so whatever more
/// is needed can be allowed by a NetworkPolicy of your own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("!has(self.apiFrom) || self.apiFrom.all(p, has(p.ipBlock) != (has(p.namespaceSelector) || has(p.podSelector)))", "each of apiFrom must be either an ipBlock, or a namespaceSelector, a podSelector or both"),
    ("!has(self.metricsFrom) || self.metricsFrom.all(p, has(p.ipBlock) != (has(p.namespaceSelector) || has(p.podSelector)))", "each of metricsFrom must be either an ipBlock, or a namespaceSelector, a podSelector or both"),
    ("!has(self.callbacksTo) || self.callbacksTo.all(p, has(p.ipBlock) != (has(p.namespaceSelector) || has(p.podSelector)))", "each of callbacksTo must be either an ipBlock, or a namespaceSelector, a podSelector or both"),
    ("!has(self.kubernetesApiTo) || self.kubernetesApiTo.all(p, has(p.ipBlock) != (has(p.namespaceSelector) || has(p.podSelector)))", "each of kubernetesApiTo must be either an ipBlock, or a namespaceSelector, a podSelector or both"),
])))]
pub struct NetworkPolicySpec {
    /// Whether there are NetworkPolicies. Nothing enforces them where the cluster's network plugin does not.
    pub enabled: bool,
    /// Who may reach the API, as peers of a NetworkPolicy; everybody without it, nobody if it is empty. Name your Ingress
    /// controller and the applications of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub api_from: Option<Vec<NetworkPolicyPeer>>,
    /// Who may read metrics, as peers of a NetworkPolicy; without it, pods of any namespace with the label
    /// `app.kubernetes.io/name: prometheus`; nobody if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub metrics_from: Option<Vec<NetworkPolicyPeer>>,
    /// Receivers of callbacks inside the cluster, as peers of a NetworkPolicy. Many network plugins apply networks such as
    /// `callbacks.allowedNetworks` only to what is outside, so receivers that are pods have to be named here too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub callbacks_to: Option<Vec<NetworkPolicyPeer>>,
    /// Where the Kubernetes API is, as peers of a NetworkPolicy, for a managed Vault, which asks it about tokens; anywhere at
    /// ports 443 and 6443 without it, because no label tells an API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub kubernetes_api_to: Option<Vec<NetworkPolicyPeer>>,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self {
            enabled: true,
            api_from: None,
            metrics_from: None,
            callbacks_to: None,
            kubernetes_api_to: None,
        }
    }
}

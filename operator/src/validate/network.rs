//! `spec.networkPolicy`.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Surroundings, ValidationError};
use crate::crd::NetworkPolicySpec;

/// Who may talk to whom, as far as that is not the same for every hub.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPlan {
    /// The namespace of the operator.
    pub operator_namespace: String,
    /// Who may reach the API; everybody if `None`.
    pub api_from: Option<Vec<NetworkPolicyPeer>>,
    /// Who may read metrics.
    pub metrics_from: Vec<NetworkPolicyPeer>,
    /// Receivers of callbacks inside the cluster.
    pub callbacks_to: Vec<NetworkPolicyPeer>,
    /// Where the Kubernetes API is; anywhere if `None`.
    pub kubernetes_api_to: Option<Vec<NetworkPolicyPeer>>,
}

pub(super) fn network(
    spec: &NetworkPolicySpec,
    surroundings: &Surroundings,
) -> Result<Option<NetworkPlan>, ValidationError> {
    for (field, peers) in [
        ("networkPolicy.apiFrom", &spec.api_from),
        ("networkPolicy.metricsFrom", &spec.metrics_from),
        ("networkPolicy.callbacksTo", &spec.callbacks_to),
        ("networkPolicy.kubernetesApiTo", &spec.kubernetes_api_to),
    ] {
        check_networks(field, peers.iter().flatten())?;
    }
    Ok(spec.enabled.then(|| NetworkPlan {
        operator_namespace: surroundings.operator_namespace.clone(),
        api_from: spec.api_from.clone(),
        metrics_from: spec.metrics_from.clone().unwrap_or_else(|| vec![prometheus()]),
        callbacks_to: spec.callbacks_to.clone().unwrap_or_default(),
        kubernetes_api_to: spec.kubernetes_api_to.clone(),
    }))
}

/// Prometheus in any namespace, as its operator and its charts label it.
fn prometheus() -> NetworkPolicyPeer {
    let labels = BTreeMap::from([("app.kubernetes.io/name".to_owned(), "prometheus".to_owned())]);
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(LabelSelector {
            match_labels: Some(labels),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn check_networks<'a>(
    field: &'static str,
    peers: impl Iterator<Item = &'a NetworkPolicyPeer>,
) -> Result<(), ValidationError> {
    let blocks = peers.filter_map(|peer| peer.ip_block.as_ref());
    for network in blocks.flat_map(|block| [&block.cidr].into_iter().chain(block.except.iter().flatten())) {
        if network.parse::<IpNet>().is_err() {
            return Err(ValidationError::Network {
                field,
                value: network.clone(),
            });
        }
    }
    Ok(())
}

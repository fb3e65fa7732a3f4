//! NetworkPolicies as Kubernetes judges them (networking.k8s.io/v1): a connection is allowed if what comes out of the
//! client and what goes into the server are. A pod that no policy selects for a direction is free in it; else at least one
//! of the policies must have a rule for the peer and the port.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::names::METRICS_PORT;

/// A pod, or a host outside of the cluster.
pub(super) struct Pod {
    namespace: Option<String>,
    labels: BTreeMap<String, String>,
    address: IpAddr,
}

impl Pod {
    pub(super) fn new(namespace: &str, address: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter();
        Self {
            namespace: Some(namespace.to_owned()),
            labels: labels
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            address: address.parse().unwrap(),
        }
    }

    pub(super) fn outside(address: &str) -> Self {
        Self {
            namespace: None,
            labels: BTreeMap::new(),
            address: address.parse().unwrap(),
        }
    }

    /// Namespaces have no label here but the one that Kubernetes gives them.
    fn namespace_labels(&self) -> BTreeMap<String, String> {
        let name = self.namespace.clone().unwrap_or_default();
        BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), name)])
    }
}

pub(super) fn permits(policies: &[NetworkPolicy], from: &Pod, to: &Pod, port: u16) -> bool {
    lets_out(policies, from, to, port) && lets_in(policies, from, to, port)
}

fn lets_out(policies: &[NetworkPolicy], from: &Pod, to: &Pod, port: u16) -> bool {
    let mut policies = selecting(policies, from, "Egress").peekable();
    policies.peek().is_none()
        || policies.any(|policy| {
            let namespace = policy.metadata.namespace.as_deref();
            let rules = policy.spec.as_ref().and_then(|spec| spec.egress.as_ref());
            rules.into_iter().flatten().any(|rule| {
                has_peer(rule.to.as_deref(), to, namespace) && has_port(rule.ports.as_deref(), port)
            })
        })
}

fn lets_in(policies: &[NetworkPolicy], from: &Pod, to: &Pod, port: u16) -> bool {
    let mut policies = selecting(policies, to, "Ingress").peekable();
    policies.peek().is_none()
        || policies.any(|policy| {
            let namespace = policy.metadata.namespace.as_deref();
            let rules = policy.spec.as_ref().and_then(|spec| spec.ingress.as_ref());
            rules.into_iter().flatten().any(|rule| {
                has_peer(rule.from.as_deref(), from, namespace) && has_port(rule.ports.as_deref(), port)
            })
        })
}

/// The policies that limit a pod in a direction.
fn selecting<'a>(
    policies: &'a [NetworkPolicy],
    pod: &'a Pod,
    direction: &'a str,
) -> impl Iterator<Item = &'a NetworkPolicy> {
    policies.iter().filter(move |policy| {
        let spec = policy.spec.as_ref().unwrap();
        let types = spec.policy_types.as_ref().unwrap();
        policy.metadata.namespace == pod.namespace
            && matches(spec.pod_selector.as_ref(), &pod.labels)
            && types.iter().any(|kind| kind == direction)
    })
}

fn matches(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.and_then(|selector| selector.match_labels.as_ref());
    wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value))
}

fn has_peer(peers: Option<&[NetworkPolicyPeer]>, pod: &Pod, own_namespace: Option<&str>) -> bool {
    peers.is_none_or(|peers| peers.iter().any(|peer| is_peer(peer, pod, own_namespace)))
}

fn is_peer(peer: &NetworkPolicyPeer, pod: &Pod, own_namespace: Option<&str>) -> bool {
    if let Some(block) = &peer.ip_block {
        let holds = |cidr: &String| cidr.parse::<IpNet>().unwrap().contains(&pod.address);
        return holds(&block.cidr) && !block.except.iter().flatten().any(holds);
    }
    let Some(namespace) = pod.namespace.as_deref() else {
        return false;
    };
    let in_namespace = match &peer.namespace_selector {
        Some(selector) => matches(Some(selector), &pod.namespace_labels()),
        None => own_namespace == Some(namespace),
    };
    in_namespace && matches(peer.pod_selector.as_ref(), &pod.labels)
}

fn has_port(ports: Option<&[NetworkPolicyPort]>, wanted: u16) -> bool {
    ports.is_none_or(|ports| {
        ports.iter().any(|port| {
            let same = match &port.port {
                None => true,
                Some(IntOrString::Int(number)) => *number == i32::from(wanted),
                Some(IntOrString::String(name)) => name == "metrics" && wanted == METRICS_PORT,
            };
            same && port.protocol.as_deref() == Some("TCP")
        })
    })
}

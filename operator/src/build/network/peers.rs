//! From the ends of a flow to the terms of a NetworkPolicy.

use std::collections::BTreeMap;
use std::net::IpAddr;

use flickrhub_job::callback::public_networks;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::labels;
use super::destination::Destination;
use super::flows::{Party, Ports};
use crate::validate::{NetworkPlan, ValidatedHub};

/// The label that every namespace has, with its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
const DNS_PORT: u16 = 53;
/// The label of the operator of KEDA, as its chart and its manifests give it.
const KEDA_OPERATOR: (&str, &str) = ("app", "keda-operator");
/// Where `NodeLocal DNSCache` listens on every node by default.
const NODE_LOCAL_DNS: &str = "169.254.20.10/32";

/// Who a rule is for.
pub(super) enum Peers {
    /// Everybody, nodes included.
    Anybody,
    /// These, at least one.
    These(Vec<NetworkPolicyPeer>),
}

impl Peers {
    /// As a rule has it: a list, or none for everybody.
    pub(super) fn limited(self) -> Option<Vec<NetworkPolicyPeer>> {
        match self {
            Self::Anybody => None,
            Self::These(peers) => Some(peers),
        }
    }

    /// `None` for nobody: an empty list in a rule would mean everybody.
    fn these(peers: Vec<NetworkPolicyPeer>) -> Option<Self> {
        (!peers.is_empty()).then_some(Self::These(peers))
    }
}

/// A party as peers of a rule; `None` if it is nobody, and then there is no rule.
pub(super) fn of(hub: &ValidatedHub, plan: &NetworkPlan, party: &Party) -> Option<Peers> {
    let chosen = |peers: &Option<Vec<NetworkPolicyPeer>>| match peers {
        None => Some(Peers::Anybody),
        Some(peers) => Peers::these(peers.clone()),
    };
    match party {
        Party::Component(component) => Peers::these(vec![NetworkPolicyPeer {
            pod_selector: Some(labels::selector(hub, component)),
            ..NetworkPolicyPeer::default()
        }]),
        Party::Operator => Peers::these(vec![pods_in(&plan.operator_namespace, labels::OPERATOR)]),
        Party::Keda => Peers::these(vec![pods_in(&hub.autoscaling.keda_namespace, KEDA_OPERATOR)]),
        Party::ApiClients => chosen(&plan.api_from),
        Party::MetricsReaders => Peers::these(plan.metrics_from.clone()),
        Party::Dns => Peers::these(vec![
            pods_in("kube-system", ("k8s-app", "kube-dns")),
            block(NODE_LOCAL_DNS.to_owned(), &[]),
        ]),
        Party::KubernetesApi => chosen(&plan.kubernetes_api_to),
        Party::Host(Destination::Elsewhere) => Some(Peers::Anybody),
        Party::Host(Destination::Address(address)) => Peers::these(vec![host(*address)]),
        Party::Host(Destination::Namespace(namespace)) => Peers::these(vec![NetworkPolicyPeer {
            namespace_selector: Some(selector((NAMESPACE_NAME, namespace))),
            ..NetworkPolicyPeer::default()
        }]),
        Party::Public => {
            let networks = public_networks().into_iter();
            Peers::these(
                networks
                    .map(|(network, except)| block(network.to_string(), &except))
                    .collect(),
            )
        }
        Party::PrivateReceivers => {
            let networks = hub.callbacks.allowed_networks.iter();
            let networks = networks.map(|network| block(network.trunc().to_string(), &[]));
            Peers::these(networks.chain(plan.callbacks_to.iter().cloned()).collect())
        }
    }
}

/// Ports as a rule has them.
pub(super) fn ports(ports: &Ports) -> Vec<NetworkPolicyPort> {
    let port = |protocol: &str, number: Option<u16>| NetworkPolicyPort {
        port: number.map(|number| IntOrString::Int(i32::from(number))),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    };
    match ports {
        Ports::Tcp(numbers) => numbers.iter().map(|number| port("TCP", Some(*number))).collect(),
        Ports::AllTcp => vec![port("TCP", None)],
        Ports::Dns => vec![port("UDP", Some(DNS_PORT)), port("TCP", Some(DNS_PORT))],
    }
}

fn selector((key, value): (&str, &str)) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        ..LabelSelector::default()
    }
}

fn pods_in(namespace: &str, label: (&str, &str)) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(selector((NAMESPACE_NAME, namespace))),
        pod_selector: Some(selector(label)),
        ..NetworkPolicyPeer::default()
    }
}

fn block(cidr: String, except: &[IpNet]) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr,
            except: (!except.is_empty()).then(|| except.iter().map(IpNet::to_string).collect()),
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn host(address: IpAddr) -> NetworkPolicyPeer {
    block(IpNet::from(address).to_string(), &[])
}

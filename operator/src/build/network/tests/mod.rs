//! What the policies allow, judged as Kubernetes judges them and compared with the table, over every pair of components
//! and every port.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod documented;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use proptest::prelude::*;
use serde_json::json;

use super::flows::Ports;
use super::*;
use crate::build::Kind;
use crate::crd::FlickrHub;
use crate::fixtures;
use crate::names::METRICS_PORT;
use cluster::{Pod, permits};

fn policies(hub: &FlickrHub) -> Vec<NetworkPolicy> {
    let objects = objects(&fixtures::validated(hub));
    assert!(objects.iter().all(|object| object.kind() == Kind::NetworkPolicy));
    objects
        .into_iter()
        .filter_map(|object| match object {
            Object::NetworkPolicy(policy) => Some(*policy),
            _ => None,
        })
        .collect()
}

fn component(name: &str) -> Pod {
    Pod::new(
        "photos",
        "10.1.0.1",
        &[
            ("app.kubernetes.io/name", "flickrhub"),
            ("app.kubernetes.io/instance", "gallery"),
            ("app.kubernetes.io/component", name),
        ],
    )
}

fn operator() -> Pod {
    Pod::new(
        "flickrhub-system",
        "10.1.0.2",
        &[("app.kubernetes.io/name", "flickrhub-operator")],
    )
}

fn prometheus() -> Pod {
    Pod::new(
        "monitoring",
        "10.1.0.3",
        &[("app.kubernetes.io/name", "prometheus")],
    )
}

fn dns() -> Pod {
    Pod::new("kube-system", "10.1.0.4", &[("k8s-app", "kube-dns")])
}

fn stranger() -> Pod {
    Pod::new("elsewhere", "10.1.0.5", &[])
}

fn outside(address: &str) -> Pod {
    Pod::outside(address)
}

/// The parties that are pods, by what they are in the table.
fn pods(hub: &ValidatedHub) -> Vec<(Party, Pod)> {
    let components = components(hub).into_iter();
    components
        .map(|name| (Party::Component(name), component(name)))
        .chain([
            (Party::Operator, operator()),
            (Party::MetricsReaders, prometheus()),
            (Party::Dns, dns()),
        ])
        .collect()
}

fn ports_of(flow: &Flow) -> Vec<u16> {
    match &flow.ports {
        Ports::Tcp(ports) => ports.clone(),
        Ports::Dns => vec![53],
        Ports::AllTcp => Vec::new(),
    }
}

/// Whether a pod of the hub is concerned; what others do among themselves is not this hub's matter.
const fn is_of_hub(party: &Party) -> bool {
    matches!(party, Party::Component(_))
}

#[test]
fn exactly_what_the_table_says_is_allowed() {
    let sample = fixtures::minimal();
    let hub = fixtures::validated(&sample);
    let flows = flows(&hub, hub.network.as_ref().unwrap());
    let policies = policies(&sample);
    let mut ports: Vec<u16> = flows.iter().flat_map(ports_of).chain([22, 80, 8443]).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut judged = 0;
    for (from, client) in pods(&hub) {
        for (to, server) in pods(&hub) {
            let asks_dns = is_of_hub(&from) && to == Party::Dns;
            if !is_of_hub(&to) && !asks_dns {
                continue;
            }
            for port in &ports {
                let says = |from: &Party| {
                    flows
                        .iter()
                        .any(|flow| flow.from == *from && flow.to == to && ports_of(flow).contains(port))
                };
                // Everybody may reach the API by default, as far as their own policies let them out, and whoever asks
                // the Kubernetes API reaches its ports anywhere, as far as others let it in.
                let asks_kubernetes = |flow: &Flow| {
                    flow.from == from && flow.to == Party::KubernetesApi && ports_of(flow).contains(port)
                };
                let expected = says(&from)
                    || (!is_of_hub(&from) && says(&Party::ApiClients))
                    || (!is_of_hub(&to) && flows.iter().any(asks_kubernetes));
                let allowed = permits(&policies, &client, &server, *port);
                assert_eq!(allowed, expected, "{from:?} to {to:?} at {port}");
                judged += 1;
            }
        }
    }
    assert!(judged > 1500, "{judged}");
}

#[test]
fn strangers_reach_only_the_api() {
    let sample = fixtures::minimal();
    let hub = fixtures::validated(&sample);
    let policies = policies(&sample);
    for name in components(&hub) {
        for port in [53, 5671, 6379, 8080, 8200, 9090, 15691, 15692, 26379, 27017] {
            let allowed = permits(&policies, &stranger(), &component(name), port);
            assert_eq!(allowed, name == "api" && port == 8080, "{name} at {port}");
        }
    }
}

#[test]
fn a_pod_that_only_carries_the_labels_of_the_hub_reaches_nothing() {
    let sample = fixtures::minimal();
    let hub = fixtures::validated(&sample);
    let policies = policies(&sample);
    let impostor = component("debug");
    for name in components(&hub) {
        assert!(!permits(&policies, &impostor, &component(name), 6379), "{name}");
    }
    assert!(!permits(&policies, &impostor, &dns(), 53));
    assert!(!permits(&policies, &stranger(), &impostor, 8080));
}

#[test]
fn another_hub_in_the_same_namespace_is_a_stranger() {
    let other = Pod::new(
        "photos",
        "10.1.0.6",
        &[
            ("app.kubernetes.io/name", "flickrhub"),
            ("app.kubernetes.io/instance", "archive"),
            ("app.kubernetes.io/component", "api"),
        ],
    );
    let policies = policies(&fixtures::minimal());
    assert!(!permits(&policies, &other, &component("mongodb"), 27017));
    assert!(permits(
        &policies,
        &component("api"),
        &component("mongodb"),
        27017
    ));
}

#[test]
fn workers_reach_flickr_at_public_addresses_and_nothing_private() {
    let policies = policies(&fixtures::minimal());
    let reaches = |name, address, port| permits(&policies, &component(name), &outside(address), port);
    for name in ["api", "worker-rest", "worker-upload", "worker-replace"] {
        assert!(reaches(name, "52.84.1.1", 443), "{name}");
        assert!(reaches(name, "2600:9000::1", 443), "{name}");
        assert!(!reaches(name, "52.84.1.1", 80), "{name}");
        for private in ["10.9.9.9", "169.254.169.254", "192.168.1.1", "fd00::1"] {
            assert!(!reaches(name, private, 443), "{name} to {private}");
        }
    }
    for name in ["redis", "mongodb", "rabbitmq", "dispatcher"] {
        assert!(!reaches(name, "52.84.1.1", 443), "{name}");
    }
}

#[test]
fn callbacks_go_to_public_addresses_at_any_port_and_to_what_is_allowed() {
    let reaches =
        |hub: &FlickrHub, address| permits(&policies(hub), &component("callbacks"), &outside(address), 8443);
    let mut hub = fixtures::minimal();
    assert!(reaches(&hub, "93.184.216.34"));
    assert!(!reaches(&hub, "10.20.1.1"));
    hub.spec.callbacks.allowed_networks = vec!["10.20.0.0/16".to_owned()];
    assert!(reaches(&hub, "10.20.1.1"));
    assert!(!reaches(&hub, "10.21.1.1"));
}

fn peers(value: serde_json::Value) -> Vec<NetworkPolicyPeer> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn receivers_in_the_cluster_are_those_that_are_named() {
    let mut hub = fixtures::minimal();
    hub.spec.network_policy.callbacks_to = Some(peers(json!([{"namespaceSelector": {
        "matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}
    }}])));
    let policies = policies(&hub);
    assert!(permits(&policies, &component("callbacks"), &stranger(), 9000));
    assert!(!permits(&policies, &component("callbacks"), &operator(), 9000));
    assert!(!permits(&policies, &component("worker-rest"), &stranger(), 9000));
}

#[test]
fn who_reaches_the_api_and_the_metrics_can_be_chosen() {
    let mut hub = fixtures::minimal();
    let monitoring = json!([{"namespaceSelector": {
        "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
    }}]);
    hub.spec.network_policy.api_from = Some(peers(monitoring.clone()));
    hub.spec.network_policy.metrics_from = Some(peers(monitoring));
    let chosen = policies(&hub);
    let api = component("api");
    assert!(permits(&chosen, &prometheus(), &api, 8080));
    assert!(permits(&chosen, &prometheus(), &api, 9090));
    assert!(!permits(&chosen, &stranger(), &api, 8080));
    hub.spec.network_policy.api_from = Some(Vec::new());
    hub.spec.network_policy.metrics_from = Some(Vec::new());
    let nobody = policies(&hub);
    for port in [8080, 9090] {
        assert!(!permits(&nobody, &prometheus(), &api, port), "{port}");
    }
}

#[test]
fn the_vault_asks_only_the_kubernetes_api_that_is_named() {
    let mut hub = fixtures::minimal();
    let reaches = |hub: &FlickrHub, name, address, port| {
        permits(&policies(hub), &component(name), &outside(address), port)
    };
    for port in [443, 6443] {
        assert!(reaches(&hub, "vault", "10.0.0.10", port));
    }
    assert!(!reaches(&hub, "vault", "10.0.0.10", 80));
    hub.spec.network_policy.kubernetes_api_to = Some(peers(json!([{"ipBlock": {"cidr": "10.0.0.10/32"}}])));
    assert!(reaches(&hub, "vault", "10.0.0.10", 6443));
    assert!(!reaches(&hub, "vault", "10.0.0.11", 6443));
}

#[test]
fn a_vault_of_the_user_is_reached_at_its_port_by_those_that_need_it() {
    let mut hub = fixtures::full();
    let reaches =
        |hub: &FlickrHub, name, port| permits(&policies(hub), &component(name), &outside("10.7.0.1"), port);
    assert!(reaches(&hub, "api", 8200));
    assert!(!reaches(&hub, "dispatcher", 8200));
    assert!(!reaches(&hub, "api", 8201));
    hub.spec.vault.external.as_mut().unwrap().address = "https://10.7.0.2:8200".to_owned();
    assert!(!reaches(&hub, "api", 8200));
}

#[test]
fn a_stand_in_for_flickr_in_the_cluster_is_reached_in_its_namespace() {
    let mut hub = fixtures::minimal();
    let endpoints = &mut hub.spec.flickr.endpoints;
    for endpoint in [&mut endpoints.rest, &mut endpoints.upload, &mut endpoints.oauth] {
        *endpoint = "http://mock.elsewhere.svc:8080/services".to_owned();
    }
    let policies = policies(&hub);
    let worker = component("worker-rest");
    assert!(permits(&policies, &worker, &stranger(), 8080));
    assert!(!permits(&policies, &worker, &stranger(), 8081));
    assert!(!permits(&policies, &worker, &outside("52.84.1.1"), 443));
}

#[test]
fn without_policies_there_are_none() {
    let mut hub = fixtures::minimal();
    hub.spec.network_policy.enabled = false;
    assert!(policies(&hub).is_empty());
}

#[test]
fn no_policy_has_an_empty_list_which_would_mean_everybody() {
    let mut hub = fixtures::full();
    let spec = &mut hub.spec.network_policy;
    for peers in [&mut spec.api_from, &mut spec.metrics_from, &mut spec.callbacks_to] {
        *peers = Some(Vec::new());
    }
    for policy in policies(&hub) {
        assert!(
            !serde_json::to_string(&policy).unwrap().contains("[]"),
            "{policy:?}"
        );
    }
}

#[test]
fn who_is_given_a_secret_of_an_engine_may_reach_it_and_nobody_else() {
    let hub = fixtures::validated(&fixtures::minimal());
    let policies = policies(&fixtures::minimal());
    let objects = crate::build::build(&hub, &fixtures::checksums());
    let mut seen = 0;
    for object in objects.iter().filter(|object| object.kind() == Kind::Deployment) {
        let name = object.name();
        let client = component(name.strip_prefix("gallery-").unwrap());
        for (engine, secret, port) in [
            ("redis", "gallery-redis-auth", 6379),
            ("mongodb", "gallery-mongodb-auth", 27017),
            ("rabbitmq", "gallery-rabbitmq-auth", 5671),
        ] {
            let has_secret = object.mounted_secrets().contains(secret);
            let reaches = permits(&policies, &client, &component(engine), port);
            assert_eq!(reaches, has_secret, "{name} and {engine}");
            seen += 1;
        }
    }
    assert_eq!(seen, 18);
}

/// The operator's own policy, as the manifests have it.
fn of_operator() -> NetworkPolicy {
    let text = include_str!("../../../../../manifests/operator/networkpolicy.yaml");
    let mut policy: NetworkPolicy = serde_yaml_ng::from_str(text).unwrap();
    policy.metadata.namespace = Some("flickrhub-system".to_owned());
    policy
}

#[test]
fn the_operator_may_ask_the_engines_of_a_hub_what_these_let_it() {
    let sample = fixtures::minimal();
    let hub = fixtures::validated(&sample);
    let flows = flows(&hub, hub.network.as_ref().unwrap());
    let own = |flow: &&Flow| flow.from == Party::Operator;
    let mut wanted: Vec<u16> = flows.iter().filter(own).flat_map(ports_of).collect();
    let mut all = policies(&sample);
    all.push(of_operator());
    for flow in flows.iter().filter(own) {
        for port in ports_of(flow) {
            let Party::Component(name) = &flow.to else {
                panic!("{flow:?}");
            };
            assert!(
                permits(&all, &operator(), &component(name), port),
                "{name} at {port}"
            );
        }
    }
    for port in [22, 80, 6443, 8200, 8201, 9090, 27017] {
        assert!(!permits(&all, &stranger(), &operator(), port), "{port}");
    }
    assert!(permits(&all, &prometheus(), &operator(), METRICS_PORT));
    assert!(permits(&all, &operator(), &dns(), 53));
    assert!(!permits(&all, &operator(), &stranger(), 6379));

    let chart = include_str!("../../../../../charts/flickrhub-operator/templates/networkpolicy.yaml");
    let (_, list) = chart.split_once("{{- range list ").unwrap();
    let (list, _) = list.split_once(" }}").unwrap();
    let mut listed: Vec<u16> = list.split(' ').map(|port| port.parse().unwrap()).collect();
    listed.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
}

proptest! {
    #[test]
    fn no_private_address_is_reached_by_a_process(
        network in proptest::sample::select(vec!["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"]),
        host: u32,
        port: u16,
    ) {
        // Where NodeLocal DNSCache listens.
        prop_assume!(port != 53);
        let network: ipnet::Ipv4Net = network.parse().unwrap();
        let bits = network.network().to_bits() | (host & network.hostmask().to_bits());
        let address = std::net::Ipv4Addr::from_bits(bits).to_string();
        let policies = policies(&fixtures::minimal());
        for name in ["api", "dispatcher", "callbacks", "worker-rest", "redis", "mongodb", "rabbitmq"] {
            let reached = permits(&policies, &component(name), &outside(&address), port);
            prop_assert!(!reached, "{} to {}", name, address);
        }
    }
}

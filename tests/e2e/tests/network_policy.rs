//! That the cluster's network plugin enforces the policies of a hub: what docs/network.md lists passes, and everything else
//! between the same pods is blocked.
//!
//! Copies of the hub's policies are put into a namespace of their own, where a pod with the labels of each component
//! listens at every port of the table, and another one calls all of them. The hub itself is not disturbed. It runs only
//! where policies are enforced: `make test-network`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flickrhub_e2e::scene::Scene;
use flickrhub_e2e::{cluster, eventually, scene};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams, PostParams};
use serde_json::json;

const TABLE: &str = include_str!("../../../docs/network.md");
const OPERATOR_NAMESPACE: &str = "flickrhub-system";
const IMAGE: &str = "docker.io/library/busybox:1.37";
/// The components of a hub that listen.
const COMPONENTS: [&str; 10] = [
    "redis",
    "mongodb",
    "rabbitmq",
    "vault",
    "api",
    "dispatcher",
    "callbacks",
    "worker-rest",
    "worker-upload",
    "worker-replace",
];
/// Who calls and is no component: as the table calls them, and a pod that nobody knows.
const OTHERS: [&str; 3] = ["operator", "metricsFrom", "stranger"];

/// The table of what may flow between pods: from, to, port.
fn table() -> BTreeSet<(String, String, u16)> {
    let rows = TABLE.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [from, to, ports] = cells[..] else {
            return None;
        };
        let party = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
        Some((party(from)?, party(to)?, ports.to_owned()))
    });
    rows.filter(|(_, to, _)| COMPONENTS.contains(&to.as_str()))
        .flat_map(|(from, to, ports)| {
            let ports: Vec<u16> = ports
                .split(", ")
                .map(|port| port.parse().expect("a port"))
                .collect();
            ports
                .into_iter()
                .map(move |port| (from.clone(), to.clone(), port))
        })
        .collect()
}

/// Everybody may reach what `apiFrom` may, as far as their own policies let them out.
fn is_allowed(table: &BTreeSet<(String, String, u16)>, from: &str, to: &str, port: u16) -> bool {
    let says = |from: &str| table.contains(&(from.to_owned(), to.to_owned(), port));
    says(from) || (OTHERS.contains(&from) && says("apiFrom"))
}

fn labels_of(party: &str) -> BTreeMap<String, String> {
    let labels = match party {
        "operator" => vec![("app.kubernetes.io/name", "flickrhub-operator".to_owned())],
        "metricsFrom" => vec![("app.kubernetes.io/name", "prometheus".to_owned())],
        "stranger" => Vec::new(),
        component => vec![
            ("app.kubernetes.io/name", "flickrhub".to_owned()),
            ("app.kubernetes.io/instance", cluster::hub()),
            ("app.kubernetes.io/component", component.to_owned()),
        ],
    };
    labels
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// A pod with a shell that runs `script`, by the restricted Pod Security Standard.
fn pod(name: &str, party: &str, script: &str) -> Pod {
    let pod = json!({
        "metadata": {"name": name, "labels": labels_of(party)},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "shell",
                "image": IMAGE,
                "command": ["sh", "-c", script],
                "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    });
    serde_json::from_value(pod).expect("a pod")
}

async fn copy_policies(scene: &Scene, namespace: &str) {
    let of_hub: Api<NetworkPolicy> = Api::namespaced(scene.client.clone(), &cluster::namespace());
    let selector = format!("app.kubernetes.io/instance={}", cluster::hub());
    let params = ListParams::default().labels(&selector);
    let found = of_hub.list(&params).await.expect("policies").items;
    assert_eq!(
        found.len(),
        COMPONENTS.len() + 1,
        "one for each component, and one that denies"
    );
    let copies: Api<NetworkPolicy> = Api::namespaced(scene.client.clone(), namespace);
    for policy in found {
        let copy = NetworkPolicy {
            metadata: ObjectMeta {
                name: Some(policy.name_any()),
                ..ObjectMeta::default()
            },
            spec: policy.spec,
        };
        copies
            .create(&PostParams::default(), &copy)
            .await
            .expect("a copy");
    }
}

/// The addresses of the pods that listen, by component.
async fn listen(scene: &Scene, namespace: &str, ports: &BTreeSet<u16>) -> BTreeMap<&'static str, String> {
    let each = ports
        .iter()
        .map(|port| format!("nc -ll -p {port} -e /bin/true & "));
    let script = format!("{}wait", each.collect::<String>());
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), namespace);
    let mut addresses = BTreeMap::new();
    for component in COMPONENTS {
        let name = format!("to-{component}");
        scene.pod(namespace, &pod(&name, component, &script)).await;
    }
    for component in COMPONENTS {
        let name = format!("to-{component}");
        let what = format!("pod {name} runs");
        let address = eventually(&what, Duration::from_mins(2), || async {
            let status = pods.get(&name).await.ok()?.status?;
            status
                .pod_ip
                .filter(|_| status.phase.as_deref() == Some("Running"))
        })
        .await;
        addresses.insert(component, address);
    }
    addresses
}

/// Calls every target, each several times until it answers, and prints one line for each. The first calls come when what
/// the new pod may do is known everywhere.
fn calling(targets: &[(&'static str, String, u16)]) -> String {
    let calls = targets.iter().map(|(component, address, port)| {
        format!(
            "(for i in 1 2 3; do nc -w 2 {address} {port} </dev/null >/dev/null 2>&1 && {{ echo {component} {port} open; exit; }}; sleep 1; done; echo {component} {port} shut) & "
        )
    });
    format!("sleep 5; {}wait", calls.collect::<String>())
}

/// What a caller printed: whether each component answered at each port.
async fn answers(scene: &Scene, namespace: &str, name: &str) -> Vec<(String, u16, bool)> {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), namespace);
    let what = format!("pod {name} is done");
    eventually(&what, Duration::from_mins(3), || async {
        let phase = pods.get(name).await.ok()?.status?.phase;
        (phase.as_deref() == Some("Succeeded")).then_some(())
    })
    .await;
    let log = pods.logs(name, &LogParams::default()).await.expect("its log");
    log.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (component, port, answer) = (words.next()?, words.next()?, words.next()?);
            Some((component.to_owned(), port.parse().ok()?, answer == "open"))
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs a hub in a cluster that enforces NetworkPolicies: make test-network"]
async fn only_what_the_table_lists_passes() {
    scene::play(|scene| async move {
        let table = table();
        assert!(table.len() > 40, "{} flows are listed", table.len());
        let ports: BTreeSet<u16> = table.iter().map(|(_, _, port)| *port).collect();
        let namespace = scene.namespace("network").await;
        copy_policies(&scene, &namespace).await;
        let addresses = listen(&scene, &namespace, &ports).await;
        let targets: Vec<_> = addresses
            .iter()
            .flat_map(|(component, address)| ports.iter().map(|port| (*component, address.clone(), *port)))
            .collect();

        let callers: Vec<_> = COMPONENTS
            .into_iter()
            .chain(OTHERS)
            .map(|party| {
                let place = if party == "operator" {
                    OPERATOR_NAMESPACE
                } else {
                    &namespace
                };
                (
                    party,
                    place,
                    scene::unique(&format!("from-{}", party.to_lowercase())),
                )
            })
            .collect();
        for (party, place, name) in &callers {
            scene.pod(place, &pod(name, party, &calling(&targets))).await;
        }

        let (mut wrong, mut passed, mut blocked) = (Vec::new(), 0, 0);
        for (party, place, name) in &callers {
            let answers = answers(&scene, place, name).await;
            assert_eq!(answers.len(), targets.len(), "calls of {party}");
            for (component, port, open) in answers {
                if open == is_allowed(&table, party, &component, port) {
                    if open { passed += 1 } else { blocked += 1 }
                } else {
                    let verdict = if open { "passes" } else { "is blocked" };
                    wrong.push(format!("{party} to {component} at {port} {verdict}"));
                }
            }
        }
        println!("{passed} connections passed, {blocked} were blocked");
        assert!(wrong.is_empty(), "against the table: {wrong:#?}");
    })
    .await;
}

#[test]
fn the_table_is_read() {
    let table = table();
    assert!(is_allowed(&table, "api", "mongodb", 27017));
    assert!(is_allowed(&table, "stranger", "api", 8080));
    assert!(!is_allowed(&table, "redis", "api", 8080));
    assert!(!is_allowed(&table, "callbacks", "redis", 6379));
}

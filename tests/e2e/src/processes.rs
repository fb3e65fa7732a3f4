//! The processes of the hub under test: their pods, their metrics, their logs.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};
use serde_json::{Map, Value};

use crate::cluster;
use crate::exposition::{self, Sample};

/// The components that are processes of the project, as their pods are labelled; the container has the same name.
pub const COMPONENTS: [&str; 6] = [
    "api",
    "dispatcher",
    "callbacks",
    "worker-rest",
    "worker-upload",
    "worker-replace",
];

/// The running pods of a component.
pub async fn pods(client: &Client, component: &str) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &cluster::namespace());
    let selector = format!(
        "app.kubernetes.io/instance={},app.kubernetes.io/component={component}",
        cluster::hub()
    );
    let listed = pods
        .list(&ListParams::default().labels(&selector))
        .await
        .expect("pods");
    let running: Vec<_> = listed.into_iter().filter(is_running).collect();
    assert!(!running.is_empty(), "{component} has no running pod");
    running
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

/// What `/metrics` of one pod says.
pub async fn metrics(pod: &Pod) -> Vec<Sample> {
    let name = pod.name_any();
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    let port = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| port.name.as_deref() == Some("metrics"))
        .map(|port| port.container_port);
    let (Some(address), Some(port)) = (address, port) else {
        panic!("{name} has no address, or no port named metrics");
    };
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    let answer = reqwest::get(format!("http://{host}:{port}/metrics"))
        .await
        .expect("the pod answers");
    assert!(answer.status().is_success(), "{name}: {}", answer.status());
    let text = answer.text().await.expect("text");
    exposition::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What one pod has logged in the last `seconds`, a JSON object for each line.
pub async fn log(client: &Client, pod: &Pod, container: &str, seconds: i64) -> Vec<Map<String, Value>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &cluster::namespace());
    let params = LogParams {
        container: Some(container.to_owned()),
        since_seconds: Some(seconds),
        ..LogParams::default()
    };
    let name = pod.name_any();
    let text = pods.logs(&name, &params).await.expect("the log of the pod");
    text.lines()
        .map(|line| match serde_json::from_str(line) {
            Ok(Value::Object(fields)) => fields,
            other => panic!("{name} logs {line:?}, which is no JSON object: {other:?}"),
        })
        .collect()
}

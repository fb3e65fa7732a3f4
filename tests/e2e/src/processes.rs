//! The processes of the hub under test: their pods, their metrics, their logs.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Pod, Secret};
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

/// The pods of a component that are ready.
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
    let ready: Vec<_> = listed.into_iter().filter(is_ready).collect();
    assert!(!ready.is_empty(), "{component} has no ready pod");
    ready
}

/// Whether a pod is ready, and not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}

/// What `/metrics` of one pod says.
pub async fn metrics(client: &Client, pod: &Pod) -> Vec<Sample> {
    let name = pod.name_any();
    exposition::parse(&metrics_text(client, pod).await).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The same as it is sent: over TLS, by the name that its certificate has.
pub async fn metrics_text(client: &Client, pod: &Pod) -> String {
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
    let (host, authorities) = shown_by(client, pod).await;
    let address = SocketAddr::new(
        address.parse().expect("an address"),
        port.try_into().expect("a port"),
    );
    let authorities = reqwest::Certificate::from_pem_bundle(authorities.as_bytes()).expect("certificates");
    let client = reqwest::Client::builder()
        .tls_certs_only(authorities)
        .resolve(&host, address)
        .build()
        .expect("a client");
    let answer = client.get(format!("https://{host}:{port}/metrics"));
    let answer = answer.send().await.expect("the pod answers");
    assert!(answer.status().is_success(), "{name}: {}", answer.status());
    answer.text().await.expect("text")
}

/// The name in the certificate of a pod's metrics, and the authorities (PEM) that it is known by.
async fn shown_by(client: &Client, pod: &Pod) -> (String, String) {
    let namespace = pod.namespace().expect("a namespace");
    if pod.labels().get("app.kubernetes.io/name").map(String::as_str) == Some("flickrhub-operator") {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let secret = secrets.get("flickrhub-operator-tls").await.expect("its Secret");
        let authorities = secret
            .data
            .unwrap_or_default()
            .remove("ca.crt")
            .expect("authorities");
        let authorities = String::from_utf8(authorities.0).expect("PEM");
        return (format!("flickrhub-operator.{namespace}.svc"), authorities);
    }
    let host = format!("{}-metrics.{namespace}.svc", cluster::hub());
    (host, cluster::authorities(client).await)
}

/// What one pod has logged, in the last `seconds` or ever, a JSON object for each line.
pub async fn log(
    client: &Client,
    pod: &Pod,
    container: &str,
    seconds: Option<i64>,
) -> Vec<Map<String, Value>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &cluster::namespace());
    let params = LogParams {
        container: Some(container.to_owned()),
        since_seconds: seconds,
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

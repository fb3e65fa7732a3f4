//! The cluster as a platform team sees it: `kubectl`'s view.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::{eventually, setting};

/// The namespace of the hub under test.
pub fn namespace() -> String {
    setting("FLICKRHUB_TEST_NAMESPACE")
}

/// The name of the hub under test.
pub fn hub() -> String {
    setting("FLICKRHUB_TEST_HUB")
}

/// The host of a member of an engine, by the headless Service of the engine.
pub fn member(engine: &str, service: &str, member: usize) -> String {
    let (hub, namespace) = (hub(), namespace());
    format!("{hub}-{engine}-{member}.{hub}-{service}.{namespace}.svc.cluster.local")
}

/// A client of the cluster that `KUBECONFIG` names.
pub async fn client() -> Client {
    // A second installation of the provider by another test of the same process is no fault.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::try_default().await.expect("a cluster by KUBECONFIG")
}

/// The `FlickrHub` resources of a namespace, without the operator's types: as a person writes them.
pub fn hubs(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("flickrhub.dev", "v1alpha1", "FlickrHub");
    Api::namespaced_with(
        client.clone(),
        namespace,
        &ApiResource::from_gvk_with_plural(&kind, "flickrhubs"),
    )
}

/// One value of a Secret.
pub async fn secret(client: &Client, name: &str, key: &str) -> String {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace());
    let secret = secrets.get(name).await.expect("the Secret exists");
    let value = secret
        .data
        .unwrap_or_default()
        .remove(key)
        .expect("the Secret has the key");
    String::from_utf8(value.0).expect("text")
}

/// The certificate authorities (PEM) by which the servers of the hub are known.
pub async fn authorities(client: &Client) -> String {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace());
    let name = format!("{}-trust", hub());
    let map = maps.get(&name).await.expect("the authorities of the hub");
    map.data.unwrap_or_default().remove("ca.crt").expect("ca.crt")
}

/// A condition of a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// The condition of this type.
pub fn condition(hub: &DynamicObject, kind: &str) -> Option<Condition> {
    let conditions = hub.data.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some(Condition {
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
    })
}

/// Waits until the hub is Ready for the generation that is there.
pub async fn ready(hubs: &Api<DynamicObject>, name: &str, limit: Duration) -> DynamicObject {
    eventually(&format!("FlickrHub/{name} is Ready"), limit, || async {
        let hub = hubs.get(name).await.ok()?;
        let current = hub
            .data
            .pointer("/status/observedGeneration")
            .and_then(Value::as_i64)
            == hub.metadata.generation;
        let ready = condition(&hub, "Ready").is_some_and(|ready| ready.status == "True");
        (current && ready).then_some(hub)
    })
    .await
}

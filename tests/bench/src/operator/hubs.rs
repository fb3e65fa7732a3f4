//! Hubs to measure the operator by, as it meets them in production: their data tier has worked, so every process exists.

use futures::{StreamExt, TryStreamExt};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::Failure;
use crate::cluster::{Cluster, HUB, MANAGER, SECRET};

/// Hubs that are made at the same time.
const AT_A_TIME: usize = 8;

/// The name of a hub.
pub(crate) fn name(index: usize) -> String {
    format!("hub{index}")
}

/// A hub with only what is needed, and an Ingress, so that it has every kind of child.
pub(crate) fn hub(name: &str) -> Value {
    json!({
        "apiVersion": "flickrhub.dev/v1alpha1",
        "kind": "FlickrHub",
        "metadata": {"name": name},
        "spec": {
            "flickr": {"apps": [{"name": "main", "credentialsSecretRef": {"name": "flickr-app"}}]},
            "api": {"ingress": {"host": format!("{name}.example.org")}},
        },
    })
}

/// The credentials that hubs of a namespace refer to.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn prepare(cluster: &Cluster, namespace: &str) -> Result<(), Failure> {
    cluster.namespace(namespace).await?;
    let credentials = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "flickr-app"},
        "stringData": {"consumerKey": "key", "consumerSecret": "secret"},
    });
    cluster.apply(&SECRET, namespace, &credentials).await
}

/// Makes one hub whose data tier is said to have worked. An operator runs.
///
/// # Errors
/// When the API server refuses, or nobody looks at the hub.
pub(crate) async fn make(cluster: &Cluster, namespace: &str, hub: &Value) -> Result<(), Failure> {
    cluster.apply(&HUB, namespace, hub).await?;
    let api = cluster.objects(&HUB, namespace);
    let name = hub
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Only once its Secrets were made up: of a data tier that has worked they would be missed, and nothing be made of it.
    let was_looked_at = |hub: Option<&DynamicObject>| hub.is_some_and(is_observed);
    await_condition(api.clone(), name, was_looked_at).await?;
    let ready = json!({"RedisReady": 1, "MongoDBReady": 1, "RabbitMQReady": 1, "VaultReady": 1});
    let status = json!({"status": {"readyGenerations": ready}});
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch_status(name, &params, &Patch::Merge(status)).await?;
    // A change of the status triggers nothing.
    touch(cluster, namespace, name).await
}

/// Changes an annotation, which triggers a look.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn touch(cluster: &Cluster, namespace: &str, name: &str) -> Result<(), Failure> {
    let now = format!("{:?}", std::time::SystemTime::now());
    let patch = json!({"metadata": {"annotations": {"bench.flickrhub.dev/touched": now}}});
    let api = cluster.objects(&HUB, namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// Makes hubs of these numbers.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn make_many(
    cluster: &Cluster,
    namespace: &str,
    numbers: std::ops::Range<usize>,
) -> Result<(), Failure> {
    futures::stream::iter(numbers)
        .map(Ok::<_, Failure>)
        .try_for_each_concurrent(AT_A_TIME, async |index| {
            make(cluster, namespace, &hub(&name(index))).await
        })
        .await
}

/// How many hubs have a status about their present generation.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn observed(cluster: &Cluster, namespace: &str) -> Result<usize, Failure> {
    let hubs = cluster
        .objects(&HUB, namespace)
        .list(&ListParams::default())
        .await?;
    Ok(hubs.items.iter().filter(|hub| is_observed(hub)).count())
}

/// Whether the status of a hub is about its present generation.
fn is_observed(hub: &DynamicObject) -> bool {
    let observed = hub.data.pointer("/status/observedGeneration");
    observed.and_then(Value::as_i64) == hub.metadata.generation
}

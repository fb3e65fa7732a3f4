//! Volumes grow while the pods go on, where their class allows it. Where it does not the hub says so, and is well again when the
//! size is set back. A smaller size is refused, and a claim that somebody else made larger stays so.

use std::collections::BTreeMap;

use flickrhub_operator::build::Kind;
use flickrhub_operator::crd::FlickrHub;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, PostParams};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::turn::{credentials, hub};
use crate::world::{HUB, World};

async fn make_class(plane: &ControlPlane, name: &str, can_grow: bool) {
    let class = json!({"metadata": {"name": name}, "provisioner": "example.org/disks", "allowVolumeExpansion": can_grow});
    let class: StorageClass = serde_json::from_value(class).expect("a class");
    let api = Api::all(plane.client());
    api.create(&PostParams::default(), &class).await.expect("made");
}

/// Somebody changes the size of the volumes of an engine, and the operator does what it can.
async fn resize(world: &World, engine: &str, size: &str) {
    let hubs = ApiResource::erase::<FlickrHub>(&());
    let change = json!({"spec": {engine: {"storage": {"size": size}}}});
    world.merge(&hubs, HUB, &change).await;
    world.rest().await;
}

/// The sizes that the claims of an engine ask for.
async fn claimed(world: &World, engine: &str) -> Vec<String> {
    let claims = world
        .cluster
        .list(&ApiResource::erase::<PersistentVolumeClaim>(&()))
        .await;
    let prefix = format!("data-gallery-{engine}-");
    let of_engine = claims
        .iter()
        .filter(|claim| claim.name_any().starts_with(&prefix));
    let size = |claim: &Value| claim.pointer("/spec/resources/requests/storage").cloned();
    of_engine
        .filter_map(|claim| size(&claim.data)?.as_str().map(str::to_owned))
        .collect()
}

/// The UID of the set of an engine, and the size that it makes volumes with.
async fn set(world: &World, engine: &str) -> (Option<String>, Value) {
    let found = world
        .cluster
        .api(&Kind::StatefulSet.resource())
        .get(&format!("gallery-{engine}"))
        .await;
    let found = found.expect("a set");
    let size = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
    (found.uid(), found.data.pointer(size).cloned().unwrap_or_default())
}

/// The pods, each by its name and UID.
async fn pods(world: &World) -> BTreeMap<String, Option<String>> {
    let pods = world.cluster.list(&ApiResource::erase::<Pod>(&())).await;
    pods.iter().map(|pod| (pod.name_any(), pod.uid())).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn volumes_grow_around_running_pods_and_never_shrink() {
    let plane = ControlPlane::start_with_classes("storage").await;
    make_class(&plane, "grows", true).await;
    make_class(&plane, "fixed", false).await;
    let world = World::new(&plane, "storage").await;
    world.apply(&credentials()).await.expect("a Secret");
    let mut wanted = hub();
    for (engine, class) in [("redis", "grows"), ("mongodb", "grows"), ("rabbitmq", "fixed")] {
        wanted["spec"][engine] = json!({"storage": {"size": "2Gi", "className": class}});
    }
    world.apply(&wanted).await.expect("a hub");
    world.rest().await;
    assert_eq!(world.condition("Ready").await.0, "True");
    let (running, kept) = (pods(&world).await, world.keepsakes().await);
    let before = [set(&world, "redis").await, set(&world, "mongodb").await];

    resize(&world, "redis", "4Gi").await;
    assert_eq!(claimed(&world, "redis").await, ["4Gi"; 3]);
    let (uid, size) = set(&world, "redis").await;
    assert_eq!(size, "4Gi");
    assert_ne!(
        uid, before[0].0,
        "its template cannot be changed, so it is another one"
    );
    assert_eq!(set(&world, "mongodb").await, before[1]);
    assert_eq!(pods(&world).await, running, "no pod restarts");
    assert!(world.keepsakes().await.keys().eq(kept.keys()), "no volume goes");
    assert_eq!(world.condition("Ready").await.0, "True");

    let grown = set(&world, "redis").await;
    resize(&world, "redis", "3Gi").await;
    let (status, reason, message) = world.condition("Stalled").await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "VolumeCannotShrink"),
        "{message}"
    );
    assert!(message.contains("gallery-redis are made with 4Gi"), "{message}");
    assert_eq!(
        (set(&world, "redis").await, claimed(&world, "redis").await),
        (grown, vec!["4Gi".to_owned(); 3])
    );
    resize(&world, "redis", "4Gi").await;
    assert_eq!(world.condition("Ready").await.0, "True");

    // Somebody makes one claim larger.
    let claims = ApiResource::erase::<PersistentVolumeClaim>(&());
    let larger = json!({"spec": {"resources": {"requests": {"storage": "8Gi"}}}});
    world.merge(&claims, "data-gallery-mongodb-1", &larger).await;
    let asked = world.rest().await;
    assert!(
        !asked.iter().any(crate::fault::Asked::is_write),
        "it is accepted: {asked:?}"
    );
    resize(&world, "mongodb", "6Gi").await;
    assert_eq!(claimed(&world, "mongodb").await, ["6Gi", "8Gi", "6Gi"]);
    assert_eq!(world.condition("Ready").await.0, "True");

    let fixed = set(&world, "rabbitmq").await;
    resize(&world, "rabbitmq", "4Gi").await;
    let (status, reason, message) = world.condition("Stalled").await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "VolumeCannotGrow"),
        "{message}"
    );
    assert!(
        message.contains("data-gallery-rabbitmq-0 cannot grow to 4Gi"),
        "{message}"
    );
    assert_eq!(
        (set(&world, "rabbitmq").await, claimed(&world, "rabbitmq").await),
        (fixed, vec!["2Gi".to_owned(); 3])
    );
    resize(&world, "rabbitmq", "2Gi").await;
    assert_eq!(
        world.condition("Ready").await.0,
        "True",
        "what is set back is well"
    );
    assert_eq!(pods(&world).await, running);
    assert_eq!(world.losses(), Vec::<String>::new());
}

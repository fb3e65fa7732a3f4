//! KEDA is installed while a hub lives, and is taken away again. Meanwhile somebody changes and deletes what the operator made
//! for it, and finds it repaired within a second.

use std::time::Duration;

use flickrhub_operator::build::Kind;
use flickrhub_operator::controller;
use flickrhub_operator::crd::FlickrHub;
use flickrhub_operator::metrics::Metrics;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::control_plane::ControlPlane;
use crate::turn::{credentials, hub};
use crate::world::{HUB, World};

/// How long it takes to find out that KEDA came or went, and some more on a busy machine.
const DISCOVERY: Duration = Duration::from_mins(2);
/// How long a repair may take.
const REPAIR: Duration = Duration::from_secs(1);
const REST: &str = "gallery-worker-rest";

/// The kinds of KEDA, as far as an API server has to know them.
fn definitions() -> Vec<CustomResourceDefinition> {
    let kinds = [
        ("ScaledObject", "scaledobjects"),
        ("TriggerAuthentication", "triggerauthentications"),
    ];
    let definition = |(kind, plural): (&str, &str)| {
        json!({
            "metadata": {"name": format!("{plural}.keda.sh")},
            "spec": {
                "group": "keda.sh", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }}}],
            },
        })
    };
    let definitions = kinds.into_iter().map(definition);
    definitions
        .map(|definition| serde_json::from_value(definition).expect("a definition"))
        .collect()
}

async fn install(plane: &ControlPlane) {
    let api: Api<CustomResourceDefinition> = Api::all(plane.client());
    for definition in definitions() {
        let made = api
            .create(&PostParams::default(), &definition)
            .await
            .expect("installed");
        let name = made.metadata.name.unwrap_or_default();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        timeout(DISCOVERY, established)
            .await
            .expect("in time")
            .expect("established");
    }
}

async fn uninstall(plane: &ControlPlane) {
    let api: Api<CustomResourceDefinition> = Api::all(plane.client());
    for definition in definitions() {
        let name = definition.metadata.name.unwrap_or_default();
        api.delete(&name, &DeleteParams::default())
            .await
            .expect("deleted");
        let gone = await_condition(api.clone(), &name, |found: Option<&CustomResourceDefinition>| {
            found.is_none()
        });
        timeout(DISCOVERY, gone).await.expect("in time").expect("gone");
    }
}

/// An object of the hub; `None` if it is not there, or the API server does not know the kind.
async fn found(world: &World, kind: Kind, name: &str) -> Option<Value> {
    let found = world.cluster.api(&kind.resource()).get_opt(name).await.ok()??;
    Some(serde_json::to_value(found).expect("JSON"))
}

/// Waits for a look at an object to tell something. Returns how long it took.
async fn until(
    world: &World,
    kind: Kind,
    name: &str,
    within: Duration,
    is: impl Fn(Option<&Value>) -> bool,
) -> Duration {
    let began = Instant::now();
    loop {
        if is(found(world, kind, name).await.as_ref()) {
            return began.elapsed();
        }
        assert!(began.elapsed() < within, "{kind:?} {name} after {within:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Somebody touches the hub now and then, and Kubernetes does what it does.
async fn live(world: &World) {
    let hubs = ApiResource::erase::<FlickrHub>(&());
    for number in 0_u64.. {
        world.cluster.settle().await;
        if number % 10 == 9 {
            let touch = json!({"metadata": {"annotations": {"example.org/touched": number.to_string()}}});
            world.merge(&hubs, HUB, &touch).await;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

fn watch_errors(registry: &Registry) -> Vec<String> {
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("metrics");
    let lines = text
        .lines()
        .filter(|line| line.starts_with("flickrhub_operator_watch_errors_total{"));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn what_is_done_to_objects_of_keda_is_repaired_at_once_and_a_cluster_without_keda_is_left_alone() {
    let plane = ControlPlane::start("keda").await;
    let world = World::new(&plane, "keda").await;
    world.apply(&credentials()).await.expect("a Secret");
    let mut wanted = hub();
    wanted["spec"]["autoscaling"] = json!({"provider": "KEDA"});
    world.apply(&wanted).await.expect("a hub");
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).expect("metrics");
    tokio::select! {
        () = controller::run(world.context(&plane.client()), metrics, std::future::pending()) => panic!("it ends"),
        () = live(&world) => {}
        () = come_and_go(&plane, &world, &registry) => {}
    }
}

/// KEDA comes, its objects are tampered with, and it goes.
async fn come_and_go(plane: &ControlPlane, world: &World, registry: &Registry) {
    let is_there = |object: Option<&Value>| object.is_some();
    until(world, Kind::HorizontalPodAutoscaler, REST, DISCOVERY, is_there).await;
    install(plane).await;
    let took = until(world, Kind::ScaledObject, REST, DISCOVERY, is_there).await;
    println!("KEDA was found in {took:?}");
    until(world, Kind::HorizontalPodAutoscaler, REST, DISCOVERY, |object| {
        object.is_none()
    })
    .await;
    // Until its watch has begun, too.
    sleep(Duration::from_secs(35)).await;

    let built = found(world, Kind::ScaledObject, REST).await.expect("it is there");
    let most = built["spec"]["maxReplicaCount"].clone();
    world
        .merge(
            &Kind::ScaledObject.resource(),
            REST,
            &json!({"spec": {"maxReplicaCount": 99}}),
        )
        .await;
    let edited = until(world, Kind::ScaledObject, REST, REPAIR, |object| {
        object.is_some_and(|object| object["spec"]["maxReplicaCount"] == most)
    });
    let edited = edited.await;
    world.delete(&Kind::ScaledObject.resource(), REST).await;
    let deleted = until(world, Kind::ScaledObject, REST, REPAIR, is_there).await;
    let login = "gallery-keda-login";
    world.delete(&Kind::TriggerAuthentication.resource(), login).await;
    let lost = until(world, Kind::TriggerAuthentication, login, REPAIR, is_there).await;
    println!("repaired in {edited:?} (edited), {deleted:?} (deleted), {lost:?} (login deleted)");
    assert_eq!(watch_errors(registry), [""; 0]);

    uninstall(plane).await;
    until(world, Kind::HorizontalPodAutoscaler, REST, DISCOVERY, is_there).await;
    let errors = watch_errors(registry);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        watch_errors(registry),
        errors,
        "the kinds are not asked for any more"
    );
}

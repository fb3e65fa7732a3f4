//! Changes that are planned, by the annotation and by the program: the plan is what the change does when it is made, and nothing
//! but the status of the hub is another one for it.

use flickrhub_operator::crd::FlickrHub;
use flickrhub_operator::plan::{Fate, plan};
use kube::api::ApiResource;
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::fault::{Asked, Line};
use crate::turn::Turn;
use crate::world::{HUB, World};

/// Asks for the plan of a change, and returns it.
async fn planned(world: &World, change: &str) -> String {
    let hubs = ApiResource::erase::<FlickrHub>(&());
    let ask = json!({"metadata": {"annotations": {"flickrhub.dev/plan": change}}});
    world.merge(&hubs, HUB, &ask).await;
    let asked = world.rest().await;
    let is_forbidden = |asked: &&Asked| {
        asked.is_write() && !asked.address.contains("dryRun=All") && !asked.address.contains("/status")
    };
    assert_eq!(asked.iter().find(is_forbidden), None, "{change}");
    let hub = world.hub().await.expect("a hub");
    hub["status"]["plan"]["text"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn a_plan_tells_what_a_change_would_do_and_does_nothing() {
    let plane = ControlPlane::start("planned").await;
    let world = World::new(&plane, "planned").await;
    Turn::Create.begin(&world).await;
    world.rest().await;
    let before = world.ending(true).await;
    let hub: FlickrHub = serde_json::from_value(world.hub().await.expect("a hub")).expect("a hub");
    let operator = world.operator(Line::default());
    let nothing = Box::pin(plan(&operator.ctx, hub)).await.expect("a plan");
    assert!(nothing.is_empty() && nothing.restarts.is_empty(), "{nothing}");

    assert!(planned(&world, "").await.contains("no object changes"));
    let text = planned(&world, "redis: {resources: {limits: {memory: 2Gi}}}").await;
    assert!(text.contains("change StatefulSet gallery-redis"), "{text}");
    // The first one leads, in this tier.
    let order = "gallery-redis-2, then gallery-redis-1, then gallery-redis-0 (leads)";
    assert!(text.contains(order), "{text}");
    let text = planned(&world, "redis: {storage: {size: 64Gi}}").await;
    assert!(text.contains("grow StatefulSet gallery-redis"), "{text}");
    for (wrong, word) in [
        ("redis: {replicas: 4}", "redis.replicas must be odd"),
        ("redis: {replicass: 5}", "replicass"),
        ("api: {replicas: many}", "spec.api.replicas"),
        ("redis: {storage: {size: 64Mi}}", "cannot shrink to 64Mi"),
        ("5", "flickrhub.dev/plan"),
    ] {
        let text = planned(&world, wrong).await;
        assert!(
            text.starts_with("There is no plan:") && text.contains(word),
            "{wrong}: {text}"
        );
    }
    let hubs = ApiResource::erase::<FlickrHub>(&());
    let withdraw = json!({"metadata": {"annotations": null}});
    world.merge(&hubs, HUB, &withdraw).await;
    world.rest().await;
    assert_eq!(
        world.ending(true).await.difference(&before),
        None,
        "nothing is left of it"
    );

    // What is planned is what happens.
    let change = json!({"redis": {"resources": {"limits": {"memory": "2Gi"}}}, "api": {"replicas": 3}});
    let mut wanted: FlickrHub = serde_json::from_value(world.hub().await.expect("a hub")).expect("a hub");
    let mut spec = serde_json::to_value(&wanted.spec).expect("JSON");
    spec["redis"]["resources"] = change["redis"]["resources"].clone();
    spec["api"]["replicas"] = json!(3);
    wanted.spec = serde_json::from_value(spec).expect("a spec");
    let told = Box::pin(plan(&operator.ctx, wanted)).await.expect("a plan");
    world.merge(&hubs, HUB, &json!({"spec": change})).await;
    let asked = world.rest().await;
    let applied = |name: &str| {
        asked
            .iter()
            .any(|asked| asked.method == "PATCH" && asked.address.contains(&format!("/{name}?")))
    };
    for step in &told.steps {
        assert!(matches!(step.fate, Fate::Changed(_)), "{told}");
        assert!(applied(&step.name), "{} was planned and not changed", step.name);
    }
    let sets = asked
        .iter()
        .filter(|asked| asked.method == "PATCH" && asked.address.contains("/statefulsets/"));
    let sets: Vec<&Asked> = sets.collect();
    assert!(
        sets.iter().all(|set| set.address.contains("gallery-redis")),
        "{sets:?}"
    );
}

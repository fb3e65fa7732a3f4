//! A hub at rest is not read object by object: what the watches tell is enough, also while a set waits until it may get
//! smaller.

use flickrhub_operator::apply::children::Seen;
use flickrhub_operator::build::Kind;
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::fault::{Asked, Line};
use crate::turn::Turn;
use crate::world::{Operator, World};

/// What the watches of an operator tell when they begin.
async fn watch(world: &World, operator: &Operator) {
    for kind in Kind::ALL.iter().filter(|kind| kind.resource().group != "keda.sh") {
        let children = &operator.ctx.children;
        children.see(*kind, Seen::Begin);
        for object in world.cluster.list(&kind.resource()).await {
            children.see(*kind, Seen::Listed(&object.metadata));
        }
        children.see(*kind, Seen::Complete);
    }
}

/// What one look asks of children, once the operator has seen everything.
async fn asked_at_rest(world: &World) -> Vec<Asked> {
    let operator = world.operator(Line::default());
    watch(world, &operator).await;
    world.round(&operator).await;
    watch(world, &operator).await;
    let round = world.round(&operator).await;
    assert!(round.is_quiet(), "{round:?}");
    let kinds: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| format!("/{}", kind.resource().plural))
        .collect();
    let is_of_child = |asked: &Asked| kinds.iter().any(|kind| asked.address.contains(kind));
    round.asked.into_iter().filter(is_of_child).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn a_hub_at_rest_costs_no_look_at_its_objects() {
    let plane = ControlPlane::start("idle").await;
    let world = World::new(&plane, "idle").await;
    Turn::Create.begin(&world).await;
    world.rest().await;
    assert_eq!(asked_at_rest(&world).await, []);

    Turn::AddMembers.begin(&world).await;
    world.rest().await;
    // Every other member is needed, so none is taken away.
    world.hold_members(true);
    Turn::RemoveMembers.begin(&world).await;
    world.rest().await;
    let (status, reason, message) = world.condition("RedisReady").await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "RolloutBlocked"),
        "{message}"
    );
    assert_eq!(asked_at_rest(&world).await, []);

    world.hold_members(false);
    world.rest().await;
    let set = world
        .cluster
        .api(&Kind::StatefulSet.resource())
        .get("gallery-redis")
        .await
        .expect("a set");
    assert_eq!(set.data["spec"]["replicas"], json!(3));
    assert_eq!(world.losses(), Vec::<String>::new());
}

//! Hubs that an older definition let in: they refer to what can have no name.

use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::turn::Turn;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn a_hub_with_what_is_no_name_is_told_so_and_its_status_is_not_left_as_it_was() {
    let plane = ControlPlane::start("misfit").await;
    let world = World::new(&plane, "misfit").await;
    Turn::Create.begin(&world).await;
    world.rest().await;
    let sound = world.hub().await.expect("a hub")["spec"].clone();
    let mut nameless = sound.clone();
    nameless["flickr"]["apps"] = json!([{"name": "main", "credentialsSecretRef": {"name": "a?watch=1"}}]);
    for (spec, is_stalled) in [(nameless, "True"), (sound, "False")] {
        world.smuggle_spec(&spec).await;
        world.rest().await;
        let hub = world.hub().await.expect("a hub");
        let (generation, observed) = (
            &hub["metadata"]["generation"],
            &hub["status"]["observedGeneration"],
        );
        assert_eq!(observed, generation, "{spec}");
        let (status, _, message) = world.condition("Stalled").await;
        assert_eq!(status, is_stalled, "{message}");
    }
}

//! Hubs that an older definition let in: they do not fit the schema, or refer to what can have no name.

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::turn::Turn;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn a_hub_that_does_not_fit_is_told_so_and_its_status_is_not_left_as_it_was() {
    let plane = ControlPlane::start("misfit").await;
    let world = World::new(&plane, "misfit").await;
    Turn::Create.begin(&world).await;
    world.rest().await;
    let sound = world.hub().await.expect("a hub")["spec"].clone();
    let changed = |field: &str, value: Value| {
        let mut spec = sound.clone();
        spec[field] = value;
        spec
    };
    let nameless = json!([{"name": "main", "credentialsSecretRef": {"name": "a?watch=1"}}]);
    for (spec, stalled) in [
        // A list can be read as an object, and the API server cannot take its fields apart.
        (changed("redis", json!([[]])), None),
        (changed("redis", json!(7)), Some("InvalidSpec")),
        (changed("flickr", json!({"apps": nameless})), Some("InvalidSpec")),
        (sound.clone(), None),
    ] {
        world.smuggle_spec(&spec).await;
        world.rest().await;
        let hub = world.hub().await.expect("a hub");
        let (generation, observed) = (
            &hub["metadata"]["generation"],
            &hub["status"]["observedGeneration"],
        );
        assert_eq!(observed, generation, "{spec}");
        let (status, reason, message) = world.condition("Stalled").await;
        match stalled {
            Some(expected) => assert_eq!(
                (status.as_str(), reason.as_str()),
                ("True", expected),
                "{message}"
            ),
            None => assert_eq!(status, "False", "{message}"),
        }
    }
}

//! More and fewer members of the data tier while clients submit jobs: one at a time, no request fails, volumes stay.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use flickrhub_e2e::cluster::{self, condition, hubs, ready};
use flickrhub_e2e::load::Load;
use flickrhub_e2e::scene;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

const SCALED_WITHIN: Duration = Duration::from_mins(8);

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn members_come_and_go_while_jobs_are_submitted_and_leave_their_volumes() {
    scene::play(|scene| async move {
        let namespace = cluster::namespace();
        let hubs = hubs(&scene.client, &namespace);
        let name = cluster::hub();
        let sets: Api<StatefulSet> = Api::namespaced(scene.client.clone(), &namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(scene.client.clone(), &namespace);
        let engines = ["redis", "mongodb", "rabbitmq"];
        ready(&hubs, &name, Duration::from_mins(3)).await;
        let user = scene.authorise("scaling", "read").await;
        let load = Load::start(&scene.gateway, &user);
        for members in [5, 3] {
            let spec = json!({"spec": {
                "redis": {"replicas": members}, "mongodb": {"members": members}, "rabbitmq": {"replicas": members},
            }});
            let began = tokio::time::Instant::now();
            hubs.patch(&name, &PatchParams::default(), &Patch::Merge(spec))
                .await
                .expect("the change is accepted");
            let hub = ready(&hubs, &name, SCALED_WITHIN).await;
            eprintln!("{members} members after {:?}", began.elapsed());
            for (engine, part) in engines.iter().zip(["RedisReady", "MongoDBReady", "RabbitMQReady"]) {
                let set = sets.get(&format!("{name}-{engine}")).await.unwrap();
                assert_eq!(set.spec.unwrap().replicas, Some(members), "{engine}");
                let told = condition(&hub, part).unwrap();
                assert_eq!(told.status, "True", "{engine}: {told:?}");
            }
        }
        for engine in engines {
            let claim = format!("data-{name}-{engine}-4");
            claims.get(&claim).await.unwrap_or_else(|error| panic!("{claim}: {error}"));
        }
        load.end(&scene.gateway).await;
    })
    .await;
}

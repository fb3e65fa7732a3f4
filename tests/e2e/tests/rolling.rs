//! A change of the data tier's pods while clients submit jobs: member by member, the leader last, and no request fails.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_e2e::cluster::{self, condition, hubs, ready};
use flickrhub_e2e::load::Load;
use flickrhub_e2e::scene;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// How long four engines of three members take on a small machine.
const ROLLED_WITHIN: Duration = Duration::from_mins(8);
const ENGINES: [&str; 4] = ["redis", "mongodb", "rabbitmq", "vault"];

/// The pods of an engine: their UIDs and when they were made.
async fn pods_of(client: &Client, engine: &str) -> BTreeMap<String, (String, Timestamp)> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &cluster::namespace());
    let selector = format!("app.kubernetes.io/component={engine}");
    let listed = pods.list(&ListParams::default().labels(&selector)).await.unwrap();
    let of = |pod: &Pod| {
        let made = pod.metadata.creation_timestamp.as_ref().expect("a time").0;
        (pod.name_any(), (pod.uid().expect("a UID"), made))
    };
    listed.items.iter().map(of).collect()
}

/// The pod that leads, by the word of the condition.
fn leader(hub: &DynamicObject, part: &str) -> String {
    let message = condition(hub, part).expect("a condition").message;
    let host = message.split_whitespace().next().unwrap_or_default();
    host.split('.').next().unwrap_or_default().to_owned()
}

/// Resources that the engines do not have yet.
fn change(hub: &DynamicObject) -> Value {
    let now = hub.data.pointer("/spec/redis/resources/requests/cpu");
    let cpu = if now == Some(&json!("51m")) { "52m" } else { "51m" };
    let resources = json!({"resources": {"requests": {"cpu": cpu}}});
    json!({"spec": {
        "redis": resources, "mongodb": resources, "rabbitmq": resources, "vault": {"managed": resources},
    }})
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_change_of_every_engine_goes_member_by_member_with_the_leader_last_and_no_request_fails() {
    scene::play(|scene| async move {
        let hubs = hubs(&scene.client, &cluster::namespace());
        let name = cluster::hub();
        let hub = ready(&hubs, &name, Duration::from_mins(3)).await;
        let user = scene.authorise("rolling", "read").await;
        let mut before = BTreeMap::new();
        for engine in ENGINES {
            before.insert(engine, pods_of(&scene.client, engine).await);
        }
        let leaders = [
            ("redis", leader(&hub, "RedisReady")),
            ("mongodb", leader(&hub, "MongoDBReady")),
        ];

        let load = Load::start(&scene.gateway, &user);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let began = tokio::time::Instant::now();
        hubs.patch(&name, &PatchParams::default(), &Patch::Merge(change(&hub)))
            .await
            .expect("the change is accepted");
        ready(&hubs, &name, ROLLED_WITHIN).await;
        eprintln!("every pod is replaced after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(3)).await;

        for engine in ENGINES {
            let after = pods_of(&scene.client, engine).await;
            assert_eq!(after.len(), before[engine].len());
            for (pod, (uid, _)) in &after {
                assert_ne!(*uid, before[engine][pod].0, "{pod} was not replaced");
            }
            let mut times: Vec<Timestamp> = after.values().map(|(_, made)| *made).collect();
            times.sort_unstable();
            times.dedup();
            assert_eq!(
                times.len(),
                after.len(),
                "two of {engine} at the same time: {after:?}"
            );
            if let Some((_, leader)) = leaders.iter().find(|(of, _)| *of == engine) {
                let last = times.last().copied();
                assert_eq!(Some(after[leader].1), last, "{leader} was not last: {after:?}");
            }
        }
        load.end(&scene.gateway).await;
    })
    .await;
}

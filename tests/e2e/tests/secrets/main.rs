//! Nothing that the hub writes down holds a secret, however much it is told to say: not its logs, nor what it stores in
//! MongoDB in plain, nor its metrics, nor any object in the cluster but Secrets.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod everything;
mod verbose;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use flickrhub_e2e::gateway::{job_id, photo, photo_form, send};
use flickrhub_e2e::leak::{Search, Secret};
use flickrhub_e2e::scene::{self, Scene, unique};
use flickrhub_e2e::{cluster, database, eventually};
use futures::FutureExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use reqwest::StatusCode;
use serde_json::{Value, json};

use verbose::Verbose;

/// What the flow met of secrets, by name.
#[derive(Default)]
struct Known(Vec<Secret>);

impl Known {
    fn add(&mut self, name: &str, value: &str) {
        self.0.extend(Secret::all_of(name, value.as_bytes()));
    }
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn no_secret_is_written_down_however_verbose_the_hub_is() {
    scene::play(|scene| async move {
        let verbose = Verbose::begin(&scene.client).await;
        let mut known = Known::default();
        let client = Client::declare(&scene).await;
        let flow = AssertUnwindSafe(async {
            let user = whole_flow(&scene, &client, &mut known).await;
            // What is written after the answer.
            tokio::time::sleep(Duration::from_secs(5)).await;
            (user, everything::metrics(&scene.client).await)
        });
        let flow = flow.catch_unwind().await;
        // The other tests' processes are not to be as verbose, whatever came of the flow.
        let logs = verbose.end().await;
        let (user, metrics) = flow.unwrap_or_else(|panic| resume_unwind(panic));
        known.0.extend(everything::secrets(&scene.client).await);
        let search = Search::of(&known.0);

        let mut found = BTreeSet::new();
        let mut look = |place: &str, bytes: &[u8]| {
            found.extend(
                search
                    .found_in(bytes)
                    .into_iter()
                    .map(|name| format!("{name} in {place}")),
            );
        };
        for (place, log) in &logs {
            for line in log.split(|byte| *byte == b'\n') {
                look(&format!("the log of {place}"), line);
            }
        }
        for (place, text) in &metrics {
            look(&format!("the metrics of {place}"), text.as_bytes());
        }
        let objects = everything::objects(&scene.client).await;
        for (place, text) in &objects {
            look(place, text.as_bytes());
        }
        let mongodb = database::of_the_hub(&scene.client).await;
        let mut documents = Vec::new();
        database::each_document(&mongodb, |collection, document| {
            look(&format!("the collection {collection}"), document);
            documents.push((collection.to_owned(), document.to_vec()));
        })
        .await;
        assert!(
            found.is_empty(),
            "{} secrets are written down: {found:#?}",
            found.len()
        );

        // The search finds what is there, in all of these places.
        let control = Search::of(&Secret::all_of("control", user.as_bytes()));
        let is_there = |bytes: &[u8]| !control.found_in(bytes).is_empty();
        assert!(
            documents
                .iter()
                .any(|(name, bytes)| name == "users" && is_there(bytes))
        );
        let verbose = |(place, log): &(String, Vec<u8>)| {
            let log = String::from_utf8_lossy(log);
            (log.contains(r#""level":"trace""#) || log.contains(r#""level":"debug""#)).then(|| place.clone())
        };
        let verbose: Vec<String> = logs.iter().filter_map(verbose).collect();
        for component in [
            "api",
            "worker-rest",
            "worker-upload",
            "callbacks",
            "dispatcher",
            "operator",
        ] {
            assert!(
                verbose.iter().any(|place| place.contains(component)),
                "{component}: {verbose:?}"
            );
        }
        assert!(logs.iter().any(|(_, log)| is_there(log)), "{user} is in no log");
        for kind in ["FlickrHub ", "FlickrHubClient ", "ConfigMap ", "Event ", "Pod "] {
            assert!(objects.iter().any(|(place, _)| place.starts_with(kind)), "{kind}");
        }
        client.leave(&user).await;
    })
    .await;
}

/// Everything that a client does, what goes well and what does not. Answers the user.
async fn whole_flow(scene: &Scene, client: &Client<'_>, known: &mut Known) -> String {
    let (key, signing_key) = client.keys(known).await;
    let gateway = scene.gateway.with_key(&key);
    let key_id = key.split('_').nth(1).expect("a key id").to_owned();

    let user = gateway.authorise(&unique("hygiene"), "delete").await;
    let sink = scene.sink("hygiene");
    let job = json!({
        "user_id": user, "method": "flickr.photos.search", "params": {"text": "lighthouse"},
        "callback_url": scene.mock.sink(&sink),
    });
    let done = gateway.finished(&gateway.submit(job).await).await;
    assert_eq!(done["state"], "succeeded", "{done}");
    eventually("the callback arrives", Duration::from_mins(1), || async {
        scene.mock.callbacks(&sink).await.into_iter().next()
    })
    .await;

    let answer = send(
        gateway
            .post("/api/v1/uploads")
            .multipart(photo_form(&user, photo(20_000))),
    )
    .await;
    let uploaded = gateway.finished(&job_id(&answer)).await;
    let photo_id = uploaded["result"]["photo_id"]
        .as_str()
        .expect("the photo's id")
        .to_owned();
    let form = photo_form(&user, photo(20_001));
    let answer = send(
        gateway
            .post(&format!("/api/v1/photos/{photo_id}/replace"))
            .multipart(form),
    )
    .await;
    gateway.finished(&job_id(&answer)).await;

    // What fails is told at length.
    scene
        .mock
        .fail(json!([
            {"match": {"method": "flickr.people.getInfo", "user": user}, "kind": "http_status", "status": 503, "times": 1},
            {"match": {"method": "flickr.photos.getInfo", "user": user}, "kind": "error_code", "code": 98, "times": 1},
        ]))
        .await;
    for method in ["flickr.people.getInfo", "flickr.photos.getInfo"] {
        let job = json!({"user_id": user, "method": method, "params": {"user_id": user, "photo_id": "1"}});
        gateway.finished(&gateway.submit(job).await).await;
    }

    let answer = send(gateway.signed_get("/api/v1/jobs", &key_id, &signing_key)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let wrong = "BbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbBbB";
    known.add("a wrong key", wrong);
    for key in [
        format!("fh_{key_id}_{wrong}"),
        format!("fh_unknown_{wrong}"),
        wrong.to_owned(),
    ] {
        let answer = send(scene.gateway.with_key(&key).get("/api/v1/jobs")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }

    let answer = send(gateway.post("/api/v1/callbacks/secret/rotate")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    known.add(
        "the rotated webhook secret",
        answer.body["secret"].as_str().expect("the new secret"),
    );
    client.rotate(&key_id).await;
    let (second, _) = client.keys(known).await;
    assert_ne!(key, second);

    let tokens = scene.mock.tokens(&user).await;
    assert!(!tokens.is_empty(), "the mock issued a token");
    for token in &tokens {
        known.add(
            "a token of a user",
            token["oauth_token"].as_str().expect("a text"),
        );
        known.add(
            "a token's secret",
            token["oauth_token_secret"].as_str().expect("a text"),
        );
    }
    user
}

/// A client that is declared for the test.
struct Client<'a> {
    scene: &'a Scene,
    resources: Api<DynamicObject>,
    name: String,
}

impl<'a> Client<'a> {
    async fn declare(scene: &'a Scene) -> Self {
        let kind = GroupVersionKind::gvk("flickrhub.dev", "v1alpha1", "FlickrHubClient");
        let resource = ApiResource::from_gvk_with_plural(&kind, "flickrhubclients");
        let resources = Api::namespaced_with(scene.client.clone(), &cluster::namespace(), &resource);
        let name = unique("hygiene");
        let client: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "flickrhub.dev/v1alpha1",
            "kind": "FlickrHubClient",
            "metadata": {"name": name},
            "spec": {
                "hubRef": {"name": cluster::hub()},
                "scopes": ["jobs:read", "jobs:write", "uploads:write", "users:write", "callbacks:write", "audit:read"],
            },
        }))
        .expect("an object");
        resources
            .create(&PostParams::default(), &client)
            .await
            .expect("a new client");
        let client = Self {
            scene,
            resources,
            name,
        };
        client.has_another_key_than("").await;
        client
    }

    /// The key and the signing key in the Secret.
    async fn keys(&self, known: &mut Known) -> (String, String) {
        let secret = format!("{}-key", self.name);
        for entry in ["api-key", "signing-key", "webhook-secret"] {
            let value = cluster::secret(&self.scene.client, &secret, entry).await;
            known.add(&format!("{entry} of the client"), &value);
        }
        (
            cluster::secret(&self.scene.client, &secret, "api-key").await,
            cluster::secret(&self.scene.client, &secret, "signing-key").await,
        )
    }

    async fn rotate(&self, key_id: &str) {
        let patch = json!({"metadata": {"annotations": {"flickrhub.dev/rotate": unique("now")}}});
        self.resources
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the client can be patched");
        self.has_another_key_than(key_id).await;
    }

    async fn has_another_key_than(&self, key_id: &str) {
        eventually("the client has a new key", Duration::from_mins(1), || async {
            let client = self.resources.get(&self.name).await.ok()?;
            let ready = cluster::condition(&client, "Ready").is_some_and(|ready| ready.status == "True");
            let key = client.data.pointer("/status/keyId").and_then(Value::as_str)?;
            (ready && key != key_id).then_some(())
        })
        .await;
    }

    /// The user and the client go.
    async fn leave(self, user: &str) {
        let (key, _) = self.keys(&mut Known::default()).await;
        let gateway = self.scene.gateway.with_key(&key);
        let answer = send(gateway.delete(&format!("/api/v1/users/{user}/token"))).await;
        assert!(answer.status.is_success(), "{answer:?}");
        let deleted = self.resources.delete(&self.name, &DeleteParams::default()).await;
        deleted.expect("the client can be deleted");
    }
}

//! A client that is declared: its key holds, is rotated with an overlap, and is refused once the client is deleted.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use flickrhub_e2e::gateway::{Gateway, send};
use flickrhub_e2e::scene::{self, unique};
use flickrhub_e2e::{cluster, database, eventually};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use mongodb::bson::{DateTime, Document, doc};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// How long the operator may take.
const SOON: Duration = Duration::from_mins(1);
/// How long a key that was used a moment ago may still be accepted after it is taken out (docs/clients.md), and a little.
const FORGOTTEN: Duration = Duration::from_secs(5 + 10);

fn clients(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("flickrhub.dev", "v1alpha1", "FlickrHubClient");
    let resource = ApiResource::from_gvk_with_plural(&kind, "flickrhubclients");
    Api::namespaced_with(client.clone(), &cluster::namespace(), &resource)
}

/// Waits until the client is Ready with another key than `before`; answers the id of its key.
async fn key_other_than(clients: &Api<DynamicObject>, name: &str, before: &str) -> String {
    eventually(&format!("FlickrHubClient/{name} has a new key"), SOON, || async {
        let client = clients.get(name).await.ok()?;
        let ready = cluster::condition(&client, "Ready").is_some_and(|ready| ready.status == "True");
        let key = client.data.pointer("/status/keyId").and_then(Value::as_str)?;
        (ready && key != before).then(|| key.to_owned())
    })
    .await
}

/// What the API says to a request with the key.
async fn status(gateway: &Gateway) -> StatusCode {
    send(gateway.get("/api/v1/jobs?limit=1")).await.status
}

async fn rotate(clients: &Api<DynamicObject>, name: &str, overlap_hours: u32) {
    let patch = json!({
        "metadata": {"annotations": {"flickrhub.dev/rotate": unique("now")}},
        "spec": {"rotation": {"overlapHours": overlap_hours}},
    });
    clients
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("the client can be patched");
}

async fn refused(gateway: &Gateway, what: &str) {
    eventually(what, FORGOTTEN, || async {
        (status(gateway).await == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_declared_client_has_a_key_that_is_rotated_with_an_overlap_and_revoked_with_it() {
    scene::play(|scene| async move {
        let clients = clients(&scene.client);
        let name = unique("declared");
        let resource: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "flickrhub.dev/v1alpha1",
            "kind": "FlickrHubClient",
            "metadata": {"name": name},
            "spec": {
                "hubRef": {"name": cluster::hub()},
                "scopes": ["jobs:read"],
                "rotation": {"overlapHours": 1},
            },
        }))
        .expect("an object");
        clients
            .create(&PostParams::default(), &resource)
            .await
            .expect("a new client");

        let secret_name = format!("{name}-key");
        let first_id = key_other_than(&clients, &name, "").await;
        let key = cluster::secret(&scene.client, &secret_name, "api-key").await;
        assert!(
            key.starts_with(&format!("fh_{first_id}_")),
            "the status names the key"
        );
        let webhook_secret = cluster::secret(&scene.client, &secret_name, "webhook-secret").await;
        assert!(webhook_secret.starts_with("whsec_"));
        let first = scene.gateway.with_key(&key);
        assert_eq!(status(&first).await, StatusCode::OK);
        // It has the scope that was declared, and no other.
        let job = json!({"user_id": "1@N01", "method": "flickr.test.echo"});
        assert_eq!(
            send(first.post("/api/v1/jobs").json(&job)).await.status,
            StatusCode::FORBIDDEN
        );

        // It signs, with what stands beside its key.
        let signing_key = cluster::secret(&scene.client, &secret_name, "signing-key").await;
        let signed = |gateway: &Gateway, id: &str, key: &str| gateway.signed_get("/api/v1/jobs", id, key);
        let answer = send(signed(&first, &first_id, &signing_key)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");

        // Neither the keys nor the webhook secret is in MongoDB.
        let database = database::of_the_hub(&scene.client).await;
        let secret = key.rsplit('_').next().expect("a secret");
        for plain in [secret, &signing_key, &webhook_secret] {
            let found = database::collections_with(&database, plain).await;
            assert!(found.is_empty(), "{found:?}");
        }

        rotate(&clients, &name, 1).await;
        let second_id = key_other_than(&clients, &name, &first_id).await;
        let second = scene
            .gateway
            .with_key(&cluster::secret(&scene.client, &secret_name, "api-key").await);
        assert_eq!(status(&second).await, StatusCode::OK);
        assert_eq!(status(&first).await, StatusCode::OK, "the overlap has begun");
        let second_signing_key = cluster::secret(&scene.client, &secret_name, "signing-key").await;
        assert_ne!(signing_key, second_signing_key);
        for (id, key, expected) in [
            (&first_id, &signing_key, StatusCode::OK),
            (&second_id, &second_signing_key, StatusCode::OK),
            (&second_id, &signing_key, StatusCode::UNAUTHORIZED),
        ] {
            assert_eq!(send(signed(&first, id, key)).await.status, expected);
        }

        // The end of the overlap comes early.
        let documents = database.collection::<Document>("clients");
        let ended = doc! { "$set": { "keys.$.not_after": DateTime::now() } };
        documents
            .update_one(doc! { "_id": &name, "keys.id": &first_id }, ended)
            .await
            .expect("MongoDB answers");
        rotate(&clients, &name, 0).await;
        key_other_than(&clients, &name, &second_id).await;
        let third = scene
            .gateway
            .with_key(&cluster::secret(&scene.client, &secret_name, "api-key").await);
        refused(&first, "the first key is refused after its overlap").await;
        refused(&second, "the second key, which had no overlap, is refused").await;
        assert_eq!(status(&third).await, StatusCode::OK);

        clients
            .delete(&name, &DeleteParams::default())
            .await
            .expect("the client can be deleted");
        refused(&third, "the key of a deleted client is refused").await;
        let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), &cluster::namespace());
        eventually("the Secret goes with its client", SOON, || async {
            secrets.get_opt(&secret_name).await.ok()?.is_none().then_some(())
        })
        .await;
        documents
            .delete_one(doc! { "_id": &name })
            .await
            .expect("MongoDB answers");
    })
    .await;
}

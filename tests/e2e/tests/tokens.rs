//! A user's token is nowhere in MongoDB but as a ciphertext of Vault, and moves to another version of its key.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use flickrhub_e2e::{cluster, database, scene};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use reqwest::Certificate;
use serde_json::{Value, json};

const KEY: &str = "flickrhub-user-tokens";
/// A look at the keys, and the rewrap of what a few tests have stored.
const REWRAP: Duration = Duration::from_mins(3);

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_token_is_stored_encrypted_and_its_plain_text_nowhere() {
    scene::play(|scene| async move {
        let user = scene.authorise("secretive", "read").await;
        // The token has been used: what a worker does with it must leave no trace of it either.
        let job = json!({"user_id": user, "method": "flickr.test.login"});
        let job = scene.gateway.finished(&scene.gateway.submit(job).await).await;
        assert_eq!(job["state"], "succeeded", "{job}");

        let database = database::of_the_hub(&scene.client).await;
        let stored = database::document(&database, "users", &user).await;
        for field in ["token", "token_secret"] {
            let ciphertext = stored.get_str(field).expect("a text");
            assert!(ciphertext.starts_with("vault:v"), "{field}");
        }

        let issued = scene.mock.tokens(&user).await;
        assert_eq!(issued.len(), 1, "the mock issued one token");
        for part in ["oauth_token", "oauth_token_secret"] {
            let plain = issued[0][part].as_str().expect("a text");
            assert!(plain.len() >= 16, "long enough not to be found by chance");
            let found = database::collections_with(&database, plain).await;
            assert!(found.is_empty(), "{part} is in {found:?}");
        }
        // The search finds what is there.
        let found = database::collections_with(&database, &user).await;
        assert!(found.contains(&"users".to_owned()), "{found:?}");
    })
    .await;
}

/// What the status says of the key; `None` before the first look.
async fn status(hubs: &Api<DynamicObject>) -> Option<Value> {
    let hub = hubs.get(&cluster::hub()).await.ok()?;
    let keys = hub.data.pointer("/status/transitKeys")?.as_array()?;
    keys.iter().find(|key| key["name"] == KEY).cloned()
}

/// Gives the key a new version, as a person does after a suspicion.
async fn rotate(client: &Client) {
    let (hub, namespace) = (cluster::hub(), cluster::namespace());
    let authorities = cluster::authorities(client).await;
    let authorities = Certificate::from_pem_bundle(authorities.as_bytes()).expect("PEM");
    let http = reqwest::Client::builder().tls_certs_only(authorities).build();
    let token = cluster::secret(client, &format!("{hub}-vault-keys"), "root-token").await;
    let address =
        format!("https://{hub}-vault.{namespace}.svc.cluster.local:8200/v1/transit/keys/{KEY}/rotate");
    let request = http.expect("a client").post(address);
    let answer = request.header("X-Vault-Token", token.trim()).send().await;
    let answer = answer.expect("OpenBao answers");
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// Days between two rotations. Another number has the operator look at the keys at once, instead of within minutes.
async fn set_days(hubs: &Api<DynamicObject>, days: &Value) {
    let patch = json!({"spec": {"vault": {"keyRotationDays": days}}});
    hubs.patch(&cluster::hub(), &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("the hub can be changed");
}

async fn until_rewrapped(hubs: &Api<DynamicObject>, version: u64) -> Value {
    loop {
        if let Some(key) = status(hubs).await
            && key["version"] == version
            && key["remaining"] == 0
        {
            return key;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn the_status_tells_of_a_rotation_until_no_stored_token_is_of_an_older_version() {
    scene::play(|scene| async move {
        let user = scene.authorise("rotated", "read").await;
        let hubs = cluster::hubs(&scene.client, &cluster::namespace());
        let before = status(&hubs)
            .await
            .expect("a hub that is Ready tells of its keys");
        let version = before["version"].as_u64().expect("a number") + 1;
        let hub = hubs.get(&cluster::hub()).await.expect("the hub");
        let days = hub.data["spec"]["vault"]["keyRotationDays"]
            .as_u64()
            .expect("a number");

        rotate(&scene.client).await;
        set_days(&hubs, &(days + 1).into()).await;
        let rewrapped = tokio::time::timeout(REWRAP, until_rewrapped(&hubs, version)).await;
        set_days(&hubs, &days.into()).await;
        let Ok(key) = rewrapped else {
            panic!("not within {REWRAP:?}: {:?}", status(&hubs).await);
        };

        // Older versions decrypt until nothing of them can be on its way: for two hours.
        assert_eq!(key["oldestUsableVersion"], before["oldestUsableVersion"], "{key}");
        assert_ne!(key["rotatedAt"], before["rotatedAt"], "{key}");
        assert_eq!(key.get("rewrappedAt"), None, "{key}");
        let hub = hubs.get(&cluster::hub()).await.expect("the hub");
        let condition = cluster::condition(&hub, "KeysRotated").expect("the condition");
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            ("True", "Rewrapping"),
            "{condition:?}"
        );

        let database = database::of_the_hub(&scene.client).await;
        let stored = database::document(&database, "users", &user).await;
        for field in ["token", "token_secret"] {
            let ciphertext = stored.get_str(field).expect("a text");
            assert!(ciphertext.starts_with(&format!("vault:v{version}:")), "{field}");
        }
        let job = json!({"user_id": user, "method": "flickr.test.login"});
        let job = scene.gateway.finished(&scene.gateway.submit(job).await).await;
        assert_eq!(job["state"], "succeeded", "{job}");
    })
    .await;
}

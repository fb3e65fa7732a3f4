//! Signatures, revocation and allowlists over the real data tier.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flickrhub_job::signing_key::{new_signing_key, signing_key_bytes};
use flickrhub_job::vault::TransitKey;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use mongodb::bson::{Document, doc};
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::hub::{Answer, Hub};

/// Changes the document of the hub's client.
async fn change_client(hub: &Hub, update: Document) {
    let clients = hub.database.collection::<Document>("clients");
    let changed = clients
        .update_one(doc! { "_id": &hub.client_id }, update)
        .await
        .unwrap();
    assert_eq!(changed.matched_count, 1);
}

/// Gives the client's key a signing secret.
async fn let_sign(hub: &Hub) -> SecretString {
    let secret = new_signing_key();
    let vault = &hub.state.data().unwrap().vault;
    let encrypted = vault.encrypt(TransitKey::AppCredentials, &hub.client_id, &secret);
    let ciphertext = encrypted.await.unwrap();
    change_client(hub, doc! { "$set": { "keys.0.hmac_secret": ciphertext } }).await;
    secret
}

/// A signed request with a JSON body, as a client library would make it.
fn signed(hub: &Hub, secret: &SecretString, path: &str, nonce: &str, body: &str) -> reqwest::RequestBuilder {
    let key_id = hub.api_key.split('_').nth(1).unwrap();
    let authority = hub.base.strip_prefix("http://").unwrap();
    let digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)));
    let params = format!(
        r#"("@method" "@authority" "@path" "@query" "content-digest");created={};nonce="{nonce}";keyid="{key_id}";alg="hmac-sha256""#,
        Timestamp::now().as_second()
    );
    let base = format!(
        "\"@method\": POST\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": ?\n\
         \"content-digest\": {digest}\n\"@signature-params\": {params}"
    );
    let key = signing_key_bytes(secret).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(base);
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    hub.client
        .post(format!("{}{path}", hub.base))
        .header("Content-Type", "application/json")
        .header("Content-Digest", digest)
        .header("Signature-Input", format!("sig1={params}"))
        .header("Signature", format!("sig1=:{signature}:"))
        .body(body.to_owned())
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_signed_job_is_accepted_once() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let secret = let_sign(&hub).await;
    let body = json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": "5"}})
        .to_string();
    let nonce = Uuid::now_v7().to_string();
    let request = || signed(&hub, &secret, "/api/v1/jobs", &nonce, &body);
    assert_eq!(send(request()).await.status, 202);
    let again = send(request()).await;
    assert_eq!((again.status, again.code()), (401, "signature_refused"));
    assert!(again.body["detail"].as_str().unwrap().contains("nonce"));

    let other = new_signing_key();
    let by_another = signed(&hub, &other, "/api/v1/jobs", "another", &body);
    assert_eq!(send(by_another).await.code(), "signature_refused");
    let changed = signed(&hub, &secret, "/api/v1/jobs", "changed", &body).body(body.replace('5', "6"));
    assert_eq!(send(changed).await.code(), "content_digest_mismatch");
    assert_eq!(hub.stored_jobs().await.len(), 1);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_photo_that_is_not_the_one_of_the_digest_is_not_kept() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("write").await;
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe0];
    jpeg.resize(400_000, 7);
    let part = reqwest::multipart::Part::bytes(jpeg)
        .file_name("digest.jpg")
        .mime_str("image/jpeg")
        .unwrap();
    let form = reqwest::multipart::Form::new()
        .text("user_id", user_id)
        .part("photo", part);
    let request = hub
        .request("POST /api/v1/uploads")
        .header("Content-Digest", "sha-256=:AAAA:");
    let answer = send(request.multipart(form)).await;
    assert_eq!((answer.status, answer.code()), (400, "content_digest_mismatch"));
    assert_eq!(hub.stored_jobs().await, []);
    hub.no_piece_is_left().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_revoked_key_is_refused_within_five_seconds_and_its_streams_end() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let job = hub.running_job(&user_id).await;
    let mut stream = hub
        .request(&format!("GET /api/v1/jobs/{job}/events"))
        .send()
        .await
        .unwrap();
    assert_eq!(stream.status(), 200);
    assert!(stream.chunk().await.unwrap().is_some());
    change_client(&hub, doc! { "$set": { "keys": [] } }).await;
    let revoked = Instant::now();
    let ends = async { while let Ok(Some(_)) = stream.chunk().await {} };
    let refused = async {
        while hub.ask("GET /api/v1/jobs").await.status != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        revoked.elapsed()
    };
    let (refused_after, ended) = tokio::join!(refused, tokio::time::timeout(Duration::from_secs(6), ends));
    assert!(refused_after < Duration::from_secs(5), "{refused_after:?}");
    assert!(ended.is_ok(), "the stream goes on");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_client_with_a_list_calls_from_its_networks_only() {
    let hub = Hub::start(|config| config.api.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    change_client(&hub, doc! { "$set": { "allowed_networks": ["198.51.100.0/24"] } }).await;
    let from = async |address: &str| {
        let request = hub.request("GET /api/v1/jobs").header("X-Forwarded-For", address);
        send(request).await
    };
    assert_eq!(from("198.51.100.7").await.status, 200);
    assert_eq!(from("203.0.113.9, 198.51.100.7").await.status, 200);
    let answer = from("198.51.100.7, 203.0.113.9").await;
    assert_eq!((answer.status, answer.code()), (403, "address_not_allowed"));
    assert_eq!(hub.ask("GET /api/v1/jobs").await.status, 403, "the proxy itself");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_flood_of_wrong_keys_does_not_hold_up_a_client_at_work() {
    let hub = Hub::start(|_| {}).await;
    assert_eq!(hub.ask("GET /api/v1/jobs").await.status, 200);
    let guesses = (0..300).map(|guess| {
        let url = format!("{}/api/v1/jobs", hub.base);
        hub.client
            .get(url)
            .bearer_auth(format!("{}{guess}", hub.api_key))
            .send()
    });
    let flood = futures::future::join_all(guesses);
    let at_work = async {
        let started = Instant::now();
        for _ in 0..20 {
            assert_eq!(hub.ask("GET /api/v1/jobs").await.status, 200);
        }
        started.elapsed()
    };
    let (answers, took) = tokio::join!(flood, at_work);
    let statuses: Vec<u16> = answers
        .into_iter()
        .map(|answer| answer.unwrap().status().as_u16())
        .collect();
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 429)),
        "{statuses:?}"
    );
    assert!(
        statuses.iter().filter(|status| **status == 429).count() > 250,
        "{statuses:?}"
    );
    assert!(took < Duration::from_secs(10), "{took:?}");
}

//! A Flickr call made over HTTP comes back as a result.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use flickrhub_e2e::gateway::{job_id, photo, photo_form, send};
use flickrhub_e2e::mock::delivered_header;
use flickrhub_e2e::scene;
use flickrhub_e2e::{cluster, eventually};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use standardwebhooks::Webhook;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_rest_call_comes_back_as_flickrs_answer_and_keeps_its_trace() {
    scene::play(|scene| async move {
        let (gateway, mock) = (&scene.gateway, &scene.mock);
        let user = scene.authorise("trace", "read").await;
        let sink = scene.sink("trace");
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let request = gateway
            .post("/api/v1/jobs")
            .header("X-Trace-Id", trace)
            .json(&json!({
                "user_id": user, "method": "flickr.photos.search", "params": {"text": "lighthouse", "per_page": 2},
                "callback_url": mock.sink(&sink),
            }));
        let answer = send(request).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.header("x-trace-id"), trace, "{answer:?}");
        assert_eq!(answer.body["trace_id"], trace, "{answer:?}");
        assert_eq!(answer.body["queue"], "flickr_rest");

        let job = gateway.finished(&job_id(&answer)).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        assert_eq!(job["attempts"], 1);
        assert_eq!(job["trace_id"], trace);
        assert!(job["result"]["photos"]["photo"].is_array(), "{job}");

        // The parent of a call is another one each time; the trace that it belongs to stays.
        let continues = |traceparent: Option<&str>| {
            traceparent.is_some_and(|text| text.starts_with(&format!("00-{trace}-")))
        };
        let calls = mock.calls(&user, "flickr.photos.search").await;
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(calls[0]["trace_id"], trace, "{calls:?}");
        assert!(continues(calls[0]["traceparent"].as_str()), "{calls:?}");

        let delivery = eventually("the callback arrives", Duration::from_secs(30), || async {
            mock.callbacks(&sink).await.into_iter().next()
        })
        .await;
        assert_eq!(
            delivered_header(&delivery, "x-trace-id"),
            Some(trace),
            "{delivery}"
        );
        assert!(
            continues(delivered_header(&delivery, "traceparent")),
            "{delivery}"
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn an_upload_and_its_replacement_reach_flickr_byte_for_byte() {
    const LENGTH: usize = 3 * 1024 * 1024;
    scene::play(|scene| async move {
        let (gateway, mock) = (&scene.gateway, &scene.mock);
        let user = scene.authorise("uploader", "write").await;
        let (first, second) = (photo(LENGTH), photo(LENGTH + 1));
        let at_flickr = async |id: &str| {
            let mut photos = mock.photos().await.into_iter();
            photos
                .find(|entry| entry["id"] == id)
                .expect("Flickr has the photo")
        };

        let form = photo_form(&user, first.clone()).text("title", "Lighthouse & more: ü");
        let answer = send(gateway.post("/api/v1/uploads").multipart(form)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.body["queue"], "flickr_upload");
        let uploaded = gateway.finished(&job_id(&answer)).await;
        assert_eq!(uploaded["state"], "succeeded", "{uploaded}");
        let id = uploaded["result"]["photo_id"].as_str().expect("the photo's id");
        let stored = at_flickr(id).await;
        assert_eq!(stored["owner"], user.as_str(), "{stored}");
        assert_eq!(stored["bytes"], LENGTH, "{stored}");
        assert_eq!(stored["sha256"], sha256(&first).as_str(), "{stored}");
        assert_eq!(stored["title"], "Lighthouse & more: ü", "{stored}");

        let path = format!("/api/v1/photos/{id}/replace");
        let form = photo_form(&user, second.clone());
        let answer = send(gateway.post(&path).multipart(form)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.body["queue"], "flickr_replace");
        let replaced = gateway.finished(&job_id(&answer)).await;
        assert_eq!(replaced["state"], "succeeded", "{replaced}");
        let stored = at_flickr(id).await;
        assert_eq!(stored["bytes"], LENGTH + 1, "{stored}");
        assert_eq!(stored["sha256"], sha256(&second).as_str(), "{stored}");
        assert_eq!(stored["replaced"], 1, "{stored}");
        assert_eq!(stored["title"], "Lighthouse & more: ü", "{stored}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_passing_failure_is_retried_and_a_lasting_one_is_not() {
    scene::play(|scene| async move {
    let (gateway, mock) = (&scene.gateway, &scene.mock);
    let user = scene.authorise("unlucky", "read").await;
    mock.fail(json!([
        {"match": {"method": "flickr.people.getInfo", "user": user}, "kind": "http_status", "status": 503, "times": 1},
        {"match": {"method": "flickr.photos.getInfo", "user": user}, "kind": "error_code", "code": 1, "times": 1},
    ]))
    .await;

    let person = json!({"user_id": user, "method": "flickr.people.getInfo", "params": {"user_id": user}});
    let job = gateway.finished(&gateway.submit(person).await).await;
    assert_eq!(
        (&job["state"], &job["attempts"]),
        (&json!("succeeded"), &json!(2)),
        "{job}"
    );

    let photo = json!({"user_id": user, "method": "flickr.photos.getInfo", "params": {"photo_id": "1"}});
    let job = gateway.finished(&gateway.submit(photo).await).await;
    assert_eq!(
        (&job["state"], &job["attempts"]),
        (&json!("failed"), &json!(1)),
        "{job}"
    );
    assert_eq!(job["error"]["flickr_code"], 1, "{job}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_finished_job_is_announced_by_a_signed_webhook() {
    scene::play(|scene| async move {
        let (gateway, mock) = (&scene.gateway, &scene.mock);
        let user = scene.authorise("listener", "read").await;
        let sink = scene.sink("listener");
        let job = gateway
            .submit(json!({"user_id": user, "method": "flickr.test.login", "callback_url": mock.sink(&sink)}))
            .await;

        let received = eventually("the callback arrives", Duration::from_secs(30), || async {
            mock.callbacks(&sink).await.into_iter().next()
        })
        .await;
        let body = received["body"].as_str().expect("a body");
        let mut headers = HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let value = delivered_header(&received, name).expect("a signed webhook");
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).expect("a header"),
            );
        }
        let name = format!("{}-client-default", cluster::hub());
        let secret = cluster::secret(&scene.client, &name, "webhook-secret").await;
        Webhook::new(&secret)
            .expect("a secret")
            .verify(body.as_bytes(), &headers)
            .expect("the signature is right");
        let event: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(event["data"]["job_id"], job.as_str(), "{event}");
        assert_eq!(event["data"]["state"], "succeeded", "{event}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn another_key_is_refused_and_sees_nothing() {
    scene::play(|scene| async move {
        let gateway = &scene.gateway;
        let user = scene.authorise("private", "read").await;
        let job = gateway
            .submit(json!({"user_id": user, "method": "flickr.test.login"}))
            .await;
        let stranger = gateway.with_key("fh_nobody_0123456789abcdef0123456789abcdef");
        let answer = send(stranger.get(&format!("/api/v1/jobs/{job}"))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        assert_eq!(answer.code(), "unauthenticated");
        assert_eq!(answer.media_type(), "application/problem+json");
    })
    .await;
}

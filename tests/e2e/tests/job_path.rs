//! A Flickr call made over HTTP comes back as a result.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use flickrhub_e2e::gateway::{Gateway, job_id, photo_form, send};
use flickrhub_e2e::mock::Mock;
use flickrhub_e2e::{cluster, eventually};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

/// The calls of a method that the mock has seen from one user.
async fn calls(mock: &Mock, user: &str, method: &str) -> Vec<Value> {
    let seen = mock.log().await;
    seen.into_iter()
        .filter(|call| call["method"] == method && call["user"] == user)
        .collect()
}

/// A header of a delivery, which the mock lists as pairs of name and value.
fn header<'a>(delivery: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = delivery["headers"].as_array()?;
    pairs.iter().find(|pair| pair[0] == name)?[1].as_str()
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_rest_call_comes_back_as_flickrs_answer_and_keeps_its_trace() {
    let (gateway, mock) = (Gateway::of_the_hub().await, Mock::of_the_hub());
    let user = gateway.authorise("trace", "read").await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = gateway
        .post("/api/v1/jobs")
        .header("X-Trace-Id", trace)
        .json(&json!({
            "user_id": user, "method": "flickr.photos.search", "params": {"text": "lighthouse", "per_page": 2}
        }));
    let answer = send(request).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.body["queue"], "flickr_rest");
    let job = gateway.finished(&job_id(&answer)).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["attempts"], 1);
    assert_eq!(job["trace_id"], trace);
    assert!(job["result"]["photos"]["photo"].is_array(), "{job}");
    let calls = calls(&mock, &user, "flickr.photos.search").await;
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].to_string().contains(trace), "{calls:?}");
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn an_upload_and_its_replacement_reach_flickr_byte_for_byte() {
    const LENGTH: usize = 3 * 1024 * 1024;
    let (gateway, mock) = (Gateway::of_the_hub().await, Mock::of_the_hub());
    let user = gateway.authorise("uploader", "write").await;

    let form = photo_form(&user, LENGTH).text("title", "Lighthouse & more: ü");
    let answer = send(gateway.post("/api/v1/uploads").multipart(form)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.body["queue"], "flickr_upload");
    let uploaded = gateway.finished(&job_id(&answer)).await;
    assert_eq!(uploaded["state"], "succeeded", "{uploaded}");
    let photo = uploaded["result"]["photo_id"]
        .as_str()
        .expect("the photo's id")
        .to_owned();

    let path = format!("/api/v1/photos/{photo}/replace");
    let answer = send(gateway.post(&path).multipart(photo_form(&user, LENGTH + 1))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.body["queue"], "flickr_replace");
    let replaced = gateway.finished(&job_id(&answer)).await;
    assert_eq!(replaced["state"], "succeeded", "{replaced}");

    let photos = mock.photos().await;
    let stored = photos
        .iter()
        .find(|entry| entry["id"] == photo.as_str())
        .expect("Flickr has the photo");
    assert_eq!(stored["bytes"], LENGTH + 1, "{stored}");
    assert_eq!(stored["title"], "Lighthouse & more: ü", "{stored}");
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_passing_failure_is_retried_and_a_lasting_one_is_not() {
    let (gateway, mock) = (Gateway::of_the_hub().await, Mock::of_the_hub());
    let user = gateway.authorise("unlucky", "read").await;
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
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_finished_job_is_announced_by_a_signed_webhook() {
    let (gateway, mock) = (Gateway::of_the_hub().await, Mock::of_the_hub());
    let user = gateway.authorise("listener", "read").await;
    let sink = format!("listener-{}", user.replace('@', "-"));
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
        let value = header(&received, name).expect("a signed webhook");
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).expect("a header"),
        );
    }
    let client = cluster::client().await;
    let name = format!("{}-client-default", cluster::hub());
    let secret = cluster::secret(&client, &name, "webhook-secret").await;
    Webhook::new(&secret)
        .expect("a secret")
        .verify(body.as_bytes(), &headers)
        .expect("the signature is right");
    let event: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(event["data"]["job_id"], job.as_str(), "{event}");
    assert_eq!(event["data"]["state"], "succeeded", "{event}");
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn another_key_is_refused_and_sees_nothing() {
    let gateway = Gateway::of_the_hub().await;
    let user = gateway.authorise("private", "read").await;
    let job = gateway
        .submit(json!({"user_id": user, "method": "flickr.test.login"}))
        .await;
    let stranger = gateway.with_key("fh_nobody_0123456789abcdef0123456789abcdef");
    let answer = send(stranger.get(&format!("/api/v1/jobs/{job}"))).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert_eq!(answer.media_type, "application/problem+json");
}

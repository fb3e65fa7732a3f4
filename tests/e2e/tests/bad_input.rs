//! Bad input gets a problem that names the field, and stores nothing.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use flickrhub_e2e::gateway::{Gateway, photo_form, send};
use reqwest::StatusCode;
use reqwest::multipart::Form;
use serde_json::{Value, json};

/// The number of jobs of a user.
async fn jobs_of(gateway: &Gateway, user: &str) -> usize {
    let answer = send(gateway.get(&format!("/api/v1/jobs?user_id={user}"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["jobs"].as_array().expect("a list of jobs").len()
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn every_bad_job_is_refused_by_the_name_of_its_field() {
    let gateway = Gateway::of_the_hub().await;
    let user = gateway.authorise("careless", "read").await;
    let job = |method: &str, params: Value| json!({"user_id": user, "method": method, "params": params});
    let with = |field: &str, value: Value| {
        let mut body = job("flickr.test.login", json!({}));
        body[field] = value;
        body
    };
    let table = [
        (job("flickr.photos.serach", json!({})), "method"),
        (job("flickr.photos.getInfo", json!({})), "photo_id"),
        (json!({"method": "flickr.test.login"}), "user_id"),
        (json!({"user_id": user}), "method"),
        (json!({"user_id": 7, "method": "flickr.test.login"}), "user_id"),
        (
            json!({"user_id": "99999999@N99", "method": "flickr.test.login"}),
            "user_id",
        ),
        (job("flickr.photos.search", json!({"tags": ["a"]})), "tags"),
        (job("flickr.photos.search", json!("lighthouse")), "params"),
        (with("priority", json!("urgent")), "priority"),
        (with("expires_in", json!(0)), "expires_in"),
        (with("callback_url", json!("ftp://example.org/")), "callback_url"),
        (with("callback_url", json!("https://127.0.0.1/")), "callback_url"),
        (with("colour", json!("red")), "colour"),
        (job("flickr.photos.delete", json!({"photo_id": "1"})), "method"),
    ];
    for (body, field) in table {
        let answer = send(gateway.post("/api/v1/jobs").json(&body)).await;
        assert!(answer.status.is_client_error(), "{body}: {answer:?}");
        assert_eq!(answer.media_type, "application/problem+json", "{body}");
        let errors = answer.body["errors"].to_string();
        assert!(
            errors.contains(field),
            "{body}: {} does not name {field}",
            answer.body
        );
        assert!(answer.body["trace_id"].is_string(), "{body}: {}", answer.body);
    }
    assert_eq!(jobs_of(&gateway, &user).await, 0);
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_body_that_is_no_json_and_one_that_is_too_large_are_refused() {
    let gateway = Gateway::of_the_hub().await;
    let json = |body: String| {
        gateway
            .post("/api/v1/jobs")
            .header("Content-Type", "application/json")
            .body(body)
    };
    let answer = send(json("{\"user_id\": ".to_owned())).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert_eq!(answer.media_type, "application/problem+json");
    let answer = send(
        gateway
            .post("/api/v1/jobs")
            .header("Content-Type", "text/plain")
            .body("{}"),
    )
    .await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{answer:?}");
    let large = format!("{{\"user_id\": \"{}\"}}", "x".repeat(11 * 1024 * 1024));
    let answer = send(json(large)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{answer:?}");
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_bad_upload_is_refused_and_leaves_nothing() {
    let gateway = Gateway::of_the_hub().await;
    let user = gateway.authorise("careless-uploader", "write").await;
    let upload = |form: Form| gateway.post("/api/v1/uploads").multipart(form);

    let answer = send(upload(Form::new().text("user_id", user.clone()))).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    assert!(answer.body["errors"].to_string().contains("photo"), "{answer:?}");

    let answer = send(upload(photo_form(&user, 100).text("colour", "red"))).await;
    assert!(answer.body["errors"].to_string().contains("colour"), "{answer:?}");

    let answer = send(upload(photo_form(&user, 101 * 1024 * 1024))).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{answer:?}");
    assert_eq!(jobs_of(&gateway, &user).await, 0);
}

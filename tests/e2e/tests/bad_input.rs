//! Bad input gets a problem that names the field, and stores nothing.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use flickrhub_e2e::gateway::{Answer, Gateway, photo, photo_form, send};
use flickrhub_e2e::scene::{self, unique};
use flickrhub_e2e::{database, eventually};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// A user that no hub has ever seen.
const NOBODY: &str = "99999999@N99";

/// The number of jobs of a user.
async fn jobs_of(gateway: &Gateway, user: &str) -> usize {
    let answer = send(gateway.get(&format!("/api/v1/jobs?user_id={user}"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["jobs"].as_array().expect("a list of jobs").len()
}

/// Whether a refusal is the one that the API documents.
fn assert_refused(answer: &Answer, status: u16, code: &str, fields: &[&str], what: &str) {
    let found = (answer.status.as_u16(), answer.code());
    assert_eq!(found, (status, code), "{what}: {}", answer.body);
    assert_eq!(answer.fields(), fields, "{what}: {}", answer.body);
    assert_eq!(answer.media_type(), "application/problem+json", "{what}");
    assert_eq!(answer.body["status"], status, "{what}");
    let trace = answer.body["trace_id"].as_str();
    assert_eq!(trace, Some(answer.header("x-trace-id")), "{what}");
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn every_bad_job_is_refused_by_the_name_of_its_field() {
    scene::play(|scene| async move {
        let gateway = &scene.gateway;
        let user = scene.authorise("careless", "read").await;
        let job = |method: &str, params: Value| json!({"user_id": user, "method": method, "params": params});
        let with = |field: &str, value: Value| {
            let mut body = job("flickr.test.login", json!({}));
            body[field] = value;
            body
        };
        // The status is 422 and the code `invalid_request`.
        let invalid = [
            (job("flickr.photos.serach", json!({})), vec!["method"]),
            (job("flickr.auth.getFrob", json!({})), vec!["method"]),
            (job("upload", json!({})), vec!["method"]),
            (job("flickr.photos.getInfo", json!({})), vec!["params.photo_id"]),
            (
                job("flickr.photos.addTags", json!({"photo_id": ""})),
                vec!["params.photo_id", "params.tags"],
            ),
            (json!({"method": "flickr.test.login"}), vec!["user_id"]),
            (json!({"user_id": user}), vec!["method"]),
            (
                json!({"user_id": 7, "method": "flickr.test.login"}),
                vec!["user_id"],
            ),
            (json!({"user_id": user, "method": true}), vec!["method"]),
            (with("user_id", json!("somebody")), vec!["user_id"]),
            (
                job("flickr.photos.search", json!({"tags": ["a"]})),
                vec!["params.tags"],
            ),
            (
                job("flickr.photos.search", json!({"text": "a", "api_key": "b"})),
                vec!["params.api_key"],
            ),
            (job("flickr.photos.search", json!("lighthouse")), vec!["params"]),
            (with("priority", json!("urgent")), vec!["priority"]),
            (with("priority", json!(1)), vec!["priority"]),
            (with("expires_in", json!(0)), vec!["expires_in"]),
            (with("expires_in", json!("60")), vec!["expires_in"]),
            (
                with("callback_url", json!("ftp://example.org/")),
                vec!["callback_url"],
            ),
            (
                with("callback_url", json!("https://127.0.0.1/")),
                vec!["callback_url"],
            ),
            (with("colour", json!("red")), vec!["colour"]),
            (
                json!({"method": "flickr.photos.fly", "expires_in": -1}),
                vec!["user_id", "method", "expires_in"],
            ),
            (json!([]), vec!["body"]),
        ];
        for (body, fields) in invalid {
            let answer = send(gateway.post("/api/v1/jobs").json(&body)).await;
            assert_refused(&answer, 422, "invalid_request", &fields, &body.to_string());
        }

        let stranger = json!({"user_id": NOBODY, "method": "flickr.test.login"});
        let answer = send(gateway.post("/api/v1/jobs").json(&stranger)).await;
        assert_refused(&answer, 422, "unknown_user", &["user_id"], "an unknown user");
        let delete = job("flickr.photos.delete", json!({"photo_id": "1"}));
        let answer = send(gateway.post("/api/v1/jobs").json(&delete)).await;
        let code = "permission_insufficient";
        assert_refused(&answer, 403, code, &["method"], "more than was granted");

        assert_eq!(jobs_of(gateway, &user).await, 0);
        assert_eq!(jobs_of(gateway, NOBODY).await, 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_body_that_is_no_json_and_one_that_is_too_large_are_refused() {
    scene::play(|scene| async move {
        let gateway = &scene.gateway;
        let user = scene.authorise("careless-writer", "read").await;
        let post = |media_type: &str, body: String| {
            let request = gateway.post("/api/v1/jobs").header("Content-Type", media_type);
            request.body(body)
        };
        // Good but for what each row does to it: what is refused is the body as a whole.
        let good = json!({"user_id": user, "method": "flickr.test.login"}).to_string();
        let padded = |length: usize| format!("{good}{}", " ".repeat(length));
        let json = "application/json";
        let table: [(&str, RequestBuilder, u16, &str); 6] = [
            (
                "half",
                post(json, good[..good.len() - 1].to_owned()),
                400,
                "invalid_json",
            ),
            (
                "a form",
                post(json, format!("user_id={user}")),
                400,
                "invalid_json",
            ),
            ("empty", post(json, String::new()), 400, "body_empty"),
            (
                "plain text",
                post("text/plain", good.clone()),
                415,
                "unsupported_media_type",
            ),
            (
                "compressed",
                post(json, good.clone()).header("Content-Encoding", "gzip"),
                415,
                "unsupported_media_type",
            ),
            (
                "too large",
                post(json, padded(11 * 1024 * 1024)),
                413,
                "body_too_large",
            ),
        ];
        for (what, request, status, code) in table {
            assert_refused(&send(request).await, status, code, &[], what);
        }
        assert_eq!(jobs_of(gateway, &user).await, 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_bad_upload_is_refused_and_leaves_nothing() {
    scene::play(|scene| async move {
        let gateway = &scene.gateway;
        let user = scene.authorise("careless-uploader", "write").await;
        let reader = scene.authorise("careless-reader", "read").await;
        let database = database::of_the_hub(&scene.client).await;
        let photos = || async {
            let files = database::count(&database, "uploads.files").await;
            (files, database::count(&database, "uploads.chunks").await)
        };
        let before = photos().await;
        let form = || Form::new().text("user_id", user.clone());
        let text = Part::text("no photo").file_name("a.jpg").mime_str("image/jpeg");
        let table = [
            ("no photo", form(), 422, "invalid_request", "photo"),
            (
                "no user",
                Form::new().part("photo", Part::bytes(photo(100)).file_name("a.jpg")),
                422,
                "invalid_request",
                "user_id",
            ),
            (
                "an unknown user",
                photo_form(NOBODY, photo(100)),
                422,
                "unknown_user",
                "user_id",
            ),
            (
                "a user who granted too little",
                photo_form(&reader, photo(100)),
                403,
                "permission_insufficient",
                "user_id",
            ),
            (
                "no photo by its content",
                form().part("photo", text.expect("a media type")),
                422,
                "invalid_request",
                "photo",
            ),
            (
                "an unknown field",
                photo_form(&user, photo(100)).text("colour", "red"),
                422,
                "invalid_request",
                "colour",
            ),
            (
                "a wrong value",
                photo_form(&user, photo(100)).text("is_public", "yes"),
                422,
                "invalid_request",
                "is_public",
            ),
            (
                "too large",
                photo_form(&user, photo(101 * 1024 * 1024)),
                413,
                "body_too_large",
                "photo",
            ),
        ];
        for (what, form, status, code, field) in table {
            let answer = send(gateway.post("/api/v1/uploads").multipart(form)).await;
            assert_refused(&answer, status, code, &[field], what);
        }

        let answer = send(gateway.post("/api/v1/uploads").json(&json!({"user_id": user}))).await;
        assert_refused(&answer, 415, "unsupported_media_type", &[], "JSON");
        let path = format!("/api/v1/photos/{}/replace", unique("none"));
        let answer = send(gateway.post(&path).multipart(photo_form(&user, photo(100)))).await;
        assert_refused(
            &answer,
            422,
            "invalid_request",
            &["photo_id"],
            "no photo has such an id",
        );

        for user in [user.as_str(), reader.as_str(), NOBODY] {
            assert_eq!(jobs_of(gateway, user).await, 0, "{user}");
        }
        assert!(scene.mock.calls(&user, "upload").await.is_empty());
        // Nobody else uploads meanwhile, but photos of jobs before this test may still be deleted.
        eventually("no piece of a photo is left", Duration::from_secs(30), || async {
            let (files, chunks) = photos().await;
            (files <= before.0 && chunks <= before.1).then_some(())
        })
        .await;
    })
    .await;
}

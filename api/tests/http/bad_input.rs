//! Every kind of bad submission: what is answered, and that nothing is stored.

use serde_json::{Value, json};

use crate::hub::{Answer, Hub};

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_bad_job_is_refused_by_name_and_not_stored() {
    let hub = Hub::start(|config| config.api.max_body_bytes = 4000).await;
    let user_id = hub.add_user("read").await;
    let with = |changes: Value| {
        let mut body =
            json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": "5"}});
        body.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        body.to_string()
    };
    let json_type = "application/json";
    for (content_type, body, status, code, fields) in [
        (
            "text/plain",
            with(json!({})),
            415,
            "unsupported_media_type",
            vec![],
        ),
        (json_type, String::new(), 400, "body_empty", vec![]),
        (json_type, "{".to_owned(), 400, "invalid_json", vec![]),
        (json_type, "\u{feff}{}".to_owned(), 400, "invalid_json", vec![]),
        (json_type, "[]".to_owned(), 422, "invalid_request", vec!["body"]),
        (json_type, "null".to_owned(), 422, "invalid_request", vec!["body"]),
        (
            json_type,
            with(json!({"pad": "x".repeat(4000)})),
            413,
            "body_too_large",
            vec![],
        ),
        (
            json_type,
            with(json!({"user_id": null})),
            422,
            "invalid_request",
            vec!["user_id"],
        ),
        (
            json_type,
            with(json!({"user_id": "1@N99"})),
            422,
            "unknown_user",
            vec!["user_id"],
        ),
        (
            json_type,
            with(json!({"method": "flickr.photos.fly"})),
            422,
            "invalid_request",
            vec!["method"],
        ),
        (
            json_type,
            with(json!({"method": "upload"})),
            422,
            "invalid_request",
            vec!["method"],
        ),
        (
            json_type,
            with(json!({"method": "flickr.auth.getToken"})),
            422,
            "invalid_request",
            vec!["method"],
        ),
        (
            json_type,
            with(json!({"params": {}})),
            422,
            "invalid_request",
            vec!["params.photo_id"],
        ),
        (
            json_type,
            with(json!({"params": {"photo_id": {}}})),
            422,
            "invalid_request",
            vec!["params.photo_id"],
        ),
        (
            json_type,
            with(json!({"priority": "now"})),
            422,
            "invalid_request",
            vec!["priority"],
        ),
        (
            json_type,
            with(json!({"expires_in": 0})),
            422,
            "invalid_request",
            vec!["expires_in"],
        ),
        (
            json_type,
            with(json!({"callback_url": "https://[::1]/"})),
            422,
            "invalid_request",
            vec!["callback_url"],
        ),
        (
            json_type,
            with(json!({"queue": "flickr_rest"})),
            422,
            "invalid_request",
            vec!["queue"],
        ),
    ] {
        let request = hub
            .request("POST /api/v1/jobs")
            .header("Content-Type", content_type)
            .body(body.clone());
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{body}");
        assert_eq!(answer.fields(), fields, "{body}");
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{body}"
        );
        assert_eq!(
            answer.body["trace_id"].as_str(),
            Some(answer.header("x-trace-id")),
            "{body}"
        );
    }
    assert!(hub.stored_jobs().await.is_empty());
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_key_that_does_not_hold_gets_nowhere() {
    let mut hub = Hub::start(|_| {}).await;
    let good = hub.api_key.clone();
    for key in [
        format!("{good}x"),
        "fh_none_secret".to_owned(),
        "secret".to_owned(),
        String::new(),
    ] {
        hub.api_key = key;
        let answer = hub.ask("GET /api/v1/jobs").await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "unauthenticated"),
            "{}",
            hub.api_key
        );
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    (_, hub.api_key) = hub.add_client(&["jobs:read"]).await;
    let answer = hub.send("POST /api/v1/jobs", &json!({})).await;
    assert_eq!((answer.status, answer.code()), (403, "scope_missing"));
}

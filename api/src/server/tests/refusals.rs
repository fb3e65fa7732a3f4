//! What is refused, and how.

use axum::Router;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::middleware::from_fn;
use axum::routing::get;
use http_body_util::{BodyExt, Collected};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use super::{JSON, ask, ask_of, request, state};
use crate::middleware::panic;
use crate::middleware::problem::problem;
use crate::openapi;

/// A request's line, headers and body; the answer's status, code and fields.
type Row<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a str,
    u16,
    &'a str,
    &'a [&'a str],
);

#[tokio::test]
async fn an_unknown_path_is_a_problem_with_a_trace_id() {
    let answer = ask(request("GET /nothing", "", &[], "")).await;
    assert_eq!((answer.status, answer.code()), (404, "route_not_found"));
    assert_eq!(answer.header(CONTENT_TYPE), "application/problem+json");
    assert_eq!(
        answer.body["type"],
        "https://flickrhub.dev/problems/route_not_found"
    );
    assert_eq!(
        answer.body["trace_id"].as_str(),
        Some(answer.header("x-trace-id"))
    );
    assert_eq!(answer.header("x-trace-id").len(), 32);
}

#[tokio::test]
async fn an_unknown_method_says_which_ones_there_are() {
    let answer = ask(request("PUT /api/v1/jobs", "writer", &[], "")).await;
    assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"));
    assert!(answer.header(ALLOW).contains("POST"), "{}", answer.header(ALLOW));
}

#[tokio::test]
async fn every_documented_route_wants_a_key_unless_it_is_open() {
    let document = serde_json::to_value(openapi::document()).unwrap_or_default();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            if operation["security"].is_null() {
                continue;
            }
            let path = path
                .replace("{id}", "0190163d-8694-739b-aea5-966c26f8ad91")
                .replace("{photo_id}", "1");
            let line = format!("{} {}", method.to_uppercase(), path.replace("{user_id}", "1@N01"));
            let answer = ask(request(&line, "", &[], "")).await;
            assert_eq!((answer.status, answer.code()), (401, "unauthenticated"), "{line}");
            assert!(answer.header(WWW_AUTHENTICATE).starts_with("Bearer"), "{line}");
            let answer = ask(request(&line, "stranger", &[], "")).await;
            assert_eq!(answer.status, 401, "{line}");
            asked += 1;
        }
    }
    assert!(asked >= 9, "{asked}");
}

#[tokio::test]
async fn a_key_without_the_scope_is_refused() {
    let answer = ask(request("POST /api/v1/jobs", "reader", &JSON, "{}")).await;
    assert_eq!((answer.status, answer.code()), (403, "scope_missing"));
    assert!(answer.header(WWW_AUTHENTICATE).contains("scope=\"jobs:write\""));
}

#[tokio::test]
async fn a_bad_request_is_refused_before_anything_is_asked_of_the_data_tier() {
    let good = r#"{"user_id":"1@N01","method":"flickr.photos.getInfo","params":{"photo_id":"5"}}"#;
    let long = format!(r#"{{"user_id":"{}"}}"#, "1".repeat(3000));
    let form = [("Content-Type", "multipart/form-data; boundary=x")];
    let large = [form[0], ("Content-Length", "99000000")];
    let rows: [Row<'_>; 19] = [
        ("POST /api/v1/jobs", &[], good, 415, "unsupported_media_type", &[]),
        (
            "POST /api/v1/jobs",
            &[("Content-Type", "text/json")],
            good,
            415,
            "unsupported_media_type",
            &[],
        ),
        ("POST /api/v1/jobs", &JSON, "", 400, "body_empty", &[]),
        ("POST /api/v1/jobs", &JSON, "user_id=1", 400, "invalid_json", &[]),
        (
            "POST /api/v1/jobs",
            &JSON,
            "[]",
            422,
            "invalid_request",
            &["body"],
        ),
        ("POST /api/v1/jobs", &JSON, &long, 413, "body_too_large", &[]),
        (
            "POST /api/v1/jobs",
            &JSON,
            r#"{"user_id":1}"#,
            422,
            "invalid_request",
            &["user_id"],
        ),
        (
            "POST /api/v1/jobs",
            &JSON,
            "{}",
            422,
            "invalid_request",
            &["user_id", "method"],
        ),
        ("GET /api/v1/jobs/abc", &[], "", 422, "invalid_request", &["id"]),
        (
            "GET /api/v1/jobs?limit=0&page=1",
            &[],
            "",
            422,
            "invalid_request",
            &["limit", "page"],
        ),
        (
            "GET /api/v1/jobs?method=photos.search&queue=x",
            &[],
            "",
            422,
            "invalid_request",
            &["method", "queue"],
        ),
        (
            "GET /api/v1/usage?user=1@N01",
            &[],
            "",
            422,
            "invalid_request",
            &["user"],
        ),
        (
            "GET /api/v1/usage?user_id=1@N01&user_id=2@N01",
            &[],
            "",
            422,
            "invalid_request",
            &["user_id"],
        ),
        ("DELETE /api/v1/jobs/1", &[], "", 422, "invalid_request", &["id"]),
        (
            "POST /api/v1/oauth/start",
            &JSON,
            r#"{"permission":"x"}"#,
            422,
            "invalid_request",
            &["permission"],
        ),
        (
            "GET /api/v1/oauth/callback",
            &[],
            "",
            422,
            "invalid_request",
            &["oauth_token", "oauth_verifier"],
        ),
        (
            "POST /api/v1/photos/abc/replace",
            &form,
            "",
            422,
            "invalid_request",
            &["photo_id"],
        ),
        (
            "POST /api/v1/uploads",
            &JSON,
            "",
            415,
            "unsupported_media_type",
            &[],
        ),
        (
            "POST /api/v1/uploads",
            &large,
            "",
            413,
            "body_too_large",
            &["photo"],
        ),
    ];
    for (line, headers, body, status, code, fields) in rows {
        let answer = ask(request(line, "writer", headers, body.to_owned())).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{line} {body}");
        assert_eq!(answer.fields(), fields, "{line} {body}");
        assert_eq!(answer.header(RETRY_AFTER), "", "{line} {body}");
    }
}

#[tokio::test]
async fn a_good_request_gets_as_far_as_the_data_tier_which_is_not_there() {
    let good = r#"{"user_id":"1@N01","method":"flickr.photos.getInfo","params":{"photo_id":"5"}}"#;
    let form = [("Content-Type", "multipart/form-data; boundary=x")];
    for (line, headers, body) in [
        ("POST /api/v1/jobs", &JSON[..], good),
        ("GET /api/v1/jobs?method=upload&queue=upload", &[], ""),
        ("GET /api/v1/usage?user_id=1@N01", &[], ""),
        ("POST /api/v1/uploads", &form, ""),
        ("DELETE /api/v1/users/1@N01/token", &[], ""),
    ] {
        let answer = ask(request(line, "writer", headers, body)).await;
        assert_eq!((answer.status, answer.code()), (503, "unavailable"), "{line}");
        assert_ne!(answer.header(RETRY_AFTER), "", "{line}");
    }
}

#[tokio::test]
async fn an_upload_too_many_is_told_when_to_come_back() {
    let state = state();
    let take = |client| std::iter::from_fn(|| state.uploads.take(client)).collect::<Vec<_>>();
    let of_another = take("another");
    let form = [("Content-Type", "multipart/form-data; boundary=x")];
    let upload = || request("POST /api/v1/uploads", "writer", &form, "");
    let answer = ask_of(state.clone(), upload()).await;
    assert_eq!(answer.code(), "unavailable", "one client leaves room to others");
    let own = take("client");
    assert!(!of_another.is_empty() && !own.is_empty());
    let answer = ask_of(state.clone(), upload()).await;
    assert_eq!((answer.status, answer.code()), (503, "too_many_uploads"));
    assert_eq!(answer.header(RETRY_AFTER), "10");
    drop(own);
    assert_eq!(ask_of(state, upload()).await.code(), "unavailable");
}

#[tokio::test]
async fn a_declared_length_past_the_limit_is_refused_without_reading() {
    let headers = [JSON[0], ("Content-Length", "2001")];
    let answer = ask(request("POST /api/v1/jobs", "writer", &headers, "")).await;
    assert_eq!((answer.status, answer.code()), (413, "body_too_large"));
}

#[tokio::test]
async fn a_panic_is_a_problem_too() {
    let router: Router = Router::new()
        .route("/", get(async || -> &'static str { panic!("a secret") }))
        .layer(CatchPanicLayer::custom(panic::answer))
        .layer(from_fn(problem));
    let answer = router
        .oneshot(request("GET /", "", &[], ""))
        .await
        .unwrap_or_else(|never| match never {});
    let bytes = answer
        .into_body()
        .collect()
        .await
        .map(Collected::to_bytes)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("\"internal\"") && !text.contains("a secret"),
        "{text}"
    );
}

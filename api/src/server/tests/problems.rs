//! Every documented problem as clients see it, and those that take some time or some trouble to meet.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::routing::get;
use flickrhub_flickr::Permission;
use flickrhub_job::budget::{PermitError, Reason, Refused};
use flickrhub_job::limits::RequestClass;
use flickrhub_job::model::{CallbackState, JobId, JobState};
use http_body_util::{BodyExt, Collected};
use serde_json::Value;
use tower::ServiceExt;

use super::super::surrounded;
use super::{JSON, ask_of, config, directory, parts, request, state};
use crate::auth::fixture::key;
use crate::auth::signature::SignatureFault;
use crate::auth::{ScopeName, StoredKey};
use crate::fixtures::full_windows;
use crate::middleware::time_limit::within;
use crate::problem::{KINDS, Problem};
use crate::state::{AppState, Parts};

/// One of each kind.
fn problems() -> Vec<Problem> {
    let retry_after = Duration::from_secs(7);
    let quotas = full_windows();
    vec![
        Problem::RouteNotFound,
        Problem::MethodNotAllowed,
        Problem::UnsupportedMediaType { expected: "JSON" },
        Problem::BodyTooLarge {
            limit: 9,
            field: None,
        },
        Problem::BodyEmpty,
        Problem::BodyIncomplete,
        Problem::InvalidJson { line: 1, column: 2 },
        Problem::InvalidMultipart,
        Problem::field("user_id", "is missing"),
        Problem::BatchSize { jobs: 0 },
        Problem::IdempotencyKeyInvalid,
        Problem::IdempotencyKeysDiffer,
        Problem::IdempotencyKeyReused,
        Problem::IdempotencyKeyInFlight,
        Problem::Unauthenticated,
        Problem::SignatureRefused(SignatureFault::Mismatch),
        Problem::DigestMismatch,
        Problem::TooManyFailures { retry_after },
        Problem::AddressNotAllowed,
        Problem::KeyRateExceeded { retry_after },
        Problem::ScopeMissing(ScopeName::JobsRead),
        Problem::UnknownUser,
        Problem::UserNotFound,
        Problem::PermissionInsufficient {
            needed: Permission::Write,
            field: "method",
        },
        Problem::JobNotFound,
        Problem::DeadLetterNotFound,
        Problem::TooManyStreams,
        Problem::JobNotCancellable(JobState::Succeeded),
        Problem::JobNotReplayable(JobState::Running),
        Problem::JobBodyGone,
        Problem::CallbackDisabled,
        Problem::EndpointNotDisabled,
        Problem::JobWithoutCallback,
        Problem::CallbackNotFailed(CallbackState::Delivered),
        Problem::SecretRotatedMeanwhile,
        Problem::OutcomeUnknown {
            job_id: JobId::new(),
            repeatable: true,
        },
        Problem::ClientRateExceeded { retry_after, quotas },
        Problem::UserRateExceeded { retry_after, quotas },
        Problem::ClassRateExceeded {
            class: RequestClass::Read,
            retry_after,
            quotas,
        },
        Problem::TooManyPending { retry_after, quotas },
        Problem::QueueFull { retry_after },
        Problem::TooManyUploads,
        Problem::TooManyConnections,
        Problem::AuthorisationUnknown,
        Problem::AuthorisationRefused,
        Problem::FlickrUnavailable,
        Problem::FlickrBusy { retry_after },
        Problem::Unavailable,
        Problem::Timeout,
        Problem::Internal,
    ]
}

/// The status, whether it says when to come back, and the body of a route that answers like this.
async fn answered(problem: Problem) -> (u16, bool, Value) {
    let route = get(move || async move { Err::<StatusCode, Problem>(problem) });
    let routes = Router::<AppState>::new().route("/api/v1/fault", route);
    let answer = surrounded(routes, state())
        .oneshot(request("GET /api/v1/fault", "", &[], ""))
        .await
        .unwrap_or_else(|never| match never {});
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    assert_eq!(parts.headers["content-type"], "application/problem+json");
    let document: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        document["trace_id"],
        parts.headers["x-trace-id"].to_str().expect("text")
    );
    (
        parts.status.as_u16(),
        parts.headers.contains_key("retry-after"),
        document,
    )
}

#[tokio::test]
async fn every_problem_of_the_list_is_answered_as_the_list_says() {
    let listed: BTreeSet<&str> = KINDS.iter().map(|kind| kind.code).collect();
    let tried: BTreeSet<&str> = problems().iter().map(Problem::code).collect();
    assert_eq!(tried, listed, "one of each kind");
    for problem in problems() {
        let kind = problem.kind();
        let (status, says_when, document) = answered(problem).await;
        assert_eq!(status, kind.status.as_u16(), "{}", kind.code);
        assert_eq!(document["status"], status, "{}", kind.code);
        assert_eq!(document["code"], kind.code);
        assert_eq!(document["title"], kind.title, "{}", kind.code);
        let address = format!("https://flickrhub.dev/problems/{}", kind.code);
        assert_eq!(document["type"], address.as_str());
        let detail = document["detail"].as_str().unwrap_or_default();
        assert!(detail.ends_with('.'), "{}: {detail}", kind.code);
        // As docs/problems.md promises.
        assert!(says_when || !matches!(status, 429 | 503), "{}", kind.code);
    }
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let keys = directory();
    keys.change(|keys| {
        let slow = StoredKey {
            scopes: vec!["jobs:read".to_owned()],
            requests_per_minute: Some(6),
            ..key()
        };
        keys.insert("slow".to_owned(), slow);
    });
    let state = AppState::of(Parts {
        keys: Arc::new(keys),
        ..parts(config())
    });
    let ask = async |key: &str| ask_of(state.clone(), request("GET /api/v1/jobs", key, &[], "")).await;
    assert_eq!(ask("slow").await.code(), "unavailable");
    let refused = ask("slow").await;
    assert_eq!((refused.status, refused.code()), (429, "key_rate_exceeded"));
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=10).contains(&wait), "{wait}");
    assert_eq!(
        ask("reader").await.code(),
        "unavailable",
        "another key has its own rate"
    );
}

#[tokio::test]
async fn a_flood_of_wrong_secrets_is_told_when_to_come_back() {
    let state = state();
    let ask = async |authorization: &str| {
        let headers = [("Authorization", authorization)];
        ask_of(state.clone(), request("GET /api/v1/jobs", "", &headers, "")).await
    };
    let mut last = ask("Bearer fh_reader_guess").await;
    assert_eq!((last.status, last.code()), (401, "unauthenticated"));
    for guess in 0..30 {
        last = ask(&format!("Bearer fh_reader_guess{guess}")).await;
    }
    assert_eq!(
        (last.status, last.code()),
        (429, "too_many_failed_authentications")
    );
    assert!(!last.header("retry-after").is_empty());
    assert_eq!(
        ask("Bearer fh_writer_secret").await.code(),
        "unavailable",
        "another key"
    );
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_all_the_same() {
    let route = get(async || {
        std::future::pending::<()>().await;
        StatusCode::OK
    });
    let brief = from_fn(async |request, next| within(Duration::from_millis(20), request, next).await);
    let routes = Router::<AppState>::new()
        .route("/api/v1/fault", route)
        .layer(brief);
    let answer = surrounded(routes, state())
        .oneshot(request("GET /api/v1/fault", "", &[], ""))
        .await
        .unwrap_or_else(|never| match never {});
    assert_eq!(answer.status(), 504);
    let body = answer.into_body().collect().await.map(Collected::to_bytes);
    let document: Value = serde_json::from_slice(&body.unwrap_or_default()).expect("JSON");
    assert_eq!(document["code"], "timeout");
}

#[tokio::test]
async fn who_may_not_call_flickr_now_is_told_when_it_may() {
    let refused = Refused {
        reason: Reason::AppBudget,
        wait: Duration::from_secs(36),
    };
    let (status, says_when, document) = answered(PermitError::from(refused).into()).await;
    assert_eq!((status, says_when), (503, true));
    assert_eq!(document["code"], "flickr_busy");
}

#[tokio::test]
async fn bodies_and_keys_that_are_none_are_named() {
    let batch = |jobs: usize| format!("{{\"jobs\": [{}]}}", vec!["{}"; jobs].join(","));
    let (none, many) = (batch(0), batch(1001));
    let mut config = config();
    config.api.max_body_bytes = 100_000;
    let state = AppState::of(parts(config));
    let differ = [JSON[0], ("Idempotency-Key", "a"), ("X-Idempotency-Key", "b")];
    let empty = [JSON[0], ("Idempotency-Key", "")];
    let long = "k".repeat(256);
    let long = [JSON[0], ("Idempotency-Key", long.as_str())];
    for (path, headers, body, status, code) in [
        ("/api/v1/jobs/batch", &JSON[..], none.as_str(), 422, "batch_size"),
        ("/api/v1/jobs/batch", &JSON[..], many.as_str(), 422, "batch_size"),
        ("/api/v1/jobs", &differ[..], "{}", 400, "idempotency_keys_differ"),
        ("/api/v1/jobs", &empty[..], "{}", 400, "idempotency_key_invalid"),
        ("/api/v1/jobs", &long[..], "{}", 400, "idempotency_key_invalid"),
    ] {
        let line = format!("POST {path}");
        let answer = ask_of(state.clone(), request(&line, "writer", headers, body.to_owned())).await;
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "{line} {headers:?}"
        );
        assert!(!answer.fields().is_empty(), "{line} {headers:?}");
    }
}

//! Faults of every kind for every documented route, while the data tier is away: no answer tells anything of the inside.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::{BodyExt, Collected};
use serde_json::Value;
use tower::ServiceExt;

use super::super::app;
use super::state;
use crate::openapi;

/// What would tell of the inside: parts and libraries by name, paths, addresses, texts of drivers and of the language.
pub(super) const INTERNALS: [&str; 36] = [
    "mongo",
    "redis",
    "rabbit",
    "openbao",
    "lapin",
    "hyper",
    "axum",
    "tokio",
    "tower",
    "serde",
    "bson",
    "utoipa",
    "reqwest",
    "rustls",
    "multer",
    "sfv",
    "panicked",
    "backtrace",
    "unwrap",
    ".rs:",
    "/src/",
    "/root",
    "/home/",
    "/etc/",
    "/usr/",
    "127.0.0.1",
    ".svc",
    "localhost",
    "os error",
    "connection refused",
    "server selection",
    "expected struct",
    "invalid type",
    "std::",
    "core::",
    "E11000",
];

/// A body with its content type.
const BODIES: [(&str, &[u8]); 17] = [
    ("", b""),
    ("application/json", b""),
    ("application/json", b"{"),
    ("application/json", b"[]"),
    ("application/json", b"null"),
    ("application/json", b"5"),
    ("application/json", b"\"text\""),
    ("application/json", b"\xff\xfe\x00"),
    ("application/json", b"{}"),
    (
        "application/json",
        br#"{"user_id":{"$ne":null},"method":{"$gt":""},"params":"x","jobs":7,"ids":{}}"#,
    ),
    (
        "application/json",
        br#"{"user_id":"1@N01","method":"flickr.photos.getInfo","params":{"photo_id":"5"}}"#,
    ),
    (
        "application/json",
        br#"{"jobs":[{"user_id":"1@N01"},5,null,{"method":"\u0000"}],"ids":["x"],"url":"file:///x"}"#,
    ),
    ("application/json; charset=utf-16", b"{}"),
    ("text/plain", b"{}"),
    ("application/x-www-form-urlencoded", b"user_id=1"),
    ("multipart/form-data", b"--x\r\n\r\n"),
    (
        "multipart/form-data; boundary=x",
        b"--x\r\nContent-Disposition: form-data; name=\"photo\"\r\n\r\nGIF89a\r\n--x--\r\n",
    ),
];

/// Headers that are wrong in some way.
const HEADERS: [&[(&str, &str)]; 13] = [
    &[],
    &[("Idempotency-Key", "")],
    &[("Idempotency-Key", "a"), ("X-Idempotency-Key", "b")],
    &[("Prefer", "wait=-1"), ("Last-Event-ID", "x")],
    &[("traceparent", "00-x"), ("X-Trace-Id", "../../secret")],
    &[("Content-Length", "99999999999")],
    &[("Content-Encoding", "gzip")],
    &[("Content-Digest", "sha-256=:AAAA:")],
    &[("Signature-Input", "s=("), ("Signature", "s")],
    &[("Authorization", "Basic eDp5")],
    &[("Authorization", "Bearer fh_nobody_secret")],
    &[("Authorization", "Bearer fh_writer_wrong")],
    &[("X-Forwarded-For", "127.0.0.1, x")],
];

/// Values for each parameter in a path, and queries.
const PATHS: [&str; 5] = [
    "0190163d-8694-739b-aea5-966c26f8ad91",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "%F0%9F%A6%80",
    "1",
];
const QUERIES: [&str; 3] = ["", "?limit=-1&cursor=%00&user_id=%ff&state=x&after=x", "?a=b&a=b"];

/// The status, of an answer in which neither an internal nor one of the secrets is.
pub(super) async fn tells_nothing(router: &Router, request: Request<Body>, secrets: &[&str]) -> u16 {
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let answer = router
        .clone()
        .oneshot(request)
        .await
        .unwrap_or_else(|never| match never {});
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    // A trace id is random: what it spells by chance tells nothing.
    let trace_id = parts.headers.get("x-trace-id").and_then(|id| id.to_str().ok());
    let trace_id = trace_id.unwrap_or_default().to_lowercase();
    let searched = |text: &str| text.to_lowercase().replace(&trace_id, "");
    let text = searched(&String::from_utf8_lossy(&bytes));
    let told = |text: &str| {
        let mut kept = INTERNALS.iter().chain(secrets);
        kept.find(|internal| text.contains(&internal.to_lowercase()))
            .copied()
    };
    assert_eq!(told(&text), None, "{line}: {text}");
    for (name, value) in &parts.headers {
        let value = searched(value.to_str().unwrap_or_default());
        // Where a location or an origin was given back, it is the request's or the hub's public one.
        assert_eq!(told(&value), None, "{line}: {name}: {value}");
    }
    assert!(parts.headers.contains_key("content-security-policy"), "{line}");
    assert!(parts.headers.contains_key("x-trace-id"), "{line}");
    let status = parts.status.as_u16();
    if status >= 400 {
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        assert_eq!(document["status"], status, "{line}: {text}");
        assert_eq!(document["trace_id"].as_str().map(str::len), Some(32), "{line}");
        assert!(bytes.len() < 8192, "{line}: {text}");
    }
    status
}

#[tokio::test]
async fn no_answer_tells_anything_of_the_inside() {
    let router = app(state()).unwrap_or_else(|error| panic!("{error}"));
    let document = serde_json::to_value(openapi::document()).unwrap_or_default();
    let mut asked = 0;
    for (template, operations) in document["paths"].as_object().into_iter().flatten() {
        if !template.starts_with("/api/") {
            continue;
        }
        for method in operations
            .as_object()
            .into_iter()
            .flatten()
            .map(|(method, _)| method.to_uppercase())
        {
            for value in PATHS {
                let path: Vec<&str> = template
                    .split('/')
                    .map(|part| if part.starts_with('{') { value } else { part })
                    .collect();
                let path = path.join("/");
                for query in QUERIES {
                    for (content_type, body) in BODIES {
                        ask(
                            &router,
                            &method,
                            &format!("{path}{query}"),
                            &[],
                            (content_type, body),
                        )
                        .await;
                        asked += 1;
                    }
                    for headers in HEADERS {
                        ask(&router, &method, &format!("{path}{query}"), headers, BODIES[10]).await;
                        asked += 1;
                    }
                }
                if !template.contains('{') {
                    break;
                }
            }
        }
    }
    assert!(asked > 1000, "{asked}");
}

async fn ask(router: &Router, method: &str, uri: &str, headers: &[(&str, &str)], body: (&str, &[u8])) -> u16 {
    let mut request = Request::builder().method(method).uri(uri);
    if headers
        .iter()
        .all(|(name, _)| !matches!(*name, "Authorization" | "Signature"))
    {
        request = request.header("Authorization", "Bearer fh_writer_secret");
    }
    if !body.0.is_empty() {
        request = request.header("Content-Type", body.0);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.1.to_vec()));
    let request = request.unwrap_or_else(|error| panic!("{uri}: {error}"));
    let status = tells_nothing(router, request, &[]).await;
    assert_ne!(status, 500, "{method} {uri} {headers:?} {body:?}");
    status
}

#[tokio::test]
async fn paths_and_methods_that_are_none_tell_nothing_either() {
    let router = app(state()).unwrap_or_else(|error| panic!("{error}"));
    for uri in [
        "/",
        "/.env",
        "/api",
        "/api/v1/jobs/",
        "/metrics",
        "/docs/..%2f..%2fCargo.toml",
        "/api/v1/none?x=%00",
    ] {
        for method in ["GET", "POST", "TRACE", "PROPFIND"] {
            let status = ask(&router, method, uri, &[], BODIES[10]).await;
            assert!(matches!(status, 404 | 405), "{method} {uri}: {status}");
        }
    }
}

#[tokio::test]
async fn a_trace_id_from_outside_is_taken_only_where_it_is_one() {
    for given in [
        "../../secret",
        "4bf92f3577b34da6a3ce929d0e0e473\"",
        "x",
        "4BF9-2F35",
    ] {
        let answer = super::ask(super::request("GET /healthz", "", &[("X-Trace-Id", given)], "")).await;
        let shown = answer.header("x-trace-id");
        assert!(
            shown.len() == 32 && shown.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{shown}"
        );
        assert_ne!(shown, given);
    }
}

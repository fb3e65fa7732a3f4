//! What surrounds every answer: trace, headers, health, documents, and the number of connections.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::serve_on;
use super::{ask, config, request, state_of};

#[tokio::test]
async fn a_trace_id_that_the_client_sends_comes_back() {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = ask(request("GET /healthz", "", &[("traceparent", traceparent)], "")).await;
    assert_eq!(
        (answer.status, answer.header("x-trace-id")),
        (200, "4bf92f3577b34da6a3ce929d0e0e4736")
    );
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    for line in ["GET /healthz", "GET /nothing", "POST /api/v1/jobs"] {
        let answer = ask(request(line, "", &[], "")).await;
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'none'"),
            "{line}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{line}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{line}");
        assert_eq!(answer.header("cache-control"), "no-store", "{line}");
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            "same-origin",
            "{line}"
        );
        assert_eq!(
            answer.header("cross-origin-opener-policy"),
            "same-origin",
            "{line}"
        );
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{line}");
        assert!(
            answer.header("permissions-policy").contains("camera=()"),
            "{line}"
        );
        assert!(
            answer.header("strict-transport-security").contains("max-age"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn without_a_data_tier_the_process_lives_and_is_not_ready() {
    assert_eq!(ask(request("GET /healthz", "", &[], "")).await.status, 200);
    let answer = ask(request("GET /readyz", "", &[], "")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        json!({
            "status": "not ready",
            "failing": ["data_tier"],
            "unavailable": ["mongodb", "redis", "vault"],
        })
    );
}

#[tokio::test]
async fn only_listed_origins_may_call_from_a_browser() {
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("https://evil.example.com", false),
    ] {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        let answer = ask(request("OPTIONS /api/v1/jobs", "", &headers, "")).await;
        let header = answer.header("access-control-allow-origin");
        assert_eq!(header, if allowed { origin } else { "" });
    }
}

#[tokio::test]
async fn the_document_and_the_explorer_are_served_from_the_binary() {
    let answer = ask(request("GET /openapi.json", "", &[], "")).await;
    assert_eq!(
        (answer.status, answer.header(CONTENT_TYPE)),
        (200, "application/json")
    );
    assert!(answer.body["paths"]["/api/v1/jobs"].is_object());
    assert_eq!(
        ask(request("GET /docs", "", &[], "")).await.header("location"),
        "/docs/"
    );
    for (path, content_type) in [
        ("/docs/", "text/html; charset=utf-8"),
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("/docs/start.js", "text/javascript; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
    ] {
        let answer = ask(request(&format!("GET {path}"), "", &[], "")).await;
        assert_eq!(
            (answer.status, answer.header(CONTENT_TYPE)),
            (200, content_type),
            "{path}"
        );
        assert!(
            answer
                .header("content-security-policy")
                .contains("script-src 'self';"),
            "{path}"
        );
    }
    assert_eq!(
        ask(request("GET /docs/none.js", "", &[], "")).await.code(),
        "route_not_found"
    );
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_there_is_a_place_once_another_ends() {
    let mut config = config();
    config.api.max_connections = 1;
    let state = state_of(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve_on(listener, state.clone(), std::future::pending()));

    let ask = async || {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = b"GET /healthz HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    let open = || state.metrics.api_connections.with_label_values(&["http"]).get();
    let is_open = async |count: i64| {
        while open() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let within = Duration::from_secs(5);

    assert!(ask().await.starts_with("HTTP/1.1 200"));
    timeout(within, is_open(0)).await.expect("it is over");
    let idle = TcpStream::connect(address).await.expect("a connection");
    timeout(within, is_open(1)).await.expect("it is open");
    let refused = ask().await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(
        refused.to_ascii_lowercase().contains("\r\nretry-after: "),
        "{refused}"
    );
    assert!(refused.contains("\"code\":\"too_many_connections\""), "{refused}");
    drop(idle);
    timeout(within, is_open(0)).await.expect("it is closed");
    assert!(ask().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn headers_that_are_too_many_or_too_long_are_refused_with_nothing_but_a_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve_on(listener, state_of(config()), std::future::pending()));
    let ask = async |headers: String| {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET /healthz HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n{headers}\r\n");
        // What is not read any more may be reset.
        let _ = stream.write_all(request.as_bytes()).await;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(answer).expect("text")
    };
    let many = |count: usize| {
        (0..count)
            .map(|number| format!("x-{number}: y\r\n"))
            .collect::<String>()
    };
    let long = |bytes: usize| format!("x-long: {}\r\n", "y".repeat(bytes));
    for good in [many(90), long(32 * 1024)] {
        let answer = ask(good).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let refused = |answer: &str| answer.starts_with("HTTP/1.1 431") && answer.ends_with("\r\n\r\n");
    let answer = ask(many(101)).await;
    assert!(refused(&answer), "{answer}");
    // The rest of these is never read, so the connection may be reset before the answer arrives.
    let answer = ask(long(256 * 1024)).await;
    assert!(answer.is_empty() || refused(&answer), "{answer}");
}

//! The whole router without a data tier: everything that is decided before one is asked.

mod addresses;
mod faults;
mod leaks;
mod problems;
mod refusals;
mod signatures;
mod slowness;
mod stopping;
mod surroundings;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::AsHeaderName;
use axum::http::{HeaderMap, Request, Response};
use flickrhub_flickr::{Endpoints, FlickrClient};
use flickrhub_job::config::Config;
use flickrhub_job::limits::Limits;
use flickrhub_job::telemetry::Metrics;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{FLICKR_TIMEOUTS, app};
use crate::auth::StoredKey;
use crate::auth::fixture::{Directory, key};
use crate::patience::Patience;
use crate::state::{AppState, DataTierSlot, Parts};

/// The key `reader` may read jobs, the key `writer` may do everything; the secret of both is `secret`, and both sign.
fn directory() -> Directory {
    let directory = Directory::default();
    directory.change(|keys| {
        for (key_id, scope) in [("reader", "jobs:read"), ("writer", "admin")] {
            let scopes = vec![scope.to_owned()];
            keys.insert(key_id.to_owned(), StoredKey { scopes, ..key() });
        }
    });
    directory
}

fn config() -> Config {
    let queue = json!({"concurrency": 1, "prefetch": 1, "window": 1, "maxAttempts": 3, "timeoutSeconds": 60});
    let config = json!({
        "hub": "test",
        "redis": {"sentinels": [], "masterName": "flickrhub", "passwordFile": "none", "keyPrefix": "fh:"},
        "mongodb": {"hosts": [], "replicaSet": "rs0", "database": "flickrhub", "username": "flickrhub",
            "passwordFile": "none", "maxPoolSize": 1},
        "rabbitmq": {"hosts": [], "vhost": "/", "username": "flickrhub", "passwordFile": "none", "quorumGroupSize": 1},
        "vault": {"address": "http://127.0.0.1:8200", "auth": {"method": "token", "tokenFile": "none"},
            "transitMount": "transit", "userTokensKey": "a", "appCredentialsKey": "b"},
        "flickr": {
            "endpoints": {"rest": "http://127.0.0.1:1/rest", "upload": "http://127.0.0.1:1/", "oauth": "http://127.0.0.1:1/"},
            "apps": [{"name": "main", "consumerKeyFile": "none", "consumerSecretFile": "none", "requestsPerHour": 3600}]},
        "queues": {"flickr_rest": queue, "flickr_upload": queue, "flickr_replace": queue},
        "api": {"publicUrl": "https://hub.example.com", "corsAllowedOrigins": ["https://app.example.com"],
            "maxUploadBytes": 1000, "maxBodyBytes": 2000},
        "callbacks": {},
        "retentionDays": 7,
    });
    serde_json::from_value(config).unwrap_or_else(|error| panic!("{error}"))
}

fn state() -> AppState {
    state_of(config())
}

fn state_of(config: Config) -> AppState {
    AppState::of(parts(config))
}

/// What the state of a test is made of that changes nothing of it.
fn parts(config: Config) -> Parts {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoints = Endpoints::flickr().unwrap_or_else(|error| panic!("{error}"));
    let flickr = FlickrClient::new(endpoints, FLICKR_TIMEOUTS).unwrap_or_else(|error| panic!("{error}"));
    let metrics = Metrics::new().unwrap_or_else(|error| panic!("{error}"));
    let data = DataTierSlot::default();
    Parts {
        config,
        limits: Limits::default().into(),
        flickr,
        metrics,
        keys: Arc::new(directory()),
        audit: Arc::new(data.clone()),
        data,
        patience: Patience::default(),
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: impl AsHeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["field"].as_str())
            .collect()
    }
}

async fn ask(request: Request<Body>) -> Answer {
    ask_of(state(), request).await
}

async fn ask_of(state: AppState, request: Request<Body>) -> Answer {
    let router: Router = app(state).unwrap_or_else(|error| panic!("{error}"));
    let answer: Response<Body> = router
        .oneshot(request)
        .await
        .unwrap_or_else(|never| match never {});
    let (parts, body) = answer.into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    }
}

/// A request with the key `key` and these headers.
fn request(line: &str, key: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let (method, path) = line.split_once(' ').unwrap_or(("GET", line));
    let mut request = Request::builder().method(method).uri(path);
    if !key.is_empty() {
        request = request.header("Authorization", format!("Bearer fh_{key}_secret"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap_or_default()
}

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

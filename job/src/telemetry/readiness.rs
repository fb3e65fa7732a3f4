//! Whether the process can do its work.
//!
//! `/healthz` says that the process runs: it answers 200 as long as it answers. `/readyz` says that it can work: every
//! check holds and it does not shut down. Its answer names the checks that fail and nothing else; why they fail is in
//! the log.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::warn;

/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// For how long an answer holds, so that many who ask cost no more than one.
const ANSWER_HOLDS: Duration = Duration::from_secs(1);
/// What fails while the process shuts down.
const DRAINING: &str = "draining";

/// A check failed. The text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckFailed(String);

impl CheckFailed {
    /// From whatever went wrong.
    pub fn new(reason: impl Display) -> Self {
        Self(reason.to_string())
    }
}

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), CheckFailed>> + Send + Sync>;

/// When the checks ran last, and the names of those that failed.
type Answer = Option<(Instant, Vec<&'static str>)>;

/// Named checks, all of which must hold; clones share the answer and [`drain`](Readiness::drain).
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<(&'static str, Check)>,
    draining: Arc<AtomicBool>,
    answer: Arc<Mutex<Answer>>,
}

impl Readiness {
    /// No checks: ready until it is drained.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check, which fails when it takes longer than 2 s. The name is public.
    #[must_use]
    pub fn with<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), CheckFailed>> + Send + 'static,
    {
        self.checks.push((name, Arc::new(move || check().boxed())));
        self
    }

    /// The process shuts down: not ready from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process shuts down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The names of the checks that fail; at most 1 s old.
    pub async fn failing(&self) -> Vec<&'static str> {
        if self.is_draining() {
            return vec![DRAINING];
        }
        let mut answer = self.answer.lock().await;
        if let Some((asked_at, failing)) = answer.as_ref()
            && asked_at.elapsed() < ANSWER_HOLDS
        {
            return failing.clone();
        }
        let results = join_all(self.checks.iter().map(|(name, check)| run(name, check))).await;
        let failing: Vec<_> = results.into_iter().flatten().collect();
        *answer = Some((Instant::now(), failing.clone()));
        failing
    }

    /// `/healthz` and `/readyz`.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
            .route(
                "/readyz",
                get(move || async move { report(&self.failing().await) }),
            )
    }
}

/// The name of the check if it fails.
async fn run(name: &'static str, check: &Check) -> Option<&'static str> {
    let outcome = match timeout(CHECK_TIMEOUT, check()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(CheckFailed::new("no answer in time")),
    };
    let error = outcome.err()?;
    warn!(check = name, %error, "not ready");
    Some(name)
}

fn report(failing: &[&'static str]) -> Response {
    if failing.is_empty() {
        Json(json!({"status": "ready"})).into_response()
    } else {
        let body = Json(json!({"status": "not ready", "failing": failing}));
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::config::{RabbitConfig, RedisConfig};
    use crate::connection::rabbitmq::Rabbit;
    use crate::connection::redis::Redis;

    fn with_redis_down() -> Readiness {
        Readiness::new()
            .with("mongodb", || async { Ok(()) })
            .with("redis", || async {
                Err(CheckFailed::new("10.0.0.7:6379 refused"))
            })
    }

    #[tokio::test]
    async fn the_checks_that_fail_are_named() {
        assert!(Readiness::new().failing().await.is_empty());
        assert_eq!(with_redis_down().failing().await, ["redis"]);
    }

    #[tokio::test]
    async fn a_check_that_hangs_fails() {
        let readiness = Readiness::new().with("redis", std::future::pending);
        assert_eq!(readiness.failing().await, ["redis"]);
    }

    #[tokio::test]
    async fn a_process_that_shuts_down_is_not_ready() {
        let readiness = Readiness::new();
        readiness.clone().drain();
        assert_eq!(readiness.failing().await, ["draining"]);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_less_than_a_check_each() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let readiness = Readiness::new().with("redis", move || {
            counter.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        });
        join_all((0..100).map(|_| readiness.failing())).await;
        assert!(asked.load(Ordering::Relaxed) < 10);
    }

    #[tokio::test]
    async fn what_the_clients_of_the_data_tier_say_is_not_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let password = std::env::temp_dir().join(format!("flickrhub-readiness-{}", std::process::id()));
        std::fs::write(&password, "hunter2").unwrap_or_else(|error| panic!("{error}"));
        // Where nobody listens.
        let rabbit: RabbitConfig = serde_json::from_value(json!({
            "hosts": ["127.0.0.1:1"], "vhost": "/", "username": "flickrhub", "passwordFile": &password,
            "quorumGroupSize": 1,
        }))
        .unwrap_or_else(|error| panic!("{error}"));
        let redis: RedisConfig = serde_json::from_value(json!({
            "sentinels": ["127.0.0.1:1"], "masterName": "flickrhub", "passwordFile": &password, "keyPrefix": "fh:",
        }))
        .unwrap_or_else(|error| panic!("{error}"));
        let readiness = Readiness::new()
            .with("rabbitmq", move || {
                let config = rabbit.clone();
                async move {
                    Rabbit::connect(&config)
                        .await
                        .map(|_| ())
                        .map_err(CheckFailed::new)
                }
            })
            .with("redis", move || {
                let config = redis.clone();
                async move {
                    Redis::connect(&config)
                        .await
                        .map(|_| ())
                        .map_err(CheckFailed::new)
                }
            });
        let answer = report(&readiness.failing().await);
        let body = axum::body::to_bytes(answer.into_body(), 4096).await;
        let body: Option<serde_json::Value> = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
        assert_eq!(
            body,
            Some(json!({"status": "not ready", "failing": ["rabbitmq", "redis"]}))
        );
    }

    #[test]
    fn the_answer_is_503_when_a_check_fails() {
        assert_eq!(report(&[]).status(), StatusCode::OK);
        assert_eq!(report(&["redis"]).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

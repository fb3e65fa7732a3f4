//! End-to-end tests: a hub in a real cluster, seen as its users see it.
//!
//! The tests run inside the cluster's network (`make test` sees to that) against the hub named by
//! `FLICKRHUB_TEST_HUB` in namespace `FLICKRHUB_TEST_NAMESPACE`, whose Flickr is the mock. They know nothing of the
//! code under test: HTTP, the Kubernetes API and the mock's control API are all they use, and MongoDB where the question is
//! what is stored.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test harness: a failed expectation is a failed test"
)]

pub mod cluster;
pub mod database;
pub mod exposition;
pub mod gateway;
pub mod leak;
pub mod load;
pub mod mock;
pub mod processes;
pub mod scene;
pub mod signature;
pub mod tls;

use std::time::Duration;

/// Calls `attempt` every 250 ms until it answers `Some`; panics with `what` after `limit`.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within {limit:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// An environment variable that `make test` sets.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests by `make test`"))
}

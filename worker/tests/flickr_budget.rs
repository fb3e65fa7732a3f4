//! Many workers with one small budget, counted by the stand-in for Flickr.
//!
//! Needs `FLICKRHUB_TEST_CONFIG`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use flickrhub_flickr::{AppCredentials, TicketId, UserToken};
use flickrhub_flickr_mock::{MockFlickr, Permission};
use flickrhub_job::budget::{BreakerConfig, BudgetSettings, FlickrBudget};
use flickrhub_job::config::{Config, FlickrEndpoints, QueueConfig};
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::model::{Body, Job, JobId, JobState, NewJob, TraceContext};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::StoreError;
use flickrhub_job::telemetry::Metrics;
use flickrhub_worker::decision::{FailureKind, Outcome};
use flickrhub_worker::flickr_call::{FlickrCaller, KeepSending, Signers};
use futures::future::join_all;
use futures::stream;
use jiff::{Timestamp, ToSpan};
use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use url::Url;

/// Flickr's window, scaled down, and by how much ours is longer: as much as may lie between a permit and the arrival of its
/// request on a busy machine.
const WINDOW: Duration = Duration::from_secs(6);
const MARGIN: Duration = Duration::from_secs(2);
const LIMIT: u32 = 60;
const SPANS: u32 = 4;
const WORKERS: usize = 16;

fn job(user_id: &str) -> Job {
    let now = Timestamp::now();
    Job {
        state: JobState::Running,
        attempt: 1,
        tries: 1,
        ..NewJob {
            client_id: "default".to_owned(),
            user_id: user_id.to_owned(),
            app: "main".to_owned(),
            queue: Queue::Rest,
            method: "flickr.photos.search".to_owned(),
            params: BTreeMap::from([("text".to_owned(), "bees".to_owned())]),
            trace: TraceContext::new(),
        }
        .accepted(now, now + 1.hour())
    }
}

fn no_photo(_: &Body) -> stream::Empty<std::io::Result<Bytes>> {
    stream::empty()
}

/// What is kept of a photo on its way, where none is sent.
struct NothingSent;

impl KeepSending for NothingSent {
    async fn begins(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn came_to_nothing(&self) {}

    async fn has_ticket(&self, _: Option<&TicketId>) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn flickr_never_sees_more_than_the_budget_and_sees_nearly_all_of_it() {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let path: PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
    let redis = Redis::connect(&Config::load(&path).unwrap().redis).await.unwrap();
    let prefix = format!("flickr-budget-{}:", JobId::new());
    let metrics = Metrics::new().unwrap();
    let budget = FlickrBudget::new(redis, &prefix).counted_in(metrics.clone());
    let settings = BudgetSettings {
        span: WINDOW + MARGIN,
        per_user: 3500,
        apps: BTreeMap::from([("main".to_owned(), LIMIT)]),
        breaker: BreakerConfig::default(),
    };
    budget.configure(&settings).await.unwrap();
    let (_, rebuild) = budget.begin_rebuild().await.unwrap();
    assert!(budget.end_rebuild(&rebuild).await.unwrap());

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let flickr = MockFlickr::builder()
        .app("key", "secret")
        .serve(listener)
        .unwrap();
    let user = flickr.add_user("bees", Permission::Write);
    let origin: Url = flickr.origin().parse().unwrap();
    let endpoints = FlickrEndpoints {
        rest: origin.join("/services/rest").unwrap(),
        upload: origin.join("/services").unwrap(),
        oauth: origin.join("/services/oauth").unwrap(),
    };
    let queue = QueueConfig {
        concurrency: 1,
        prefetch: 1,
        window: 1,
        max_attempts: 3,
        timeout_seconds: 10,
    };
    let caller = FlickrCaller::new(&endpoints, &queue)
        .unwrap()
        .within(budget.clone());
    let signers = Signers {
        app_name: "main".to_owned(),
        app: AppCredentials::new("key", SecretString::from("secret")),
        user: UserToken::new(
            SecretString::from(user.oauth_token),
            SecretString::from(user.oauth_token_secret),
        ),
    };
    let (begun, job) = (Timestamp::now(), job(&user.user_nsid));
    let ends = Instant::now() + (WINDOW + MARGIN) * SPANS;
    let work = async || {
        while Instant::now() < ends {
            match caller
                .call(&job, &signers, no_photo, &NothingSent, &metrics)
                .await
            {
                Outcome::Done(_) => {}
                Outcome::Cancelled { .. } => panic!("nobody cancels it"),
                Outcome::Failed(failure) => {
                    assert_eq!(failure.kind, FailureKind::NotYet, "{:?}", failure.error);
                    tokio::time::sleep_until(ends.min(Instant::now() + failure.retry_after.unwrap())).await;
                }
            }
        }
    };
    join_all((0..WORKERS).map(|_| work())).await;

    let arrivals: Vec<i64> = flickr.log().iter().map(|entry| entry.time_ms).collect();
    let window = i64::try_from(WINDOW.as_millis()).unwrap();
    let most = arrivals.iter().map(|first| {
        let within = arrivals
            .iter()
            .filter(|arrival| (0..window).contains(&(*arrival - first)));
        within.count()
    });
    let over = most
        .max()
        .unwrap()
        .saturating_sub(usize::try_from(LIMIT).unwrap());
    let until = begun + (WINDOW + MARGIN) * SPANS;
    let sent = arrivals
        .iter()
        .filter(|arrival| **arrival < until.as_millisecond())
        .count();
    // What the scaled margin takes is not what the real one takes: of 3,615 s it is 15.
    let pct = 100.0 * f64::from(u32::try_from(sent).unwrap()) / f64::from(SPANS * LIMIT);
    let projected = pct * 3600.0 / 3615.0;
    let labels = json!({ "of": "app", "clock": "real", "workers": WORKERS });
    for (metric, value, unit) in [
        ("budget_over", json!(over), "requests"),
        ("budget_use_pct", json!(projected), "%"),
    ] {
        let figure = json!({
            "bench": "engine", "metric": metric, "value": value, "unit": unit, "labels": labels,
        });
        println!("{figure}");
    }
    assert_eq!(over, 0);
    assert!(projected >= 99.0, "{projected} %");
}

//! What it costs to authenticate a request, in CPU time of this process: with a key that is at work, and with keys that do not
//! hold, of which one client sends very many. The directory of keys is in memory, so that nothing else is measured.
//!
//! ```text
//! cargo bench -p flickrhub-api --bench authentication
//! ```
//!
//! Prints one JSON object for each figure; `docs/benchmarks.md` says how each is measured.

#![expect(
    clippy::expect_used,
    reason = "a bench stops at the first thing that is not as expected"
)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::Request;
use axum::http::request::Parts;
use flickrhub_api::auth::{AuthRecord, Authenticator, Credential, KeyDirectory, StoredKey};
use flickrhub_api::problem::Problem;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

const BENCH: &str = "authentication";
/// The cost with which keys are stored.
const COST: u32 = 10;
/// Requests with the key at work.
const HOT: u32 = 300_000;
/// Comparisons of which the median is the unit of this machine.
const COMPARISONS: usize = 15;
/// Requests of a flood.
const FLOOD: u32 = 20_000;
/// So many of them at a time, after each pause.
const AT_A_TIME: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);
/// Keys that exist.
const KEYS: u32 = 1_000;

/// Keys that all have the secret `secret`.
struct Keys(HashMap<String, StoredKey>);

impl Keys {
    fn new() -> Self {
        let hash = bcrypt::hash("secret", COST).expect("a hash");
        let key = |number| {
            let stored = StoredKey {
                client_id: format!("client{number}"),
                scopes: vec!["jobs:read".to_owned()],
                hash: hash.clone(),
                // More than a bench can ask.
                requests_per_minute: Some(u32::MAX),
                ..StoredKey::default()
            };
            (format!("k{number}"), stored)
        };
        Self((0..KEYS).map(key).collect())
    }
}

#[async_trait]
impl KeyDirectory for Keys {
    async fn key(&self, key_id: &str) -> Result<Option<StoredKey>, Problem> {
        Ok(self.0.get(key_id).cloned())
    }

    async fn signing_secret(&self, _: &str, _: &str) -> Result<SecretString, Problem> {
        Err(Problem::Unavailable)
    }

    async fn is_first_use(&self, _: &str, _: &str, _: Duration) -> Result<bool, Problem> {
        Err(Problem::Unavailable)
    }
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // The CPU time of a thread that ended is nowhere to be read.
        .thread_keep_alive(Duration::from_hours(1))
        .build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let keys: Arc<dyn KeyDirectory> = Arc::new(Keys::new());
    figure("bcrypt_ms", comparison() * 1e3, "ms", &json!({"cost": COST}));
    hot(Authenticator::new(Arc::clone(&keys))).await;
    for flood in [
        Flood::SameWrongSecret,
        Flood::OneKey,
        Flood::UnknownKeys,
        Flood::OneKeyFromEverywhere,
        Flood::EveryKeyFromEverywhere,
    ] {
        wrong(Arc::new(Authenticator::new(Arc::clone(&keys))), flood).await;
    }
}

/// The median of what one comparison takes, in seconds.
fn comparison() -> f64 {
    let hash = bcrypt::hash("secret", COST).expect("a hash");
    let mut times: Vec<Duration> = (0..COMPARISONS)
        .map(|_| {
            let began = Instant::now();
            assert!(!bcrypt::verify("guess", &hash).expect("a hash"));
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(COMPARISONS / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

/// Requests with one key, one after the other; the first, which is compared, is not counted.
async fn hot(authenticator: Authenticator) {
    let parts = presented("k0", "secret");
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ask = async || authenticate(&authenticator, &parts, here).await;
    ask().await.expect("the key holds");
    let before = cpu();
    for _ in 0..HOT {
        ask().await.expect("the key holds");
    }
    let spent = cpu().saturating_sub(before).as_secs_f64();
    figure("hot_key_us", spent * 1e6 / f64::from(HOT), "µs", &json!({}));
}

/// What a flood is of.
#[derive(Clone, Copy)]
enum Flood {
    /// The same wrong secret of one key, from one address.
    SameWrongSecret,
    /// A secret after the other of one key, from one address.
    OneKey,
    /// A key after the other that does not exist, from one address.
    UnknownKeys,
    /// A secret after the other of one key, each from another address.
    OneKeyFromEverywhere,
    /// A key after the other that exists, each with a wrong secret and from another address.
    EveryKeyFromEverywhere,
}

impl Flood {
    const fn name(self) -> &'static str {
        match self {
            Self::SameWrongSecret => "same_wrong_secret",
            Self::OneKey => "one_key",
            Self::UnknownKeys => "unknown_keys",
            Self::OneKeyFromEverywhere => "one_key_from_everywhere",
            Self::EveryKeyFromEverywhere => "every_key_from_everywhere",
        }
    }

    /// The request of this number, and where it comes from.
    fn request(self, number: u32) -> (Parts, IpAddr) {
        let here = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let elsewhere = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
        let guess = format!("guess{number}");
        match self {
            Self::SameWrongSecret => (presented("k0", "guess"), here),
            Self::OneKey => (presented("k0", &guess), here),
            Self::UnknownKeys => (presented(&guess, "secret"), here),
            Self::OneKeyFromEverywhere => (presented("k0", &guess), elsewhere),
            Self::EveryKeyFromEverywhere => (presented(&format!("k{}", number % KEYS), &guess), elsewhere),
        }
    }
}

/// Requests that come at a steady rate, whether or not those before are answered.
async fn wrong(authenticator: Arc<Authenticator>, flood: Flood) {
    let mut ticks = tokio::time::interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut requests = JoinSet::new();
    let (began, before) = (Instant::now(), cpu());
    for number in 0..FLOOD {
        if number % AT_A_TIME == 0 {
            ticks.tick().await;
        }
        let (authenticator, (parts, address)) = (Arc::clone(&authenticator), flood.request(number));
        requests.spawn(async move { authenticate(&authenticator, &parts, address).await });
    }
    while let Some(answer) = requests.join_next().await {
        assert!(answer.expect("it ends").is_err(), "the key does not hold");
    }
    let (spent, took) = (
        cpu().saturating_sub(before).as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
    let labels = json!({"flood": flood.name(), "requests_per_s": (f64::from(FLOOD) / took).round()});
    figure("wrong_key_us", spent * 1e6 / f64::from(FLOOD), "µs", &labels);
    figure("wrong_key_cores", spent / took, "cores", &labels);
}

/// What the router does with a request that has a bearer key.
async fn authenticate(authenticator: &Authenticator, parts: &Parts, address: IpAddr) -> Result<(), Problem> {
    let credential = Credential::of(parts, false, "https", 0)?;
    let record = AuthRecord::default();
    let caller = authenticator
        .authenticate(credential, Some(address), &record)
        .await;
    caller.map(|_| ())
}

fn presented(key_id: &str, secret: &str) -> Parts {
    let request =
        Request::get("/api/v1/jobs").header("Authorization", format!("Bearer fh_{key_id}_{secret}"));
    request.body(()).expect("a request").into_parts().0
}

fn figure(metric: &str, value: f64, unit: &str, labels: &Value) {
    println!(
        "{}",
        json!({"bench": BENCH, "metric": metric, "value": value, "unit": unit, "labels": labels})
    );
}

/// The CPU time of every thread of this process, to the nanosecond (`Documentation/scheduler/sched-stats.rst` of Linux).
fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let of_thread = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.flatten().filter_map(of_thread).sum())
}

//! A very large number of random requests, decided by the script in a real Redis and by exact logs in memory.
//!
//! `FLICKRHUB_ADMISSION_REQUESTS` is their number, 100,000 without it. What was measured is printed as JSON, one object
//! a line.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and reports"
)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redis::Script;
use uuid::Uuid;

use super::admission::{AdmissionLimits, Policy, Reply, read};
use super::{Admission, scripts};
use crate::config::Config;
use crate::connection::redis::Redis;
use crate::limits::RequestClass;

/// Where the clock begins, in milliseconds.
const START: i64 = 1_800_000_000_000;
/// Requests decided in one call, few enough not to hold up Redis.
const BATCH: usize = 200;
/// The time that all requests span.
const SPAN: Duration = Duration::from_hours(3);
const CLIENTS: usize = 10;

const LIMITS: [(RequestClass, u32); 3] = [
    (RequestClass::Read, 2600),
    (RequestClass::Write, 800),
    (RequestClass::Upload, 160),
];

struct Request {
    time: i64,
    user: usize,
    client: usize,
    class: RequestClass,
    limits: AdmissionLimits,
}

/// A twentieth of the users makes most of the requests, more than the limits allow; clients and classes are uneven too.
struct Requests {
    random: StdRng,
    users: usize,
    time: f64,
    pace: f64,
    client_limit: u32,
}

impl Requests {
    fn new(requests: usize) -> Self {
        let users = (requests / 1000).max(20);
        #[expect(clippy::cast_precision_loss, reason = "numbers of requests are small")]
        let requests = requests as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive small number"
        )]
        let client_limit = (requests / (SPAN.as_secs_f64() / 60.0) * 0.15) as u32;
        Self {
            random: StdRng::seed_from_u64(7),
            users,
            time: 0.0,
            pace: SPAN.as_secs_f64() * 1000.0 / requests,
            client_limit,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a few hours")]
    fn next(&mut self) -> Request {
        let random = &mut self.random;
        // Every other request comes in the same millisecond as the one before.
        if random.random_bool(0.5) {
            self.time += 2.0 * self.pace * -f64::ln(1.0 - random.random::<f64>());
        }
        let heavy = (self.users / 20).max(1);
        let user = if random.random_bool(0.8) {
            random.random_range(0..heavy)
        } else {
            random.random_range(heavy..self.users)
        };
        let client = if random.random_bool(0.2) {
            0
        } else {
            random.random_range(1..CLIENTS)
        };
        // Every other user reads more than a class may.
        let reads = if user % 2 == 0 { 95 } else { 70 };
        let (class, of_class) = match random.random_range(0..100) {
            kind if kind < reads => LIMITS[0],
            kind if kind < 95 => LIMITS[1],
            _ => LIMITS[2],
        };
        Request {
            time: START + self.time as i64,
            user,
            client,
            class,
            limits: AdmissionLimits {
                pending_per_user: u32::MAX,
                buffer: u32::MAX,
                per_user_per_hour: 3500,
                per_class_per_hour: of_class,
                per_client_per_minute: self.client_limit,
            },
        }
    }
}

/// The events of one window, oldest first.
#[derive(Default)]
struct Window(VecDeque<i64>);

impl Window {
    fn count(&mut self, time: i64, span: i64) -> u32 {
        while self.0.front().is_some_and(|event| *event <= time - span) {
            self.0.pop_front();
        }
        u32::try_from(self.0.len()).unwrap()
    }

    /// In how many milliseconds one more has room under the limit.
    fn wait(&mut self, time: i64, span: i64, limit: u32) -> i64 {
        match self.count(time, span).checked_sub(limit) {
            None => 0,
            Some(over) => self.0[usize::try_from(over).unwrap()] + span - time,
        }
    }
}

#[derive(Default)]
struct Oracle {
    clients: HashMap<usize, Window>,
    users: HashMap<usize, Window>,
    classes: HashMap<(usize, RequestClass), Window>,
}

impl Oracle {
    /// The window that refuses, with the seconds until none does.
    fn decide(&mut self, request: &Request) -> Option<(Policy, u64)> {
        const HOUR: i64 = 3_600_000;
        let (time, limits) = (request.time, &request.limits);
        let client = self.clients.entry(request.client).or_default();
        let user = self.users.entry(request.user).or_default();
        let class = self.classes.entry((request.user, request.class)).or_default();
        let waits = [
            (
                Policy::Client,
                client.wait(time, 60_000, limits.per_client_per_minute),
            ),
            (Policy::User, user.wait(time, HOUR, limits.per_user_per_hour)),
            (
                Policy::Class(request.class),
                class.wait(time, HOUR, limits.per_class_per_hour),
            ),
        ];
        let longest = waits.iter().map(|(_, wait)| *wait).max().unwrap();
        if let Some((policy, _)) = waits.into_iter().find(|(_, wait)| *wait > 0) {
            return Some((policy, u64::try_from(longest).unwrap().div_ceil(1000)));
        }
        for window in [client, user, class] {
            window.0.push_back(time);
        }
        None
    }
}

fn number_of_requests() -> usize {
    std::env::var("FLICKRHUB_ADMISSION_REQUESTS").map_or(100_000, |number| number.parse().unwrap())
}

fn report(metric: &str, value: f64, unit: &str, requests: usize) {
    let line = serde_json::json!({
        "bench": "engine", "metric": metric, "value": value, "unit": unit,
        "labels": {"clock": "simulated", "requests": requests},
    });
    println!("{line}");
}

async fn decide(redis: &Redis, script: &Script, prefix: &str, requests: &[Request]) -> Vec<Reply> {
    let mut call = script.prepare_invoke();
    call.arg(prefix).arg(scripts::CLOCKED_ARGUMENTS);
    for request in requests {
        let (limits, job) = (&request.limits, Uuid::now_v7());
        call.arg(prefix)
            .arg("flickr_rest")
            .arg(format!("{}@N01", request.user))
            .arg(job.to_string())
            .arg(request.time)
            .arg("entry")
            .arg("take")
            .arg(limits.pending_per_user)
            .arg(limits.buffer)
            .arg(60_000)
            .arg(request.client)
            .arg(limits.per_client_per_minute)
            .arg(limits.per_user_per_hour)
            .arg(request.class.name())
            .arg(limits.per_class_per_hour)
            .arg("")
            .arg(15_000)
            .arg(request.time);
    }
    redis.script(&call).await.unwrap()
}

/// Bytes of Redis's memory that the windows take, over the users that have any.
async fn bytes_per_user(redis: &Redis, prefix: &str, users: usize) -> Vec<u64> {
    let mut of_users: BTreeMap<usize, u64> = BTreeMap::new();
    for user in 0..users {
        for class in RequestClass::ALL {
            let mut usage = redis::cmd("MEMORY");
            usage
                .arg("USAGE")
                .arg(format!("{prefix}window:{user}@N01:{}", class.name()));
            let bytes: Option<u64> = redis.run(&usage).await.unwrap();
            if let Some(bytes) = bytes {
                *of_users.entry(user).or_default() += bytes;
            }
        }
    }
    of_users.into_values().collect()
}

async fn remove(redis: &Redis, prefix: &str) {
    let keys: Vec<String> = redis
        .run(redis::cmd("KEYS").arg(format!("{prefix}*")))
        .await
        .unwrap();
    for keys in keys.chunks(100) {
        redis.run::<()>(redis::cmd("UNLINK").arg(keys)).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
#[expect(clippy::cast_precision_loss, reason = "numbers of requests are small")]
async fn no_request_is_decided_otherwise_than_by_exact_logs() {
    let path: PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
    let redis = Redis::connect(&Config::load(&path).unwrap().redis).await.unwrap();
    let prefix = format!("fh-test-{}:", Uuid::now_v7().simple());
    let script = scripts::admit_by_clock();
    let number = number_of_requests();
    let (mut requests, mut oracle) = (Requests::new(number), Oracle::default());
    let (mut over, mut under, mut oracle_admits, mut refused) = (0_u64, 0_u64, 0_u64, BTreeMap::new());
    for _ in 0..number / BATCH {
        let batch: Vec<_> = (0..BATCH).map(|_| requests.next()).collect();
        let replies = decide(&redis, &script, &prefix, &batch).await;
        for (request, reply) in batch.iter().zip(replies) {
            let (admission, _) = read(reply, request.class, &request.limits).unwrap();
            let expected = oracle.decide(request);
            oracle_admits += u64::from(expected.is_none());
            match (admission, expected) {
                (Admission::Admitted(_), None) => {}
                (Admission::Admitted(_), Some(_)) => over += 1,
                (_, None) => under += 1,
                (Admission::WindowFull { policy, retry_after }, Some((expected, wait))) => {
                    assert_eq!((policy, retry_after.as_secs()), (expected, wait));
                    *refused.entry(format!("{policy:?}")).or_insert(0_u64) += 1;
                }
                (other, Some(_)) => panic!("{other:?}"),
            }
        }
    }
    let bytes = bytes_per_user(&redis, &prefix, requests.users).await;
    remove(&redis, &prefix).await;

    report("window_over_admissions", over as f64, "requests", number);
    report(
        "window_under_pct",
        under as f64 * 100.0 / oracle_admits as f64,
        "%",
        number,
    );
    let average = bytes.iter().sum::<u64>() as f64 / bytes.len() as f64;
    report("bytes_per_active_user", average, "bytes", number);
    let largest = bytes.iter().max().copied().unwrap_or_default();
    report("bytes_of_largest_user", largest as f64, "bytes", number);
    println!("admitted {oracle_admits}, refused {refused:?}");
    assert_eq!((over, under), (0, 0));
    assert!(refused.len() == 5, "every kind of window refused: {refused:?}");
    assert!(average <= 2048.0, "{average} bytes per active user");
}

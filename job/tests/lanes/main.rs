//! The lanes: what they are meant to do, and that the scripts in a real Redis do it.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod comparison;
mod fairness;
mod hub;
mod load;
mod operations;
mod oracle;
mod simulation;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use flickrhub_job::config::Config;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::lane::{Admission, AdmissionLimits, LaneEntry, Lanes, Submission};
use flickrhub_job::limits::RequestClass;
use flickrhub_job::model::{JobId, Priority};
use flickrhub_job::queue::Queue;
use jiff::Timestamp;
use oracle::Verdict;
use uuid::Uuid;

const QUEUES: [Queue; 2] = [Queue::Rest, Queue::Upload];
const APPS: [&str; 2] = ["main", ""];
const USERS: [&str; 3] = ["12345678@N00", "user|with:signs", "z"];
const WEIGHTS: [u32; 4] = [1, 3, 7, 1000];
const HOUR: Duration = Duration::from_hours(1);
const JOBS: usize = 36;

/// Jobs of every user, queue, application, priority and weight.
fn jobs() -> Vec<LaneEntry> {
    let priorities = [Priority::High, Priority::Normal, Priority::Low];
    (0..JOBS)
        .map(|number| LaneEntry {
            queue: QUEUES[number % QUEUES.len()],
            app: APPS[usize::from(number % 5 == 4)].to_owned(),
            user_id: USERS[number / QUEUES.len() % USERS.len()].to_owned(),
            job_id: JobId::new(),
            priority: priorities[number / (QUEUES.len() * USERS.len()) % priorities.len()],
            weight: WEIGHTS[number / 3 % WEIGHTS.len()],
            // Some are accepted in the same millisecond.
            created_at: Timestamp::now() - Duration::from_millis(u64::try_from(number / 4).unwrap()),
        })
        .collect()
}

fn lease(soon: bool) -> Duration {
    if soon { Duration::ZERO } else { HOUR }
}

async fn connect() -> Redis {
    let path: PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
    Redis::connect(&Config::load(&path).unwrap().redis).await.unwrap()
}

/// Lanes of their own, so that tests do not meet.
fn lanes(redis: &Redis) -> (Lanes, String) {
    let prefix = format!("fh-test-{}:", Uuid::now_v7().simple());
    let lanes = Lanes::new(redis.clone(), &prefix).with_room(include_str!("room.lua"));
    (lanes, prefix)
}

/// In pieces: all of a hundred thousand users take longer than one answer may.
async fn keys(redis: &Redis, prefix: &str) -> Vec<String> {
    let (mut cursor, mut keys) = (0_u64, BTreeSet::new());
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*"));
        let (next, some): (u64, Vec<String>) = redis.run(scan.arg("COUNT").arg(10_000)).await.unwrap();
        keys.extend(some);
        cursor = next;
        if cursor == 0 {
            return keys.into_iter().collect();
        }
    }
}

/// Every key with its value.
async fn dump(redis: &Redis, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut values = BTreeMap::new();
    for key in keys(redis, prefix).await {
        let value: Option<Vec<u8>> = redis.run(redis::cmd("DUMP").arg(&key)).await.unwrap();
        values.extend(value.map(|value| (key, value)));
    }
    values
}

/// The 16 bytes by which the lanes know a job.
fn raw(job: &LaneEntry) -> Vec<u8> {
    Uuid::from(job.job_id).into_bytes().to_vec()
}

async fn remove(redis: &Redis, prefix: &str) {
    for keys in keys(redis, prefix).await.chunks(1000) {
        redis.run::<()>(redis::cmd("UNLINK").arg(keys)).await.unwrap();
    }
}

/// Limits without windows, which have tests of their own.
fn places(pending_per_user: u32, buffer: u32) -> AdmissionLimits {
    AdmissionLimits {
        pending_per_user,
        buffer,
        per_user_per_hour: u32::MAX,
        per_class_per_hour: u32::MAX,
        per_client_per_minute: u32::MAX,
    }
}

/// Asks for a place.
async fn ask(lanes: &Lanes, entry: &LaneEntry, limits: &AdmissionLimits) -> Admission {
    let submission = Submission {
        entry,
        client_id: "acme",
        class: RequestClass::Read,
        idempotency: None,
    };
    lanes.admit(&submission, limits).await.unwrap().0
}

/// Asks for a place; the answer without the time to wait, which depends on the clock.
async fn admit(lanes: &Lanes, entry: &LaneEntry, limits: &AdmissionLimits) -> Option<Verdict> {
    match ask(lanes, entry, limits).await {
        Admission::Admitted(_) => Some(Verdict::Admitted),
        Admission::UserBusy { pending, .. } => Some(Verdict::UserBusy(pending)),
        Admission::QueueFull { .. } => Some(Verdict::QueueFull),
        _ => None,
    }
}

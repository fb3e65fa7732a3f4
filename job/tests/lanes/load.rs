//! The lanes under load on a real Redis, with several dispatchers at once. Each test prints what it measured, one JSON
//! object a line.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use flickrhub_job::connection::redis::Redis;
use flickrhub_job::lane::{LaneEntry, Lanes, Released};
use flickrhub_job::model::{JobId, Priority};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::hub::{QUEUE, entry};
use crate::{HOUR, connect, keys, lanes, remove};

const DISPATCHES: usize = 3000;
const DISPATCHERS: usize = 4;
/// Operations under way at a time.
const AT_A_TIME: usize = 200;
const WIDE_OPEN: u32 = 1_000_000;
/// The lightest should be served 50 times, so that one job more or less is within 2 %.
const WEIGHTS: [u32; 12] = [1, 1, 2, 2, 3, 3, 5, 5, 7, 7, 10, 10];

fn measured(metric: &str, value: f64, unit: &str, labels: &Value) {
    let figure = json!({
        "bench": "engine", "metric": metric, "value": value, "unit": unit, "labels": labels,
    });
    println!("{figure}");
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

async fn push_all(lanes: &Lanes, jobs: impl Iterator<Item = LaneEntry>) {
    stream::iter(jobs)
        .for_each_concurrent(AT_A_TIME, |job| async move { lanes.push(&job).await.unwrap() })
        .await;
}

fn user(number: usize) -> String {
    format!("{number:08}@N00")
}

/// Jobs of so many users in two applications, one user after the other.
fn jobs_of(users: usize, each: usize) -> impl Iterator<Item = LaneEntry> {
    (0..users * each).map(move |number| {
        let of = number % users;
        let app = ["main", "other"][of % 2];
        entry(
            app,
            &user(of),
            1,
            Priority::Normal,
            i64::try_from(number).unwrap(),
        )
    })
}

/// Releases until together `left` jobs were, each of which is followed by another one like it.
async fn dispatch(lanes: &Lanes, left: &AtomicUsize, served: &Mutex<BTreeMap<String, usize>>) {
    const BATCH: usize = 16;
    loop {
        let took = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            (left > 0).then(|| left - left.min(BATCH))
        });
        let Ok(before) = took else {
            return;
        };
        let release = lanes
            .release(QUEUE, before.min(BATCH), WIDE_OPEN, HOUR)
            .await
            .unwrap();
        left.fetch_add(before.min(BATCH) - release.jobs.len(), Ordering::SeqCst);
        stream::iter(release.jobs)
            .for_each_concurrent(BATCH, |job| async move {
                *served.lock().unwrap().entry(job.user_id.clone()).or_default() += 1;
                let number: usize = job.user_id[..8].parse().unwrap();
                let done = entry_of(&job, WEIGHTS[number]);
                let next = LaneEntry {
                    job_id: JobId::new(),
                    ..done.clone()
                };
                tokio::try_join!(lanes.push(&next), lanes.done(&done)).unwrap();
            })
            .await;
    }
}

fn entry_of(job: &Released, weight: u32) -> LaneEntry {
    LaneEntry {
        job_id: job.job_id,
        ..entry(&job.app, &job.user_id, weight, Priority::Normal, 0)
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn busy_lanes_share_by_their_weights_whoever_dispatches() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let jobs = jobs_of(WEIGHTS.len(), 60).map(|job| {
        let number: usize = job.user_id[..8].parse().unwrap();
        LaneEntry {
            weight: WEIGHTS[number],
            ..job
        }
    });
    push_all(&lanes, jobs).await;
    let (left, served) = (AtomicUsize::new(DISPATCHES), Mutex::default());
    futures::future::join_all((0..DISPATCHERS).map(|_| dispatch(&lanes, &left, &served))).await;

    let served = served.into_inner().unwrap();
    assert_eq!(served.values().sum::<usize>(), DISPATCHES);
    let all: u32 = WEIGHTS.iter().sum();
    let errors = WEIGHTS.iter().enumerate().map(|(number, weight)| {
        let expected = count(DISPATCHES) * f64::from(*weight) / f64::from(all);
        100.0 * (count(served[&user(number)]) / expected - 1.0).abs()
    });
    let worst = errors.fold(0.0, f64::max);
    measured("fairness_max_error_pct", worst, "%", &json!({}));
    assert!(worst <= 2.0, "{worst} %: {served:?}");
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_light_user_waits_at_most_one_window() {
    const WINDOW: u32 = 16;
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    push_all(&lanes, jobs_of(1, 1000)).await;
    let mut window = lanes.release(QUEUE, 64, WINDOW, HOUR).await.unwrap().jobs;
    assert_eq!(window.len(), 16);
    lanes
        .push(&entry("main", "light", 1, Priority::Normal, 0))
        .await
        .unwrap();
    let mut finished = 0_u32;
    while !window.iter().any(|job| job.user_id == "light") {
        lanes.done(&entry_of(&window.remove(0), 1)).await.unwrap();
        finished += 1;
        window.extend(lanes.release(QUEUE, 64, WINDOW, HOUR).await.unwrap().jobs);
    }
    measured(
        "light_user_wait_windows",
        f64::from(finished) / f64::from(WINDOW),
        "windows",
        &json!({}),
    );
    assert!(finished <= WINDOW, "{finished} jobs were done before");
    remove(&redis, &prefix).await;
}

/// The time of one dispatched job when so many users have one waiting, in microseconds.
async fn dispatch_us(redis: &Redis, users: usize) -> f64 {
    const CALLS: usize = 30;
    let (lanes, prefix) = lanes(redis);
    push_all(&lanes, jobs_of(users, 1)).await;
    let started = Instant::now();
    let mut released = 0;
    for _ in 0..CALLS {
        released += lanes
            .release(QUEUE, 32, WIDE_OPEN, HOUR)
            .await
            .unwrap()
            .jobs
            .len();
    }
    let spent = started.elapsed();
    assert_eq!(released, 32 * CALLS);
    remove(redis, &prefix).await;
    spent.as_secs_f64() * 1e6 / count(released)
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_dispatch_costs_little_more_with_a_hundred_times_the_users() {
    let redis = connect().await;
    let mut costs = Vec::new();
    for users in [1000, 10_000, 100_000] {
        let cost = dispatch_us(&redis, users).await;
        measured("dispatch_us", cost, "us", &json!({ "users": users }));
        costs.push(cost);
    }
    // Other tests run at the same time: this is a bound against O(n), and no measurement.
    assert!(costs[2] <= 10.0 * costs[0].max(50.0), "{costs:?}");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_waiting_job_costs_little_memory() {
    const JOBS: usize = 10_000;
    let redis = connect().await;
    for (users, at_most) in [(10, 320.0), (100, 110.0)] {
        let (lanes, prefix) = lanes(&redis);
        push_all(&lanes, jobs_of(users, JOBS / users)).await;
        let mut bytes = 0;
        for key in keys(&redis, &prefix).await {
            let mut usage = redis::cmd("MEMORY");
            usage.arg("USAGE").arg(key).arg("SAMPLES").arg(0);
            bytes += redis.run::<usize>(&usage).await.unwrap();
        }
        let each = count(bytes) / count(JOBS);
        measured(
            "bytes_per_queued_job",
            each,
            "B",
            &json!({ "jobs_per_user": JOBS / users }),
        );
        assert!(each <= at_most, "{each} bytes for each job of {users} users");
        remove(&redis, &prefix).await;
    }
}

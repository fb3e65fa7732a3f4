//! The time of a dispatch in the lanes, by the number of users who wait; and how many admissions and dispatches a second
//! the scripts do with nothing around them.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::Failure;
use crate::processes::{Containers, own_cpu};
use crate::quantile::{Times, number};
use crate::report::Report;
use crate::sandbox::{AT_A_TIME, QUEUE, Sandbox, entry, user};
use crate::scene::{Scene, seconds_since, tell_shares};

const BENCH: &str = "dispatch";
/// Numbers of users.
const USERS: [usize; 3] = [1000, 10_000, 100_000];
/// Jobs that one release takes, as the dispatcher does.
const BATCH: usize = 64;
/// Releases that are timed.
const RELEASES: usize = 150;
/// The part of the hub that does the work.
const REDIS: &str = "redis";
const LEASE: Duration = Duration::from_mins(5);
/// Jobs that are admitted and pushed.
const ADMISSIONS: usize = 10_000;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let sandbox = Sandbox::new(scene.tier.redis.clone());
    let outcome = admissions(&sandbox).await;
    sandbox.clear().await?;
    report.figure(BENCH, "script_admissions_per_s", outcome?, "jobs/s", Value::Null)?;
    let containers = Containers::of_the_hub(&scene.client).await?;
    let mut medians = Vec::new();
    for users in USERS {
        let sandbox = Sandbox::new(scene.tier.redis.clone());
        let outcome = dispatches(&sandbox, &containers, users, scene.options.queued.max(users)).await;
        sandbox.clear().await?;
        let Dispatched {
            times,
            ours,
            services,
        } = outcome?;
        let median_us = times.quantile(0.5).as_secs_f64() * 1e6 / number(BATCH);
        let labels = json!({"users": users});
        report.figure(BENCH, "dispatch_us", median_us, "µs", labels.clone())?;
        report.figure(
            BENCH,
            "script_dispatches_per_s",
            1e6 / median_us,
            "jobs/s",
            labels.clone(),
        )?;
        let jobs = times.len() * BATCH;
        tell_shares(
            report,
            (BENCH, "dispatch_cpu_ms_per_job"),
            jobs,
            (ours, services),
            &labels,
        )?;
        medians.push(median_us);
    }
    if let [first, .., last] = medians[..] {
        let labels = json!({"from_users": USERS[0], "to_users": USERS[USERS.len() - 1]});
        report.figure(BENCH, "dispatch_growth", last / first, "times", labels)?;
    }
    Ok(())
}

/// Admissions with their pushes in a second, of jobs of 1,000 users.
async fn admissions(sandbox: &Sandbox) -> Result<f64, Failure> {
    let began = Instant::now();
    futures::stream::iter(0..ADMISSIONS)
        .map(Ok::<_, Failure>)
        .try_for_each_concurrent(AT_A_TIME, async |index| {
            let entry = entry(&user(index % 1000));
            sandbox.admit(&entry).await?;
            Ok(sandbox.lanes.push(&entry).await?)
        })
        .await?;
    Ok(number(ADMISSIONS) / seconds_since(began))
}

/// What releases took.
struct Dispatched {
    /// Each release of a full batch, with its way to Redis and back.
    times: Times,
    /// CPU time of the bench, which does here what a dispatcher does to release jobs.
    ours: Duration,
    /// CPU time of Redis, the only service that has to do with it.
    services: Duration,
}

async fn dispatches(
    sandbox: &Sandbox,
    containers: &Containers,
    users: usize,
    jobs: usize,
) -> Result<Dispatched, Failure> {
    sandbox.fill(users, jobs).await?;
    let window = u32::try_from(jobs)?;
    let (before, own_before) = (containers.cpu()?, own_cpu().unwrap_or_default());
    let mut times = Vec::new();
    for _ in 0..RELEASES {
        let began = Instant::now();
        let batch = sandbox.lanes.release(QUEUE, BATCH, window, LEASE).await?.jobs;
        if batch.len() < BATCH {
            break;
        }
        times.push(began.elapsed());
    }
    let ours = own_cpu().unwrap_or_default().saturating_sub(own_before);
    let spent = before.until(&containers.cpu()?);
    Ok(Dispatched {
        times: times.into_iter().collect(),
        ours,
        services: spent.by_part.get(REDIS).copied().unwrap_or_default(),
    })
}

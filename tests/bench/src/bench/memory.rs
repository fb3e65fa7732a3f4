//! Memory in Redis: of queued jobs, by the number of their users, and of a user who was active in the last hour.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::Failure;
use crate::quantile::number;
use crate::report::Report;
use crate::sandbox::{AT_A_TIME, Sandbox, entry, user};
use crate::scene::Scene;

const BENCH: &str = "memory";
/// Numbers of users over whom the same number of jobs is spread; growth is that from the first to the last.
const USERS: [usize; 3] = [1000, 10_000, 100_000];
/// Users whose traces are weighed when all of their jobs are over.
const ACTIVE: usize = 500;
/// Jobs that each of them had.
const JOBS_OF_EACH: usize = 40;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let queued = scene.options.queued;
    let mut weights = Vec::new();
    for users in USERS {
        let sandbox = Sandbox::new(scene.tier.redis.clone());
        let weighed = weighed(&sandbox, users, queued).await;
        sandbox.clear().await?;
        // Per 100,000 jobs, whatever number was weighed.
        let mebibytes = number(usize::try_from(weighed?)?) / (1024.0 * 1024.0) * 1e5 / number(queued);
        let labels = json!({"users": users.min(queued)});
        report.figure(BENCH, "redis_mib_per_100k_queued_jobs", mebibytes, "MiB", labels)?;
        weights.push(mebibytes);
    }
    if let [first, .., last] = weights[..] {
        let labels = json!({"from_users": USERS[0], "to_users": USERS[USERS.len() - 1]});
        report.figure(BENCH, "redis_growth", last / first, "times", labels)?;
    }
    let sandbox = Sandbox::new(scene.tier.redis.clone());
    let bytes = active(&sandbox).await;
    sandbox.clear().await?;
    let labels = json!({"jobs_of_each": JOBS_OF_EACH});
    report.figure(BENCH, "bytes_per_active_user", bytes?, "bytes", labels)?;
    report.figure(BENCH, "active_users", number(ACTIVE), "users", Value::Null)?;
    Ok(())
}

async fn weighed(sandbox: &Sandbox, users: usize, jobs: usize) -> Result<u64, Failure> {
    sandbox.fill(users, jobs).await?;
    sandbox.bytes().await
}

/// What is left of each user in Redis once jobs were admitted, queued and ended.
async fn active(sandbox: &Sandbox) -> Result<f64, Failure> {
    futures::stream::iter(0..ACTIVE * JOBS_OF_EACH)
        .map(Ok::<_, Failure>)
        .try_for_each_concurrent(AT_A_TIME, async |index| {
            let entry = entry(&user(index % ACTIVE));
            sandbox.admit(&entry).await?;
            sandbox.lanes.push(&entry).await?;
            Ok(sandbox.lanes.done(&entry).await?)
        })
        .await?;
    // Answers of calls that are kept for some seconds belong to no user.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(number(usize::try_from(sandbox.bytes().await?)?) / number(ACTIVE))
}

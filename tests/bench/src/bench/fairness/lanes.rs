//! Fairness of the lanes alone: the scripts in the Redis of the hub, with nothing around them.

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_job::lane::LaneEntry;
use futures::{StreamExt, TryStreamExt};

use super::{DISPATCHES, HEAVY, WEIGHTS, largest_error_pct, tell};
use crate::Failure;
use crate::quantile::number;
use crate::report::Report;
use crate::sandbox::{AT_A_TIME, QUEUE, Sandbox, entry, user};
use crate::scene::Scene;

/// The window of a queue as the resource has it by default.
const WINDOW: u32 = 64;
const LEASE: Duration = Duration::from_mins(5);

pub(super) async fn run(scene: &Scene, report: &mut Report) -> Result<(), Failure> {
    let sandbox = Sandbox::new(scene.tier.redis.clone());
    let error = largest_error(&sandbox).await;
    sandbox.clear().await?;
    let wait = wait_of_a_light_user(&sandbox).await;
    sandbox.clear().await?;
    tell(report, "lanes", error?, wait?)
}

async fn largest_error(sandbox: &Sandbox) -> Result<f64, Failure> {
    // Nobody runs out of jobs, whatever the shares are.
    futures::stream::iter(0..WEIGHTS.len() * DISPATCHES)
        .map(Ok::<_, Failure>)
        .try_for_each_concurrent(AT_A_TIME, async |index| {
            let number = index % WEIGHTS.len();
            let entry = LaneEntry {
                weight: WEIGHTS[number],
                ..entry(&user(number))
            };
            Ok(sandbox.lanes.push(&entry).await?)
        })
        .await?;
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    let mut dispatched = 0;
    while dispatched < DISPATCHES {
        let max = (DISPATCHES - dispatched).min(32);
        let batch = sandbox.lanes.release(QUEUE, max, WINDOW, LEASE).await?.jobs;
        dispatched += batch.len();
        for job in batch {
            *served.entry(job.user_id.clone()).or_default() += 1;
            let place = LaneEntry {
                job_id: job.job_id,
                ..entry(&job.user_id)
            };
            sandbox.lanes.done(&place).await?;
        }
    }
    let of_each: Vec<_> = (0..WEIGHTS.len())
        .map(|number| served.get(&user(number)).copied().unwrap_or_default())
        .collect();
    Ok(largest_error_pct(&of_each))
}

/// How many windows of jobs are dispatched before the only job of a user who comes when the window is full of another's.
async fn wait_of_a_light_user(sandbox: &Sandbox) -> Result<f64, Failure> {
    let (heavy, light) = (user(0), user(1));
    sandbox.fill(1, HEAVY).await?;
    let mut window = sandbox
        .lanes
        .release(QUEUE, usize::try_from(WINDOW)?, WINDOW, LEASE)
        .await?
        .jobs;
    sandbox.lanes.push(&entry(&light)).await?;
    let mut before = 0;
    while let Some(finished) = window.pop() {
        let place = LaneEntry {
            job_id: finished.job_id,
            ..entry(&heavy)
        };
        sandbox.lanes.done(&place).await?;
        for job in sandbox.lanes.release(QUEUE, 1, WINDOW, LEASE).await?.jobs {
            if job.user_id == light {
                // Those in the window are ahead of it too.
                return Ok(number(before + window.len()) / f64::from(WINDOW));
            }
            before += 1;
        }
    }
    Err("the job of the light user is not dispatched".into())
}

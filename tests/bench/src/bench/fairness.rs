//! Shares of users while all of them wait, and how long a user with one job waits behind one with a thousand.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::quantile::number;
use crate::report::Report;
use crate::sandbox::{QUEUE, Sandbox, entry, user};
use crate::scene::Scene;

const BENCH: &str = "fairness";
/// Dispatches over which shares are counted.
const DISPATCHES: usize = 3000;
/// The weight of each user. All are alike as long as the lanes have one weight for all.
const WEIGHTS: [u32; 12] = [1; 12];
/// The window of a queue as the resource has it by default.
const WINDOW: u32 = 64;
/// The jobs of the user who has many.
const HEAVY: usize = 1000;
const LEASE: Duration = Duration::from_mins(5);

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let sandbox = Sandbox::new(scene.tier.redis.clone());
    let error = largest_error(&sandbox).await;
    sandbox.clear().await?;
    let wait = wait_of_a_light_user(&sandbox).await;
    sandbox.clear().await?;
    let labels = json!({"users": WEIGHTS.len(), "dispatches": DISPATCHES});
    report.figure(BENCH, "fairness_max_error_pct", error?, "%", labels)?;
    report.figure(BENCH, "light_user_wait_windows", wait?, "windows", Value::Null)?;
    Ok(())
}

/// The largest difference of a user's share from that of the weights, in percent of the latter.
async fn largest_error(sandbox: &Sandbox) -> Result<f64, Failure> {
    // Nobody runs out of jobs, whatever the shares are.
    sandbox.fill(WEIGHTS.len(), WEIGHTS.len() * DISPATCHES).await?;
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    let mut dispatched = 0;
    while dispatched < DISPATCHES {
        let max = (DISPATCHES - dispatched).min(32);
        let batch = sandbox.lanes.release(QUEUE, max, WINDOW, LEASE).await?.jobs;
        dispatched += batch.len();
        for job in batch {
            *served.entry(job.user_id.clone()).or_default() += 1;
            sandbox
                .lanes
                .done(&flickrhub_job::lane::LaneEntry {
                    job_id: job.job_id,
                    ..entry(&job.user_id)
                })
                .await?;
        }
    }
    let sum = f64::from(WEIGHTS.iter().sum::<u32>());
    let errors = WEIGHTS.iter().enumerate().map(|(index, weight)| {
        let due = number(DISPATCHES) * f64::from(*weight) / sum;
        let got = number(served.get(&user(index)).copied().unwrap_or_default());
        (got - due).abs() / due * 100.0
    });
    Ok(errors.fold(0.0, f64::max))
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
        let place = flickrhub_job::lane::LaneEntry {
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

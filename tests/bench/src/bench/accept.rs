//! What it costs to accept a job, with every promise of the 202 kept.
//!
//! The dispatcher is stopped, so that nothing else happens to the jobs meanwhile. A bounded number of connections each
//! send the next request when the one before is answered.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::jobs::Jobs;
use crate::load;
use crate::processes::Containers;
use crate::quantile::number;
use crate::report::Report;
use crate::scene::{Scene, tell_cost};

const BENCH: &str = "accept";
/// The longest that it goes on.
const LIMIT: Duration = Duration::from_mins(2);
/// Jobs before the measurement, so that connections, caches and pools are as they are in a hub at work.
const WARM_UP: usize = 500;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.populate().await?;
    scene.hub.stop_dispatcher().await?;
    let jobs = Jobs::from_now(&scene.tier, &scene.users);
    let outcome = measure(scene, &jobs, report).await;
    jobs.remove().await?;
    outcome
}

async fn measure(scene: &Scene, jobs: &Jobs<'_>, report: &mut Report) -> Result<(), Failure> {
    let (connections, _) = load::open(&scene.target, scene.options.in_flight).await;
    load::closed(connections, WARM_UP, LIMIT, jobs.body()).await;
    let containers = Containers::of_the_hub(&scene.client).await?;
    let idle = scene.idle(&containers).await?;

    let (connections, refused) = load::open(&scene.target, scene.options.in_flight).await;
    let before = containers.cpu()?;
    let load = load::closed(connections, scene.options.jobs, LIMIT, jobs.body()).await;
    let spent = before.until(&containers.cpu()?);
    let failed = load.failed() + refused.values().sum::<usize>();
    if failed > 0 {
        eprintln!("{BENCH}: {:?} {refused:?}", load.errors);
    }
    let in_flight = json!({"in_flight": scene.options.in_flight});
    tell_cost(
        report,
        BENCH,
        "accept_cpu_ms_per_job",
        load.times.len(),
        (&spent, &idle),
    )?;
    report.figure(
        BENCH,
        "accept_per_s",
        load.per_second(),
        "jobs/s",
        in_flight.clone(),
    )?;
    for (name, q) in [("accept_p50_ms", 0.5), ("accept_p99_ms", 0.99)] {
        report.figure(BENCH, name, load.times.quantile_ms(q), "ms", in_flight.clone())?;
    }
    report.figure(BENCH, "accept_refused", number(failed), "requests", in_flight)?;
    report.figure(BENCH, "accepted", number(load.times.len()), "jobs", Value::Null)?;
    Ok(())
}

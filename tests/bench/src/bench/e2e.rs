//! What a job costs from its acceptance to its end: a call that Flickr's stand-in answers at once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::jobs::Jobs;
use crate::load;
use crate::processes::{Containers, FLICKR};
use crate::quantile::number;
use crate::report::Report;
use crate::scene::{Scene, tell_cost};

const BENCH: &str = "e2e";
/// The longest that submitting goes on, and again the longest that the jobs may take.
const LIMIT: Duration = Duration::from_mins(3);
/// Jobs before the measurement.
const WARM_UP: usize = 300;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.populate().await?;
    scene.hub.start_dispatcher().await?;
    if scene.options.keep_limits {
        return saturate(scene, report).await;
    }
    scene.hub.widen(scene.options.concurrency).await?;
    let outcome = saturate(scene, report).await;
    scene.hub.narrow().await?;
    outcome
}

async fn saturate(scene: &Scene, report: &mut Report) -> Result<(), Failure> {
    let warm_up = Jobs::from_now(&scene.tier, &scene.users);
    let (connections, _) = load::open(&scene.target, scene.options.in_flight).await;
    load::closed(connections, WARM_UP, LIMIT, warm_up.body()).await;
    warm_up.over(LIMIT).await?;

    let jobs = Jobs::from_now(&scene.tier, &scene.users);
    let outcome = measure(scene, &jobs, report).await;
    warm_up.remove().await?;
    outcome
}

async fn measure(scene: &Scene, jobs: &Jobs<'_>, report: &mut Report) -> Result<(), Failure> {
    let containers = Containers::of_the_hub(&scene.client).await?;
    let idle = scene.idle(&containers).await?;
    let (connections, _) = load::open(&scene.target, scene.options.in_flight).await;
    let before = containers.cpu()?;
    let load = load::closed(connections, scene.options.jobs, LIMIT, jobs.body()).await;
    let over = jobs.over(LIMIT).await?;
    let spent = before.until(&containers.cpu()?);
    let ended = jobs.ended().await?;
    let succeeded = ended.states.get("succeeded").copied().unwrap_or_default();
    if !over || succeeded != load.times.len() {
        eprintln!(
            "{BENCH}: {} accepted, {:?}, {:?}",
            load.times.len(),
            ended.states,
            load.errors
        );
    }
    tell_cost(report, BENCH, "e2e_cpu_ms_per_job", succeeded, (&spent, &idle))?;
    let per_second = number(succeeded) / ended.took.as_secs_f64().max(f64::EPSILON);
    report.figure(BENCH, "e2e_per_s", per_second, "jobs/s", Value::Null)?;
    let times = jobs.times().await?;
    let in_flight = json!({"in_flight": scene.options.in_flight});
    for (name, q) in [("e2e_p50_ms", 0.5), ("e2e_p99_ms", 0.99)] {
        report.figure(BENCH, name, times.quantile_ms(q), "ms", in_flight.clone())?;
    }
    report.figure(
        BENCH,
        "not_succeeded",
        number(load.times.len() - succeeded.min(load.times.len())),
        "jobs",
        Value::Null,
    )?;
    let idle_share = idle.total().as_secs_f64() / idle.took.as_secs_f64().max(f64::EPSILON);
    report.figure(BENCH, "idle_cpu_ms_per_s", idle_share * 1e3, "ms/s", Value::Null)?;
    for (part, bytes) in containers.memory()? {
        if part != FLICKR {
            let mebibytes = bytes / (1024 * 1024);
            let labels = json!({"part": part});
            report.figure(
                BENCH,
                "memory_mib",
                number(usize::try_from(mebibytes)?),
                "MiB",
                labels,
            )?;
        }
    }
    Ok(())
}

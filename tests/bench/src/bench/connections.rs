//! Accepting while very many connections are open, each of them used in turn at a modest rate in all.

use serde_json::json;

use crate::Failure;
use crate::jobs::Jobs;
use crate::load;
use crate::processes::Containers;
use crate::quantile::number;
use crate::report::Report;
use crate::scene::{Scene, seconds_since, tell_shares};

const BENCH: &str = "connections";
/// Requests at least, where there are fewer connections.
const REQUESTS: usize = 5000;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.populate().await?;
    scene.hub.stop_dispatcher().await?;
    for connections in scene.options.connections.clone() {
        let jobs = Jobs::from_now(&scene.tier, &scene.users);
        let outcome = measure(scene, &jobs, connections, report).await;
        jobs.remove().await?;
        outcome?;
    }
    Ok(())
}

async fn measure(
    scene: &Scene,
    jobs: &Jobs<'_>,
    connections: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let labels = json!({"connections": connections, "rate": scene.options.rate});
    let began = std::time::Instant::now();
    let (open, refused) = load::open(&scene.target, connections).await;
    report.figure(BENCH, "connect_s", seconds_since(began), "s", labels.clone())?;
    // Every connection is used, and each one is open while all others are.
    let requests = REQUESTS.max(connections);
    let containers = Containers::of_the_hub(&scene.client).await?;
    let before = containers.cpu()?;
    let load = load::paced(open, requests, scene.options.rate, jobs.body()).await;
    let spent = before.until(&containers.cpu()?);
    let failed = load.failed() + refused.values().sum::<usize>();
    if failed > 0 {
        eprintln!("{BENCH}: {:?} {refused:?}", load.errors);
    }
    report.figure(
        BENCH,
        "accept_p50_ms",
        load.times.quantile_ms(0.5),
        "ms",
        labels.clone(),
    )?;
    report.figure(
        BENCH,
        "accept_p95_ms",
        load.times.quantile_ms(0.95),
        "ms",
        labels.clone(),
    )?;
    report.figure(BENCH, "accept_errors", number(failed), "requests", labels.clone())?;
    report.figure(
        BENCH,
        "answered_per_s",
        load.per_second(),
        "jobs/s",
        labels.clone(),
    )?;
    let shares = (spent.ours(), spent.services());
    tell_shares(
        report,
        (BENCH, "connections_cpu_ms_per_job"),
        load.times.len(),
        shares,
        &labels,
    )
}

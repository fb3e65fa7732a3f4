//! The benches, one file each.

mod accept;
mod connections;
mod dispatch;
mod e2e;
mod fairness;
mod floor;
mod latency;
mod memory;
mod scale_in;

use serde_json::json;

use crate::Failure;
use crate::options::Bench;
use crate::report::Report;
use crate::scene::Scene;

/// Runs one bench. How busy the machine is otherwise is told first: it is what times, but not CPU times, depend on.
///
/// # Errors
/// When something does not answer; what the bench made is removed all the same.
pub(crate) async fn run(bench: Bench, scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    if let Some(load) = load_of_the_machine() {
        let labels = json!({"before": format!("{bench:?}").to_lowercase()});
        report.figure("machine", "load_1m", load, "processes", labels)?;
    }
    match bench {
        Bench::Floor => floor::run(scene, report).await,
        Bench::Accept => accept::run(scene, report).await,
        Bench::Connections => connections::run(scene, report).await,
        Bench::E2e => e2e::run(scene, report).await,
        Bench::Latency => latency::run(scene, report).await,
        Bench::Fairness => fairness::run(scene, report).await,
        Bench::Memory => memory::run(scene, report).await,
        Bench::Dispatch => dispatch::run(scene, report).await,
        Bench::ScaleIn => scale_in::run(scene, report).await,
    }
}

fn load_of_the_machine() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

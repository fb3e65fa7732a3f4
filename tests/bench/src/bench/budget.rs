//! The budget of an application against the exact log, with more work than the budget allows all the time.

use serde_json::json;

use crate::Failure;
use crate::quantile::number;
use crate::report::Report;
use crate::scene::Scene;
use crate::sliding::{HOUR_MS, Judge, Limit};

const BENCH: &str = "budget";
/// Requests that Flickr allows an application in an hour.
const LIMIT: usize = 3600;
/// Between two attempts to use the budget: several workers that ask as soon as they can.
const STEP_MS: u64 = 100;
/// Hours that go by.
const HOURS: u64 = 5;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let Some(mut budget) = under_test(scene) else {
        eprintln!("{BENCH}: this version has no budgets to measure");
        return Ok(());
    };
    let mut judge = Judge::new(LIMIT);
    for step in 0..HOURS * HOUR_MS / STEP_MS {
        judge.put(&mut budget, "main", step * STEP_MS).await?;
    }
    let verdict = judge.verdict();
    let most = LIMIT * usize::try_from(HOURS)?;
    let labels = json!({"hours": HOURS, "requests_per_hour": LIMIT});
    report.figure(
        BENCH,
        "budget_use_pct",
        number(verdict.admitted) / number(most) * 100.0,
        "%",
        labels.clone(),
    )?;
    report.figure(BENCH, "budget_over", number(verdict.over), "requests", labels)?;
    Ok(())
}

/// The budget of applications. The dispatcher has none yet; once it has one, a release of one job is called here, with
/// the time of the event as the time of the script.
fn under_test(_: &Scene) -> Option<NoBudget> {
    None
}

/// Stands for a budget that is not there.
enum NoBudget {}

impl Limit for NoBudget {
    async fn admits(&mut self, _: &str, _: u64) -> Result<bool, Failure> {
        match *self {}
    }
}

//! The sliding hour of users against the exact log: random requests, in bursts and evenly, by the clock of the bench.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::Failure;
use crate::quantile::number;
use crate::report::Report;
use crate::scene::Scene;
use crate::sliding::{HOUR_MS, Judge, Limit};

const BENCH: &str = "window";
/// Requests of one user in an hour, as the resource has it by default.
const LIMIT: usize = 3500;
/// Users; each asks for more than the limit in most hours.
const USERS: usize = 20;
/// Requests that all users ask for in an hour, on average.
const PER_HOUR: u64 = 100_000;
/// So that a run can be repeated.
const SEED: u64 = 20_260_101;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let Some(mut limit) = under_test(scene) else {
        eprintln!("{BENCH}: this version has no hourly limit of users to measure");
        return Ok(());
    };
    let verdict = drive(&mut limit, scene.options.requests).await?;
    let labels = json!({"requests": scene.options.requests, "admitted": verdict.admitted});
    let under = number(verdict.under) / number(verdict.admissible).max(1.0) * 100.0;
    report.figure(
        BENCH,
        "window_over_admissions",
        number(verdict.over),
        "requests",
        labels.clone(),
    )?;
    report.figure(BENCH, "window_under_pct", under, "%", labels)?;
    Ok(())
}

/// The hourly limit of users. The admission of jobs has none yet; once it has one, it is called here, with the time of
/// the event as the time of the script.
fn under_test(_: &Scene) -> Option<NoLimit> {
    None
}

/// Stands for a limit that is not there.
enum NoLimit {}

impl Limit for NoLimit {
    async fn admits(&mut self, _: &str, _: u64) -> Result<bool, Failure> {
        match *self {}
    }
}

async fn drive(limit: &mut impl Limit, requests: usize) -> Result<crate::sliding::Verdict, Failure> {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut judge = Judge::new(LIMIT);
    let mut at_ms = 0;
    let mut burst = 0_usize;
    let mut subject = String::new();
    for _ in 0..requests {
        if burst == 0 {
            // A burst of one user at once, then a pause that keeps the average.
            burst = random.random_range(1..200);
            subject = format!("{}@N00", random.random_range(0..USERS));
            let pause = HOUR_MS * u64::try_from(burst)? / PER_HOUR;
            at_ms += random.random_range(0..=2 * pause);
        }
        burst -= 1;
        at_ms += random.random_range(0..2);
        judge.put(limit, &subject, at_ms).await?;
    }
    Ok(judge.verdict())
}

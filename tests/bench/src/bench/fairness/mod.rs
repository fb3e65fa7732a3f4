//! Shares of users while all of them wait, and how long a user with one job waits behind one with a thousand: in the lanes
//! alone, and through the whole system as Flickr sees it.

mod lanes;
mod system;

use serde_json::{Value, json};

use crate::Failure;
use crate::quantile::number;
use crate::report::Report;
use crate::scene::Scene;

const BENCH: &str = "fairness";
/// Dispatches over which shares are counted.
const DISPATCHES: usize = 3000;
/// The weight of each user. The lightest are due 150 dispatches: one more or less is 0.7 %.
const WEIGHTS: [u32; 8] = [1, 1, 2, 2, 3, 3, 4, 4];
/// The jobs of the user who has many.
const HEAVY: usize = 1000;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    lanes::run(scene, report).await?;
    if scene.options.keep_limits {
        eprintln!("{BENCH}: not through the system, since 3,000 dispatches and weights need other limits");
        return Ok(());
    }
    system::run(scene, report).await
}

/// Tells both figures of what the jobs went through.
fn tell(report: &mut Report, through: &str, error_pct: f64, wait: f64) -> Result<(), Failure> {
    let weights = WEIGHTS.map(|weight| weight.to_string()).join(",");
    let labels: Value = json!({
        "through": through, "weights": weights, "users": WEIGHTS.len(), "dispatches": DISPATCHES,
    });
    report.figure(BENCH, "fairness_max_error_pct", error_pct, "%", labels)?;
    let labels = json!({"through": through, "heavy_jobs": HEAVY});
    report.figure(BENCH, "light_user_wait_windows", wait, "windows", labels)?;
    Ok(())
}

/// How many of so many dispatches the user with this number is due.
fn due(user: usize, dispatches: usize) -> f64 {
    let weight = WEIGHTS.get(user).copied().unwrap_or_default();
    number(dispatches) * f64::from(weight) / f64::from(WEIGHTS.iter().sum::<u32>())
}

/// The largest difference of a user's dispatches from those that are due, in percent of the latter.
fn largest_error_pct(served: &[usize]) -> f64 {
    let all = served.iter().sum();
    let errors = served.iter().enumerate().map(|(user, &got)| {
        let due = due(user, all);
        (number(got) - due).abs() / due * 100.0
    });
    errors.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_user_who_is_furthest_from_the_due_share() {
        let fair = [150, 150, 300, 300, 450, 450, 600, 600];
        assert!(largest_error_pct(&fair) < 1e-9);
        let mut unfair = fair;
        unfair[1] -= 3;
        unfair[7] += 3;
        assert!((largest_error_pct(&unfair) - 2.0).abs() < 1e-9);
    }
}

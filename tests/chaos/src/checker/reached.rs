//! How near to its limits a history came: limits that nothing comes near to are no test of them.

use super::{budget, windows};
use crate::history::History;

/// How near to the first limits of a history it came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reached {
    /// The most requests with one application key in a window, in percent of what is allowed.
    pub app_budget_percent: f64,
    /// The most requests with one user's token in a window, in percent of what is allowed.
    pub user_budget_percent: f64,
    /// Requests that were refused by a window that was full.
    pub refusals: usize,
}

/// How near to its limits a history came, while the first of them were in force.
pub fn reached(history: &History) -> Reached {
    let Some(limits) = history.limits.first() else {
        return Reached::default();
    };
    let most = |counted: Vec<usize>| counted.into_iter().max().unwrap_or_default();
    Reached {
        app_budget_percent: percent(
            most(budget::of_apps(history, limits).into_values().collect()),
            limits.per_app,
        ),
        user_budget_percent: percent(
            most(budget::of_users(history, limits).into_values().collect()),
            limits.per_user,
        ),
        refusals: windows::refusals(history),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn percent(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}

//! No sliding window has more requests than Flickr allows, by Flickr's own clock.

use std::collections::BTreeMap;

use super::{Promise, Violation, violation};
use crate::history::History;

pub(super) fn check(history: &History, violations: &mut Vec<Violation>) {
    let mut per_app: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut per_user: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for call in &history.calls {
        if let Some(app) = &call.app {
            per_app.entry(app).or_default().push(call.time_ms);
        }
        if let Some(user) = &call.user {
            per_user.entry(user).or_default().push(call.time_ms);
        }
    }
    let budgets = &history.budgets;
    for (counted, limit, of_what) in [
        (per_app, budgets.per_app, "application"),
        (per_user, budgets.per_user, "user"),
    ] {
        for (name, times) in counted {
            let most = most_in_a_window(times, budgets.window_ms);
            if most > limit {
                violations.push(violation(
                    Promise::WithinBudget,
                    name,
                    format!("{of_what}: {most} requests in one window, {limit} are allowed"),
                ));
            }
        }
    }
}

/// The most requests in any window of this length; a window ends just before its length has passed.
pub(crate) fn most_in_a_window(mut times: Vec<i64>, window_ms: i64) -> usize {
    times.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for (last, &time) in times.iter().enumerate() {
        while times.get(first).is_some_and(|&begin| time - begin >= window_ms) {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

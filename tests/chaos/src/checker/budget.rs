//! No sliding window has more requests than Flickr allows, by Flickr's own clock, whatever Redis loses.
//!
//! With one exception, which `docs/budgets.md` names: steps of signing in are not in MongoDB, so those before a complete loss
//! of Redis do not count against what comes after it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Promise, Violation, violation};
use crate::history::{Call, History, Limits, Lost};

pub(super) fn check(history: &History, violations: &mut Vec<Violation>) {
    for limits in &history.limits {
        for (counted, limit, of_what) in [
            (of_apps(history, limits), limits.per_app, "application"),
            (of_users(history, limits), limits.per_user, "user"),
        ] {
            for (name, most) in counted {
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
}

/// The most requests with each application key in any window that ends while the limits are in force.
pub(crate) fn of_apps<'a>(history: &'a History, limits: &Limits) -> BTreeMap<&'a str, usize> {
    let calls = || in_force(history, limits);
    let apps: BTreeSet<&str> = calls().filter_map(|call| call.app.as_deref()).collect();
    let periods = periods(history, limits);
    apps.into_iter()
        .map(|app| {
            let most = periods.iter().map(|&(begin, end)| {
                let counted = calls().filter(|call| {
                    call.app.as_deref() == Some(app)
                        && call.time_ms < end
                        && (call.time_ms >= begin || !call.is_sign_in())
                });
                most_in_a_window(counted.map(|call| call.time_ms).collect(), history.window_ms)
            });
            (app, most.max().unwrap_or_default())
        })
        .collect()
}

/// The same with each user's token. Steps of signing in are the application's alone.
pub(crate) fn of_users<'a>(history: &'a History, limits: &Limits) -> BTreeMap<&'a str, usize> {
    let mut times: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for call in in_force(history, limits).filter(|call| !call.is_sign_in()) {
        if let Some(user) = &call.user {
            times.entry(user).or_default().push(call.time_ms);
        }
    }
    times
        .into_iter()
        .map(|(user, times)| (user, most_in_a_window(times, history.window_ms)))
        .collect()
}

/// What counts in windows that end while the limits are in force.
fn in_force<'a>(history: &'a History, limits: &Limits) -> impl Iterator<Item = &'a Call> {
    let earliest = limits.from_ms.saturating_sub(history.window_ms);
    let until = limits.until_ms;
    history
        .calls
        .iter()
        .filter(move |call| call.is_counted() && (earliest..until).contains(&call.time_ms))
}

/// The times between two complete losses of Redis, in which steps of signing in are remembered. Those before the run may have
/// been lost by one before it.
fn periods(history: &History, limits: &Limits) -> Vec<(i64, i64)> {
    let first = history.limits.first().unwrap_or(limits).from_ms;
    let complete = || history.losses.iter().filter(|loss| loss.lost == Lost::Everything);
    let begins = std::iter::once(first).chain(complete().map(|loss| loss.to_ms));
    let ends = complete()
        .map(|loss| loss.from_ms)
        .chain(std::iter::once(i64::MAX));
    begins.zip(ends).collect()
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

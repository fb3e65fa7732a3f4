//! No sliding window has more accepted jobs of a user than the limits allow, and nobody is refused by a window that has room.
//!
//! When the hub counted a job is known to lie between the first request for it and the answer that accepted it. Only jobs that
//! were surely counted within one window are held against the limit. The windows are in Redis alone: a complete loss
//! begins them anew, and a failover may forget the last jobs; what is promised is promised between such losses.

use std::collections::BTreeMap;

use flickrhub_job::limits::RequestClass;

use super::{Promise, Violation, violation};
use crate::history::{Answer, Attempt, History, Limits, Lost, Operation};

/// The refusal by the window of all classes.
const USER_RATE_EXCEEDED: &str = "user_rate_exceeded";
/// The refusal by the window of one class.
const CLASS_RATE_EXCEEDED: &str = "class_rate_exceeded";

/// The time in which a job was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counted {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

pub(super) fn check(history: &History, violations: &mut Vec<Violation>) {
    for limits in &history.limits {
        for (user, class, most) in fullest(history, limits) {
            let limit = class.map_or(limits.per_user, |class| limits.of_class(class));
            if most > limit {
                violations.push(violation(
                    Promise::WithinWindow,
                    user,
                    format!(
                        "{most} jobs of {} were accepted in one window, {limit} are allowed",
                        class.map_or("all classes", RequestClass::name)
                    ),
                ));
            }
        }
    }
    refused_early(history, violations);
}

/// Of each user, for each class and for all of them (`None`): the most jobs that were surely accepted in one window, while
/// the limits were in force.
pub(crate) fn fullest<'a>(
    history: &'a History,
    limits: &Limits,
) -> Vec<(&'a str, Option<RequestClass>, usize)> {
    let mut of_user: BTreeMap<&str, Vec<(RequestClass, Counted)>> = BTreeMap::new();
    for operation in &history.operations {
        if let Some(counted) = counted(operation).filter(|counted| counted.to_ms < limits.until_ms) {
            of_user
                .entry(&operation.user)
                .or_default()
                .push((operation.kind.class(), counted));
        }
    }
    let mut fullest = Vec::new();
    for (user, jobs) in of_user {
        for class in RequestClass::ALL.into_iter().map(Some).chain([None]) {
            let of_class = jobs
                .iter()
                .filter(|(of_job, _)| class.is_none_or(|class| class == *of_job))
                .map(|(_, counted)| *counted);
            fullest.push((user, class, most_between_losses(history, of_class.collect())));
        }
    }
    fullest
}

/// When the job of an operation was counted, if a client was told that there is one.
fn counted(operation: &Operation) -> Option<Counted> {
    let accepted = operation
        .attempts
        .iter()
        .find(|attempt| matches!(attempt.answer, Answer::Accepted { .. }))?;
    Some(Counted {
        from_ms: operation.attempts.first()?.sent_ms,
        to_ms: accepted.ended_ms,
    })
}

/// The most in one window between two complete losses, without what a failover may have forgotten.
fn most_between_losses(history: &History, jobs: Vec<Counted>) -> usize {
    let is_remembered = |job: &Counted| {
        let mut losses = history.losses.iter();
        losses.all(|loss| job.to_ms < loss.from_ms || job.from_ms >= loss.to_ms)
    };
    let mut periods: BTreeMap<usize, Vec<Counted>> = BTreeMap::new();
    for job in jobs.into_iter().filter(is_remembered) {
        let complete = history.losses.iter().filter(|loss| loss.lost == Lost::Everything);
        let period = complete.filter(|loss| loss.to_ms <= job.from_ms).count();
        periods.entry(period).or_default().push(job);
    }
    let most = periods
        .into_values()
        .map(|jobs| surely_in_a_window(jobs, history.window_ms));
    most.max().unwrap_or_default()
}

/// The most that lie wholly within one window of this length.
pub(crate) fn surely_in_a_window(mut jobs: Vec<Counted>, window_ms: i64) -> usize {
    jobs.sort_unstable();
    let most = jobs.iter().enumerate().map(|(first, begin)| {
        jobs.iter()
            .skip(first)
            .filter(|job| job.to_ms - begin.from_ms < window_ms)
            .count()
    });
    most.max().unwrap_or_default()
}

/// A window refuses only when it is full. What may have been counted in it is every request of the user before that the window
/// did not refuse, answered or not.
fn refused_early(history: &History, violations: &mut Vec<Violation>) {
    let mut of_user: BTreeMap<&str, Vec<(RequestClass, &Attempt)>> = BTreeMap::new();
    for operation in &history.operations {
        let attempts = operation.attempts.iter();
        of_user
            .entry(&operation.user)
            .or_default()
            .extend(attempts.map(|attempt| (operation.kind.class(), attempt)));
    }
    for (user, attempts) in of_user {
        for (class, refused) in &attempts {
            let Answer::Refused { code, .. } = &refused.answer else {
                continue;
            };
            let of_class = code == CLASS_RATE_EXCEEDED;
            if !of_class && code != USER_RATE_EXCEEDED {
                continue;
            }
            let limit = smallest(history, |limits| {
                if of_class {
                    limits.of_class(*class)
                } else {
                    limits.per_user
                }
            });
            let perhaps = attempts.iter().filter(|(other, attempt)| {
                (!of_class || other == class)
                    && attempt.sent_ms <= refused.ended_ms
                    && !matches!(attempt.answer, Answer::Refused { status: 429, .. })
            });
            let perhaps = perhaps.count();
            if perhaps < limit {
                violations.push(violation(
                    Promise::NotRefusedEarly,
                    user,
                    format!("{code} after at most {perhaps} jobs, {limit} are allowed"),
                ));
            }
        }
    }
}

fn smallest(history: &History, limit: impl Fn(&Limits) -> usize) -> usize {
    history.limits.iter().map(limit).min().unwrap_or(usize::MAX)
}

/// How many requests were refused by a window.
pub(crate) fn refusals(history: &History) -> usize {
    history
        .operations
        .iter()
        .flat_map(|operation| &operation.attempts)
        .filter(|attempt| {
            matches!(&attempt.answer, Answer::Refused { code, .. }
                if code == CLASS_RATE_EXCEEDED || code == USER_RATE_EXCEEDED)
        })
        .count()
}

//! No accepted job is lost, each is in one final state and stays there, no key makes two.

use std::collections::{BTreeMap, BTreeSet};

use super::{Index, Promise, Violation, violation};
use crate::history::{History, is_final};

pub(super) fn check(history: &History, index: &Index<'_>, violations: &mut Vec<Violation>) {
    for &job_id in &index.accepted {
        if !history.rested.contains_key(job_id) || !history.later.contains_key(job_id) {
            violations.push(violation(
                Promise::NoJobLost,
                job_id,
                "a client was told that it is accepted; the API does not know it",
            ));
        }
    }
    for job in index.jobs.values() {
        if !is_final(&job.state) {
            violations.push(violation(
                Promise::EveryJobEnds,
                &job.id,
                format!("still {} after {} tries", job.state, job.attempts),
            ));
        }
        if index.operation_of(job).is_none() {
            violations.push(violation(
                Promise::NoJobFromNowhere,
                &job.id,
                format!("no request had its trace id {}", job.trace_id),
            ));
        }
    }
    one_final_state(history, violations);
    one_job_per_key(history, index, violations);
}

/// By everything that anybody saw of a job: watchers on the way, then the two readings at rest.
fn one_final_state(history: &History, violations: &mut Vec<Violation>) {
    let on_the_way = history
        .sightings
        .iter()
        .map(|sighting| (sighting.job_id.as_str(), sighting.state.as_str()));
    let at_rest = history
        .rested
        .values()
        .chain(history.later.values())
        .map(|job| (job.id.as_str(), job.state.as_str()));
    let mut ended: BTreeMap<&str, &str> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (job_id, state) in on_the_way.chain(at_rest) {
        match ended.get(job_id) {
            None if is_final(state) => {
                ended.insert(job_id, state);
            }
            Some(&before) if before != state && told.insert(job_id) => violations.push(violation(
                Promise::OneFinalState,
                job_id,
                format!("{before}, then {state}"),
            )),
            _ => {}
        }
    }
}

fn one_job_per_key(history: &History, index: &Index<'_>, violations: &mut Vec<Violation>) {
    let mut of_marker: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for job in index.jobs.values() {
        if let Some(operation) = index.operation_of(job) {
            of_marker.entry(&operation.marker).or_default().insert(&job.id);
        }
    }
    for operation in &history.operations {
        let told = operation
            .attempts
            .iter()
            .filter_map(|attempt| match &attempt.answer {
                crate::history::Answer::Accepted { job_id } => Some(job_id.as_str()),
                _ => None,
            });
        of_marker.entry(&operation.marker).or_default().extend(told);
    }
    for (marker, jobs) in of_marker {
        if jobs.len() > 1 {
            violations.push(violation(
                Promise::OneJobPerKey,
                marker,
                format!("jobs {}", jobs.into_iter().collect::<Vec<_>>().join(", ")),
            ));
        }
    }
}

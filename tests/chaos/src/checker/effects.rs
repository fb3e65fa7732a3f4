//! What Flickr did for each job, how often, and for whom.

use super::{Index, Promise, Violation, violation};
use flickrhub_job::model::JobError;

use crate::history::{Answer, Call, Effects, History, Kind, Operation, SeenJob};

pub(super) fn check(history: &History, index: &Index<'_>, violations: &mut Vec<Violation>) {
    for job in index.jobs.values() {
        if let Some(operation) = index.operation_of(job) {
            of_job(job, operation, index.calls_of(&job.trace_id), violations);
        }
    }
    let with_job: std::collections::HashSet<&str> =
        index.jobs.values().map(|job| job.trace_id.as_str()).collect();
    for operation in &history.operations {
        for attempt in &operation.attempts {
            if !with_job.contains(attempt.trace_id.as_str()) {
                without_job(
                    operation,
                    &attempt.answer,
                    index.calls_of(&attempt.trace_id),
                    violations,
                );
            }
        }
    }
    for call in &history.calls {
        own_call(call, index, violations);
    }
}

/// What the final state of a job says of its effect.
fn of_job(job: &SeenJob, operation: &Operation, calls: &[&Call], violations: &mut Vec<Violation>) {
    let effects: Vec<&str> = calls.iter().filter_map(|call| call.effect.as_deref()).collect();
    let mut broken = |promise, evidence: String| violations.push(violation(promise, &job.id, evidence));
    let told = format!("{} {}, effects {effects:?}", operation.kind.name(), job.state);
    if effects.len() > 1 && operation.kind.effects() == Effects::Once {
        broken(Promise::NoDoubleEffect, told.clone());
    }
    if !effects.is_empty() && operation.kind.effects() == Effects::None {
        broken(Promise::OwnCallsOnly, told.clone());
    }
    match job.state.as_str() {
        "succeeded" => {
            let happened = if operation.kind.effects() == Effects::None {
                // The answer that became the result was sent whole.
                calls.iter().any(|call| call.status == 200)
            } else {
                !effects.is_empty()
            };
            if !happened {
                broken(Promise::SuccessHappened, told);
            }
            own_result(job, operation, &effects, violations);
        }
        // A write that may be repeated is tried again after an unknown outcome; its last try may fail for good.
        _ if operation.kind.effects() == Effects::Repeatable => {}
        _ if job.error.as_deref() == Some(JobError::OUTCOME_UNKNOWN) => {}
        "failed" | "dead" | "expired" | "cancelled" if !effects.is_empty() => {
            broken(
                Promise::FailureDidNothing,
                format!("{told}, error {}", job.error.as_deref().unwrap_or("none")),
            );
        }
        _ => {}
    }
}

/// The result names what this job's own call was about.
fn own_result(job: &SeenJob, operation: &Operation, effects: &[&str], violations: &mut Vec<Violation>) {
    let own = match operation.kind {
        // The mock repeats the arguments, and the title that was set.
        Kind::Read | Kind::Set => names(&job.result, &operation.marker),
        Kind::Create | Kind::Upload | Kind::Replace => {
            effects.iter().any(|effect| names(&job.result, effect))
        }
    };
    if !own {
        violations.push(violation(
            Promise::OwnResult,
            &job.id,
            format!("{} {}: {}", operation.kind.name(), operation.marker, job.result),
        ));
    }
}

/// Whether a JSON text has this string as a whole value.
fn names(result: &str, value: &str) -> bool {
    result.contains(&format!("\"{value}\""))
}

/// What a request that made no job did.
fn without_job(operation: &Operation, answer: &Answer, calls: &[&Call], violations: &mut Vec<Violation>) {
    let Some(call) = calls.first() else { return };
    let (promise, evidence) = match answer {
        Answer::Refused { status, .. } => (
            Promise::RefusedDidNothing,
            format!("refused with {status}, but {} was called", call.method),
        ),
        Answer::Unknown { reason } => (
            Promise::NoEffectFromNowhere,
            format!("no job of it exists ({reason}), but {} was called", call.method),
        ),
        // The first answer of its key, given again: the job has the first request's trace.
        Answer::Accepted { .. } => (
            Promise::NoEffectFromNowhere,
            format!(
                "its job has another trace, but {} was called with this one",
                call.method
            ),
        ),
    };
    violations.push(violation(promise, &operation.marker, evidence));
}

/// A call that carries a marker belongs to the operation of its trace, and is made for that one's user.
fn own_call(call: &Call, index: &Index<'_>, violations: &mut Vec<Violation>) {
    let by_trace = call
        .trace_id
        .as_deref()
        .and_then(|trace| index.by_trace.get(trace))
        .map(|(operation, _)| *operation);
    let asked_by = index.asked_by(call);
    match (by_trace, asked_by) {
        (None, Some(operation)) => violations.push(violation(
            Promise::NoEffectFromNowhere,
            &operation.marker,
            format!("{} was called with a trace that no request had", call.method),
        )),
        (Some(of_trace), Some(of_marker)) if of_trace.marker != of_marker.marker => {
            violations.push(violation(
                Promise::OwnCallsOnly,
                &of_trace.marker,
                format!(
                    "{} was called with the arguments of {}",
                    call.method, of_marker.marker
                ),
            ));
        }
        (Some(of_trace), _) if call.user.as_ref().is_some_and(|user| *user != of_trace.user) => {
            violations.push(violation(
                Promise::OwnCallsOnly,
                &of_trace.marker,
                format!(
                    "{} was called for {:?}, not {}",
                    call.method, call.user, of_trace.user
                ),
            ));
        }
        _ => {}
    }
}

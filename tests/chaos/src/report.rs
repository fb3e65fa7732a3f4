//! The verdict of a run: a table for people, then one JSON object per line for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use crate::checker::{Promise, reached};
use crate::history::Answer;
use crate::run::{Options, Outcome, tally};

/// Most violations that the table shows in full.
const SHOWN: usize = 30;

const PROMISES: [Promise; 18] = [
    Promise::NoJobLost,
    Promise::EveryJobEnds,
    Promise::OneFinalState,
    Promise::OneJobPerKey,
    Promise::NoJobFromNowhere,
    Promise::SuccessHappened,
    Promise::NoDoubleEffect,
    Promise::FailureDidNothing,
    Promise::RefusedDidNothing,
    Promise::NoEffectFromNowhere,
    Promise::OwnCallsOnly,
    Promise::OwnResult,
    Promise::WithinBudget,
    Promise::WithinWindow,
    Promise::NotRefusedEarly,
    Promise::ListAgrees,
    Promise::CallbackTrue,
    Promise::Private,
];

/// How submissions were answered.
fn answers(outcome: &Outcome) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for attempt in outcome
        .history
        .operations
        .iter()
        .flat_map(|operation| &operation.attempts)
    {
        let name = match &attempt.answer {
            Answer::Accepted { .. } => "accepted".to_owned(),
            Answer::Refused { status, code } => format!("refused {status} {code}").trim_end().to_owned(),
            Answer::Unknown { reason } => format!("unknown: {reason}"),
        };
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

/// How often what was done to what.
fn done(outcome: &Outcome) -> BTreeMap<(&'static str, &'static str), (usize, usize)> {
    let mut counts = BTreeMap::new();
    for done in &outcome.done {
        let (did, left_out): &mut (usize, usize) = counts
            .entry((done.step.target.component(), done.step.fault.name()))
            .or_default();
        *if done.outcome.is_ok() { did } else { left_out } += 1;
    }
    counts
}

/// The table.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::from("\nsubmissions\n");
    // Writing to a string cannot fail.
    for (answer, count) in answers(outcome) {
        let _ = writeln!(text, "  {answer:<40} {count:>6}");
    }
    text.push_str("jobs\n");
    for ((kind, state), count) in tally(&outcome.history) {
        let _ = writeln!(text, "  {:<8} {state:<31} {count:>6}", kind.name());
    }
    text.push_str("done to the hub\n");
    for ((target, fault), (did, left_out)) in done(outcome) {
        let note = if left_out > 0 {
            format!(" ({left_out} left out)")
        } else {
            String::new()
        };
        let _ = writeln!(text, "  {target:<15} {fault:<24} {did:>6}{note}");
    }
    let reached = reached(&outcome.history);
    text.push_str("limits reached before the application's was raised\n");
    for (budget, percent) in [
        ("budget of the application", reached.app_budget_percent),
        ("budget of a user", reached.user_budget_percent),
    ] {
        let _ = writeln!(text, "  {budget:<40} {percent:>4.0} %");
    }
    let _ = writeln!(
        text,
        "  {:<40} {:>6}",
        "refusals by a full window", reached.refusals
    );
    text.push_str("promises broken\n");
    for promise in PROMISES {
        let count = broken(outcome, promise);
        let _ = writeln!(text, "  {:<40} {count:>6}", promise.name());
    }
    for violation in outcome.violations.iter().take(SHOWN) {
        let _ = writeln!(text, "  ! {violation}");
    }
    for step in outcome.left_out() {
        let _ = writeln!(text, "  ! left out, though every run has it: {step}");
    }
    if let Some(why) = &outcome.not_whole {
        let _ = writeln!(text, "  ! the hub did not become whole: {why}");
    }
    text
}

/// One JSON object per line.
pub fn lines(options: Options, outcome: &Outcome) -> String {
    let (history, labels) = (&outcome.history, json!({"seed": options.seed}));
    let mut text = String::new();
    let mut line = |metric: &str, value: serde_json::Value, unit: &str, more: serde_json::Value| {
        let mut labels = labels.clone();
        if let (Some(labels), serde_json::Value::Object(more)) = (labels.as_object_mut(), more) {
            labels.extend(more);
        }
        let object =
            json!({"bench": "chaos", "metric": metric, "value": value, "unit": unit, "labels": labels});
        let _ = writeln!(text, "{object}");
    };
    line("length", json!(options.length.as_secs()), "s", json!({}));
    line(
        "operations",
        json!(history.operations.len()),
        "operations",
        json!({}),
    );
    line("flickr_calls", json!(history.calls.len()), "calls", json!({}));
    line("drained_after", json!(outcome.drained_after), "s", json!({}));
    for (answer, count) in answers(outcome) {
        line("submissions", json!(count), "requests", json!({"answer": answer}));
    }
    for ((kind, state), count) in tally(history) {
        line(
            "jobs",
            json!(count),
            "jobs",
            json!({"kind": kind, "state": state}),
        );
    }
    for ((target, fault), (did, left_out)) in done(outcome) {
        line(
            "faults",
            json!(did),
            "faults",
            json!({"target": target, "fault": fault, "left_out": left_out}),
        );
    }
    let reached = reached(history);
    for (budget, percent) in [
        ("app", reached.app_budget_percent),
        ("user", reached.user_budget_percent),
    ] {
        line("budget_reached", json!(percent), "%", json!({"budget": budget}));
    }
    line("window_refusals", json!(reached.refusals), "requests", json!({}));
    for promise in PROMISES {
        let count = broken(outcome, promise);
        line(
            "violations",
            json!(count),
            "violations",
            json!({"promise": promise.name()}),
        );
    }
    text
}

fn broken(outcome: &Outcome, promise: Promise) -> usize {
    outcome
        .violations
        .iter()
        .filter(|violation| violation.promise == promise)
        .count()
}

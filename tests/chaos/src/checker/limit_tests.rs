//! Limits that change, and losses of Redis: what is promised then is checked, and no more than that.

use super::{Promise, check, reached};
use crate::history::{Answer, Attempt, Call, History, Kind, Limits, Loss, Lost, Operation};

const WINDOW_MS: i64 = 3_600_000;

/// A history of nothing but jobs, which are lost, and calls of nobody: only what it says of limits is looked at.
fn history(limits: Vec<Limits>) -> History {
    History::of_nothing(limits, WINDOW_MS)
}

fn limits(from_ms: i64, until_ms: i64, per_app: usize) -> Limits {
    Limits {
        from_ms,
        until_ms,
        per_app,
        ..Limits::NONE
    }
}

fn call(time_ms: i64, method: &str) -> Call {
    Call {
        time_ms,
        method: method.to_owned(),
        user: Some("1@N01".to_owned()),
        app: Some("key".to_owned()),
        trace_id: None,
        arguments: Vec::new(),
        content: None,
        status: 200,
        effect: None,
    }
}

/// An order of this kind, sent and answered at these times.
fn order(kind: Kind, (sent_ms, ended_ms): (i64, i64), answer: Answer) -> Operation {
    Operation {
        user: "1@N01".to_owned(),
        kind,
        marker: format!("marker-{sent_ms}"),
        content: None,
        callback: false,
        attempts: vec![Attempt {
            trace_id: format!("trace-{sent_ms}"),
            sent_ms,
            ended_ms,
            answer,
        }],
    }
}

fn accepted(sent_ms: i64) -> Operation {
    let job_id = format!("job-{sent_ms}");
    order(Kind::Create, (sent_ms, sent_ms + 10), Answer::Accepted { job_id })
}

fn flush(from_ms: i64, to_ms: i64) -> Loss {
    Loss {
        from_ms,
        to_ms,
        lost: Lost::Everything,
    }
}

/// How often this promise is broken.
fn broken(history: &History, promise: Promise) -> usize {
    let found = check(history);
    found.iter().filter(|found| found.promise == promise).count()
}

#[test]
fn a_budget_holds_until_it_is_raised_and_counts_what_was_before_the_run() {
    let mut history = history(vec![limits(1000, 2000, 3), limits(2000, i64::MAX, 5)]);
    let times = [-WINDOW_MS, 500, 1500, 1999, 2000, 2500];
    history.calls = times.map(|time| call(time, "flickr.test.echo")).into();
    assert_eq!(broken(&history, Promise::WithinBudget), 0);
    let percent = reached(&history).app_budget_percent;
    assert!((percent - 100.0).abs() < 1e-9, "{percent}");
    history.calls.push(call(1998, "upload"));
    assert_eq!(
        broken(&history, Promise::WithinBudget),
        2,
        "the first and the second"
    );
}

#[test]
fn requests_to_flickr_are_remembered_through_a_flush_and_steps_of_signing_in_are_not() {
    let mut history = history(vec![limits(0, i64::MAX, 2)]);
    history.losses = vec![flush(100, 110)];
    let steps = ["request_token", "authorize", "access_token"];
    history.calls = steps.map(|step| call(50, step)).into();
    history.calls.push(call(120, "flickr.test.echo"));
    history.calls.push(call(130, "flickr.auth.oauth.checkToken"));
    assert_eq!(broken(&history, Promise::WithinBudget), 0);
    history.calls.push(call(60, "flickr.test.echo"));
    assert_eq!(
        broken(&history, Promise::WithinBudget),
        1,
        "three after the flush"
    );
    history.losses.clear();
    history.calls.pop();
    assert_eq!(
        broken(&history, Promise::WithinBudget),
        1,
        "four, and the page is none"
    );
}

#[test]
fn a_token_has_a_budget_of_its_own() {
    let per_user = Limits {
        per_user: 1,
        ..limits(0, i64::MAX, 9)
    };
    let mut history = history(vec![per_user]);
    history.calls = vec![call(10, "access_token"), call(20, "upload")];
    assert_eq!(broken(&history, Promise::WithinBudget), 0);
    history.calls.push(call(20 + WINDOW_MS, "upload"));
    assert_eq!(broken(&history, Promise::WithinBudget), 0, "an hour later");
    history.calls.push(call(19 + WINDOW_MS, "upload"));
    assert_eq!(broken(&history, Promise::WithinBudget), 1);
}

#[test]
fn a_window_begins_anew_with_a_flush_and_not_otherwise() {
    let two = Limits {
        per_class: [9, 2, 9],
        ..limits(0, i64::MAX, 9)
    };
    let mut history = history(vec![two]);
    history.operations = [0, 100, 200, 300].map(accepted).into();
    assert_eq!(broken(&history, Promise::WithinWindow), 1);
    history.losses = vec![flush(150, 160)];
    assert_eq!(broken(&history, Promise::WithinWindow), 0);
    history.operations.push(accepted(400));
    assert_eq!(broken(&history, Promise::WithinWindow), 1);
    history.operations.pop();
    history.operations.push(accepted(155));
    assert_eq!(
        broken(&history, Promise::WithinWindow),
        0,
        "counted before or after"
    );
}

#[test]
fn a_failover_may_forget_the_last_jobs_and_no_others() {
    let two = Limits {
        per_user: 2,
        ..limits(0, i64::MAX, 9)
    };
    let mut history = history(vec![two]);
    history.operations = [0, 200, 300].map(accepted).into();
    let failover = |from_ms, to_ms| Loss {
        from_ms,
        to_ms,
        lost: Lost::Last,
    };
    history.losses = vec![failover(190, 250)];
    assert_eq!(broken(&history, Promise::WithinWindow), 0);
    history.losses = vec![failover(220, 250)];
    assert_eq!(broken(&history, Promise::WithinWindow), 1);
}

#[test]
fn an_unanswered_request_may_be_what_fills_a_window() {
    let two = Limits {
        per_class: [9, 2, 9],
        ..limits(0, i64::MAX, 9)
    };
    let mut history = history(vec![two]);
    let full = || Answer::Refused {
        status: 429,
        code: "class_rate_exceeded".to_owned(),
    };
    let lost = || Answer::Unknown {
        reason: "no answer in time".to_owned(),
    };
    history.operations = vec![
        accepted(0),
        order(Kind::Read, (50, 60), lost()),
        order(Kind::Set, (100, 110), full()),
    ];
    assert_eq!(reached(&history).refusals, 1);
    assert_eq!(
        broken(&history, Promise::NotRefusedEarly),
        1,
        "a read is of another class"
    );
    history.operations.push(order(Kind::Set, (90, 95), lost()));
    assert_eq!(broken(&history, Promise::NotRefusedEarly), 0);
}

//! Histories in which nothing is wrong must pass; the same with one thing broken by hand must not.

use proptest::prelude::*;

use super::budget::most_in_a_window;
use super::windows::{Counted, surely_in_a_window};
use super::{Promise, check};
use crate::history::{
    Answer, Attempt, Call, Delivery, Effects, History, Kind, Limits, Operation, SeenJob, Sighting,
};

/// How one operation went: what the hub made of it, and Flickr.
#[derive(Clone, Debug)]
struct Story {
    kind: Kind,
    /// Requests that nobody answered before the one that was.
    unanswered: usize,
    /// Whether it came to a job at all.
    accepted: bool,
    state: &'static str,
    error: Option<&'static str>,
    /// How often it had its effect, as far as its kind and state allow.
    effects: usize,
    callback: bool,
}

fn stories() -> impl Strategy<Value = Story> {
    let kinds = prop::sample::select(Kind::ALL.to_vec());
    let ends = prop::sample::select(vec![
        ("succeeded", None),
        ("failed", Some("flickr_error")),
        ("failed", Some("outcome_unknown")),
        ("dead", Some("worker_lost")),
        ("dead", Some("outcome_unknown")),
        ("expired", Some("outcome_unknown")),
        ("expired", None),
        ("cancelled", None),
    ]);
    let fields = (kinds, 0..3_usize, any::<bool>(), ends, 1..4_usize, any::<bool>());
    fields.prop_map(
        |(kind, unanswered, accepted, (state, error), effects, callback)| Story {
            kind,
            unanswered,
            accepted,
            state,
            error,
            effects: match (kind.effects(), state, error) {
                (Effects::None, ..) => 0,
                (Effects::Once, "succeeded", _) => 1,
                (Effects::Once, _, Some("outcome_unknown")) => effects % 2,
                (Effects::Once, ..) => 0,
                (Effects::Repeatable, "succeeded", _) => effects,
                (Effects::Repeatable, ..) => effects - 1,
            },
            callback,
        },
    )
}

/// A history in which everything is as promised.
fn good(stories: &[Story]) -> History {
    let limits = Limits {
        from_ms: 0,
        ..Limits::NONE
    };
    let mut history = History::of_nothing(vec![limits], 1000);
    for (number, story) in stories.iter().enumerate() {
        tell(&mut history, number, story);
    }
    history
}

fn tell(history: &mut History, number: usize, story: &Story) {
    let marker = format!("marker-{number}");
    let content = matches!(story.kind, Kind::Upload | Kind::Replace).then(|| format!("sha-{number}"));
    let user = format!("{}@N01", number % 3);
    let (id, trace_id) = (format!("job-{number}"), format!("trace-{number}"));
    let mut operation = Operation {
        user: user.clone(),
        kind: story.kind,
        marker: marker.clone(),
        content: content.clone(),
        callback: story.callback,
        attempts: Vec::new(),
    };
    for unanswered in 0..story.unanswered {
        operation.attempts.push(attempt(
            &format!("{trace_id}-{unanswered}"),
            Answer::Unknown {
                reason: "no answer in time".to_owned(),
            },
        ));
    }
    if !story.accepted {
        operation
            .attempts
            .push(attempt(&trace_id, refused(503, "queue_full")));
        history.operations.push(operation);
        return;
    }
    let answer = Answer::Accepted { job_id: id.clone() };
    operation.attempts.push(attempt(&trace_id, answer));
    history.operations.push(operation);
    let effect = format!("photo-{number}");
    for _ in 0..story.effects.max(1) {
        history.calls.push(Call {
            time_ms: i64::try_from(number).unwrap_or_default(),
            method: story.kind.name().to_owned(),
            user: Some(user.clone()),
            app: Some("key".to_owned()),
            trace_id: Some(trace_id.clone()),
            arguments: vec!["1".to_owned(), marker.clone()],
            content: content.clone(),
            status: 200,
            effect: (story.effects > 0).then(|| effect.clone()),
        });
    }
    let job = SeenJob {
        id: id.clone(),
        trace_id,
        user,
        state: story.state.to_owned(),
        error: story.error.map(str::to_owned),
        attempts: 1,
        result: match (story.state, story.kind) {
            ("succeeded", Kind::Read | Kind::Set) => format!(r#"{{"title":{{"_content":"{marker}"}}}}"#),
            ("succeeded", _) => format!(r#"{{"photo_id":"{effect}"}}"#),
            _ => String::new(),
        },
        callback: story.callback.then(|| "delivered".to_owned()),
    };
    for state in ["queued", "running", story.state] {
        let job_id = id.clone();
        history.sightings.push(Sighting {
            job_id,
            state: state.to_owned(),
        });
    }
    if story.callback {
        history.deliveries.push(Delivery {
            job_id: id.clone(),
            webhook_id: id.clone(),
            state: story.state.to_owned(),
            status: 200,
        });
    }
    history.rested.insert(id.clone(), job.clone());
    history.later.insert(id, job.clone());
    history.listed.push(job);
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::Refused {
        status,
        code: code.to_owned(),
    }
}

fn attempt(trace_id: &str, answer: Answer) -> Attempt {
    Attempt {
        trace_id: trace_id.to_owned(),
        sent_ms: 0,
        ended_ms: 1,
        answer,
    }
}

/// A succeeded job of this kind, as the first of the history.
fn succeeded(kind: Kind) -> Story {
    Story {
        kind,
        unanswered: 1,
        accepted: true,
        state: "succeeded",
        error: None,
        effects: usize::from(kind.effects() != Effects::None),
        callback: true,
    }
}

/// Changes the only job of the history wherever it is seen.
fn change(history: &mut History, change: impl Fn(&mut SeenJob)) {
    history.rested.values_mut().for_each(&change);
    history.later.values_mut().for_each(&change);
    history.listed.iter_mut().for_each(&change);
    for sighting in &mut history.sightings {
        sighting.state = history
            .later
            .values()
            .next()
            .map(|job| job.state.clone())
            .unwrap_or_default();
    }
    for delivery in &mut history.deliveries {
        delivery.state = history
            .later
            .values()
            .next()
            .map(|job| job.state.clone())
            .unwrap_or_default();
    }
}

/// Breaks one thing in a good history; the promise that this breaks.
type Sabotage = (Promise, fn(&mut History));

/// Everything that can be broken in the history of one succeeded upload with a callback.
const SABOTAGES: [Sabotage; 30] = [
    (Promise::NoJobLost, |history| {
        history.rested.clear();
        history.later.clear();
        history.listed.clear();
    }),
    (Promise::NoJobLost, |history| history.later.clear()),
    (Promise::EveryJobEnds, |history| {
        change(history, |job| job.state = "running".to_owned());
    }),
    (Promise::OneFinalState, |history| {
        history
            .later
            .values_mut()
            .for_each(|job| job.state = "failed".to_owned());
    }),
    (Promise::OneFinalState, |history| {
        history.sightings.insert(
            0,
            Sighting {
                job_id: "job-0".to_owned(),
                state: "dead".to_owned(),
            },
        );
    }),
    (Promise::OneFinalState, |history| {
        history.sightings.push(Sighting {
            job_id: "job-0".to_owned(),
            state: "queued".to_owned(),
        });
    }),
    (Promise::OneJobPerKey, |history| {
        let twin = SeenJob {
            id: "twin".to_owned(),
            trace_id: "trace-0-0".to_owned(),
            ..history.listed[0].clone()
        };
        history.later.insert(twin.id.clone(), twin.clone());
        history.listed.push(twin);
    }),
    (Promise::OneJobPerKey, |history| {
        history.operations[0].attempts[0].answer = Answer::Accepted {
            job_id: "another".to_owned(),
        };
    }),
    (Promise::NoJobFromNowhere, |history| {
        change(history, |job| job.trace_id = "nobody's".to_owned());
    }),
    (Promise::SuccessHappened, |history| history.calls.clear()),
    (Promise::SuccessHappened, |history| history.calls[0].effect = None),
    (Promise::NoDoubleEffect, |history| {
        history.calls.push(history.calls[0].clone());
    }),
    (Promise::FailureDidNothing, |history| {
        change(history, |job| {
            job.state = "failed".to_owned();
            job.error = Some("flickr_unavailable".to_owned());
        });
    }),
    (Promise::FailureDidNothing, |history| {
        change(history, |job| job.state = "dead".to_owned());
    }),
    (Promise::FailureDidNothing, |history| {
        change(history, |job| job.state = "expired".to_owned());
    }),
    (Promise::FailureDidNothing, |history| {
        change(history, |job| job.state = "cancelled".to_owned());
    }),
    (Promise::RefusedDidNothing, |history| {
        history.operations[0].attempts[0].answer = refused(429, "too_many_pending");
        let call = Call {
            trace_id: Some("trace-0-0".to_owned()),
            ..history.calls[0].clone()
        };
        history.calls.push(call);
    }),
    (Promise::NoEffectFromNowhere, |history| {
        let call = Call {
            trace_id: Some("trace-0-0".to_owned()),
            ..history.calls[0].clone()
        };
        history.calls.push(call);
    }),
    (Promise::NoEffectFromNowhere, |history| {
        let call = Call {
            trace_id: None,
            ..history.calls[0].clone()
        };
        history.calls.push(call);
    }),
    (Promise::OwnCallsOnly, |history| {
        history.calls[0].user = Some("another@N01".to_owned());
    }),
    (Promise::OwnResult, |history| {
        change(history, |job| job.result = r#"{"photo_id":"photo-1"}"#.to_owned());
    }),
    (Promise::WithinBudget, |history| history.limits[0].per_app = 0),
    (Promise::WithinBudget, |history| history.limits[0].per_user = 0),
    (Promise::WithinWindow, |history| history.limits[0].per_user = 0),
    (Promise::WithinWindow, |history| {
        history.limits[0].per_class = [9, 9, 0];
    }),
    (Promise::NotRefusedEarly, |history| {
        history.limits[0].per_class = [9, 9, 100];
        let again = refused(429, "class_rate_exceeded");
        history.operations[0].attempts.push(attempt("another", again));
    }),
    (Promise::ListAgrees, |history| history.listed.clear()),
    (Promise::ListAgrees, |history| history.listed[0].attempts = 2),
    (Promise::CallbackTrue, |history| history.deliveries.clear()),
    (Promise::Private, |history| {
        history.leaked.push("job-0".to_owned());
    }),
];

#[test]
fn one_broken_thing_is_found() {
    for (number, (promise, sabotage)) in SABOTAGES.into_iter().enumerate() {
        let mut history = good(&[succeeded(Kind::Upload)]);
        assert_eq!(check(&history), []);
        sabotage(&mut history);
        let found = check(&history);
        assert!(
            found.iter().any(|violation| violation.promise == promise),
            "sabotage {number} breaks {}, found {found:?}",
            promise.name()
        );
    }
}

#[test]
fn calls_with_the_arguments_of_another_job_are_found() {
    let mut history = good(&[succeeded(Kind::Read), succeeded(Kind::Create)]);
    history.calls[1].arguments = history.calls[0].arguments.clone();
    assert!(
        check(&history)
            .iter()
            .any(|found| found.promise == Promise::OwnCallsOnly)
    );
}

#[test]
fn a_read_that_succeeded_without_an_answer_is_found() {
    let mut history = good(&[succeeded(Kind::Read)]);
    history.calls[0].status = 0;
    let found = check(&history);
    assert!(
        found
            .iter()
            .any(|found| found.promise == Promise::SuccessHappened),
        "{found:?}"
    );
}

#[test]
fn callbacks_that_lie_are_found() {
    let lies: [fn(&mut Delivery); 3] = [
        |delivery| delivery.state = "failed".to_owned(),
        |delivery| delivery.webhook_id = "other".to_owned(),
        |delivery| delivery.job_id = "nobody's".to_owned(),
    ];
    for lie in lies {
        let mut history = good(&[succeeded(Kind::Read)]);
        history.deliveries.push(history.deliveries[0].clone());
        lie(&mut history.deliveries[1]);
        assert!(
            check(&history)
                .iter()
                .any(|found| found.promise == Promise::CallbackTrue)
        );
    }
}

proptest! {
    #[test]
    fn what_is_as_promised_passes(stories in prop::collection::vec(stories(), 0..20)) {
        prop_assert_eq!(check(&good(&stories)), []);
    }

    /// Among whatever else happened.
    #[test]
    fn one_broken_thing_is_found_among_many(
        stories in prop::collection::vec(stories(), 0..20),
        number in 0..SABOTAGES.len(),
    ) {
        let mut all = vec![succeeded(Kind::Upload)];
        all.extend(stories);
        let (promise, sabotage) = SABOTAGES[number];
        // These change every job of the history, or take what others would be missed by.
        prop_assume!(!matches!(number, 2 | 8 | 12..=15 | 20));
        let mut history = good(&all);
        sabotage(&mut history);
        let found = check(&history);
        prop_assert!(found.iter().any(|violation| violation.promise == promise), "{:?}", found);
    }

    #[test]
    fn the_fullest_window_is_found(
        times in prop::collection::vec(0..5000_i64, 0..60),
        window in 1..2000_i64,
    ) {
        let naive = times
            .iter()
            .map(|&begin| times.iter().filter(|&&time| (begin..begin + window).contains(&time)).count())
            .max()
            .unwrap_or_default();
        prop_assert_eq!(most_in_a_window(times, window), naive);
    }

    /// Jobs of which is known to the millisecond when they were counted are counted as calls are, and a job of which less is
    /// known is held against nobody who may be right.
    #[test]
    fn what_is_known_of_jobs_is_held_against_a_window(
        jobs in prop::collection::vec((0..5000_i64, 0..400_i64), 0..60),
        window in 1..2000_i64,
    ) {
        let at = |jobs: &[(i64, i64)], share: i64| -> Vec<i64> {
            jobs.iter().map(|(begin, took)| begin + took * share / 100).collect()
        };
        let exact = at(&jobs, 0).into_iter().map(|time| Counted { from_ms: time, to_ms: time });
        prop_assert_eq!(surely_in_a_window(exact.collect(), window), most_in_a_window(at(&jobs, 0), window));
        let counted = jobs.iter().map(|&(from_ms, took)| Counted { from_ms, to_ms: from_ms + took });
        let surely = surely_in_a_window(counted.collect(), window);
        for share in [0, 37, 100] {
            prop_assert!(surely <= most_in_a_window(at(&jobs, share), window), "{share}");
        }
    }
}

//! What becomes of a job after an attempt, decided from the attempt's outcome alone.
//!
//! | outcome | may repeat | tries left | decision |
//! | --- | --- | --- | --- |
//! | Flickr answered | | | succeed |
//! | refused for good | | | fail |
//! | settled: Flickr says that no attempt did anything | | | fail |
//! | transient: Flickr surely did not act | | yes | retry |
//! | transient | | no | dead |
//! | unknown: Flickr may have acted | yes (a read, a write that a second call does not change, or an upload, which is checked first) | as transient | retry or dead |
//! | unknown | no (a write that acts again) | | fail as `outcome_unknown` |
//! | an upload that ends without success, of which this or an earlier attempt is unknown | | | fail or dead, as `outcome_unknown` |
//! | not made: our own data tier was away | | | postpone: tried again, and this one does not count |
//! | cut short: the same, after the request had begun | | | postpone |
//! | not yet: a budget is spent, or Flickr does not answer at the moment | | | postpone, until the time at which it may be |
//! | cancelled: the call was not made, or only read | | | cancel |
//!
//! An unknown outcome of a call that acts again is reported, not repeated: a client can look whether its comment is
//! there, but cannot unsee a second one.
//!
//! A job whose client wants it cancelled is not retried or postponed: the store ends it as cancelled instead
//! ([`flickrhub_job::store::AttemptEnd`]).

use std::time::Duration;

use flickrhub_job::model::JobError;
use jiff::Timestamp;
use rand::Rng;
use serde_json::Value;

use crate::backoff::JOB_ATTEMPTS;

/// Whether a second, identical call is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It reads, or sets what the first call set.
    Harmless,
    /// It is an upload, which finds out first what became of the attempt before it.
    Checked {
        /// Whether Flickr may have acted on an earlier attempt.
        acted: bool,
    },
    /// It would act again: another comment.
    ActsAgain,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Flickr did what was asked and answered this.
    Done(Value),
    /// It did not, or we do not know.
    Failed(Failure),
    /// The client wanted the job cancelled, and Flickr did not act.
    Cancelled {
        /// Whether a request may have been begun, which counts against the budgets.
        called: bool,
    },
}

/// An attempt that brought no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What another attempt could bring.
    pub kind: FailureKind,
    /// What the client is told.
    pub error: JobError,
    /// The shortest wait that Flickr asked for.
    pub retry_after: Option<Duration>,
}

/// What another attempt could bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The same refusal.
    Permanent,
    /// Nothing more: Flickr is done with the job, and neither this nor an earlier attempt did anything.
    Settled,
    /// Success, and Flickr did not act on this one.
    Transient,
    /// Success, but Flickr may have acted on this one already.
    Unknown,
    /// Flickr was never called: something of our own was not reachable.
    NotMade,
    /// Flickr did not get the request to its end, because something of our own was not reachable.
    CutShort,
    /// Flickr was not called because it may not be before `retry_after` has passed.
    NotYet,
}

/// What to do with the job now.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// `running → succeeded` with this result.
    Succeed(Value),
    /// `running → failed`.
    Fail(JobError),
    /// `running → queued`, not before `at`.
    Retry {
        /// The earliest time of the next attempt.
        at: Timestamp,
        /// Why.
        error: JobError,
    },
    /// `running → queued`, as [`Decision::Retry`], without counting the try.
    Postpone {
        /// The earliest time of the next attempt.
        at: Timestamp,
        /// Whether a request was begun, which counts against the budgets.
        called: bool,
        /// Why.
        error: JobError,
    },
    /// `running → dead`.
    Dead(JobError),
    /// `running → cancelled`.
    Cancel {
        /// Whether a request may have been begun, which counts against the budgets.
        called: bool,
    },
}

impl Decision {
    /// The name in metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Succeed(_) => "succeeded",
            Self::Fail(_) => "failed",
            Self::Retry { .. } => "retried",
            Self::Postpone { .. } => "postponed",
            Self::Dead(_) => "dead",
            Self::Cancel { .. } => "cancelled",
        }
    }
}

/// An attempt, as far as the decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, from 1: it grows with each dispatch, however that ended.
    pub number: u32,
    /// The tries so far that count, this one included.
    pub tries: u32,
    /// The most tries that may be made.
    pub max: u32,
    /// Whether the call may be made again when nobody knows whether it acted.
    pub repeat: Repeat,
}

/// Decides what becomes of a job whose attempt ended with `outcome` at `now`.
pub fn decide<R: Rng + ?Sized>(attempt: Attempt, outcome: Outcome, now: Timestamp, rng: &mut R) -> Decision {
    let failure = match outcome {
        Outcome::Done(result) => return Decision::Succeed(result),
        Outcome::Cancelled { called } => return Decision::Cancel { called },
        Outcome::Failed(failure) => failure,
    };
    let tries_left = attempt.tries < attempt.max;
    match (failure.kind, attempt.repeat) {
        (FailureKind::Permanent, Repeat::Checked { acted: true })
        | (FailureKind::Unknown, Repeat::ActsAgain) => {
            Decision::Fail(JobError::outcome_unknown(Some(&failure.error)))
        }
        (FailureKind::Permanent | FailureKind::Settled, _) => Decision::Fail(failure.error),
        // Longer from one attempt to the next, although the tries stay: an outage is not asked about all the time.
        (FailureKind::NotMade | FailureKind::CutShort, _) => Decision::Postpone {
            at: after(attempt.number, failure.retry_after, now, rng),
            called: failure.kind == FailureKind::CutShort,
            error: failure.error,
        },
        (FailureKind::NotYet, _) => Decision::Postpone {
            at: now
                .saturating_add(failure.retry_after.unwrap_or_default())
                .unwrap_or(Timestamp::MAX),
            called: false,
            error: failure.error,
        },
        (FailureKind::Transient | FailureKind::Unknown, _) if tries_left => Decision::Retry {
            at: after(attempt.tries, failure.retry_after, now, rng),
            error: failure.error,
        },
        (FailureKind::Transient, Repeat::Checked { acted: true })
        | (FailureKind::Unknown, Repeat::Checked { .. }) => {
            Decision::Dead(JobError::outcome_unknown(Some(&failure.error)))
        }
        (FailureKind::Transient | FailureKind::Unknown, _) => Decision::Dead(failure.error),
    }
}

/// The earliest time of the next attempt.
fn after<R: Rng + ?Sized>(
    times: u32,
    retry_after: Option<Duration>,
    now: Timestamp,
    rng: &mut R,
) -> Timestamp {
    let wait = JOB_ATTEMPTS.after(times, retry_after, rng);
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::backoff::LONGEST_RETRY_AFTER;

    fn error() -> JobError {
        JobError {
            code: "flickr_error".to_owned(),
            message: "no".to_owned(),
            flickr_code: Some(105),
        }
    }

    fn failed(kind: FailureKind, retry_after: Option<Duration>) -> Outcome {
        Outcome::Failed(Failure {
            kind,
            error: error(),
            retry_after,
        })
    }

    fn attempts() -> impl Strategy<Value = Attempt> {
        let repeat = prop_oneof![
            Just(Repeat::Harmless),
            any::<bool>().prop_map(|acted| Repeat::Checked { acted }),
            Just(Repeat::ActsAgain),
        ];
        (1..100_u32, 1..100_u32, 1..20_u32, repeat).prop_map(|(one, other, max, repeat)| Attempt {
            number: one.max(other),
            tries: one.min(other),
            max,
            repeat,
        })
    }

    /// The kinds that count as no try.
    const NOT_TRIED: [FailureKind; 3] = [FailureKind::NotMade, FailureKind::CutShort, FailureKind::NotYet];

    fn kinds() -> impl Strategy<Value = FailureKind> {
        prop_oneof![
            Just(FailureKind::Permanent),
            Just(FailureKind::Settled),
            Just(FailureKind::Transient),
            Just(FailureKind::Unknown),
            Just(FailureKind::NotMade),
            Just(FailureKind::CutShort),
            Just(FailureKind::NotYet),
        ]
    }

    fn decided(attempt: Attempt, outcome: Outcome, seed: u64) -> Decision {
        decide(
            attempt,
            outcome,
            Timestamp::UNIX_EPOCH,
            &mut StdRng::seed_from_u64(seed),
        )
    }

    proptest! {
        #[test]
        fn an_answer_succeeds_at_any_attempt(attempt in attempts(), seed in any::<u64>()) {
            let decision = decided(attempt, Outcome::Done(Value::from(1)), seed);
            prop_assert_eq!(decision, Decision::Succeed(Value::from(1)));
        }

        #[test]
        fn what_was_cancelled_is_never_tried_again(
            attempt in attempts(), called in any::<bool>(), seed in any::<u64>(),
        ) {
            let decision = decided(attempt, Outcome::Cancelled { called }, seed);
            prop_assert_eq!(decision, Decision::Cancel { called });
        }

        #[test]
        fn waits_spread_over_the_whole_interval(tries in 1..12_u32) {
            let waits: Vec<_> = (0..200)
                .map(|seed| JOB_ATTEMPTS.full_jitter(tries, &mut StdRng::seed_from_u64(seed)))
                .collect();
            let ceiling = JOB_ATTEMPTS.ceiling(tries);
            prop_assert!(waits.iter().any(|wait| *wait < ceiling / 4));
            prop_assert!(waits.iter().any(|wait| *wait > ceiling * 3 / 4));
        }

        #[test]
        fn a_permanent_failure_is_never_retried(attempt in attempts(), seed in any::<u64>()) {
            let decision = decided(attempt, failed(FailureKind::Permanent, None), seed);
            prop_assert!(matches!(decision, Decision::Fail(_)), "{:?}", decision);
        }

        #[test]
        fn a_job_that_flickr_is_done_with_fails_as_flickr_says(attempt in attempts(), seed in any::<u64>()) {
            let decision = decided(attempt, failed(FailureKind::Settled, None), seed);
            prop_assert_eq!(decision, Decision::Fail(error()));
        }

        #[test]
        fn an_upload_that_ends_without_success_says_whether_its_photo_may_be_at_flickr(
            attempt in attempts(), acted in any::<bool>(), kind in kinds(), seed in any::<u64>(),
        ) {
            let attempt = Attempt { repeat: Repeat::Checked { acted }, ..attempt };
            let unknown = kind == FailureKind::Unknown || (acted && kind != FailureKind::Settled);
            if let Decision::Fail(error) | Decision::Dead(error) = decided(attempt, failed(kind, None), seed) {
                prop_assert_eq!(error.code == JobError::OUTCOME_UNKNOWN, unknown);
            }
        }

        #[test]
        fn a_call_that_reached_flickr_is_never_made_more_often_than_allowed(
            attempt in attempts(), kind in kinds(), seed in any::<u64>(),
        ) {
            let decision = decided(attempt, failed(kind, None), seed);
            if !NOT_TRIED.contains(&kind) && attempt.tries >= attempt.max {
                let retried = matches!(decision, Decision::Retry { .. });
                prop_assert!(!retried);
            }
        }

        #[test]
        fn an_unknown_outcome_of_a_call_that_acts_again_is_never_repeated(
            attempt in attempts(), seed in any::<u64>(),
        ) {
            let attempt = Attempt { repeat: Repeat::ActsAgain, ..attempt };
            let decision = decided(attempt, failed(FailureKind::Unknown, None), seed);
            prop_assert!(
                matches!(&decision, Decision::Fail(error) if error.code == JobError::OUTCOME_UNKNOWN),
                "{:?}", decision
            );
        }

        #[test]
        fn a_failure_of_our_own_never_ends_a_job(attempt in attempts(), seed in any::<u64>()) {
            let decision = decided(attempt, failed(FailureKind::NotMade, None), seed);
            prop_assert!(matches!(decision, Decision::Postpone { .. }), "{:?}", decision);
        }

        #[test]
        fn only_tries_that_count_bring_a_job_nearer_to_its_end(
            attempt in attempts(), kind in kinds(), seed in any::<u64>(),
        ) {
            let often = Attempt { number: u32::MAX, ..attempt };
            let (once, often) = (
                decided(attempt, failed(kind, None), seed),
                decided(often, failed(kind, None), seed),
            );
            prop_assert_eq!(once.name(), often.name());
        }

        #[test]
        fn a_retry_waits_at_least_as_long_as_flickr_asked_and_never_past_the_cap(
            tries in 1..9_u32, asked in proptest::option::of(0..10_000_u64), seed in any::<u64>(),
        ) {
            let asked = asked.map(Duration::from_secs);
            let attempt = Attempt { number: 99, tries, max: 10, repeat: Repeat::ActsAgain };
            let Decision::Retry { at, .. } = decided(attempt, failed(FailureKind::Transient, asked), seed) else {
                return Err(TestCaseError::fail("attempts were left"));
            };
            let wait = at.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs();
            let honoured = asked.unwrap_or_default().min(LONGEST_RETRY_AFTER);
            prop_assert!(wait >= honoured);
            prop_assert!(wait <= honoured.max(JOB_ATTEMPTS.cap));
        }
    }

    #[test]
    fn the_last_transient_failure_is_dead() {
        let attempt = Attempt {
            number: 5,
            tries: 5,
            max: 5,
            repeat: Repeat::Harmless,
        };
        assert_eq!(
            decided(attempt, failed(FailureKind::Transient, None), 1),
            Decision::Dead(error())
        );
    }

    #[test]
    fn an_unknown_outcome_of_a_read_is_tried_again() {
        let attempt = Attempt {
            number: 1,
            tries: 1,
            max: 5,
            repeat: Repeat::Harmless,
        };
        assert!(matches!(
            decided(attempt, failed(FailureKind::Unknown, None), 1),
            Decision::Retry { .. }
        ));
    }
}

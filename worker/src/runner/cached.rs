//! Answers from the cache instead of calls, and calls that fill it.
//!
//! Only methods that read are cached. Of several jobs that ask the same at once one calls Flickr; the others wait a moment
//! for its answer, and then go back to their lane for another one, so that they do not hold a worker's places. A job that
//! acts makes the cached answers of its user invalid, before its client can learn that it acted.
//!
//! The cache is a saving and nothing depends on it: whatever fails here is logged, and the call is made. If the process
//! dies during a call, the flight that it leads ends with its lease.

use std::future::Future;
use std::time::Duration;

use flickrhub_flickr::Method;
use flickrhub_job::cache::{
    AnswerCache, CacheError, CacheKey, Cached, Flight, Generation, Invalidation, Lookup,
};
use flickrhub_job::model::{Job, JobError};
use tokio::time::{Instant, sleep};

use super::Runner;
use crate::decision::{Failure, FailureKind, Outcome};

/// How long a worker waits for the answer that another one fetches, before the job goes back to its lane.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first pause between two looks; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(80);
/// How much longer than the call itself a flight may last.
const GRACE: Duration = Duration::from_secs(10);

/// What a job that reads has to do.
enum TakeOff {
    /// Nothing: the answer is there.
    Landed(Cached),
    /// Call Flickr and keep the answer; until then there may be an old one.
    Lead(Generation, Option<Cached>),
    /// Come again: another one calls Flickr for longer than is waited for.
    Wait,
}

impl Runner {
    /// The outcome of `call`, or an answer of the cache in its place.
    pub(super) async fn cached_or(&self, job: &Job, call: impl Future<Output = Outcome>) -> Outcome {
        if !Method::reads(&job.method) {
            let outcome = call.await;
            if may_have_acted(&outcome) {
                self.forget_answers_of(job).await;
            }
            return outcome;
        }
        if !self.cache.keeps(&job.method) {
            return call.await;
        }
        let (key, flight) = (CacheKey::from(job), Flight::new());
        let lease = Duration::from_secs(self.settings.timeout_seconds.into()) + GRACE;
        match take_off(&self.cache, &key, &flight, lease, job.no_cache).await {
            Ok(TakeOff::Landed(cached)) => {
                self.metrics.record_cache_lookup("hit");
                Outcome::Done(cached.result)
            }
            Ok(TakeOff::Lead(generation, old)) => {
                let outcome = call.await;
                self.land(&key, &flight, &generation, &outcome).await;
                let (outcome, looked) = or_stale(outcome, old, job.no_cache);
                self.metrics.record_cache_lookup(looked);
                outcome
            }
            Ok(TakeOff::Wait) => Outcome::Failed(being_fetched()),
            Err(error) => {
                self.metrics.record_cache_lookup("error");
                tracing::warn!(%error, "the cache cannot be asked; the call is made");
                call.await
            }
        }
    }

    async fn land(&self, key: &CacheKey, flight: &Flight, generation: &Generation, outcome: &Outcome) {
        let landed = match outcome {
            Outcome::Done(result) => self.cache.keep(key, flight, generation, result).await.map(drop),
            Outcome::Failed(_) | Outcome::Cancelled { .. } => self.cache.land(key, flight).await,
        };
        if let Err(error) = landed {
            tracing::warn!(%error, "the answer could not be cached");
        }
    }

    async fn forget_answers_of(&self, job: &Job) {
        if let Err(error) = self.cache.invalidate(Invalidation::User(&job.user_id)).await {
            tracing::warn!(%error, "cached answers of the user stay until they age out");
        }
    }
}

/// An answer that is not fresh is better than none while Flickr cannot be asked (as `stale-if-error` of RFC 5861). With what
/// the look for an answer came to, as it is counted: once, when it is known.
fn or_stale(outcome: Outcome, old: Option<Cached>, anew: bool) -> (Outcome, &'static str) {
    match (outcome, old) {
        (outcome, _) if anew => (outcome, "bypass"),
        (Outcome::Failed(failure), Some(old)) if failure.kind != FailureKind::Permanent => {
            tracing::info!(
                error_code = failure.error.code,
                age_seconds = old.age.as_secs(),
                "Flickr cannot be asked; an older answer is given"
            );
            (Outcome::Done(old.result), "stale_served")
        }
        (outcome, Some(_)) => (outcome, "stale"),
        (outcome, None) => (outcome, "miss"),
    }
}

async fn take_off(
    cache: &AnswerCache,
    key: &CacheKey,
    flight: &Flight,
    lease: Duration,
    anew: bool,
) -> Result<TakeOff, CacheError> {
    let (deadline, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
    loop {
        match cache.lead(key, flight, lease, anew).await? {
            Lookup::Fresh(cached) => return Ok(TakeOff::Landed(cached)),
            Lookup::Stale(cached, generation) => return Ok(TakeOff::Lead(generation, Some(cached))),
            Lookup::Missing(generation) => return Ok(TakeOff::Lead(generation, None)),
            Lookup::Fetching if Instant::now() + pause >= deadline => return Ok(TakeOff::Wait),
            Lookup::Fetching => sleep(pause).await,
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Whether something may be different at Flickr now.
fn may_have_acted(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(_) => true,
        Outcome::Failed(failure) => failure.kind == FailureKind::Unknown,
        Outcome::Cancelled { .. } => false,
    }
}

fn being_fetched() -> Failure {
    Failure {
        kind: FailureKind::NotMade,
        error: JobError {
            code: "answer_being_fetched".to_owned(),
            message: "The same question is being asked already; the job takes its answer.".to_owned(),
            flickr_code: None,
        },
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failed(kind: FailureKind) -> Outcome {
        Outcome::Failed(Failure {
            kind,
            ..being_fetched()
        })
    }

    fn old() -> Cached {
        Cached {
            result: json!("old"),
            age: Duration::from_secs(90),
        }
    }

    #[test]
    fn an_old_answer_is_given_while_flickr_cannot_be_asked_and_not_in_place_of_its_last_word() {
        let given = (Outcome::Done(json!("old")), "stale_served");
        for kind in [
            FailureKind::Transient,
            FailureKind::Unknown,
            FailureKind::NotMade,
            FailureKind::CutShort,
            FailureKind::NotYet,
        ] {
            assert_eq!(or_stale(failed(kind), Some(old()), false), given, "{kind:?}");
        }
        let refused = failed(FailureKind::Permanent);
        assert_eq!(or_stale(refused.clone(), Some(old()), false), (refused, "stale"));
        let cancelled = Outcome::Cancelled { called: true };
        assert_eq!(
            or_stale(cancelled.clone(), Some(old()), false),
            (cancelled, "stale")
        );
    }

    #[test]
    fn what_flickr_answers_is_given_and_a_look_is_counted_once_as_what_it_came_to() {
        let answer = || Outcome::Done(json!("new"));
        assert_eq!(or_stale(answer(), Some(old()), false), (answer(), "stale"));
        assert_eq!(or_stale(answer(), None, false), (answer(), "miss"));
        assert_eq!(or_stale(answer(), None, true), (answer(), "bypass"));
        let away = failed(FailureKind::Transient);
        assert_eq!(or_stale(away.clone(), None, false), (away.clone(), "miss"));
        // Who wants none of what is kept gets none, whatever there is.
        assert_eq!(or_stale(away.clone(), Some(old()), true), (away, "bypass"));
    }

    #[test]
    fn only_what_acts_makes_cached_answers_invalid() {
        assert!(may_have_acted(&Outcome::Done(Value::Null)));
        assert!(!may_have_acted(&Outcome::Cancelled { called: true }));
        for (kind, acted) in [
            (FailureKind::Unknown, true),
            (FailureKind::Permanent, false),
            (FailureKind::Transient, false),
            (FailureKind::NotMade, false),
        ] {
            assert_eq!(may_have_acted(&failed(kind)), acted, "{kind:?}");
        }
    }
}

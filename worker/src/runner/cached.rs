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
                let looked = match (&old, job.no_cache) {
                    (_, true) => "bypass",
                    (Some(_), false) => "stale",
                    (None, false) => "miss",
                };
                self.metrics.record_cache_lookup(looked);
                let outcome = call.await;
                self.land(&key, &flight, &generation, &outcome).await;
                self.or_stale(outcome, old)
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

    /// An answer that is not fresh is better than none while Flickr cannot be asked (as `stale-if-error` of RFC 5861).
    fn or_stale(&self, outcome: Outcome, old: Option<Cached>) -> Outcome {
        match (outcome, old) {
            (Outcome::Failed(failure), Some(old)) if failure.kind != FailureKind::Permanent => {
                self.metrics.record_cache_lookup("stale_served");
                tracing::info!(
                    error_code = failure.error.code,
                    age_seconds = old.age.as_secs(),
                    "Flickr cannot be asked; an older answer is given"
                );
                Outcome::Done(old.result)
            }
            (outcome, _) => outcome,
        }
    }

    async fn forget_answers_of(&self, job: &Job) {
        if let Err(error) = self.cache.invalidate(Invalidation::User(&job.user_id)).await {
            tracing::warn!(%error, "cached answers of the user stay until they age out");
        }
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
    use serde_json::Value;

    use super::*;

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
            let failed = Outcome::Failed(Failure {
                kind,
                ..being_fetched()
            });
            assert_eq!(may_have_acted(&failed), acted, "{kind:?}");
        }
    }
}

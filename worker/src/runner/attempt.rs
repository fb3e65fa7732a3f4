//! One attempt of a job that is claimed: prepare, call, decide.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use flickrhub_job::fail_point;
use flickrhub_job::model::{Body, Job, JobError};
use jiff::Timestamp;

use super::Runner;
use super::cancellation::Cancellation;
use super::prepare::{PrepareError, Prepared};
use crate::decision::{Attempt, Decision, Failure, FailureKind, Outcome, decide};
use crate::flickr_call::{Sending, repeat};
use crate::panics::{Panicked, caught};

impl Runner {
    /// Makes the attempt and decides what becomes of the job. Of the job nothing is stored yet but how far its photo came.
    pub(super) async fn attempt(&self, job: &Job, cancellation: &Cancellation) -> Decision {
        fail_point!("run/after-claim");
        let started = Instant::now();
        let begun = &AtomicBool::new(false);
        let call = |prepared: Prepared| async move {
            if cancellation.forbids_call(job) {
                return Outcome::Cancelled { called: false };
            }
            begun.store(true, Ordering::Relaxed);
            let open = |body: &Body| self.bodies.open(body);
            let sending = Sending {
                store: &self.store,
                job,
            };
            let Prepared { signers, user } = &prepared;
            let outcome = Box::pin(self.flickr.call(job, signers, open, &sending, &self.metrics)).await;
            self.unless_replaced(outcome, job, user).await
        };
        // Within the flight for a cached answer, which has to land however the call ends.
        let call = async {
            tokio::select! {
                outcome = outcome(self.prepare(job), call) => outcome,
                () = cancellation.drops_call(job) => Outcome::Cancelled {
                    called: begun.load(Ordering::Relaxed),
                },
            }
        };
        let outcome = Box::pin(self.cached_or(job, call)).await;
        let attempt = Attempt {
            number: job.attempt,
            tries: job.tries,
            max: self.settings.max_attempts,
            repeat: repeat(job),
        };
        let decision = decide(attempt, outcome, Timestamp::now(), &mut rand::rng());
        self.metrics
            .worker_processing_time
            .with_label_values(&[self.queue.name(), decision.name()])
            .observe(started.elapsed().as_secs_f64());
        if let Decision::Retry { at, error } | Decision::Postpone { at, error, .. } = &decision {
            tracing::info!(
                %at, error_code = error.code, decision = decision.name(),
                "the attempt failed; the job is tried again"
            );
        }
        decision
    }
}

/// What an attempt brings: the outcome of `call`, if `prepare` gives what it takes.
///
/// A panic in one of them is a failure of this attempt. Before the call Flickr surely did not act; during it, it may have.
async fn outcome<T, F>(
    prepare: impl Future<Output = Result<T, PrepareError>>,
    call: impl FnOnce(T) -> F,
) -> Outcome
where
    F: Future<Output = Outcome>,
{
    match caught(prepare).await {
        Ok(Ok(prepared)) => caught(call(prepared))
            .await
            .unwrap_or_else(|panicked| broken(panicked, FailureKind::Unknown)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the call cannot be made");
            Outcome::Failed(error.failure())
        }
        Err(panicked) => broken(panicked, FailureKind::Transient),
    }
}

/// The outcome of an attempt that panicked.
fn broken(panicked: Panicked, kind: FailureKind) -> Outcome {
    tracing::error!(%panicked, "the attempt failed");
    Outcome::Failed(Failure {
        kind,
        error: JobError {
            code: "internal_error".to_owned(),
            message: "FlickrHub could not finish the attempt because of a fault of its own.".to_owned(),
            flickr_code: None,
        },
        retry_after: None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flickrhub_job::vault::VaultError;
    use serde_json::Value;

    use super::*;

    const SECRET: &str = "s3cret";

    fn failure(outcome: Outcome) -> Failure {
        match outcome {
            Outcome::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[expect(clippy::unused_async, reason = "it stands for work that waits")]
    async fn prepared() -> Result<(), PrepareError> {
        Ok(())
    }

    async fn done((): ()) -> Outcome {
        Outcome::Done(Value::Null)
    }

    #[tokio::test]
    async fn an_attempt_that_does_not_panic_has_the_outcome_of_its_call() {
        assert_eq!(outcome(prepared(), done).await, Outcome::Done(Value::Null));
        let away = async { Err(PrepareError::from(Arc::new(VaultError::Unavailable))) };
        assert_eq!(failure(outcome(away, done).await).kind, FailureKind::NotMade);
    }

    #[tokio::test]
    async fn a_panic_before_the_call_is_transient() {
        let failure = failure(outcome(async { panic!("{SECRET}") }, done).await);
        assert_eq!(failure.kind, FailureKind::Transient);
        assert_eq!(failure.error.code, "internal_error");
    }

    #[tokio::test]
    async fn a_panic_during_the_call_has_an_unknown_outcome() {
        let failure = failure(outcome(prepared(), |()| async { panic!("{SECRET}") }).await);
        assert_eq!(failure.kind, FailureKind::Unknown);
        assert_eq!(failure.error.code, "internal_error");
    }

    #[tokio::test]
    async fn the_client_does_not_learn_what_the_panic_said() {
        let failure = failure(outcome(prepared(), |()| async { panic!("{SECRET}") }).await);
        assert!(!format!("{failure:?}").contains(SECRET));
    }
}

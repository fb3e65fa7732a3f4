//! Jobs whose lease has ended: their dispatcher or worker died, or lost its way to MongoDB.
//!
//! One that was only dispatched is queued again, however often: its message waited for a worker that never came, which
//! says nothing about the job, and `expires_at` ends it. One that was running may have been acted on by Flickr, so it goes
//! through the same [`decide`] as every other unknown outcome: a call that is harmless to repeat is queued again while it
//! has tries left, one that would act again fails as `outcome_unknown`.
//!
//! # Poison messages
//!
//! That is also what ends a job which kills every worker that takes it. Its claim counted the try before the worker died,
//! so after the last one the job is `dead` here, with its dead letter:
//!
//! | the process dies after | the job is | then |
//! | --- | --- | --- |
//! | (a worker) the claim | `running`, the try counted | the redelivered message is refused and acknowledged; the lease ends, and recovery has the job |
//! | (a dispatcher) the look | `running` | the next turn, of any dispatcher, sees it again |
//! | the dead letter | `running` | the same; there is a second dead letter of the same attempt |
//! | the update to `dead` | `dead`, still in the lanes | its place in the window ends, its release is refused, the lanes forget it |
//! | the lanes were told | `dead` | over |
//!
//! The dead letter comes first, so that none is missing. The price: two dispatchers that see the job at once write one
//! each, and should its worker come back in the instant between, there is a dead letter of a job that lives. MongoDB
//! says what is true.
//!
//! Messages that waited in the same worker come back each time it dies, too. One that came back too often is moved to the
//! dead letters by the broker, although its job is not at fault: that was only dispatched, and is queued again here.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use flickrhub_job::envelope::Envelope;
use flickrhub_job::lane::LaneEntry;
use flickrhub_job::model::{Job, JobError, JobState};
use flickrhub_job::telemetry::lifecycle;
use jiff::Timestamp;
use tracing::Instrument;

use super::{Dispatcher, RecoveryError};
use crate::decision::{Attempt, Decision, Failure, FailureKind, Outcome, decide};
use crate::flickr_call::repeat;
use crate::panics::caught;

/// How much longer than its lease a job is left to its holder: clocks differ, and a holder that has a result tries to
/// store it every few seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long holders go first after MongoDB was away: a sign of life may hang for 25 s before it fails, and the next one
/// comes 15 s later.
const GRACE: Duration = Duration::from_secs(45);

/// Most overdue jobs that one turn takes.
const BATCH: i64 = 200;

/// While MongoDB was away no holder could extend its lease. When it answers again, holders go first for [`GRACE`]; also
/// at the start, since a process that starts cannot know whether MongoDB was away.
#[derive(Debug)]
pub(super) struct Grace {
    /// Milliseconds since 1970.
    until: AtomicI64,
    /// Whether the last look failed.
    away: AtomicBool,
}

impl Grace {
    /// Holders go first.
    pub(super) fn new(now: Timestamp) -> Self {
        let grace = Self {
            until: AtomicI64::new(0),
            away: AtomicBool::new(false),
        };
        grace.begin(now);
        grace
    }

    fn begin(&self, now: Timestamp) {
        let until = now.saturating_add(GRACE).unwrap_or(now);
        self.until.store(until.as_millisecond(), Ordering::Relaxed);
    }

    /// MongoDB did not answer.
    fn failed(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    /// MongoDB answered: the first time after a failure the grace begins.
    fn answered(&self, now: Timestamp) {
        if self.away.swap(false, Ordering::Relaxed) {
            self.begin(now);
        }
    }

    fn holds(&self, now: Timestamp) -> bool {
        now.as_millisecond() < self.until.load(Ordering::Relaxed)
    }
}

/// What to do about a job whose lease has ended.
#[derive(Clone, Debug, PartialEq)]
enum Recovery {
    /// Its holder may still be about to move it.
    Wait,
    /// Back to its lane.
    Requeue,
    /// It ends.
    End(JobState, JobError),
}

fn recovery(job: &Job, max_attempts: u32, now: Timestamp) -> Recovery {
    let patience_ends = job
        .lease_until
        .and_then(|lease| lease.saturating_add(PATIENCE).ok());
    if patience_ends.is_some_and(|end| now < end) {
        return Recovery::Wait;
    }
    if job.state != JobState::Running {
        return Recovery::Requeue;
    }
    let attempt = Attempt {
        number: job.attempt,
        tries: job.tries,
        max: max_attempts,
        repeat: repeat(job),
    };
    let lost = Failure {
        kind: FailureKind::Unknown,
        error: JobError {
            code: "worker_lost".to_owned(),
            message: "The worker that ran the job was lost before it could tell the outcome.".to_owned(),
            flickr_code: None,
        },
        retry_after: None,
    };
    match decide(attempt, Outcome::Failed(lost), now, &mut rand::rng()) {
        Decision::Retry { .. } | Decision::Postpone { .. } | Decision::Succeed(_) => Recovery::Requeue,
        Decision::Fail(error) => Recovery::End(JobState::Failed, error),
        Decision::Dead(error) => Recovery::End(JobState::Dead, error),
    }
}

impl Dispatcher {
    /// Recovers the jobs whose lease has ended.
    pub(super) async fn recover_overdue(&self, grace: &Grace) -> Result<(), RecoveryError> {
        let overdue = match self.store.overdue(BATCH).await {
            Ok(overdue) => overdue,
            Err(error) => {
                grace.failed();
                return Err(error.into());
            }
        };
        grace.answered(Timestamp::now());
        if grace.holds(Timestamp::now()) {
            return Ok(());
        }
        for job in overdue {
            let span = tracing::info_span!(
                "recovery",
                job_id = %job.id, user_id = job.user_id, trace_id = job.trace.trace_id, attempt = job.attempt,
            );
            // What is wrong with this job alone must not keep the others waiting.
            let recovered = async {
                match caught(self.recover(&job)).await {
                    Ok(Err(error)) if error.is_transient() => return Err(error),
                    Ok(Err(error)) => tracing::error!(%error, "the job cannot be recovered"),
                    Err(panicked) => tracing::error!(%panicked, "the job cannot be recovered"),
                    Ok(Ok(())) => {}
                }
                Ok(())
            };
            recovered.instrument(span).await?;
        }
        Ok(())
    }

    async fn recover(&self, job: &Job) -> Result<(), RecoveryError> {
        let max_attempts = self
            .queues
            .get(&job.queue)
            .map_or(1, |settings| settings.max_attempts);
        match recovery(job, max_attempts, Timestamp::now()) {
            Recovery::Wait => Ok(()),
            Recovery::Requeue => self.requeue(job).await,
            Recovery::End(state, error) => self.end(job, state, &error).await,
        }
    }

    /// A crash between the two steps leaves a queued job in no lane, which [`super::reconcile`] finds.
    async fn requeue(&self, job: &Job) -> Result<(), RecoveryError> {
        if job.expires_at <= Timestamp::now()
            && let Some(expired) = self.store.expire_if_due(job.id).await?
        {
            lifecycle::report(&expired, &self.metrics);
            self.lanes.done(&LaneEntry::from(&expired)).await?;
        } else if let Some(queued) = self.store.requeue_overdue(job.id, job.attempt).await? {
            tracing::warn!(
                was = job.state.name(),
                "the job's lease ended; it is queued again"
            );
            self.lanes.requeue(&LaneEntry::from(&queued)).await?;
        }
        Ok(())
    }

    /// Ends a job, a dead one after its dead letter is in the queue of those.
    async fn end(&self, job: &Job, state: JobState, error: &JobError) -> Result<(), RecoveryError> {
        if state == JobState::Dead {
            // The list may be seconds old: a holder that has given a sign of life since is left alone.
            if !self.store.is_overdue(job.id, job.attempt).await? {
                return Ok(());
            }
            let envelope = Envelope {
                job_id: job.id,
                attempt: job.attempt,
                user_id: job.user_id.clone(),
                trace: job.trace.child(),
            };
            self.publisher
                .dead_letter(job.queue, &envelope, &error.code)
                .await?;
        }
        if let Some(ended) = self.store.fail_overdue(job.id, job.attempt, state, error).await? {
            lifecycle::report(&ended, &self.metrics);
            self.lanes.done(&LaneEntry::from(&ended)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::fixtures::job;

    fn long_ago() -> Timestamp {
        Timestamp::now() - 1.hour()
    }

    #[test]
    fn a_job_that_was_only_dispatched_is_queued_again_however_often() {
        let job = job()
            .state(JobState::Dispatched)
            .attempt(99)
            .lease_until(long_ago())
            .build();
        assert_eq!(recovery(&job, 5, Timestamp::now()), Recovery::Requeue);
    }

    #[test]
    fn a_holder_has_some_seconds_after_its_lease() {
        let now = Timestamp::now();
        let job = job()
            .state(JobState::Running)
            .attempt(1)
            .lease_until(now - 1.second())
            .build();
        assert_eq!(recovery(&job, 5, now), Recovery::Wait);
    }

    #[test]
    fn a_read_whose_worker_was_lost_is_queued_again_until_its_tries_are_used_up() {
        let read = |tries| {
            job()
                .state(JobState::Running)
                .attempt(99)
                .tries(tries)
                .lease_until(long_ago())
                .build()
        };
        assert_eq!(recovery(&read(4), 5, Timestamp::now()), Recovery::Requeue);
        assert!(matches!(
            recovery(&read(5), 5, Timestamp::now()),
            Recovery::End(JobState::Dead, error) if error.code == "worker_lost"
        ));
    }

    #[test]
    fn an_upload_whose_worker_was_lost_is_not_sent_again() {
        let upload = job()
            .with_photo()
            .state(JobState::Running)
            .attempt(1)
            .tries(1)
            .lease_until(long_ago())
            .build();
        assert!(matches!(
            recovery(&upload, 5, Timestamp::now()),
            Recovery::End(JobState::Failed, error) if error.code == "outcome_unknown"
        ));
    }

    #[test]
    fn holders_go_first_when_mongodb_comes_back() {
        let start = Timestamp::now();
        let grace = Grace::new(start);
        assert!(grace.holds(start + 44.seconds()), "after the start too");
        grace.answered(start + 10.seconds());
        assert!(!grace.holds(start + 45.seconds()), "an answer alone begins none");

        let back = start + 1.hour();
        grace.failed();
        assert!(!grace.holds(back));
        grace.answered(back);
        assert!(
            grace.holds(back + 44.seconds()),
            "it counts from the first answer"
        );
        grace.answered(back + 5.seconds());
        assert!(!grace.holds(back + 45.seconds()));
    }
}

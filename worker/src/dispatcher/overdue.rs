//! Jobs whose lease has ended: their dispatcher or worker died, or lost its way to MongoDB.
//!
//! One that was only dispatched is queued again, however often: its message waited for a worker that never came, which
//! says nothing about the job, and `expires_at` ends it. One that was running may have been acted on by Flickr, so it goes
//! through the same [`decide`] as every other unknown outcome: a call that is harmless to repeat is queued again while it
//! has tries left, one that would act again fails as `outcome_unknown`. An upload is queued again: before its photo is sent
//! it is asked what became of it. A job whose client wanted it cancelled is not queued again, but cancelled.
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
//! The dead letter comes first, so that no crash leaves it out. The price: two dispatchers that see the job at once write
//! one each, and should its worker come back in the instant between, there is a dead letter of a job that lives. The message
//! of a job that is dead by the time it comes again, because every worker was down meanwhile, is a second one. MongoDB says
//! what is true.
//!
//! A dead-letter queue that takes nothing holds up no other job: those that are to die come last in a turn, and the first
//! letter that is refused is the last one for its queue in this turn. Nor does it hold up these for long: after
//! [`LETTER_PATIENCE`] a job ends without its letter.
//!
//! Messages that waited in the same worker come back each time it dies, too. One that came back too often is moved to the
//! dead letters by the broker, although its job is not at fault: that was only dispatched, and is queued again here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use flickrhub_job::envelope::Envelope;
use flickrhub_job::fail_point;
use flickrhub_job::lane::LaneEntry;
use flickrhub_job::model::{Job, JobError, JobState};
use flickrhub_job::queue::Queue;
use flickrhub_job::telemetry::lifecycle;
use jiff::Timestamp;

use super::apart::apart;
use super::{Dispatcher, RecoveryError};
use crate::decision::{Attempt, Decision, Failure, FailureKind, Outcome, decide};
use crate::flickr_call::repeat;

/// How much longer than its lease a job is left to its holder: clocks differ, and a holder that has a result tries to
/// store it every few seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long holders go first after MongoDB was away: a sign of life may hang for 25 s before it fails, and the next one
/// comes 15 s later.
const GRACE: Duration = Duration::from_secs(45);

/// How long after its lease a job waits for a queue that does not take its dead letter: the letter is for looking at, and
/// its client waits for the end of the job.
const LETTER_PATIENCE: Duration = Duration::from_mins(10);

/// Most overdue jobs that one turn takes, the longest overdue first. So many that wait for a dead letter would hold up the
/// others, as long as [`LETTER_PATIENCE`] lasts.
const BATCH: usize = 200;

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
    /// It fails.
    Fail(JobError),
    /// It dies, and has a dead letter.
    Die(JobError),
}

/// Whether `patience` since the end of the job's lease is over by `now`.
fn is_over(patience: Duration, job: &Job, now: Timestamp) -> bool {
    job.lease_until
        .and_then(|lease| lease.saturating_add(patience).ok())
        .is_none_or(|end| end <= now)
}

fn recovery(job: &Job, max_attempts: u32, now: Timestamp) -> Recovery {
    if !is_over(PATIENCE, job, now) {
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
        Decision::Retry { .. }
        | Decision::Postpone { .. }
        | Decision::Succeed(_)
        | Decision::Cancel { .. } => Recovery::Requeue,
        Decision::Fail(error) => Recovery::Fail(error),
        Decision::Dead(error) => Recovery::Die(error),
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
        let mut dying = Vec::new();
        for job in overdue {
            if let Some(error) = apart(&job, self.recover(&job)).await?.flatten() {
                dying.push((job, error));
            }
        }
        let mut refusing = BTreeSet::new();
        for (job, error) in &dying {
            apart(job, self.end_dead(job, error, &mut refusing)).await?;
        }
        Ok(())
    }

    /// Recovers a job, unless it is to die: then this is why.
    async fn recover(&self, job: &Job) -> Result<Option<JobError>, RecoveryError> {
        let max_attempts = self
            .queues
            .get(&job.queue)
            .map_or(1, |settings| settings.max_attempts);
        match recovery(job, max_attempts, Timestamp::now()) {
            Recovery::Wait => {}
            Recovery::Requeue => self.requeue(job).await?,
            Recovery::Fail(error) => self.end(job, JobState::Failed, &error).await?,
            Recovery::Die(error) => return Ok(Some(error)),
        }
        Ok(None)
    }

    /// A crash between the two steps leaves a queued job in no lane, which [`super::reconcile`] finds.
    async fn requeue(&self, job: &Job) -> Result<(), RecoveryError> {
        if job.expires_at <= Timestamp::now()
            && let Some(expired) = self.store.expire_if_due(job.id).await?
        {
            lifecycle::report(&expired, &self.metrics);
            self.lanes.done(&LaneEntry::from(&expired)).await?;
        } else if let Some(moved) = self.store.requeue_overdue(job.id, job.attempt).await? {
            let entry = LaneEntry::from(&moved);
            if moved.state.is_final() {
                lifecycle::report(&moved, &self.metrics);
                self.lanes.done(&entry).await?;
            } else {
                tracing::warn!(
                    was = job.state.name(),
                    "the job's lease ended; it is queued again"
                );
                fail_point!("recover/after-requeue");
                self.lanes.requeue(&entry).await?;
            }
        }
        Ok(())
    }

    /// Ends a job as dead, after its dead letter is in the queue of those or has been waited for long enough.
    ///
    /// `refusing` are the queues of which no dead letter was taken in this turn.
    async fn end_dead(
        &self,
        job: &Job,
        error: &JobError,
        refusing: &mut BTreeSet<Queue>,
    ) -> Result<(), RecoveryError> {
        // The list may be old by now: a holder that has given a sign of life since is left alone.
        if !self.store.is_overdue(job.id, job.attempt).await? {
            return Ok(());
        }
        if !self.write_letter(job, error, refusing).await {
            if !is_over(LETTER_PATIENCE, job, Timestamp::now()) {
                return Ok(());
            }
            tracing::error!("the job ends without a dead letter, which its queue has not taken for long");
        }
        fail_point!("recover/after-letter");
        self.end(job, JobState::Dead, error).await
    }

    /// Whether the dead letter of the job is in its queue.
    async fn write_letter(&self, job: &Job, error: &JobError, refusing: &mut BTreeSet<Queue>) -> bool {
        if refusing.contains(&job.queue) {
            return false;
        }
        let envelope = Envelope {
            job_id: job.id,
            attempt: job.attempt,
            user_id: job.user_id.clone(),
            trace: job.trace.child(),
        };
        let written = self
            .publisher
            .dead_letter(job.queue, &envelope, &error.code)
            .await;
        if let Err(error) = &written {
            tracing::warn!(%error, queue = job.queue.name(), "dead letters are not taken; their jobs end later");
            refusing.insert(job.queue);
        }
        written.is_ok()
    }

    async fn end(&self, job: &Job, state: JobState, error: &JobError) -> Result<(), RecoveryError> {
        if let Some(ended) = self.store.fail_overdue(job.id, job.attempt, state, error).await? {
            fail_point!("recover/after-end");
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
    fn a_dead_letter_is_waited_for_only_so_long() {
        let now = Timestamp::now();
        let lost = |lease| job().state(JobState::Running).lease_until(lease).build();
        assert!(!is_over(LETTER_PATIENCE, &lost(now - 9.minutes()), now));
        assert!(is_over(LETTER_PATIENCE, &lost(now - 10.minutes()), now));
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
            Recovery::Die(error) if error.code == "worker_lost"
        ));
    }

    #[test]
    fn a_comment_whose_worker_was_lost_is_not_made_again_and_an_upload_is_queued_to_be_checked() {
        let lost = |job: crate::fixtures::JobFixture| {
            job.state(JobState::Running)
                .attempt(1)
                .tries(1)
                .lease_until(long_ago())
                .build()
        };
        let comment = lost(job().method("flickr.photos.comments.addComment"));
        assert!(matches!(
            recovery(&comment, 5, Timestamp::now()),
            Recovery::Fail(error) if error.code == "outcome_unknown"
        ));
        let upload = lost(job().with_photo());
        assert_eq!(recovery(&upload, 5, Timestamp::now()), Recovery::Requeue);
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

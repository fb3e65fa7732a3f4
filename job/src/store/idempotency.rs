//! Idempotency keys: of all jobs, one has a key. The unique index on it is what decides between requests that come at
//! the same time, after a failover of Redis, or after the process that had the first one died.

use bson::doc;
use jiff::{SignedDuration, Timestamp};

use super::error::within;
use super::time::to_bson;
use super::{JobStore, StoreError, id};
use crate::model::{Callback, CallbackState, Job, JobId, JobState, Trail};

/// For how long after its acceptance a job is found by its idempotency key.
pub const IDEMPOTENCY_WINDOW: SignedDuration = SignedDuration::from_hours(24);

impl JobStore {
    /// The job that has this idempotency key (its hash), if the majority has it: one that was inserted a moment ago may
    /// not be there yet.
    pub async fn by_idempotency_key(&self, key: &str) -> Result<Option<Job>, StoreError> {
        within(self.jobs.find_one(doc! { "idempotency.key": key })).await
    }

    /// Takes its idempotency key from a job that was accepted longer than [`IDEMPOTENCY_WINDOW`] before `now`; a younger
    /// job keeps it.
    pub async fn release_idempotency_key(&self, id: JobId, now: Timestamp) -> Result<(), StoreError> {
        let before = now.checked_sub(IDEMPOTENCY_WINDOW).unwrap_or(Timestamp::MIN);
        let old = doc! { "_id": id::to_bson(id), "created_at": { "$lte": to_bson(before) } };
        let release = self
            .jobs
            .update_one(old, doc! { "$unset": { "idempotency": "" } });
        within(release).await?;
        Ok(())
    }
}

/// How long the idempotency key of this job holds from `now`; `None` when it does not any more.
pub fn idempotency_left(job: &Job, now: Timestamp) -> Option<std::time::Duration> {
    let age = now.duration_since(job.created_at);
    let left = IDEMPOTENCY_WINDOW.checked_sub(age)?.min(IDEMPOTENCY_WINDOW);
    std::time::Duration::try_from(left)
        .ok()
        .filter(|left| !left.is_zero())
}

/// A job as it was when it was accepted, whatever became of it since: what its client was told then.
#[must_use]
pub fn as_accepted(job: Job) -> Job {
    if was_over_at_once(&job) {
        return job;
    }
    Job {
        state: JobState::Queued,
        attempt: 0,
        tries: 0,
        callback: job.callback.map(|callback| Callback {
            state: CallbackState::Waiting,
            attempts: 0,
            next_at: None,
            ..callback
        }),
        updated_at: job.created_at,
        available_at: job.created_at,
        started_at: None,
        finished_at: None,
        lease_until: None,
        result: None,
        error: None,
        trail: Trail::default(),
        ..job
    }
}

/// Whether the job was accepted with a cached answer: no worker ever had it.
fn was_over_at_once(job: &Job) -> bool {
    job.state == JobState::Succeeded && job.attempt == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{finished_job, queued_job};
    use crate::view::JobView;

    #[test]
    fn whatever_became_of_a_job_it_is_told_as_it_was_accepted() {
        let accepted = queued_job();
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            let finished = Job {
                id: accepted.id,
                ..finished_job(state)
            };
            assert_eq!(
                JobView::from(&as_accepted(finished)),
                JobView::from(&accepted),
                "{state}"
            );
        }
    }

    #[test]
    fn a_key_holds_for_a_day() {
        let job = queued_job();
        let after = |duration| idempotency_left(&job, job.created_at + duration);
        let second = SignedDuration::from_secs(1);
        assert_eq!(
            after(SignedDuration::ZERO),
            Some(std::time::Duration::from_hours(24))
        );
        assert_eq!(
            after(IDEMPOTENCY_WINDOW - second),
            Some(std::time::Duration::from_secs(1))
        );
        assert_eq!(after(IDEMPOTENCY_WINDOW), None);
        assert_eq!(after(IDEMPOTENCY_WINDOW + second), None);
        // The clocks of two processes differ.
        assert_eq!(after(-second), Some(std::time::Duration::from_hours(24)));
    }
}

//! Running a job once more, after it was given up.

use jiff::Timestamp;

use crate::model::{Callback, Job, JobId, JobState};

/// A new job that does what `job` should have done; `None` unless that one is dead, failed or expired.
///
/// It has as much time until `expires_at` as the first one had, and shares its body in the body store. Nothing is
/// stored: admit it, then [`super::JobStore::insert`] it.
pub fn replay_of(job: &Job, now: Timestamp) -> Option<Job> {
    if !matches!(job.state, JobState::Dead | JobState::Failed | JobState::Expired) {
        return None;
    }
    let lifetime = job.expires_at.duration_since(job.created_at);
    Some(Job {
        id: JobId::new(),
        state: JobState::Queued,
        attempt: 0,
        tries: 0,
        callback: job
            .callback
            .as_ref()
            .map(|callback| Callback::waiting(callback.url.clone())),
        idempotency: None,
        created_at: now,
        updated_at: now,
        available_at: now,
        expires_at: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
        started_at: None,
        finished_at: None,
        lease_until: None,
        result: None,
        error: None,
        ..job.clone()
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::store::fixture::{finished_job, queued_job};

    const LATER: Timestamp = Timestamp::constant(1_800_000_000, 0);

    #[test]
    fn only_a_job_that_was_given_up_is_replayed() {
        for state in JobState::ALL {
            let given_up = matches!(state, JobState::Dead | JobState::Failed | JobState::Expired);
            assert_eq!(
                replay_of(&finished_job(state), LATER).is_some(),
                given_up,
                "{state}"
            );
        }
    }

    #[test]
    fn a_replay_is_like_a_job_accepted_now() {
        let old = finished_job(JobState::Dead);
        let expected = Job {
            id: JobId::new(),
            created_at: LATER,
            updated_at: LATER,
            available_at: LATER,
            expires_at: LATER + SignedDuration::from_hours(1),
            ..queued_job()
        };
        let replay = replay_of(&old, LATER).map(|job| {
            assert_ne!(job.id, old.id);
            Job {
                id: expected.id,
                ..job
            }
        });
        assert_eq!(replay, Some(expected));
    }
}

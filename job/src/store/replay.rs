//! Running a job once more, after it was given up.
//!
//! A job is replayed by one new job, however often and by how many at once it is asked for:
//!
//! | step | if the process dies after it |
//! | --- | --- |
//! | 1 [`JobStore::begin_replay`]: the id of the new job is chosen and marked on the old one | the next replay finds the mark and goes on with that id |
//! | 2 [`JobStore::insert`] of the new job under that id | the new job is queued, and reconciliation brings it to its lane; the next replay stores nothing, since inserting is idempotent by id |
//! | 3 [`JobStore::end_replay`]: the old job notes that the new one is stored | over |
//!
//! The new job finishes after the old one and is therefore purged after it: a mark whose job is not in MongoDB means step 2
//! was not done. Of two that replay at once both do every step with the same id, and one of the insertions counts. So an
//! insertion whose outcome is unknown must not be taken back: the job may be the other's, which was promised already.

use bson::doc;
use jiff::Timestamp;

use super::error::within;
use super::jobs::without_content;
use super::time::{now, to_bson};
use super::{JobStore, StoreError, id};
use crate::model::{Callback, Job, JobId, JobState, Trail};

/// The states that a replay begins in.
const GIVEN_UP: [JobState; 3] = [JobState::Dead, JobState::Failed, JobState::Expired];

impl JobStore {
    /// Marks a dead, failed or expired job of the client as replayed by the job `chosen`, unless it is marked already. The
    /// id of the job that replays it, which is to be used from here on.
    ///
    /// `None`: the client has no such job, or it is in another state.
    pub async fn begin_replay(
        &self,
        client_id: &str,
        job: JobId,
        chosen: JobId,
    ) -> Result<Option<JobId>, StoreError> {
        let states = GIVEN_UP.map(JobState::name);
        let filter = doc! {
            "_id": id::to_bson(job),
            "client_id": client_id,
            "state": { "$in": bson::Bson::from(states.as_slice()) },
        };
        let mark = doc! { "$ifNull": ["$trail.replayed_as", id::to_bson(chosen)] };
        let update = vec![doc! { "$set": { "trail.replayed_as": mark } }];
        let marked = self.change(filter, update, without_content()).await?;
        Ok(marked.and_then(|job| job.trail.replayed_as))
    }

    /// Notes that the job which replays this one is stored.
    pub async fn end_replay(&self, job: JobId, replayed_as: JobId) -> Result<(), StoreError> {
        let filter = doc! {
            "_id": id::to_bson(job),
            "trail.replayed_as": id::to_bson(replayed_as),
            "trail.replayed_at": null,
        };
        let update = doc! { "$set": { "trail.replayed_at": to_bson(now()) } };
        within(self.jobs.update_one(filter, update)).await?;
        Ok(())
    }
}

/// A new job that does what `job` should have done; `None` unless that one is dead, failed or expired.
///
/// It has as much time until `expires_at` as the first one had, and shares its body in the body store. Where Flickr may have
/// the photo already, it knows so, and does not send it blindly. Nothing is stored.
pub fn replay_of(job: &Job, now: Timestamp) -> Option<Job> {
    if !GIVEN_UP.contains(&job.state) {
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
        trail: Trail {
            replay_of: Some(job.id),
            // Attempts are counted anew; 0 is none of them, so that no later one takes this mark for its own.
            sent_by: job.trail.may_be_at_flickr().then_some(0),
            ticket: job.trail.ticket.clone(),
            ..Trail::default()
        },
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
            trail: Trail {
                replay_of: Some(old.id),
                ..Trail::default()
            },
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

    #[test]
    fn a_replay_knows_that_flickr_may_have_its_photo() {
        let trail = Trail {
            sent_by: Some(3),
            ticket: Some("1-2".to_owned()),
            ..Trail::default()
        };
        let old = Job {
            trail,
            ..finished_job(JobState::Dead)
        };
        let replay = replay_of(&old, LATER).map(|job| job.trail).unwrap_or_default();
        assert_eq!((replay.sent_by, replay.ticket.as_deref()), (Some(0), Some("1-2")));
    }
}

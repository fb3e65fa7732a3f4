//! What follows from the state that MongoDB holds of a job. That a job is over is reported by
//! [`flickrhub_job::telemetry::lifecycle`].

use flickrhub_job::model::{Job, JobState};
use jiff::Timestamp;

/// What follows from a job's stored state for a message that stood for one of its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUp {
    /// The job is over.
    Over {
        /// It does not need its photo any more; another job may.
        delete_body: bool,
        /// The message belongs among the dead letters.
        dead_letter: bool,
    },
    /// The job waits for its next attempt.
    Wait {
        /// The earliest time of it.
        until: Timestamp,
    },
    /// A later attempt or another worker has the job.
    Nothing,
}

/// What follows from the stored state of `job` for the message of attempt `attempt`.
///
/// Only Flickr having the photo is a reason to delete ours at once: any other job may be replayed, by itself or as a copy
/// that names the same photo. The body store forgets those when no job needs them any more. For the same reason the photo
/// of a job that succeeded may still be needed, by the job that it replays.
pub fn follow_up(job: &Job, attempt: u32) -> FollowUp {
    let same_attempt = job.attempt == attempt;
    match job.state {
        JobState::Succeeded => FollowUp::Over {
            delete_body: job.body.is_some(),
            dead_letter: false,
        },
        JobState::Dead => FollowUp::Over {
            delete_body: false,
            dead_letter: same_attempt,
        },
        JobState::Failed | JobState::Expired | JobState::Cancelled => FollowUp::Over {
            delete_body: false,
            dead_letter: false,
        },
        JobState::Queued if same_attempt => FollowUp::Wait {
            until: job.available_at,
        },
        JobState::Queued | JobState::Dispatched | JobState::Running => FollowUp::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::job;

    #[test]
    fn a_message_of_a_job_that_waits_for_its_retry_puts_it_into_its_lane_again() {
        let job = job().queued().attempt(3).build();
        assert_eq!(
            follow_up(&job, 3),
            FollowUp::Wait {
                until: job.available_at
            }
        );
    }

    #[test]
    fn a_message_of_an_earlier_attempt_does_nothing() {
        for state in [JobState::Queued, JobState::Dispatched, JobState::Running] {
            assert_eq!(
                follow_up(&job().state(state).attempt(3).build(), 2),
                FollowUp::Nothing
            );
        }
    }

    #[test]
    fn a_message_that_comes_again_while_its_job_runs_does_nothing() {
        assert_eq!(
            follow_up(&job().state(JobState::Running).attempt(1).build(), 1),
            FollowUp::Nothing
        );
    }

    #[test]
    fn only_the_message_of_the_last_attempt_is_a_dead_letter() {
        let dead = job().state(JobState::Dead).attempt(5).build();
        assert_eq!(
            follow_up(&dead, 5),
            FollowUp::Over {
                delete_body: false,
                dead_letter: true
            }
        );
        assert_eq!(
            follow_up(&dead, 4),
            FollowUp::Over {
                delete_body: false,
                dead_letter: false
            }
        );
    }

    #[test]
    fn the_photo_is_kept_while_the_job_can_be_replayed() {
        for (state, deleted) in [
            (JobState::Succeeded, true),
            (JobState::Failed, false),
            (JobState::Cancelled, false),
            (JobState::Dead, false),
            (JobState::Expired, false),
        ] {
            let job = job().with_photo().state(state).attempt(1).build();
            let FollowUp::Over { delete_body, .. } = follow_up(&job, 1) else {
                panic!("{state} is final");
            };
            assert_eq!(delete_body, deleted, "{state}");
        }
    }
}

//! What follows a decision: the transition in MongoDB, then everything that merely follows from it.
//!
//! Nothing after the transition decides anything. It is derived from the state that MongoDB holds, every step of it can
//! be repeated, and it is done before the message is acknowledged: a crash in between brings the message back, its claim
//! is refused, and [`Runner::settle`] runs again from the stored state.

use flickrhub_job::fail_point;
use flickrhub_job::lane::{LaneEntry, LaneError};
use flickrhub_job::model::{Job, JobError, JobId, JobState};
use flickrhub_job::store::{AttemptEnd, Holder, StoreError};
use flickrhub_job::telemetry::lifecycle;
use tokio_util::sync::CancellationToken;

use super::Runner;
use super::consume::Settlement;
use crate::backoff::DATA_TIER;
use crate::decision::Decision;
use crate::follow_up::{FollowUp, follow_up};
use crate::shutdown::pause;

impl Runner {
    /// Stores `decision` for the job that runs here and does what follows.
    ///
    /// While MongoDB is away it keeps trying, also during shutdown: the result of a call that Flickr acted on is worth
    /// the whole grace period.
    pub(super) async fn finish(&self, job: &Job, decision: Decision, stop: &CancellationToken) -> Settlement {
        let mut decision = decision;
        // One for all tries: an end whose answer was lost is ours already.
        let mut by = Holder::new();
        let mut tries = 0;
        let moved = loop {
            match self.store.end(job, end(&decision), by).await {
                Ok(moved) => break moved,
                Err(error) if error.is_transient() => {
                    tries += 1;
                    tracing::warn!(%error, "the outcome cannot be stored yet");
                    tokio::time::sleep(DATA_TIER.wait(tries)).await;
                }
                Err(error) if matches!(decision, Decision::Succeed(_)) => {
                    tracing::error!(%error, "the result cannot be stored: the job fails");
                    decision = Decision::Fail(unstorable(&error));
                    by = Holder::new();
                }
                Err(error) => {
                    tracing::error!(%error, "the outcome is refused: the lease decides");
                    return Settlement::Acknowledge;
                }
            }
        };
        match moved {
            Some(moved) => {
                if moved.state == JobState::Queued {
                    fail_point!("retry/after-transition");
                }
                fail_point!("finish/after-transition");
                lifecycle::report(&moved, &self.metrics);
                self.settle(&moved, job.attempt, stop).await
            }
            // Somebody else moved the job.
            None => self.settle_stored(job.id, job.attempt, stop).await,
        }
    }

    /// Does what follows from the state that MongoDB holds, for the message of attempt `attempt` whose job is not ours.
    ///
    /// A claim is also refused when the job's time has run out; then it expires here.
    pub(super) async fn settle_stored(
        &self,
        id: JobId,
        attempt: u32,
        stop: &CancellationToken,
    ) -> Settlement {
        let mut tries = 0;
        loop {
            match self.expired_or_stored(id).await {
                Ok(Some(job)) => return self.settle(&job, attempt, stop).await,
                Ok(None) => return Settlement::Acknowledge,
                Err(error @ StoreError::Unreadable(_)) => {
                    tracing::error!(%error, "the job cannot be read; its message goes to the dead letters");
                    return Settlement::DeadLetter;
                }
                Err(error) => {
                    tries += 1;
                    tracing::warn!(%error, "cannot look at the job yet");
                }
            }
            if !pause(DATA_TIER.wait(tries), stop).await {
                return Settlement::GiveBack;
            }
        }
    }

    async fn expired_or_stored(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        if let Some(expired) = self.store.expire_if_due(id).await? {
            lifecycle::report(&expired, &self.metrics);
            return Ok(Some(expired));
        }
        self.store.get_in_brief(id).await
    }

    async fn settle(&self, job: &Job, attempt: u32, stop: &CancellationToken) -> Settlement {
        let follow_up = follow_up(job, attempt);
        let mut tries = 0;
        while let Err(error) = self.tell_lanes(job, follow_up).await {
            tries += 1;
            tracing::warn!(%error, "the lanes cannot be told yet");
            if !pause(DATA_TIER.wait(tries), stop).await {
                return Settlement::GiveBack;
            }
        }
        match follow_up {
            FollowUp::Over {
                delete_body,
                dead_letter,
            } => {
                fail_point!("finish/after-lanes");
                if delete_body {
                    self.delete_body(job).await;
                    fail_point!("finish/after-photo");
                }
                if dead_letter {
                    Settlement::DeadLetter
                } else {
                    Settlement::Acknowledge
                }
            }
            FollowUp::Wait { .. } => {
                fail_point!("retry/after-lanes");
                Settlement::Acknowledge
            }
            FollowUp::Nothing => Settlement::Acknowledge,
        }
    }

    async fn tell_lanes(&self, job: &Job, follow_up: FollowUp) -> Result<(), LaneError> {
        match follow_up {
            FollowUp::Over { .. } => self.lanes.done(&LaneEntry::from(job)).await,
            FollowUp::Wait { until } => self.lanes.push_delayed(&LaneEntry::from(job), until).await,
            FollowUp::Nothing => Ok(()),
        }
    }

    /// Deletes the photo, unless another job shares it: the one that this replays, or a replay of that.
    ///
    /// A photo that stays behind costs room until the body store forgets it, nothing else: no reason to hold a message.
    async fn delete_body(&self, job: &Job) {
        let Some(body) = &job.body else { return };
        let deleted = match self.store.needs_body(&body.file_id).await {
            Ok(true) => return,
            Ok(false) => self.bodies.delete(&body.file_id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            tracing::warn!(
                job_id = %job.id, user_id = job.user_id, trace_id = job.trace.trace_id, %error,
                "the photo could not be deleted"
            );
        }
    }
}

/// What is to be stored.
fn end(decision: &Decision) -> AttemptEnd<'_> {
    match decision {
        Decision::Succeed(result) => AttemptEnd::Succeeded(result),
        Decision::Fail(error) => AttemptEnd::Failed(error),
        Decision::Dead(error) => AttemptEnd::Dead(error),
        Decision::Cancel { called } => AttemptEnd::Cancelled { called: *called },
        Decision::Retry { at, error } => AttemptEnd::Retried { error, at: *at },
        Decision::Postpone { at, called, error } => AttemptEnd::Postponed {
            error,
            called: *called,
            at: *at,
        },
    }
}

fn unstorable(error: &StoreError) -> JobError {
    let (code, message) = match error {
        StoreError::ResultTooLarge { .. } => (
            "result_too_large",
            "Flickr did what was asked, but its answer is too large to be stored.",
        ),
        _ => (
            "result_not_stored",
            "Flickr did what was asked, but its answer could not be stored.",
        ),
    };
    JobError {
        code: code.to_owned(),
        message: message.to_owned(),
        flickr_code: None,
    }
}

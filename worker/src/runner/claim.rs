//! Claiming a job and keeping it: the compare-and-set that makes a redelivered message harmless, and its lease.

use std::future::Future;
use std::time::Duration;

use flickrhub_job::envelope::Envelope;
use flickrhub_job::model::Job;
use flickrhub_job::progress::Watch;
use flickrhub_job::store::{Hold, Holder, StoreError};
use jiff::SignedDuration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Runner;
use super::cancellation::Cancellation;
use crate::backoff::DATA_TIER;
use crate::shutdown::pause;

/// How long a claim holds without a sign of life.
pub(super) const LEASE: SignedDuration = SignedDuration::from_secs(60);

/// How often a claim gives a sign of life; three may be missed before the lease ends.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The end of an attempt to claim a job.
#[derive(Debug)]
pub(super) enum Claim {
    /// It runs here, until the lease ends.
    Ours(Box<Job>),
    /// It has moved on: another attempt, another worker, cancelled, expired.
    Refused,
    /// Its document is of another version of the program; no waiting helps.
    Unreadable,
    /// The process stops before MongoDB answered.
    Stopped,
}

/// Somebody else moved the job on while it ran here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job was taken away while it ran: its lease had ended")]
pub(super) struct ClaimLost;

impl Runner {
    /// Claims the job that `envelope` stands for; waits for MongoDB if it must, with the message held.
    pub(super) async fn claim(&self, envelope: &Envelope, stop: &CancellationToken) -> Claim {
        // One for all tries: a claim whose answer was lost is ours already.
        let holder = Holder::new();
        let mut tries = 0;
        loop {
            let claimed = self
                .store
                .claim(envelope.job_id, envelope.attempt, holder, LEASE)
                .await;
            match claimed {
                Ok(Some(job)) => return Claim::Ours(Box::new(job)),
                Ok(None) => return Claim::Refused,
                Err(error @ StoreError::Unreadable(_)) => {
                    tracing::error!(%error, "the job cannot be read; its message goes to the dead letters");
                    return Claim::Unreadable;
                }
                Err(error) => {
                    tries += 1;
                    tracing::warn!(%error, "cannot claim the job yet");
                }
            }
            if !pause(DATA_TIER.wait(tries), stop).await {
                return Claim::Stopped;
            }
        }
    }

    /// Does `work` while giving signs of life for the claim on `job`, and passes on that its client wants it cancelled.
    ///
    /// # Errors
    /// [`ClaimLost`] when somebody else has moved the job; `work` is dropped where it waits, since its result would be
    /// refused.
    pub(super) async fn while_claimed<F: Future>(
        &self,
        job: &Job,
        watch: &mut Watch,
        cancellation: &Cancellation,
        work: F,
    ) -> Result<F::Output, ClaimLost> {
        tokio::select! {
            output = work => Ok(output),
            () = self.until_lost(job, watch, cancellation) => Err(ClaimLost),
        }
    }

    async fn until_lost(&self, job: &Job, watch: &mut Watch, cancellation: &Cancellation) {
        let mut next_sign = Instant::now() + HEARTBEAT;
        loop {
            watch
                .moved(next_sign.saturating_duration_since(Instant::now()))
                .await;
            let hold = if Instant::now() < next_sign {
                self.store.hold(job.id, job.attempt).await
            } else {
                next_sign = Instant::now() + HEARTBEAT;
                self.give_sign(job).await
            };
            match hold {
                Ok(Hold::Held) => {}
                Ok(Hold::CancelRequested) => cancellation.request(),
                Ok(Hold::Lost) => return,
                // Not a reason to stop: the next sign of life may get through, and if none does the lease says so.
                Err(error) => tracing::warn!(%error, "a sign of life did not get through"),
            }
        }
    }

    async fn give_sign(&self, job: &Job) -> Result<Hold, StoreError> {
        let hold = self.store.extend_lease(job.id, job.attempt, LEASE).await?;
        if hold.is_held() {
            self.keep_place(job).await;
        }
        Ok(hold)
    }

    /// Without it the window would take the job for lost and release it again; that release would be refused.
    async fn keep_place(&self, job: &Job) {
        let lease = LEASE.unsigned_abs();
        if let Err(error) = self.lanes.extend(job.queue, job.id, lease).await {
            tracing::debug!(%error, "the job's place in the window could not be kept");
        }
    }
}

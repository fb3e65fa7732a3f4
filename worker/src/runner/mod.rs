//! Runs the jobs of one queue: claim, call Flickr, decide, store, acknowledge.
//!
//! What happens when the process dies after a step, or loses the broker (which brings its messages back the same way):
//!
//! | after | MongoDB says | then |
//! | --- | --- | --- |
//! | the message was received | `dispatched` | it is redelivered and claimed by another worker |
//! | the claim | `running`, Flickr not called | the redelivered message is refused; when the lease ends, the dispatcher's recovery queues the job again, or fails it as `outcome_unknown` if a second call would act again |
//! | the call of Flickr | `running`, outcome lost | the same: a call that acts again is never repeated blindly |
//! | the transition | final, or `queued` for a retry | the redelivered message is refused, and what follows is done from the stored state |
//! | the lanes were told | the same | the same; telling them again changes nothing |
//! | the photo was deleted | final | the same; deleting nothing is no error |
//! | the acknowledgement | final | over |
//!
//! A message that is no job is rejected too. Should the channel be lost before the broker hears of it, the message comes
//! again and is rejected again, so it is in its queue or among the dead letters at any time. A job that kills its workers
//! is ended by the dispatcher's recovery, see [`crate::dispatcher`], module `overdue`.
//!
//! A dead job's message is rejected rather than acknowledged: the broker itself moves it to the dead-letter queue, so
//! there is no moment in which it is in neither. Of Redis only the permits to call Flickr are asked before the transition
//! ([`flickrhub_job::budget`]): a call that was made is finished without Redis, and the message held until the lanes can be
//! told.
//!
//! Before the photo of an upload is sent, that is noted in MongoDB, and so is the ticket that Flickr gives for it
//! (`JobStore::mark_sent`). So an upload whose worker died, or whose answer was lost, is not sent
//! again blindly: the next attempt asks what became of the ticket, or asks Flickr to refuse a duplicate.
//!
//! An attempt that could not reach Flickr because Vault, MongoDB or Redis was away, or may not yet because a budget is spent
//! or Flickr does not answer, is postponed: it does not count among the
//! tries of the job ([`flickrhub_job::model`]), and the job comes as near to `dead` as it was before.
//!
//! A panic is a bug, and ends the work on one message only. In the attempt itself it is a failure of that attempt, with the
//! code `internal_error`; anywhere else the message is rejected and comes again, as if the process had died there; one that
//! fails like this each time ends among the dead letters.

mod attempt;
mod cached;
mod cancellation;
mod claim;
mod consume;
mod finish;
mod prepare;
mod tokens;

pub use self::tokens::Tokens;

use std::sync::Arc;

use flickrhub_job::cache::AnswerCache;
use flickrhub_job::config::QueueConfig;
use flickrhub_job::connection::rabbitmq::Rabbit;
use flickrhub_job::envelope::Envelope;
use flickrhub_job::fail_point;
use flickrhub_job::lane::Lanes;
use flickrhub_job::progress::{Move, Progress};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{BodyStore, JobStore, UserStore};
use flickrhub_job::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use self::cancellation::Cancellation;
use self::claim::Claim;
use self::consume::Settlement;
use crate::app_credentials::AppCredentials;
use crate::flickr_call::FlickrCaller;

/// What running jobs takes.
pub struct Runner {
    /// The queue whose jobs it runs.
    pub queue: Queue,
    /// The queue's settings.
    pub settings: QueueConfig,
    /// Jobs.
    pub store: JobStore,
    /// Users and their encrypted tokens.
    pub users: UserStore,
    /// Photos.
    pub bodies: BodyStore,
    /// The lanes that jobs return to or leave.
    pub lanes: Lanes,
    /// Tells that a job runs, and hears that one is to be cancelled.
    pub progress: Progress,
    /// The users' tokens.
    pub tokens: Tokens,
    /// The credentials of our Flickr applications.
    pub apps: AppCredentials,
    /// Answers that are kept.
    pub cache: AnswerCache,
    /// Flickr.
    pub flickr: FlickrCaller,
    /// Members that a quorum queue starts with, should this process be the first to declare them.
    pub group_size: u32,
    /// Instruments.
    pub metrics: Metrics,
}

impl Runner {
    /// Runs jobs until `stop`, then finishes those that it holds, within [`crate::shutdown::run_limit`].
    pub async fn run(self, rabbit: Rabbit, stop: CancellationToken) {
        let runner = Arc::new(self);
        tokio::select! {
            () = consume::consume(Arc::clone(&runner), rabbit, stop) => {}
            never = runner.tokens.sweep() => match never {},
        }
    }

    fn concurrency(&self) -> usize {
        usize::try_from(self.settings.concurrency)
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// Does everything for one message and says what the broker shall be told.
    async fn handle(&self, envelope: &Envelope, stop: &CancellationToken) -> Settlement {
        fail_point!("run/after-receive");
        // Before the claim, so that no wish to cancel the job comes between the two.
        let mut watch = self.progress.watch(envelope.job_id);
        match self.claim(envelope, stop).await {
            Claim::Ours(job) => {
                self.progress.announce(job.id, Move::Running);
                let cancellation = Cancellation::of(&job);
                let attempt = self.attempt(&job, &cancellation);
                match Box::pin(self.while_claimed(&job, &mut watch, &cancellation, attempt)).await {
                    Ok(decision) => {
                        fail_point!("run/after-call");
                        self.finish(&job, decision, stop).await
                    }
                    Err(lost) => {
                        tracing::warn!(%lost, "its outcome is dropped");
                        self.settle_stored(job.id, job.attempt, stop).await
                    }
                }
            }
            Claim::Refused => self.settle_stored(envelope.job_id, envelope.attempt, stop).await,
            Claim::Unreadable => Settlement::DeadLetter,
            Claim::Stopped => Settlement::GiveBack,
        }
    }
}

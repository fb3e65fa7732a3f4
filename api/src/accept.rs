//! Taking on a job: the steps between a good request and its 202.
//!
//! | step | where | if the process dies after it |
//! | --- | --- | --- |
//! | 1 admit | Redis: a place among the user's pending jobs and in the queue's buffer | the reservation runs out by itself; nothing was promised |
//! | 2 insert | MongoDB, by the majority | the job is queued: the dispatcher finds it in MongoDB and pushes it; the client saw no answer and may look it up or send it again |
//! | 3 push | Redis: the user's lane | the same, only sooner |
//! | 4 answer | 202 | the job is the hub's business |
//!
//! From step 2 on the job counts: a failure of step 3 is logged and the answer is 202 all the same. A failure of step 2
//! may hide a success (the connection broke before the answer), so the job is taken out again before the client is told
//! that it was not accepted. Where even that fails, the client is told the job's id and that it may have been accepted
//! ([`Problem::OutcomeUnknown`]): the price of an answer at a moment at which MongoDB gives none.

use std::time::Duration;

use flickrhub_job::config::Config;
use flickrhub_job::lane::{Admission, AdmissionLimits, LaneEntry};
use flickrhub_job::model::{
    Body, Callback, CallbackState, DEFAULT_WEIGHT, Job, JobId, JobState, TraceContext, Trail,
};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{self, StoreError};
use flickrhub_job::telemetry::Metrics;
use jiff::Timestamp;

use crate::auth::Caller;
use crate::data_tier::DataTier;
use crate::problem::Problem;
use crate::validate::JobOptions;

/// What is to be done for whom: everything about a job that its client decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The Flickr user; authorised the client.
    pub user_id: String,
    /// The Flickr application that the user's token belongs to.
    pub app: String,
    /// The queue.
    pub queue: Queue,
    /// The Flickr method, `upload` or `replace`.
    pub method: String,
    /// Its arguments.
    pub params: std::collections::BTreeMap<String, String>,
    /// The photo, stored already.
    pub body: Option<Body>,
    /// How it is to be run.
    pub options: JobOptions,
}

impl Order {
    /// The job of this order. `default_lifetime`: from acceptance to `expires_at` where the client named no time.
    pub fn into_job(
        self,
        caller: &Caller,
        trace: TraceContext,
        now: Timestamp,
        default_lifetime: Duration,
    ) -> Job {
        let lifetime = self.options.expires_in.unwrap_or(default_lifetime);
        Job {
            id: JobId::new(),
            client_id: caller.client_id.clone(),
            user_id: self.user_id,
            app: self.app,
            queue: self.queue,
            method: self.method,
            params: self.params,
            body: self.body,
            priority: self.options.priority,
            weight: DEFAULT_WEIGHT,
            state: JobState::Queued,
            attempt: 0,
            tries: 0,
            callback: self.options.callback_url.map(|url| Callback {
                url: url.into(),
                state: CallbackState::Waiting,
                attempts: 0,
                next_at: None,
            }),
            idempotency: None,
            trace,
            created_at: now,
            updated_at: now,
            available_at: now,
            expires_at: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
            started_at: None,
            finished_at: None,
            lease_until: None,
            result: None,
            error: None,
            trail: Trail::default(),
        }
    }
}

/// The job was not accepted.
#[derive(Debug)]
pub struct NotAccepted {
    /// What the client is told.
    pub problem: Problem,
    /// Whether the job may be in MongoDB all the same, so that what it refers to must stay.
    pub may_be_stored: bool,
}

impl From<Problem> for NotAccepted {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            may_be_stored: false,
        }
    }
}

impl From<NotAccepted> for Problem {
    fn from(refusal: NotAccepted) -> Self {
        refusal.problem
    }
}

/// Takes on a job. Must run to its end: see [`crate::state::AppState::to_the_end`].
///
/// # Errors
/// When the user or the queue has no place for it, or the data tier fails before the job is stored.
pub async fn accept(
    data: &DataTier,
    config: &Config,
    metrics: &Metrics,
    job: &Job,
) -> Result<(), NotAccepted> {
    let entry = LaneEntry::from(job);
    let limits = limits_of(config, job.queue)?;
    let admission = data.lanes.admit(&entry, &limits).await.map_err(Problem::from)?;
    refusal(admission).map_or(Ok(()), Err)?;

    if let Err(error) = data.jobs.insert(job).await {
        return Err(undo(data, job, &entry, error).await);
    }
    if let Err(error) = data.lanes.push(&entry).await {
        tracing::warn!(job_id = %job.id, %error, "the lane was not pushed; the dispatcher will find the job");
    }
    metrics.jobs_accepted.with_label_values(&[job.queue.name()]).inc();
    tracing::info!(
        event = "job_enqueued",
        trace_id = job.trace.trace_id,
        user_id = job.user_id,
        job_id = %job.id,
        client_id = job.client_id,
        queue = job.queue.name(),
        method = job.method,
        "job accepted"
    );
    Ok(())
}

/// How much may wait.
///
/// # Errors
/// Never in practice: when the configuration lacks the queue.
pub(crate) fn limits_of(config: &Config, queue: Queue) -> Result<AdmissionLimits, Problem> {
    Ok(AdmissionLimits {
        pending_per_user: config.limits.pending_per_user,
        buffer: config.queue(queue).map_err(|_| Problem::Internal)?.buffer,
    })
}

/// The answer to a job that finds no place.
pub(crate) fn refusal(admission: Admission) -> Option<Problem> {
    match admission {
        Admission::Admitted => None,
        Admission::UserBusy { retry_after, .. } => Some(Problem::TooManyPending { retry_after }),
        Admission::QueueFull { retry_after } => Some(Problem::QueueFull { retry_after }),
    }
}

/// Makes sure, where that is possible, that a job whose insertion failed is not in MongoDB, and gives its place back. A
/// job that may be there keeps its place, which runs out by itself if it is not.
async fn undo(data: &DataTier, job: &Job, entry: &LaneEntry, error: StoreError) -> NotAccepted {
    if error.is_transient() {
        match data.withdraw(job).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return unknown(job, &error),
        }
    }
    if let Err(error) = data.lanes.done(entry).await {
        tracing::warn!(job_id = %job.id, %error, "the place of a job that was not accepted runs out by itself");
    }
    Problem::from(error).into()
}

/// The answer where MongoDB does not say whether it has the job.
fn unknown(job: &Job, error: &StoreError) -> NotAccepted {
    tracing::error!(job_id = %job.id, %error, "whether the job was stored is not known");
    NotAccepted {
        problem: Problem::OutcomeUnknown { job_id: job.id },
        may_be_stored: true,
    }
}

/// The time at which a job is accepted, as it is stored.
pub fn now() -> Timestamp {
    store::time::now()
}

#[cfg(test)]
mod tests {
    use flickrhub_job::model::Priority;

    use super::*;

    fn job(expires_in: Option<Duration>) -> Job {
        let caller = Caller {
            client_id: "client".to_owned(),
            key_id: "k".to_owned(),
            scopes: Vec::new(),
        };
        let order = Order {
            user_id: "12@N01".to_owned(),
            app: "main".to_owned(),
            queue: Queue::Rest,
            method: "flickr.test.login".to_owned(),
            params: std::collections::BTreeMap::new(),
            body: None,
            options: JobOptions {
                priority: Priority::Low,
                callback_url: url::Url::parse("https://example.com/hook").ok(),
                expires_in,
            },
        };
        let trace = TraceContext {
            trace_id: "t".to_owned(),
            traceparent: "p".to_owned(),
        };
        order.into_job(&caller, trace, Timestamp::UNIX_EPOCH, Duration::from_secs(100))
    }

    #[test]
    fn a_new_job_is_queued_for_its_client_and_has_never_run() {
        let job = job(None);
        assert_eq!(
            (job.state, job.attempt, job.client_id.as_str()),
            (JobState::Queued, 0, "client")
        );
        assert_eq!(
            job.callback.map(|callback| callback.state),
            Some(CallbackState::Waiting)
        );
        assert_eq!(
            (job.created_at, job.available_at),
            (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)
        );
    }

    #[test]
    fn a_job_expires_when_its_client_says_or_else_by_default() {
        assert_eq!(job(None).expires_at.as_second(), 100);
        assert_eq!(job(Some(Duration::from_secs(5))).expires_at.as_second(), 5);
    }

    #[test]
    fn no_place_means_come_back_later() {
        let retry_after = Duration::from_secs(7);
        assert_eq!(refusal(Admission::Admitted), None);
        let busy = Admission::UserBusy {
            pending: 1000,
            retry_after,
        };
        assert_eq!(refusal(busy).map(|problem| problem.status().as_u16()), Some(429));
        let full = refusal(Admission::QueueFull { retry_after });
        assert_eq!(full.as_ref().map(|problem| problem.status().as_u16()), Some(503));
        assert_eq!(full.and_then(|problem| problem.retry_after()), Some(retry_after));
    }
}

//! Taking on a job: the steps between a good request and its 202.
//!
//! | step | where | if the process dies after it |
//! | --- | --- | --- |
//! | 1 admit | Redis: the job counts in its windows, has a place among the user's pending jobs and in the queue's buffer, and its idempotency key is marked as under way | place and mark run out by themselves, the job counts until its windows are over; nothing was promised, and the same request can be sent again after the mark's 15 s |
//! | 2 insert | MongoDB, by the majority, in its final state where its answer is cached ([`crate::cached`]); a unique index lets one job have an idempotency key | the job is queued: the dispatcher finds it in MongoDB and pushes it; the client saw no answer and may look it up, or send the request again: by its key it gets the answer, without a second job |
//! | 3 push | Redis: the user's lane; a job that is over gives its place back instead | the same, only sooner |
//! | 3 remember | Redis, at the same time: the mark says which job the key belongs to | a repetition is answered without an attempt to insert |
//! | 4 answer | 202, or 200 with the result of a job that is over | the job is the hub's business |
//!
//! From step 2 on the job counts: a failure of step 3 is logged and the answer is 202 all the same. A failure of step 2
//! may hide a success (the connection broke before the answer), so the job is taken out again before the client is told
//! that it was not accepted. Where even that fails, the client is told the job's id and that it may have been accepted
//! ([`Problem::OutcomeUnknown`]): the price of an answer at a moment at which MongoDB gives none.
//!
//! A job with an idempotency key is never taken out again: another request with the key may have found it meanwhile and told
//! its client that it was accepted. Its client is told that the outcome is unknown, and learns it by the same request.
//!
//! Idempotency does not depend on Redis. If the marks are lost, a repetition is admitted like a new request, fails at the
//! index, gives back what its admission took, and is answered from the job that has the key. At worst it is refused by
//! a limit, as a new request would be.

use flickrhub_flickr::Permission;
use flickrhub_job::fail_point;
use flickrhub_job::lane::{
    Admission, AdmissionLimits, Admitted, LaneEntry, LaneError, Policy, Quotas, Submission,
};
use flickrhub_job::limits::RequestClass;
use flickrhub_job::model::{Idempotency, Job};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{self, StoreError, as_accepted, idempotency_left};
use flickrhub_job::telemetry::lifecycle;
use jiff::Timestamp;

use crate::authorisation::permission_for;
use crate::cached;
use crate::data_tier::DataTier;
use crate::problem::Problem;
use crate::state::AppState;

/// How often a job is tried to be admitted: again after a key was found that did not hold any more.
const ROUNDS: usize = 3;

/// The job was accepted, or had been.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The job as it was accepted.
    pub job: Job,
    /// Whether it had been accepted for an earlier request with the same idempotency key.
    pub replayed: bool,
    /// What is left of the rates, where they were asked about.
    pub quotas: Option<Quotas>,
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

impl From<StoreError> for NotAccepted {
    fn from(error: StoreError) -> Self {
        Problem::from(error).into()
    }
}

impl From<LaneError> for NotAccepted {
    fn from(error: LaneError) -> Self {
        Problem::from(error).into()
    }
}

/// What a job is limited as.
pub fn class_of(queue: Queue, method: &str) -> RequestClass {
    match queue {
        Queue::Upload | Queue::Replace => RequestClass::Upload,
        Queue::Rest if permission_for(method) >= Permission::Write => RequestClass::Write,
        Queue::Rest => RequestClass::Read,
    }
}

/// Takes on a job. Must run to its end: see [`AppState::to_the_end`].
///
/// # Errors
/// When a limit or its idempotency key is against it, or the data tier fails before the job is stored.
pub async fn accept(state: &AppState, job: Job) -> Result<Receipt, NotAccepted> {
    let data = state.data()?;
    let class = class_of(job.queue, &job.method);
    let limits = AdmissionLimits::of(&state.limits.get(), class);
    let entry = LaneEntry::from(&job);
    for _ in 0..ROUNDS {
        let attempt = Attempt {
            state,
            data,
            job: &job,
            submission: Submission {
                entry: &entry,
                client_id: &job.client_id,
                class,
                idempotency: job.idempotency.as_ref(),
            },
        };
        let (outcome, quotas) = attempt.run(&limits).await?;
        match outcome {
            Outcome::Accepted(done) => {
                let job = done.map_or(job, |done| *done);
                report(state, &job);
                return Ok(Receipt {
                    job,
                    replayed: false,
                    quotas: Some(quotas),
                });
            }
            Outcome::Replayed(first) => {
                return Ok(Receipt {
                    job: as_accepted(*first),
                    replayed: true,
                    quotas: Some(quotas),
                });
            }
            Outcome::KeyRanOut => {}
        }
    }
    Err(Problem::IdempotencyKeyInFlight.into())
}

/// Counts and logs a job that is stored now.
pub(crate) fn report(state: &AppState, job: &Job) {
    let queue = job.queue.name();
    state.metrics.jobs_accepted.with_label_values(&[queue]).inc();
    tracing::info!(
        event = "job_enqueued",
        trace_id = job.trace.trace_id,
        user_id = job.user_id,
        job_id = %job.id,
        client_id = job.client_id,
        queue,
        method = job.method,
        "job accepted"
    );
    lifecycle::report(job, &state.metrics);
}

/// A job that is stored goes to its lane, or gives its place back if it is over. If this fails the dispatcher finds the job.
pub(crate) async fn tell_lanes(data: &DataTier, entry: &LaneEntry, is_over: bool) {
    let told = if is_over {
        data.lanes.done(entry).await
    } else {
        data.lanes.push(entry).await
    };
    if let Err(error) = told {
        tracing::warn!(job_id = %entry.job_id, %error, "the lanes were not told; the dispatcher will find the job");
    }
}

/// How an attempt ended that was not refused.
enum Outcome {
    /// The job is stored; here it is where it is over already.
    Accepted(Option<Box<Job>>),
    /// This job had been, for the same request.
    Replayed(Box<Job>),
    /// A job had the key for longer than a key holds, and has it no more.
    KeyRanOut,
}

/// One attempt to have a job accepted.
struct Attempt<'a> {
    state: &'a AppState,
    data: &'a DataTier,
    job: &'a Job,
    submission: Submission<'a>,
}

impl Attempt<'_> {
    async fn run(&self, limits: &AdmissionLimits) -> Result<(Outcome, Quotas), NotAccepted> {
        fail_point!("accept/before-admit");
        let (admission, quotas) = self.data.lanes.admit(&self.submission, limits).await?;
        let outcome = match (admission, self.submission.idempotency) {
            (Admission::Admitted(admitted), _) => self.store(admitted).await?,
            (Admission::Repeated { payload, job_id }, Some(idempotency)) => {
                if payload != idempotency.payload {
                    return Err(Problem::IdempotencyKeyReused.into());
                }
                match self.data.jobs.get(job_id).await? {
                    Some(first) if holds(&first, idempotency) => Outcome::Replayed(Box::new(first)),
                    _ => {
                        self.data.lanes.forget(idempotency).await?;
                        Outcome::KeyRanOut
                    }
                }
            }
            (other, _) => return Err(refusal(&other, quotas).unwrap_or(Problem::Internal).into()),
        };
        Ok((outcome, quotas))
    }

    async fn store(&self, admitted: Admitted) -> Result<Outcome, NotAccepted> {
        fail_point!("accept/after-admit");
        let done = cached::finished(self.data, &self.state.metrics, self.job).await;
        let inserted = self.data.jobs.insert(done.as_ref().unwrap_or(self.job)).await;
        match (inserted, &self.job.idempotency) {
            (Ok(()), _) => {
                fail_point!(
                    "accept/after-insert",
                    Err(self.undo(admitted, StoreError::Timeout).await)
                );
                self.settle(done.is_some()).await;
                fail_point!("accept/after-push");
                Ok(Outcome::Accepted(done.map(Box::new)))
            }
            (Err(StoreError::Duplicate { .. }), Some(idempotency)) => {
                self.give_way(admitted, idempotency).await
            }
            (Err(error), _) => Err(self.undo(admitted, error).await),
        }
    }

    /// Step 3, both halves at once. What fails here is found by the dispatcher, or by the index.
    async fn settle(&self, is_over: bool) {
        let place = tell_lanes(self.data, self.submission.entry, is_over);
        tokio::join!(place, self.remember(self.job));
    }

    async fn remember(&self, first: &Job) {
        let left = idempotency_left(first, now());
        if let (Some(idempotency), Some(left)) = (&first.idempotency, left)
            && let Err(error) = self.data.lanes.remember(idempotency, first.id, left).await
        {
            tracing::warn!(job_id = %first.id, %error, "an idempotency key is not remembered; MongoDB knows it");
        }
    }

    /// Another job has the key: this one is not stored.
    async fn give_way(&self, admitted: Admitted, idempotency: &Idempotency) -> Result<Outcome, NotAccepted> {
        let found = self.data.jobs.by_idempotency_key(&idempotency.key).await;
        if let Ok(Some(own)) = &found
            && own.id == self.job.id
        {
            let is_over = own.state.is_final();
            self.settle(is_over).await;
            return Ok(Outcome::Accepted(
                found.ok().flatten().filter(|_| is_over).map(Box::new),
            ));
        }
        self.give_back(admitted).await;
        let Some(first) = found? else {
            // The majority does not have it yet, or it lost its key a moment ago.
            return Err(Problem::IdempotencyKeyInFlight.into());
        };
        let now = now();
        if idempotency_left(&first, now).is_none() {
            self.data.jobs.release_idempotency_key(first.id, now).await?;
            return Ok(Outcome::KeyRanOut);
        }
        self.remember(&first).await;
        if holds(&first, idempotency) {
            Ok(Outcome::Replayed(Box::new(first)))
        } else {
            Err(Problem::IdempotencyKeyReused.into())
        }
    }

    async fn give_back(&self, admitted: Admitted) {
        if let Err(error) = self.data.lanes.give_back(&self.submission, admitted).await {
            tracing::warn!(job_id = %self.job.id, %error, "the place of a job that was not accepted runs out by itself");
        }
    }

    /// Makes sure, where that is possible, that a job whose insertion failed is not in MongoDB, and gives back what its
    /// admission took. A job that may be there keeps its place, which runs out by itself if it is not.
    async fn undo(&self, admitted: Admitted, error: StoreError) -> NotAccepted {
        if error.is_transient() {
            if self.job.idempotency.is_some() {
                return self.unknown(&error);
            }
            match self.data.withdraw(self.job).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return self.unknown(&error),
            }
        }
        self.give_back(admitted).await;
        error.into()
    }

    /// The answer where MongoDB does not say whether it has the job.
    fn unknown(&self, error: &StoreError) -> NotAccepted {
        tracing::error!(job_id = %self.job.id, %error, "whether the job was stored is not known");
        NotAccepted {
            problem: Problem::OutcomeUnknown {
                job_id: self.job.id,
                repeatable: self.job.idempotency.is_some(),
            },
            may_be_stored: true,
        }
    }
}

/// Whether a job was accepted for this very request, and not too long ago.
fn holds(first: &Job, idempotency: &Idempotency) -> bool {
    first.idempotency.as_ref() == Some(idempotency) && idempotency_left(first, now()).is_some()
}

/// The answer to a job that is not admitted.
pub(crate) fn refusal(admission: &Admission, quotas: Quotas) -> Option<Problem> {
    Some(match *admission {
        Admission::Admitted(_) => return None,
        Admission::UserBusy { retry_after, .. } => Problem::TooManyPending { retry_after, quotas },
        Admission::QueueFull { retry_after } => Problem::QueueFull { retry_after },
        Admission::WindowFull { policy, retry_after } => match policy {
            Policy::Client => Problem::ClientRateExceeded { retry_after, quotas },
            Policy::User => Problem::UserRateExceeded { retry_after, quotas },
            Policy::Class(class) => Problem::ClassRateExceeded {
                class,
                retry_after,
                quotas,
            },
        },
        Admission::InFlight => Problem::IdempotencyKeyInFlight,
        // Only who asks without a key of its own can get this, and nobody does.
        Admission::Repeated { .. } => Problem::Internal,
    })
}

/// The time at which a job is accepted, as it is stored.
pub fn now() -> Timestamp {
    store::time::now()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flickrhub_job::lane::Quota;

    use super::*;

    #[test]
    fn methods_are_limited_by_what_they_do() {
        for (queue, method, class) in [
            (Queue::Rest, "flickr.photos.search", RequestClass::Read),
            (Queue::Rest, "flickr.photos.getInfo", RequestClass::Read),
            (Queue::Rest, "flickr.photos.setTags", RequestClass::Write),
            (Queue::Rest, "flickr.photos.delete", RequestClass::Write),
            (Queue::Rest, "flickr.from.the.future", RequestClass::Write),
            (Queue::Upload, "upload", RequestClass::Upload),
            (Queue::Replace, "replace", RequestClass::Upload),
        ] {
            assert_eq!(class_of(queue, method), class, "{method}");
        }
    }

    #[test]
    fn every_refusal_says_when_to_come_back() {
        let retry_after = Duration::from_secs(7);
        let quotas = Quotas(
            [Policy::Client, Policy::User, Policy::Class(RequestClass::Read)].map(|policy| Quota {
                policy,
                limit: 1,
                remaining: 0,
                reset: 7,
            }),
        );
        let full = |policy| Admission::WindowFull { policy, retry_after };
        for (admission, status, code) in [
            (
                Admission::UserBusy {
                    pending: 1000,
                    retry_after,
                },
                429,
                "too_many_pending",
            ),
            (Admission::QueueFull { retry_after }, 503, "queue_full"),
            (full(Policy::Client), 429, "client_rate_exceeded"),
            (full(Policy::User), 429, "user_rate_exceeded"),
            (
                full(Policy::Class(RequestClass::Read)),
                429,
                "class_rate_exceeded",
            ),
        ] {
            let problem = refusal(&admission, quotas);
            let facts = problem.as_ref().map(|problem| {
                (
                    problem.status().as_u16(),
                    problem.code(),
                    problem.retry_after(),
                    problem.quotas().is_some(),
                )
            });
            assert_eq!(facts, Some((status, code, Some(retry_after), status == 429)));
        }
        let in_flight = refusal(&Admission::InFlight, quotas);
        assert!(in_flight.is_some_and(|problem| problem.retry_after().is_some()));
    }
}

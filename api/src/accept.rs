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
//! Jobs of a batch go through these steps together ([`accept_all`]): the next step begins when the last of them has done the
//! one before, and all that are admitted are inserted by one command, which the majority acknowledges once. What the table
//! says holds for each of them: the server refuses documents one by one, and if the command fails as a whole, each job is
//! taken out again, or left where it has a key, as a single one is.
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
use futures::future::join_all;
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
    let outcome = accept_all(state, vec![job]).await.pop();
    outcome.unwrap_or_else(|| Err(Problem::Internal.into()))
}

/// [`accept`] for many jobs together, which cost one commit; what became of each, in the same order.
pub async fn accept_all(state: &AppState, jobs: Vec<Job>) -> Vec<Result<Receipt, NotAccepted>> {
    let conclusions = match state.data() {
        Ok(data) => conclude_all(state, data, &jobs).await,
        Err(problem) => jobs.iter().map(|_| Err(problem.clone().into())).collect(),
    };
    let receipt = |(job, conclusion): (Job, Result<Conclusion, NotAccepted>)| {
        conclusion.map(|conclusion| {
            let job = conclusion.job.map_or(job, |other| *other);
            if !conclusion.replayed {
                report(state, &job);
            }
            Receipt {
                job,
                replayed: conclusion.replayed,
                quotas: Some(conclusion.quotas),
            }
        })
    };
    jobs.into_iter().zip(conclusions).map(receipt).collect()
}

/// What became of a job that is not refused.
struct Conclusion {
    /// The job, where it is another one than was submitted, or ended already.
    job: Option<Box<Job>>,
    replayed: bool,
    quotas: Quotas,
}

async fn conclude_all(
    state: &AppState,
    data: &DataTier,
    jobs: &[Job],
) -> Vec<Result<Conclusion, NotAccepted>> {
    let limits = state.limits.get();
    let entries: Vec<_> = jobs.iter().map(LaneEntry::from).collect();
    let mut attempts = Vec::with_capacity(jobs.len());
    for (job, entry) in jobs.iter().zip(&entries) {
        let class = class_of(job.queue, &job.method);
        attempts.push(Attempt {
            state,
            data,
            job,
            limits: AdmissionLimits::of(&limits, class),
            submission: Submission {
                entry,
                client_id: &job.client_id,
                class,
                idempotency: job.idempotency.as_ref(),
            },
        });
    }
    let mut conclusions: Vec<Option<_>> = attempts.iter().map(|_| None).collect();
    for _ in 0..ROUNDS {
        let open = attempts.iter().zip(&conclusions);
        let open: Vec<_> = open
            .filter(|(_, conclusion)| conclusion.is_none())
            .map(|(attempt, _)| attempt)
            .collect();
        if open.is_empty() {
            break;
        }
        let mut round = attempt_all(data, &open).await.into_iter();
        for conclusion in conclusions.iter_mut().filter(|conclusion| conclusion.is_none()) {
            *conclusion = round.next().flatten();
        }
    }
    let conclusions = conclusions.into_iter();
    conclusions
        .map(|conclusion| conclusion.unwrap_or_else(|| Err(Problem::IdempotencyKeyInFlight.into())))
        .collect()
}

/// One attempt for each job; `None` for one whose key did not hold any more, and which is to be tried again.
async fn attempt_all(
    data: &DataTier,
    attempts: &[&Attempt<'_>],
) -> Vec<Option<Result<Conclusion, NotAccepted>>> {
    let admissions = join_all(attempts.iter().map(|attempt| attempt.admit())).await;
    let mut to_insert = Vec::new();
    for (attempt, admission) in attempts.iter().zip(&admissions) {
        if let Ok((Step::Insert { done, .. }, _)) = admission {
            to_insert.push(done.as_deref().unwrap_or(attempt.job));
        }
    }
    let mut insertions = data.jobs.insert_many(to_insert).await.into_iter();
    let mut ends = Vec::with_capacity(attempts.len());
    for (attempt, admission) in attempts.iter().zip(admissions) {
        let inserted = match &admission {
            Ok((Step::Insert { .. }, _)) => insertions.next().unwrap_or(Err(StoreError::Interrupted)),
            _ => Ok(()),
        };
        ends.push(attempt.conclude(admission, inserted));
    }
    join_all(ends).await
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

/// What follows from an admission.
enum Step {
    /// Nothing.
    End(Outcome),
    /// The job is to be stored, as `done` where its answer is cached.
    Insert {
        admitted: Admitted,
        done: Option<Box<Job>>,
    },
}

/// One attempt to have a job accepted.
struct Attempt<'a> {
    state: &'a AppState,
    data: &'a DataTier,
    job: &'a Job,
    limits: AdmissionLimits,
    submission: Submission<'a>,
}

impl Attempt<'_> {
    /// Step 1.
    async fn admit(&self) -> Result<(Step, Quotas), NotAccepted> {
        fail_point!("accept/before-admit");
        let (admission, quotas) = self.data.lanes.admit(&self.submission, &self.limits).await?;
        let step = match (admission, self.submission.idempotency) {
            (Admission::Admitted(admitted), _) => {
                fail_point!("accept/after-admit");
                let done = cached::finished(self.data, &self.state.metrics, self.job).await;
                Step::Insert {
                    admitted,
                    done: done.map(Box::new),
                }
            }
            (Admission::Repeated { payload, job_id }, Some(idempotency)) => {
                if payload != idempotency.payload {
                    return Err(Problem::IdempotencyKeyReused.into());
                }
                match self.data.jobs.get(job_id).await? {
                    Some(first) if holds(&first, idempotency) => {
                        Step::End(Outcome::Replayed(Box::new(first)))
                    }
                    _ => {
                        self.data.lanes.forget(idempotency).await?;
                        Step::End(Outcome::KeyRanOut)
                    }
                }
            }
            (other, _) => return Err(refusal(&other, quotas).unwrap_or(Problem::Internal).into()),
        };
        Ok((step, quotas))
    }

    /// What follows, once it is known how step 2 went where there was one; `None` where the key did not hold any more.
    async fn conclude(
        &self,
        admission: Result<(Step, Quotas), NotAccepted>,
        inserted: Result<(), StoreError>,
    ) -> Option<Result<Conclusion, NotAccepted>> {
        let (step, quotas) = match admission {
            Ok(admission) => admission,
            Err(refusal) => return Some(Err(refusal)),
        };
        let outcome = match step {
            Step::End(outcome) => Ok(outcome),
            Step::Insert { admitted, done } => self.stored(admitted, done, inserted).await,
        };
        let (job, replayed) = match outcome {
            Ok(Outcome::Accepted(done)) => (done, false),
            Ok(Outcome::Replayed(first)) => (Some(Box::new(as_accepted(*first))), true),
            Ok(Outcome::KeyRanOut) => return None,
            Err(refusal) => return Some(Err(refusal)),
        };
        Some(Ok(Conclusion {
            job,
            replayed,
            quotas,
        }))
    }

    /// Step 3, or what has to be done where step 2 failed.
    async fn stored(
        &self,
        admitted: Admitted,
        done: Option<Box<Job>>,
        inserted: Result<(), StoreError>,
    ) -> Result<Outcome, NotAccepted> {
        match (inserted, &self.job.idempotency) {
            (Ok(()), _) => {
                fail_point!(
                    "accept/after-insert",
                    Err(self.undo(admitted, StoreError::Timeout).await)
                );
                self.settle(done.is_some()).await;
                fail_point!("accept/after-push");
                Ok(Outcome::Accepted(done))
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
mod tests;

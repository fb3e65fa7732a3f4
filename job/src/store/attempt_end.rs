//! The end of an attempt: `running` → whatever comes of it. Attempts that end at the same time in one process are stored in
//! groups, see [`super::statement`].
//!
//! If the process dies in between, either the end is stored or the job still runs until its lease ends, as with any
//! transition.
//!
//! The job that moved is not read back where every guard held: of what is answered, which is the job in brief without its
//! trail, only its holder writes to a running job, so what the holder knows of it and what the transition sets is all.
//!
//! The trail has a second writer: the client's wish to have the job cancelled is noted while it runs. Such a job is not
//! queued again, which the guards of [`AttemptEnd::Retried`] and [`AttemptEnd::Postponed`] see to; where they do not hold the
//! attempt is ended as [`AttemptEnd::Cancelled`], in a second step. If the process dies between the two, the job runs until
//! its lease ends, and recovery cancels it.

use bson::doc;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use mongodb::Collection;
use serde_json::Value;

use super::change::change;
use super::group_commit::{Executor, Outcomes};
use super::holder::Holder;
use super::jobs::without_content;
use super::statement::{self, Statement};
use super::transition::{self, Clock, Transition};
use super::{JobStore, StoreError, id, json_text};
use crate::model::{Callback, CallbackState, Job, JobError, JobState, Trail};

/// Ends that are asked for one by one at a time.
const AT_A_TIME: usize = 8;

/// What comes of an attempt.
#[derive(Clone, Copy, Debug)]
pub enum AttemptEnd<'a> {
    /// `running → succeeded`, with Flickr's answer.
    Succeeded(&'a Value),
    /// `running → failed`: another attempt would not help.
    Failed(&'a JobError),
    /// `running → dead`: no attempt is left.
    Dead(&'a JobError),
    /// `running → queued`: the attempt failed, the next one is not before `at`.
    Retried {
        /// What went wrong.
        error: &'a JobError,
        /// The earliest time of the next attempt.
        at: Timestamp,
    },
    /// `running → queued`, for a call that could not be made: the try does not count.
    Postponed {
        /// Why it could not be made.
        error: &'a JobError,
        /// Whether a request was begun, which counts against the budgets.
        called: bool,
        /// The earliest time of the next attempt.
        at: Timestamp,
    },
    /// `running → cancelled`, as its client wished. Refused where nobody wished so, or where Flickr may have its photo.
    Cancelled {
        /// Whether a request may have been begun, which counts against the budgets.
        called: bool,
    },
}

impl AttemptEnd<'_> {
    /// Whether it is refused of a job whose client wants it cancelled.
    const fn goes_on(&self) -> bool {
        matches!(self, Self::Retried { .. } | Self::Postponed { .. })
    }

    fn transition(&self, job: &Job, clock: Clock) -> Result<Transition, StoreError> {
        let (id, attempt) = (job.id, job.attempt);
        Ok(match *self {
            Self::Succeeded(result) => transition::succeed(id, attempt, json_text::encode(result)?, clock),
            Self::Failed(error) => transition::fail(id, attempt, error, clock),
            Self::Dead(error) => transition::die(id, attempt, error, clock),
            Self::Retried { error, at } => transition::retry(id, attempt, error, at, clock),
            Self::Postponed {
                error,
                called: true,
                at,
            } => transition::postpone(id, attempt, error, at, clock),
            Self::Postponed {
                error,
                called: false,
                at,
            } => transition::postpone_uncalled(id, attempt, error, at, clock),
            Self::Cancelled { called: true } => transition::abandon(id, attempt, clock),
            Self::Cancelled { called: false } => transition::abandon_uncalled(id, attempt, clock),
        })
    }

    /// The job in brief, without its trail, after the transition, as MongoDB has it.
    fn applied_to(&self, job: &Job, clock: Clock) -> Job {
        let now = millisecond(clock.now);
        let ended = Job {
            updated_at: now,
            lease_until: None,
            params: std::collections::BTreeMap::new(),
            result: None,
            trail: Trail::default(),
            ..job.clone()
        };
        let over = |state, error: Option<&JobError>| Job {
            state,
            error: error.cloned(),
            finished_at: Some(now),
            callback: ended.callback.clone().map(|callback| Callback {
                state: CallbackState::Pending,
                next_at: Some(now),
                ..callback
            }),
            ..ended.clone()
        };
        let queued = |error: &JobError, at, tries| Job {
            state: JobState::Queued,
            error: Some(error.clone()),
            available_at: millisecond(at),
            tries,
            ..ended.clone()
        };
        match *self {
            Self::Succeeded(_) => over(JobState::Succeeded, None),
            Self::Failed(error) => over(JobState::Failed, Some(error)),
            Self::Dead(error) => over(JobState::Dead, Some(error)),
            Self::Cancelled { .. } => over(JobState::Cancelled, job.error.as_ref()),
            Self::Retried { error, at } => queued(error, at, job.tries),
            Self::Postponed { error, at, .. } => queued(error, at, job.tries.saturating_sub(1)),
        }
    }
}

/// A time as it is read back.
fn millisecond(time: Timestamp) -> Timestamp {
    super::time::from_bson(super::time::to_bson(time)).unwrap_or(time)
}

/// One end of an attempt, and the job as it is afterwards.
pub(super) struct End {
    statement: Statement,
    ended: Job,
}

/// Ends attempts in groups.
pub(super) struct Ends {
    jobs: Collection<Job>,
}

impl JobStore {
    /// Ends the attempt on `job`, which the caller claimed. The job comes in brief, without its trail; it is cancelled in place
    /// of being queued again if its client wishes so.
    ///
    /// Repeated by the same holder, it gives the same answer again, until the job moves on. `None`: somebody else
    /// ended the attempt, or a later one has begun.
    ///
    /// # Errors
    /// [`StoreError::ResultTooLarge`], [`StoreError::Unstorable`]: nothing changed, and the caller has to fail the job.
    pub async fn end(&self, job: &Job, end: AttemptEnd<'_>, by: Holder) -> Result<Option<Job>, StoreError> {
        match self.end_as(job, end, by).await? {
            None if end.goes_on() => {
                let called = !matches!(end, AttemptEnd::Postponed { called: false, .. });
                self.end_as(job, AttemptEnd::Cancelled { called }, by).await
            }
            ended => Ok(ended),
        }
    }

    async fn end_as(&self, job: &Job, end: AttemptEnd<'_>, by: Holder) -> Result<Option<Job>, StoreError> {
        let clock = self.clock();
        let end = End {
            statement: Statement::new(job.id, by, &end.transition(job, clock)?)?,
            ended: end.applied_to(job, clock),
        };
        self.ends.submit(end).await
    }
}

impl Ends {
    pub(super) const fn new(jobs: Collection<Job>) -> Self {
        Self { jobs }
    }

    /// Asks by a write, which changes nothing, for a job whose mark was not seen.
    async fn ask(&self, statement: &Statement) -> Result<Option<Job>, StoreError> {
        let marked = doc! { "_id": id::to_bson(statement.job), "holder": statement.by.to_bson() };
        let nothing = doc! { "$set": { "holder": statement.by.to_bson() } };
        let job = change(&self.jobs, marked, nothing, without_content()).await?;
        Ok(job.map(|job| Job {
            trail: Trail::default(),
            ..job
        }))
    }
}

impl Executor for Ends {
    type Operation = End;
    type Answer = Option<Job>;

    fn bytes(end: &End) -> usize {
        end.statement.bytes()
    }

    async fn commit(&self, ends: Vec<End>) -> Outcomes<Option<Job>> {
        let statements = ends.iter().map(|end| &end.statement);
        let mut sent = statement::send(&self.jobs, statements.clone()).await?;
        let all_matched = sent.all_matched(ends.len());
        let marked = if all_matched || ends.len() == 1 {
            std::collections::HashMap::new()
        } else {
            statement::marked_as(&self.jobs, statements, doc! { "holder": 1, "state": 1 }).await?
        };
        let outcomes = ends.into_iter().enumerate().map(|(place, end)| {
            let refusal = sent.refusal(place);
            let End { statement, ended } = end;
            // The mark alone is also that of an earlier try, which may have ended the attempt as cancelled.
            let is_marked = all_matched
                || marked.get(&statement.job).is_some_and(|stored| {
                    statement::is_marked(stored, statement.by) && statement::is_in(stored, ended.state)
                });
            async move {
                match refusal {
                    Some(error) => Err(error),
                    None if is_marked => Ok(Some(ended)),
                    None => self.ask(&statement).await,
                }
            }
        });
        Ok(stream::iter(outcomes).buffered(AT_A_TIME).collect().await)
    }
}

//! The jobs: how they move. Each method is one atomic operation; [`super::transition`] says what it guards and sets.
//!
//! The moves that every job makes are made in groups and have modules of their own: [`super::dispatch`], [`super::claim`] and
//! [`super::attempt_end`].
//!
//! A job that moved comes without its parameters and result: who moves it knows them or has no use for them, and the
//! dispatcher moves many at a time. Only [`JobStore::claim`] gives a job whole.
//!
//! `None` (or `false`) always means that the guard did not hold and nothing changed: the job does not exist, is in
//! another state, or belongs to a later attempt.

use bson::Document;
use jiff::SignedDuration;
use mongodb::options::UpdateModifications;

use super::change::change;
use super::jobs::without_content;
use super::transition::{self, Transition};
use super::{JobStore, StoreError};
use crate::model::{Job, JobError, JobId, JobState};

/// What became of a request to cancel a job.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelOutcome {
    /// It is cancelled and will not run.
    Cancelled(Job),
    /// It runs, and whoever holds it ends it as far as that is possible.
    Requested(Job),
    /// It is final.
    TooLate(Job),
    /// The client has no such job.
    NotFound,
}

/// What a sign of life for a job finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The caller holds it.
    Held,
    /// The caller holds it, and its client wants it cancelled.
    CancelRequested,
    /// The caller does not hold it any more, and has to stop.
    Lost,
}

impl Hold {
    /// Whether the caller holds the job.
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Held | Self::CancelRequested)
    }

    fn of(job: Option<&Job>) -> Self {
        match job {
            Some(job) if job.trail.cancel_requested_at.is_some() => Self::CancelRequested,
            Some(_) => Self::Held,
            None => Self::Lost,
        }
    }
}

/// How often a cancellation looks again at a job that changes between running and queued meanwhile.
const CANCEL_TRIES: u32 = 5;

impl JobStore {
    /// `queued | dispatched → expired`, if its time is over.
    pub async fn expire_if_due(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.apply(&transition::expire(id, self.clock())).await
    }

    /// Lengthens the lease of a dispatched or running job to `lease` from now; never shortens it.
    pub async fn extend_lease(
        &self,
        id: JobId,
        attempt: u32,
        lease: SignedDuration,
    ) -> Result<Hold, StoreError> {
        let (filter, update) = transition::extend_lease(id, attempt, lease, self.clock());
        let job = self.change(filter, update, without_content()).await?;
        Ok(Hold::of(job.as_ref()))
    }

    /// Whether the caller, who began this attempt, holds the running job still. Changes nothing.
    pub async fn hold(&self, id: JobId, attempt: u32) -> Result<Hold, StoreError> {
        let job = self.get_in_brief(id).await?;
        let held = job.filter(|job| job.state == JobState::Running && job.attempt == attempt);
        Ok(Hold::of(held.as_ref()))
    }

    /// `running → failed | dead` for a job whose holder died: no further attempt. Only while the lease is over.
    ///
    /// A state other than [`JobState::Failed`] means [`JobState::Dead`].
    pub async fn fail_overdue(
        &self,
        id: JobId,
        attempt: u32,
        state: JobState,
        error: &JobError,
    ) -> Result<Option<Job>, StoreError> {
        let clock = self.clock();
        let end = match state {
            JobState::Failed => transition::fail(id, attempt, error, clock),
            _ => transition::die(id, attempt, error, clock),
        };
        self.apply(&end.if_overdue(clock)).await
    }

    /// `dispatched → queued`: the dispatcher could not hand the job over. `None` too once a worker has claimed it.
    pub async fn take_back(
        &self,
        id: JobId,
        attempt: u32,
        error: &JobError,
    ) -> Result<Option<Job>, StoreError> {
        self.apply(&transition::take_back(id, attempt, error, self.clock()))
            .await
    }

    /// `dispatched | running → queued`: its holder died. Only while the lease is over. If its client wants the job cancelled:
    /// `running → cancelled`.
    ///
    /// The caller looks first whether the job has tries left; if not, [`JobStore::fail_overdue`] ends it.
    pub async fn requeue_overdue(&self, id: JobId, attempt: u32) -> Result<Option<Job>, StoreError> {
        let clock = self.clock();
        let abandon = transition::abandon(id, attempt, clock).if_overdue(clock);
        self.apply_or(&transition::requeue_overdue(id, attempt, clock), &abandon)
            .await
    }

    /// `queued | dispatched → cancelled`, if the job belongs to the client; of a running one, the wish is noted.
    ///
    /// Dies the process after the wish was noted, its holder finds it with its next sign of life.
    pub async fn cancel(&self, client_id: &str, id: JobId) -> Result<CancelOutcome, StoreError> {
        for _ in 0..CANCEL_TRIES {
            if let Some(job) = self
                .apply(&transition::cancel(client_id, id, self.clock()))
                .await?
            {
                return Ok(CancelOutcome::Cancelled(job));
            }
            let (filter, update) = transition::request_cancellation(client_id, id, self.clock());
            if let Some(job) = self.change(filter, update, without_content()).await? {
                return Ok(CancelOutcome::Requested(job));
            }
            match self.get_for_client(client_id, id).await? {
                Some(job) if job.state.is_final() => return Ok(CancelOutcome::TooLate(job)),
                // It has moved between the two.
                Some(_) => {}
                None => return Ok(CancelOutcome::NotFound),
            }
        }
        Err(StoreError::Timeout)
    }

    /// The first of two transitions whose guard holds.
    async fn apply_or(&self, first: &Transition, second: &Transition) -> Result<Option<Job>, StoreError> {
        match self.apply(first).await? {
            Some(job) => Ok(Some(job)),
            None => self.apply(second).await,
        }
    }

    pub(super) async fn apply(&self, transition: &Transition) -> Result<Option<Job>, StoreError> {
        self.change(transition.filter.clone(), transition.update(), without_content())
            .await
    }

    pub(super) async fn change(
        &self,
        filter: Document,
        update: impl Into<UpdateModifications>,
        fields: Document,
    ) -> Result<Option<Job>, StoreError> {
        change(&self.jobs, filter, update, fields).await
    }
}

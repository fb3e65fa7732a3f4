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
use super::error::within;
use super::jobs::without_content;
use super::replay::replay_of;
use super::time::now;
use super::transition::{self, Transition};
use super::{JobStore, StoreError};
use crate::model::{Job, JobError, JobId, JobState};

/// What became of a request to cancel a job.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelOutcome {
    /// It is cancelled and will not run.
    Cancelled(Job),
    /// It runs already, or is final.
    TooLate(Job),
    /// The client has no such job.
    NotFound,
}

impl JobStore {
    /// `queued | dispatched → expired`, if its time is over.
    pub async fn expire_if_due(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.apply(&transition::expire(id, self.clock())).await
    }

    /// Lengthens the lease of a dispatched or running job to `lease` from now; never shortens it.
    ///
    /// `false`: the caller no longer holds the job and has to stop.
    pub async fn extend_lease(
        &self,
        id: JobId,
        attempt: u32,
        lease: SignedDuration,
    ) -> Result<bool, StoreError> {
        let (filter, update) = transition::extend_lease(id, attempt, lease, self.clock());
        Ok(within(self.jobs.update_one(filter, update)).await?.matched_count == 1)
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

    /// `dispatched | running → queued`: its holder died. Only while the lease is over.
    ///
    /// The caller looks first whether the job has tries left; if not, [`JobStore::fail_overdue`] ends it.
    pub async fn requeue_overdue(&self, id: JobId, attempt: u32) -> Result<Option<Job>, StoreError> {
        self.apply(&transition::requeue_overdue(id, attempt, self.clock()))
            .await
    }

    /// `queued | dispatched → cancelled`, if the job belongs to the client.
    pub async fn cancel(&self, client_id: &str, id: JobId) -> Result<CancelOutcome, StoreError> {
        if let Some(job) = self
            .apply(&transition::cancel(client_id, id, self.clock()))
            .await?
        {
            return Ok(CancelOutcome::Cancelled(job));
        }
        Ok(match self.get_for_client(client_id, id).await? {
            Some(job) => CancelOutcome::TooLate(job),
            None => CancelOutcome::NotFound,
        })
    }

    /// Stores a new job like a dead, failed or expired one of the client ([`replay_of`]); the old one stays.
    ///
    /// `None`: the client has no such job, or it is in another state.
    pub async fn replay(&self, client_id: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        let Some(copy) = self
            .get_for_client(client_id, id)
            .await?
            .and_then(|job| replay_of(&job, now()))
        else {
            return Ok(None);
        };
        self.insert(&copy).await?;
        Ok(Some(copy))
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

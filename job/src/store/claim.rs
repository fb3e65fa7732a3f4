//! Claiming jobs: those that many messages of one process stand for are claimed in groups, see [`super::statement`].
//!
//! If the process dies in between, its claims hold until their leases end, as if it had died right after them.

use bson::Document;
use futures::{StreamExt, stream};
use jiff::SignedDuration;
use mongodb::Collection;

use super::change::change;
use super::group_commit::{Executor, Outcomes};
use super::holder::Holder;
use super::statement::{self, Statement};
use super::transition::{self, Transition};
use super::{JobStore, StoreError};
use crate::model::{Job, JobId, JobState};

/// Claims that are asked for one by one at a time.
const AT_A_TIME: usize = 8;

/// One claim, and how to ask for it again.
pub(super) struct Claim {
    statement: Statement,
    transition: Transition,
    again: (Document, Document),
}

/// Claims jobs in groups.
pub(super) struct Claims {
    jobs: Collection<Job>,
}

impl JobStore {
    /// `dispatched → running`: a worker begins, which counts as a try. Not for an earlier attempt, nor after the job's
    /// `expires_at`.
    ///
    /// Repeated by the same holder, it gives the job again while that runs. The job comes whole.
    pub async fn claim(
        &self,
        id: JobId,
        attempt: u32,
        holder: Holder,
        lease: SignedDuration,
    ) -> Result<Option<Job>, StoreError> {
        let clock = self.clock();
        let transition = transition::claim(id, attempt, holder, self.worker.as_deref(), lease, clock);
        let claim = Claim {
            statement: Statement::new(id, holder, &transition)?,
            transition,
            again: transition::take_again(id, JobState::Running, Some(attempt), holder, lease, clock),
        };
        self.claims.submit(claim).await
    }
}

impl Claims {
    pub(super) const fn new(jobs: Collection<Job>) -> Self {
        Self { jobs }
    }

    /// One claim without others: one round trip.
    async fn claim(&self, claim: &Claim) -> Result<Option<Job>, StoreError> {
        let Transition { filter, .. } = &claim.transition;
        let claimed = change(
            &self.jobs,
            filter.clone(),
            claim.transition.update(),
            Document::new(),
        )
        .await?;
        match claimed {
            Some(job) => Ok(Some(job)),
            None => self.take_again(claim).await,
        }
    }

    /// Asks by a write for a job that may be the holder's already; see [`transition::take_again`].
    async fn take_again(&self, claim: &Claim) -> Result<Option<Job>, StoreError> {
        let (filter, update) = claim.again.clone();
        change(&self.jobs, filter, update, Document::new()).await
    }
}

impl Executor for Claims {
    type Operation = Claim;
    type Answer = Option<Job>;

    fn bytes(claim: &Claim) -> usize {
        claim.statement.bytes()
    }

    async fn commit(&self, claims: Vec<Claim>) -> Outcomes<Option<Job>> {
        if let [claim] = claims.as_slice() {
            return Ok(vec![self.claim(claim).await]);
        }
        let statements = claims.iter().map(|claim| &claim.statement);
        let mut sent = statement::send(&self.jobs, statements.clone()).await?;
        // A projection that names nothing is of the whole document.
        let running = statement::marked_as(&self.jobs, statements, Document::new()).await?;
        let outcomes = claims.into_iter().enumerate().map(|(place, claim)| {
            let refusal = sent.refusal(place);
            let job = running
                .get(&claim.statement.job)
                .filter(|stored| statement::is_marked(stored, claim.statement.by))
                .map(statement::read);
            async move {
                match (refusal, job) {
                    (Some(error), _) => Err(error),
                    (None, Some(job)) => job.map(Some),
                    (None, None) => self.take_again(&claim).await,
                }
            }
        });
        Ok(stream::iter(outcomes).buffered(AT_A_TIME).collect().await)
    }
}

//! Taking jobs out of their lanes: `queued → dispatched`, one or as many as a release has.
//!
//! If the process dies in between, any of the jobs may be `dispatched` without a message; their leases end.
//!
//! These writes wait for the primary alone. Nothing is promised by them: it is the claim of the worker that the majority
//! must have, and with it the majority has the dispatch before it. A failover may undo a dispatch whose message is at
//! RabbitMQ already. The new primary has the job as `queued`, and refuses the claim as it would any other of an attempt that
//! it does not know; the job's place in the window ends with its lease, and it is released again.

use std::collections::HashMap;

use bson::{RawDocumentBuf, doc};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;

use super::change::change;
use super::error::within;
use super::holder::Holder;
use super::jobs::without_content;
use super::time::to_bson;
use super::transition::{self, Clock};
use super::{JobStore, StoreError, id, statement};
use crate::model::{Job, JobId, JobState};

/// Jobs that are asked for one by one at a time.
const AT_A_TIME: usize = 8;

impl JobStore {
    /// `queued → dispatched`: the next attempt, held under a lease. Only a job that is due and not expired.
    ///
    /// Repeated by the same holder, it gives the same attempt again.
    pub async fn dispatch(
        &self,
        id: JobId,
        holder: Holder,
        lease: SignedDuration,
    ) -> Result<Option<Job>, StoreError> {
        let clock = self.clock();
        let dispatch = transition::dispatch(id, holder, lease, clock);
        let moved = change(
            &self.on_primary,
            dispatch.filter.clone(),
            dispatch.update(),
            without_content(),
        );
        if let Some(job) = moved.await? {
            return Ok(Some(job));
        }
        let (filter, update) = transition::take_again(id, JobState::Dispatched, None, holder, lease, clock);
        change(&self.on_primary, filter, update, without_content()).await
    }

    /// [`JobStore::dispatch`] for many jobs by one holder: one update for all, and one read to see which of them it moved.
    /// Their outcomes in the order of `ids`.
    ///
    /// A job that the read does not show is asked for alone, by a write: it was refused, or dispatched by an earlier
    /// try whose answer was lost. So are all of them if the update fails for a reason that may be one job's.
    ///
    /// # Errors
    /// When MongoDB is away, which concerns all: any of the jobs may have been dispatched.
    pub async fn dispatch_many(
        &self,
        ids: &[JobId],
        holder: Holder,
        lease: SignedDuration,
    ) -> Result<Vec<Result<Option<Job>, StoreError>>, StoreError> {
        let moved = match ids {
            [] => return Ok(Vec::new()),
            [_] => HashMap::new(),
            [first, ..] => {
                let clock = self.clock();
                let dispatch = transition::dispatch(*first, holder, lease, clock).of_all(ids);
                match within(
                    self.on_primary
                        .update_many(dispatch.filter.clone(), dispatch.update()),
                )
                .await
                {
                    Ok(_) => self.dispatched_until(ids, holder, lease, clock).await?,
                    Err(error) if error.is_transient() => return Err(error),
                    // One document that cannot be updated ends it for all: each by itself, then.
                    Err(error) => {
                        tracing::warn!(%error, jobs = ids.len(), "the jobs are dispatched one by one");
                        HashMap::new()
                    }
                }
            }
        };
        let outcomes = ids.iter().copied().map(|id| {
            let job = moved.get(&id).map(statement::read);
            async move {
                match job {
                    Some(job) => job.map(Some),
                    None => self.dispatch(id, holder, lease).await,
                }
            }
        });
        Ok(stream::iter(outcomes).buffered(AT_A_TIME).collect().await)
    }

    /// Those of the jobs that `holder` has for the whole of `lease` by `clock`, in brief: not those of an earlier try, whose
    /// lease is shorter.
    async fn dispatched_until(
        &self,
        ids: &[JobId],
        holder: Holder,
        lease: SignedDuration,
        clock: Clock,
    ) -> Result<HashMap<JobId, RawDocumentBuf>, StoreError> {
        let ids: Vec<_> = ids.iter().copied().map(id::to_bson).collect();
        let until = clock.now.checked_add(lease).map_or(bson::DateTime::MAX, to_bson);
        let held = doc! {
            "_id": { "$in": ids },
            "state": JobState::Dispatched.name(),
            "holder": holder.to_bson(),
            "lease_until": { "$gte": until },
        };
        let documents = self.on_primary.clone_with_type::<RawDocumentBuf>();
        let mut found = within(documents.find(held).projection(without_content())).await?;
        let mut moved = HashMap::new();
        while let Some(document) = within(found.try_next()).await? {
            if let Some(id) = statement::id_of(&document) {
                moved.insert(id, document);
            }
        }
        Ok(moved)
    }
}

//! The callbacks of finished jobs: which is due, and what became of a try.
//!
//! A try is claimed by moving `next_at` to the end of its lease. If the process dies after the claim, the callback is
//! due again when the lease is over; if it dies after the delivery and before it said so, the receiver gets the
//! callback twice, with the same webhook id.

use bson::{Document, doc};
use jiff::{SignedDuration, Timestamp};
use mongodb::options::ReturnDocument;

use super::error::within;
use super::time::{now, to_bson};
use super::{JobStore, StoreError, id};
use crate::model::{CallbackState, Job, JobId};

impl JobStore {
    /// A job whose callback is due, the longest waiting first. It is the caller's for `lease`; its `attempts` counts
    /// this try.
    pub async fn claim_callback(&self, lease: SignedDuration) -> Result<Option<Job>, StoreError> {
        let (filter, update) = claim(now(), lease);
        let change = self
            .jobs
            .find_one_and_update(filter, update)
            .sort(doc! { "callback.next_at": 1 })
            .return_document(ReturnDocument::After);
        within(change).await
    }

    /// The receiver answered 2xx. `false`: the callback was not pending.
    pub async fn callback_delivered(&self, id: JobId) -> Result<bool, StoreError> {
        self.settle_callback(id, CallbackState::Delivered, None).await
    }

    /// The try failed; the next one is not before `next_at`. `false`: the callback was not pending.
    pub async fn callback_retry(&self, id: JobId, next_at: Timestamp) -> Result<bool, StoreError> {
        self.settle_callback(id, CallbackState::Pending, Some(next_at))
            .await
    }

    /// The callback is given up. `false`: it was not pending.
    pub async fn callback_failed(&self, id: JobId) -> Result<bool, StoreError> {
        self.settle_callback(id, CallbackState::Failed, None).await
    }

    async fn settle_callback(
        &self,
        id: JobId,
        state: CallbackState,
        next_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let filter = doc! { "_id": id::to_bson(id), "callback.state": CallbackState::Pending.name() };
        let update =
            doc! { "$set": { "callback.state": state.name(), "callback.next_at": next_at.map(to_bson) } };
        Ok(within(self.jobs.update_one(filter, update)).await?.matched_count == 1)
    }
}

fn claim(now: Timestamp, lease: SignedDuration) -> (Document, Document) {
    let until = now.checked_add(lease).unwrap_or(Timestamp::MAX);
    (
        doc! { "callback.state": CallbackState::Pending.name(), "callback.next_at": { "$lte": to_bson(now) } },
        doc! { "$inc": { "callback.attempts": 1 }, "$set": { "callback.next_at": to_bson(until) } },
    )
}

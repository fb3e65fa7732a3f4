//! The callbacks of finished jobs: which is due, and what became of a try.
//!
//! A callback is claimed by moving `next_at` to the end of a lease. Its try is counted when everything is at hand to make
//! it, before it is made. So an outage of ours costs it no try, and a callback that kills its process comes to its last
//! try, if it does so from the moment its try is counted. If the process dies after the claim, the callback is due again
//! when the lease is over; if it dies after the delivery and before it said so, the receiver gets the callback twice, with
//! the same webhook id.

use bson::{Document, doc};
use jiff::{SignedDuration, Timestamp};
use mongodb::options::ReturnDocument;

use super::error::within;
use super::jobs::without_content;
use super::time::{now, to_bson};
use super::{JobStore, StoreError, id};
use crate::model::{CallbackFailure, CallbackState, Job, JobId};

/// What became of a client's wish to have a callback retried.
#[derive(Clone, Debug, PartialEq)]
pub enum RetryOutcome {
    /// It is due now, and has another day of tries. The job comes without its parameters and result.
    Due(Box<Job>),
    /// It is not given up.
    NotFailed(CallbackState),
    /// The job has none.
    NoCallback,
    /// The client has no such job.
    NotFound,
}

impl JobStore {
    /// A job whose callback is due, the longest waiting first. It is the caller's for `lease`, until its `next_at`; no try
    /// is counted yet. The job comes without its parameters, which no callback tells.
    pub async fn claim_callback(&self, lease: SignedDuration) -> Result<Option<Job>, StoreError> {
        let (filter, update) = claim(now(), lease);
        let change = self
            .jobs
            .find_one_and_update(filter, update)
            .sort(doc! { "callback.next_at": 1 })
            .projection(doc! { "params": 0 })
            .return_document(ReturnDocument::After);
        within(change).await
    }

    /// Counts a try, to be made now by whoever claimed the callback until `claimed_until`.
    ///
    /// `false`: the callback is not the caller's any more, and the try must not be made.
    pub async fn begin_callback_try(&self, id: JobId, claimed_until: Timestamp) -> Result<bool, StoreError> {
        let (filter, update) = begin(id, claimed_until);
        Ok(within(self.jobs.update_one(filter, update)).await?.matched_count == 1)
    }

    /// The receiver answered 2xx. `false`: the callback was not pending.
    pub async fn callback_delivered(&self, id: JobId) -> Result<bool, StoreError> {
        self.settle_callback(id, CallbackState::Delivered, None, None)
            .await
    }

    /// The try failed; the next one is not before `next_at`. `false`: the callback was not pending.
    pub async fn callback_retry(&self, id: JobId, next_at: Timestamp) -> Result<bool, StoreError> {
        self.settle_callback(id, CallbackState::Pending, Some(next_at), None)
            .await
    }

    /// The callback is given up. `false`: it was not pending.
    pub async fn callback_failed(&self, id: JobId, failure: CallbackFailure) -> Result<bool, StoreError> {
        self.settle_callback(id, CallbackState::Failed, None, Some(failure))
            .await
    }

    /// Makes a callback that was given up due again: its tries are counted anew, and its day begins now.
    pub async fn retry_callback_of(&self, client_id: &str, id: JobId) -> Result<RetryOutcome, StoreError> {
        let own = doc! { "_id": id::to_bson(id), "client_id": client_id };
        let (guard, update) = retry(now());
        let mut failed = own.clone();
        failed.extend(guard);
        let change = self
            .jobs
            .find_one_and_update(failed, update)
            .projection(without_content())
            .return_document(ReturnDocument::After);
        if let Some(job) = within(change).await? {
            return Ok(RetryOutcome::Due(Box::new(job)));
        }
        let found = within(self.jobs.find_one(own).projection(without_content())).await?;
        Ok(match found {
            None => RetryOutcome::NotFound,
            Some(Job { callback: None, .. }) => RetryOutcome::NoCallback,
            Some(Job {
                callback: Some(callback),
                ..
            }) => RetryOutcome::NotFailed(callback.state),
        })
    }

    async fn settle_callback(
        &self,
        id: JobId,
        state: CallbackState,
        next_at: Option<Timestamp>,
        failure: Option<CallbackFailure>,
    ) -> Result<bool, StoreError> {
        let filter = doc! { "_id": id::to_bson(id), "callback.state": CallbackState::Pending.name() };
        let update = doc! { "$set": {
            "callback.state": state.name(),
            "callback.next_at": next_at.map(to_bson),
            "callback.failure": failure.map(CallbackFailure::name),
        } };
        Ok(within(self.jobs.update_one(filter, update)).await?.matched_count == 1)
    }
}

fn claim(now: Timestamp, lease: SignedDuration) -> (Document, Document) {
    let until = now.checked_add(lease).unwrap_or(Timestamp::MAX);
    (
        doc! { "callback.state": CallbackState::Pending.name(), "callback.next_at": { "$lte": to_bson(now) } },
        doc! { "$set": { "callback.next_at": to_bson(until) } },
    )
}

fn begin(id: JobId, claimed_until: Timestamp) -> (Document, Document) {
    (
        doc! {
            "_id": id::to_bson(id),
            "callback.state": CallbackState::Pending.name(),
            "callback.next_at": to_bson(claimed_until),
        },
        doc! { "$inc": { "callback.attempts": 1 } },
    )
}

fn retry(now: Timestamp) -> (Document, Document) {
    (
        doc! { "callback.state": CallbackState::Failed.name() },
        doc! { "$set": {
            "callback.state": CallbackState::Pending.name(),
            "callback.attempts": 0,
            "callback.next_at": to_bson(now),
            "callback.failure": bson::Bson::Null,
            "callback.retried_at": to_bson(now),
        } },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_counts_nothing_and_a_try_is_counted_only_by_its_claimant() {
        let now = Timestamp::constant(1_800_000_000, 0);
        let (_, claimed) = claim(now, SignedDuration::from_mins(2));
        assert!(!claimed.to_string().contains("attempts"));
        let until = claimed
            .get_document("$set")
            .ok()
            .and_then(|set| set.get("callback.next_at"));
        assert!(until.is_some());
        let (filter, begun) = begin(JobId::new(), now + SignedDuration::from_mins(2));
        assert_eq!(filter.get("callback.next_at"), until);
        assert_eq!(begun, doc! { "$inc": { "callback.attempts": 1 } });
    }
}

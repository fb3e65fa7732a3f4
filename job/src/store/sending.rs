//! What is known of a photo on its way to Flickr, stored while it is sent.
//!
//! | step | if the process dies after it |
//! | --- | --- |
//! | 1 [`JobStore::mark_sent`], before the first byte | the photo may be at Flickr: the next attempt asks Flickr to refuse a duplicate |
//! | 2 the photo is sent | the same |
//! | 3 [`JobStore::keep_ticket`] | the next attempt sends nothing, and asks what became of the ticket |
//!
//! [`JobStore::clear_sent`] takes the mark back when Flickr surely did not act: left behind by a crash, it costs nothing but
//! that the next attempt is careful.

use bson::{Document, doc};

use super::error::within;
use super::{JobStore, StoreError, id};
use crate::model::{JobId, JobState};

impl JobStore {
    /// Notes that this attempt begins to send the photo. An earlier attempt's mark stays.
    ///
    /// `false`: the caller does not hold the job any more, and must not send it.
    pub async fn mark_sent(&self, job: JobId, attempt: u32) -> Result<bool, StoreError> {
        let mark = doc! { "$ifNull": ["$trail.sent_by", attempt] };
        let update = vec![doc! { "$set": { "trail.sent_by": mark } }];
        let change = self.jobs.update_one(held(job, attempt), update);
        Ok(within(change).await?.matched_count == 1)
    }

    /// Takes back what this attempt noted by [`JobStore::mark_sent`]: Flickr did not act on it.
    pub async fn clear_sent(&self, job: JobId, attempt: u32) -> Result<(), StoreError> {
        let mut filter = held(job, attempt);
        filter.insert("trail.sent_by", attempt);
        within(
            self.jobs
                .update_one(filter, doc! { "$unset": { "trail.sent_by": "" } }),
        )
        .await?;
        Ok(())
    }

    /// Notes the ticket that Flickr gave for the photo; `None` forgets one that Flickr does not know any more.
    ///
    /// `false`: the caller does not hold the job any more.
    pub async fn keep_ticket(
        &self,
        job: JobId,
        attempt: u32,
        ticket: Option<&str>,
    ) -> Result<bool, StoreError> {
        let update = if let Some(ticket) = ticket {
            doc! { "$set": { "trail.ticket": ticket } }
        } else {
            doc! { "$unset": { "trail.ticket": "" } }
        };
        let change = self.jobs.update_one(held(job, attempt), update);
        Ok(within(change).await?.matched_count == 1)
    }
}

fn held(job: JobId, attempt: u32) -> Document {
    doc! { "_id": id::to_bson(job), "state": JobState::Running.name(), "attempt": attempt }
}

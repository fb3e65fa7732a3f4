//! The dead letters of a client: its jobs in state `dead`, which are listed, inspected and replayed.
//!
//! They are the jobs themselves, in MongoDB. The dead-letter queues of RabbitMQ hold the last messages of the same jobs, for
//! whoever looks at the broker; nothing here reads them, and a replay takes nothing out of them.

use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use jiff::Timestamp;

use super::error::within;
use super::jobs::without_content;
use super::time::to_bson;
use super::{JobStore, StoreError, id};
use crate::model::{Job, JobId, JobState};
use crate::queue::Queue;

/// Which dead letters of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Only those of this client.
    pub client_id: String,
    /// Only those of this queue.
    pub queue: Option<Queue>,
    /// Only those of this user.
    pub user_id: Option<String>,
    /// Only those that died of an error with this code.
    pub code: Option<String>,
    /// Only those that died before this time.
    pub dead_before: Option<Timestamp>,
    /// Only these jobs, if any are named.
    pub ids: Vec<JobId>,
}

/// A dead letter: a dead job, without its parameters.
pub type DeadLetter = Job;

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeadLetterList {
    /// The job accepted last comes first.
    pub letters: Vec<DeadLetter>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

impl JobStore {
    /// A page of the dead letters, of jobs accepted before `before`, at most `limit`.
    ///
    /// # Errors
    /// Also when one of the jobs cannot be read: a page with a gap would pass for the whole.
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<DeadLetterList, StoreError> {
        let mut document = filter.document();
        if let Some(before) = before {
            document.insert("_id", doc! { "$lt": id::to_bson(before) });
        }
        let find = self
            .jobs
            .find(document)
            .sort(doc! { "_id": -1 })
            .projection(without_content())
            // One more than the page holds tells whether there is another page.
            .limit(bound(limit.saturating_add(1)));
        let mut letters: Vec<_> = within(within(find).await?.try_collect::<Vec<Job>>()).await?;
        let more = letters.len() > limit;
        letters.truncate(limit);
        Ok(DeadLetterList { letters, more })
    }

    /// The ids of dead letters that are not replayed yet, the job accepted first comes first, at most `limit`.
    pub async fn replayable_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<JobId>, StoreError> {
        let mut document = filter.document();
        document.insert("trail.replayed_at", Bson::Null);
        let find = self
            .jobs
            .find(document)
            .sort(doc! { "_id": 1 })
            .projection(without_content())
            .limit(bound(limit));
        let letters: Vec<Job> = within(within(find).await?.try_collect()).await?;
        Ok(letters.into_iter().map(|job| job.id).collect())
    }
}

impl DeadLetterFilter {
    fn document(&self) -> Document {
        let mut document = doc! { "client_id": &self.client_id, "state": JobState::Dead.name() };
        if let Some(queue) = self.queue {
            document.insert("queue", queue.name());
        }
        if let Some(user_id) = &self.user_id {
            document.insert("user_id", user_id);
        }
        if let Some(code) = &self.code {
            document.insert("error.code", code);
        }
        if let Some(time) = self.dead_before {
            document.insert("finished_at", doc! { "$lt": to_bson(time) });
        }
        if !self.ids.is_empty() {
            let ids: Vec<_> = self.ids.iter().copied().map(id::to_bson).collect();
            document.insert("_id", doc! { "$in": ids });
        }
        document
    }
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

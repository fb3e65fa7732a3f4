//! The jobs: what may be asked about them. How they move is in [`super::transitions`].

use bson::{Document, RawDocumentBuf, doc};
use futures::{Stream, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use mongodb::{Collection, Database};

use super::error::within;
use super::time::{now, to_bson};
use super::transition::Clock;
use super::unread::readable;
use super::{StoreError, id, index};
use crate::model::{Job, JobId, JobState};
use crate::queue::Queue;

/// Jobs fetched at a time where all jobs of a state are read.
const BATCH: u32 = 200;

/// The limit of MongoDB ("BSON Document Size"). A server that gets more may answer with any of several errors.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// The jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobStore {
    pub(super) jobs: Collection<Job>,
    retention: SignedDuration,
}

/// Which jobs of a client to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFilter {
    /// Only the jobs of this client.
    pub client_id: String,
    /// Only the jobs of this user.
    pub user_id: Option<String>,
    /// Only the jobs in this state.
    pub state: Option<JobState>,
    /// Only the jobs of this queue.
    pub queue: Option<Queue>,
    /// Only jobs accepted before this one: the last job of the page before.
    pub before: Option<JobId>,
    /// At most so many, at least one.
    pub limit: u32,
}

impl JobStore {
    /// Opens the store and creates the indexes that are missing.
    ///
    /// A finished job is deleted `retention_days` days after it finished.
    ///
    /// # Errors
    /// When MongoDB cannot be reached or refuses an index.
    pub async fn open(database: &Database, retention_days: u32) -> Result<Self, StoreError> {
        let jobs = database.collection("jobs");
        within(jobs.create_indexes(index::jobs())).await?;
        Ok(Self {
            jobs,
            retention: SignedDuration::from_hours(24)
                .saturating_mul(i32::try_from(retention_days).unwrap_or(i32::MAX)),
        })
    }

    /// Stores a new job. After this returns, the job survives the loss of any one process, pod or node.
    ///
    /// Storing the same id again does nothing, so the call may be repeated when its outcome is unknown.
    ///
    /// # Errors
    /// [`StoreError::Unstorable`] when the job exceeds 16 MiB or the name of a parameter contains a NUL character.
    pub async fn insert(&self, job: &Job) -> Result<(), StoreError> {
        let document: RawDocumentBuf = bson::serialize_to_raw_document_buf(job)
            .map_err(|error| StoreError::Unstorable(error.to_string()))?;
        if document.as_bytes().len() > MAX_DOCUMENT_BYTES {
            return Err(StoreError::too_large());
        }
        match within(self.jobs.clone_with_type::<RawDocumentBuf>().insert_one(document)).await {
            // The only unique index is the one of the id.
            Ok(_) | Err(StoreError::Duplicate) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One job.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        within(self.jobs.find_one(doc! { "_id": id::to_bson(id) })).await
    }

    /// One job, if it belongs to the client.
    pub async fn get_for_client(&self, client_id: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        within(
            self.jobs
                .find_one(doc! { "_id": id::to_bson(id), "client_id": client_id }),
        )
        .await
    }

    /// The jobs of a client, newest first.
    pub async fn list(&self, filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
        let cursor = self
            .jobs
            .find(filter.document())
            .sort(doc! { "_id": -1 })
            .limit(i64::from(filter.limit.max(1)));
        within(async { cursor.await?.try_collect().await }).await
    }

    /// Every job in state queued, oldest first, read in batches: to rebuild the lanes.
    ///
    /// A job that changes while the stream runs may be missing or be seen in its former state. One that cannot be read
    /// is left out.
    pub fn queued(&self) -> impl Stream<Item = Result<Job, StoreError>> + Send + 'static + use<> {
        self.unfinished(JobState::Queued)
    }

    /// Every job in this state that is not final, oldest first; see [`JobStore::queued`].
    pub fn unfinished(
        &self,
        state: JobState,
    ) -> impl Stream<Item = Result<Job, StoreError>> + Send + 'static + use<> {
        let jobs = self.jobs.clone_with_type::<RawDocumentBuf>();
        stream::once(async move {
            let find = jobs
                .find(doc! { "state": state.name(), "finished_at": null })
                .sort(doc! { "_id": 1 })
                .batch_size(BATCH);
            within(find).await.map(readable)
        })
        .try_flatten()
    }

    /// Dispatched or running jobs whose lease ran out, the longest overdue first; without those that cannot be read.
    pub async fn overdue(&self, limit: i64) -> Result<Vec<Job>, StoreError> {
        // The lower bound is what makes the partial index usable.
        let lapsed = doc! { "lease_until": { "$gt": to_bson(Timestamp::UNIX_EPOCH), "$lt": to_bson(now()) } };
        let jobs = self.jobs.clone_with_type::<RawDocumentBuf>();
        let find = jobs
            .find(lapsed)
            .sort(doc! { "lease_until": 1 })
            .limit(limit.max(1));
        readable(within(find).await?).try_collect().await
    }

    /// Whether some job may yet send this body: one that is not finished, or that can be replayed.
    pub async fn needs_body(&self, file_id: &str) -> Result<bool, StoreError> {
        let done = [JobState::Succeeded.name(), JobState::Cancelled.name()];
        let filter = doc! { "body.file_id": file_id, "state": { "$nin": bson::Bson::from(done.as_slice()) } };
        let jobs = self.jobs.clone_with_type::<Document>();
        let found = jobs.find_one(filter).projection(doc! { "_id": 1 });
        Ok(within(found).await?.is_some())
    }

    pub(super) fn clock(&self) -> Clock {
        Clock {
            now: now(),
            retention: self.retention,
        }
    }
}

impl JobFilter {
    fn document(&self) -> Document {
        let mut document = doc! { "client_id": &self.client_id };
        if let Some(user_id) = &self.user_id {
            document.insert("user_id", user_id);
        }
        if let Some(state) = self.state {
            document.insert("state", state.name());
        }
        if let Some(queue) = self.queue {
            document.insert("queue", queue.name());
        }
        if let Some(before) = self.before {
            document.insert("_id", doc! { "$lt": id::to_bson(before) });
        }
        document
    }
}

//! The jobs: what may be asked about them. How a client lists its own is in [`super::list`], how they move in
//! [`super::transitions`].

use std::sync::Arc;

use bson::raw::cstr;
use bson::{Document, RawDocumentBuf, doc};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use mongodb::options::{CollectionOptions, ReadConcern, WriteConcern};
use mongodb::{Collection, Database};

use super::attempt_end::Ends;
use super::claim::Claims;
use super::collections::CollectionName;
use super::error::within;
use super::group_commit::{Counters, GroupCommit};
use super::insertion::{self, Insertion};
use super::time::{now, to_bson};
use super::transition::Clock;
use super::unread::readable;
use super::{StoreError, id, index, statement};
use crate::model::{Job, JobId, JobState};
use crate::telemetry::Metrics;

/// Writes wait for the primary alone, and reads see what it has, whether the majority has it or not.
fn primary_alone() -> CollectionOptions {
    CollectionOptions::builder()
        .write_concern(WriteConcern::nodes(1))
        .read_concern(ReadConcern::local())
        .build()
}

/// Jobs fetched at a time where all jobs of a state are read.
const BATCH: u32 = 200;

/// What is not read except for whom it is: parameters and results have up to 15 MB, so those of many jobs at once could
/// be more than a process has memory.
pub(super) fn without_content() -> Document {
    doc! { "params": 0, "result": 0 }
}

/// The limit of MongoDB ("BSON Document Size"). A server that gets more may answer with any of several errors.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// The jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobStore {
    pub(super) jobs: Collection<Job>,
    /// For what a failover may undo; see [`super::dispatch`].
    pub(super) on_primary: Collection<Job>,
    pub(super) claims: GroupCommit<Claims>,
    pub(super) ends: GroupCommit<Ends>,
    insertion: GroupCommit<Insertion>,
    retention: SignedDuration,
    pub(super) worker: Option<Arc<str>>,
}

impl JobStore {
    /// Opens the store and creates the indexes that are missing.
    ///
    /// A finished job is deleted `retention_days` days after it finished.
    ///
    /// # Errors
    /// When MongoDB cannot be reached or refuses an index.
    pub async fn open(database: &Database, retention_days: u32) -> Result<Self, StoreError> {
        let jobs = CollectionName::Jobs.of::<Job>(database);
        within(jobs.create_indexes(index::jobs())).await?;
        Ok(Self {
            on_primary: CollectionName::Jobs.with_options(database, primary_alone()),
            claims: GroupCommit::new(Claims::new(jobs.clone()), statement::LIMITS),
            ends: GroupCommit::new(Ends::new(jobs.clone()), statement::LIMITS),
            insertion: GroupCommit::new(Insertion::new(jobs.clone_with_type()), insertion::LIMITS),
            jobs,
            retention: SignedDuration::from_hours(24)
                .saturating_mul(i32::try_from(retention_days).unwrap_or(i32::MAX)),
            worker: None,
        })
    }

    /// The same store for a process of this name: what it claims names it in the record of attempts.
    #[must_use]
    pub fn for_worker(self, name: &str) -> Self {
        Self {
            worker: Some(name.into()),
            ..self
        }
    }

    /// The same store, with its group commits counted in `metrics`; of several, the first.
    #[must_use]
    pub fn counted_in(self, metrics: &Metrics) -> Self {
        let counters = |write| Counters {
            commits: metrics.group_commits.clone(),
            operations: metrics.group_commit_operations.clone(),
            write,
        };
        self.insertion.counted_in(counters("insert"));
        self.claims.counted_in(counters("claim"));
        self.ends.counted_in(counters("end"));
        self
    }

    /// Stores a new job, in one command with those that are stored at the same time. After this returns, the job survives the
    /// loss of any one process, pod or node.
    ///
    /// Storing the same id again does nothing, so the call may be repeated when its outcome is unknown. A job that is over from
    /// the beginning is kept as long as any other that is.
    ///
    /// # Errors
    /// [`StoreError::Unstorable`] when the job exceeds 16 MiB or the name of a parameter contains a NUL character;
    /// [`StoreError::Duplicate`] when another job has its idempotency key.
    pub async fn insert(&self, job: &Job) -> Result<(), StoreError> {
        self.insertion.submit(self.document(job)?).await
    }

    /// [`JobStore::insert`] for many jobs together: one command, and one acknowledgement by the majority, for up to 1,000 jobs of
    /// 12 MiB. Their outcomes are in the same order: one that is refused is no trouble of the others.
    pub async fn insert_many<'a>(
        &self,
        jobs: impl IntoIterator<Item = &'a Job>,
    ) -> Vec<Result<(), StoreError>> {
        let (mut documents, mut unstorable) = (Vec::new(), Vec::new());
        for job in jobs {
            match self.document(job) {
                Ok(document) => {
                    documents.push(document);
                    unstorable.push(None);
                }
                Err(error) => unstorable.push(Some(error)),
            }
        }
        let mut stored = self.insertion.submit_all(documents).await.into_iter();
        let outcome = |unstorable: Option<StoreError>| match unstorable {
            Some(error) => Err(error),
            None => stored.next().unwrap_or(Err(StoreError::Interrupted)),
        };
        unstorable.into_iter().map(outcome).collect()
    }

    /// One job.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        within(self.jobs.find_one(doc! { "_id": id::to_bson(id) })).await
    }

    /// One job, without its parameters and result.
    pub async fn get_in_brief(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let find = self.jobs.find_one(doc! { "_id": id::to_bson(id) });
        within(find.projection(without_content())).await
    }

    /// One job, without its parameters and result, if it belongs to the client.
    pub async fn get_in_brief_for_client(
        &self,
        client_id: &str,
        id: JobId,
    ) -> Result<Option<Job>, StoreError> {
        let find = self
            .jobs
            .find_one(doc! { "_id": id::to_bson(id), "client_id": client_id });
        within(find.projection(without_content())).await
    }

    /// One job, if it belongs to the client.
    pub async fn get_for_client(&self, client_id: &str, id: JobId) -> Result<Option<Job>, StoreError> {
        within(
            self.jobs
                .find_one(doc! { "_id": id::to_bson(id), "client_id": client_id }),
        )
        .await
    }

    /// Every job in state queued, oldest first, read in batches: to rebuild the lanes.
    ///
    /// A job that changes while the stream runs may be missing or be seen in its former state. One that cannot be read
    /// is left out. The jobs come without their parameters and results.
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
                .projection(without_content())
                .batch_size(BATCH);
            within(find).await.map(readable)
        })
        .try_flatten()
    }

    /// Dispatched or running jobs whose lease ran out, the longest overdue first; without those that cannot be read, and
    /// without their parameters and results.
    pub async fn overdue(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        // The lower bound is what makes the partial index usable.
        let lapsed = doc! { "lease_until": { "$gt": to_bson(Timestamp::UNIX_EPOCH), "$lt": to_bson(now()) } };
        let jobs = self.jobs.clone_with_type::<RawDocumentBuf>();
        let find = jobs
            .find(lapsed)
            .sort(doc! { "lease_until": 1 })
            .projection(without_content())
            .batch_size(BATCH);
        // Counted once they are read: those that cannot be stay overdue, and would leave no room for the others.
        readable(within(find).await?).take(limit).try_collect().await
    }

    /// Whether the lease on this attempt of a job has run out by now.
    pub async fn is_overdue(&self, id: JobId, attempt: u32) -> Result<bool, StoreError> {
        let filter =
            doc! { "_id": id::to_bson(id), "attempt": attempt, "lease_until": { "$lt": to_bson(now()) } };
        let jobs = self.jobs.clone_with_type::<Document>();
        let found = jobs.find_one(filter).projection(doc! { "_id": 1 });
        Ok(within(found).await?.is_some())
    }

    /// Takes a job out again that nobody was told of, unless it was dispatched meanwhile: deleted and not cancelled,
    /// because a cancelled job is reported by a callback. Answers whether it is not in MongoDB now.
    pub async fn withdraw(&self, id: JobId) -> Result<bool, StoreError> {
        let untouched = doc! { "_id": id::to_bson(id), "state": JobState::Queued.name(), "attempt": 0 };
        let deleted = within(self.jobs.delete_one(untouched)).await?.deleted_count;
        Ok(deleted == 1 || self.get(id).await?.is_none())
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

    /// The document of a job that MongoDB takes.
    fn document(&self, job: &Job) -> Result<RawDocumentBuf, StoreError> {
        let mut document = bson::serialize_to_raw_document_buf(job)
            .map_err(|error| StoreError::Unstorable(error.to_string()))?;
        if job.state.is_final() {
            let purge_at = job.updated_at.checked_add(self.retention);
            document.append(cstr!("purge_at"), to_bson(purge_at.unwrap_or(Timestamp::MAX)));
        }
        if document.as_bytes().len() > MAX_DOCUMENT_BYTES {
            return Err(StoreError::too_large());
        }
        Ok(document)
    }
}

//! Jobs and the store that they are put into.

use std::collections::BTreeMap;

use flickrhub_job::model::{Callback, Job, JobError, JobId, JobState, NewJob, Priority, TraceContext, Trail};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{AttemptEnd, Holder, JobStore, StoreError, time};
use jiff::{SignedDuration, Timestamp};
use mongodb::Database;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::database;

pub(crate) const LEASE: SignedDuration = SignedDuration::from_secs(60);
pub(crate) const NO_LEASE: SignedDuration = SignedDuration::from_millis(-1);

pub(crate) fn job() -> Job {
    let now = time::now();
    Job {
        priority: Priority::High,
        ..NewJob {
            client_id: "acme".to_owned(),
            user_id: "12037949754@N01".to_owned(),
            app: "main".to_owned(),
            queue: Queue::Rest,
            method: "flickr.photos.search".to_owned(),
            params: BTreeMap::from([
                ("text".to_owned(), "$$ROOT".to_owned()),
                ("$where.a".to_owned(), String::new()),
            ]),
            trace: TraceContext {
                trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
                traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
            },
        }
        .accepted(now, now + SignedDuration::from_hours(1))
    }
}

pub(crate) fn with_callback() -> Job {
    Job {
        callback: Some(Callback::waiting("https://acme.example/hook")),
        ..job()
    }
}

pub(crate) fn error() -> JobError {
    JobError {
        code: "$code".to_owned(),
        message: "$$ROOT".to_owned(),
        flickr_code: Some(105),
    }
}

pub(crate) async fn store() -> (Database, JobStore) {
    let database = database::create().await;
    let store = JobStore::open(&database, 30).await.expect("the store opens");
    (database, store)
}

/// Ends of attempts by whoever believes to hold them, named as one says them.
pub(crate) trait Ends {
    async fn succeed(&self, id: JobId, attempt: u32, result: &Value) -> Result<Option<Job>, StoreError>;
    async fn fail(
        &self,
        id: JobId,
        attempt: u32,
        state: JobState,
        error: &JobError,
    ) -> Result<Option<Job>, StoreError>;
    async fn retry(
        &self,
        id: JobId,
        attempt: u32,
        error: &JobError,
        at: Timestamp,
    ) -> Result<Option<Job>, StoreError>;
    async fn postpone(
        &self,
        id: JobId,
        attempt: u32,
        error: &JobError,
        at: Timestamp,
    ) -> Result<Option<Job>, StoreError>;
    async fn postpone_uncalled(
        &self,
        id: JobId,
        attempt: u32,
        error: &JobError,
        at: Timestamp,
    ) -> Result<Option<Job>, StoreError>;
    async fn abandon(&self, id: JobId, attempt: u32) -> Result<Option<Job>, StoreError>;
    async fn abandon_uncalled(&self, id: JobId, attempt: u32) -> Result<Option<Job>, StoreError>;
}

impl Ends for JobStore {
    async fn succeed(&self, id: JobId, attempt: u32, result: &Value) -> Result<Option<Job>, StoreError> {
        end(self, id, attempt, AttemptEnd::Succeeded(result)).await
    }

    async fn fail(
        &self,
        id: JobId,
        attempt: u32,
        state: JobState,
        error: &JobError,
    ) -> Result<Option<Job>, StoreError> {
        let how = match state {
            JobState::Failed => AttemptEnd::Failed(error),
            _ => AttemptEnd::Dead(error),
        };
        end(self, id, attempt, how).await
    }

    async fn retry(
        &self,
        id: JobId,
        attempt: u32,
        error: &JobError,
        at: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        end(self, id, attempt, AttemptEnd::Retried { error, at }).await
    }

    async fn postpone(
        &self,
        id: JobId,
        attempt: u32,
        error: &JobError,
        at: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let how = AttemptEnd::Postponed {
            error,
            called: true,
            at,
        };
        end(self, id, attempt, how).await
    }

    async fn postpone_uncalled(
        &self,
        id: JobId,
        attempt: u32,
        error: &JobError,
        at: Timestamp,
    ) -> Result<Option<Job>, StoreError> {
        let how = AttemptEnd::Postponed {
            error,
            called: false,
            at,
        };
        end(self, id, attempt, how).await
    }

    async fn abandon(&self, id: JobId, attempt: u32) -> Result<Option<Job>, StoreError> {
        end(self, id, attempt, AttemptEnd::Cancelled { called: true }).await
    }

    async fn abandon_uncalled(&self, id: JobId, attempt: u32) -> Result<Option<Job>, StoreError> {
        end(self, id, attempt, AttemptEnd::Cancelled { called: false }).await
    }
}

/// Ends the attempt of a job as its worker does; what comes back has to be what is stored.
async fn end(
    store: &JobStore,
    id: JobId,
    attempt: u32,
    how: AttemptEnd<'_>,
) -> Result<Option<Job>, StoreError> {
    let held = store.get(id).await?.map(|held| Job { attempt, ..held });
    let ended = store.end(&held.expect("stored"), how, Holder::new()).await?;
    if ended.is_some() {
        assert_eq!(
            ended,
            store.get_in_brief(id).await?.map(without_trail),
            "the answer is what is stored"
        );
    }
    Ok(ended)
}

/// As the end of an attempt is answered.
pub(crate) fn without_trail(job: Job) -> Job {
    Job {
        trail: Trail::default(),
        ..job
    }
}

/// Stores the job and brings it to a worker.
pub(crate) async fn running(store: &JobStore, job: &Job) -> Job {
    store.insert(job).await.expect("stored");
    store
        .dispatch(job.id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    store
        .claim(job.id, 1, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("claimed")
}

/// The job as MongoDB has it.
pub(crate) async fn stored(store: &JobStore, id: JobId) -> Job {
    store.get(id).await.expect("MongoDB answers").expect("stored")
}

/// Waits until the majority has what was written so far. A dispatch waits for the primary alone, and reads are of what the
/// majority has.
pub(crate) async fn let_the_majority_have_it(database: &Database) {
    let markers = database.collection::<Document>("markers");
    markers.insert_one(doc! {}).await.expect("the majority has it");
}

pub(crate) async fn drop_database(database: Database) {
    database.drop().await.expect("the database is dropped");
}

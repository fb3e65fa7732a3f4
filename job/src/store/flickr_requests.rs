//! When jobs may have called Flickr, from which budgets are rebuilt after Redis lost them.
//!
//! Each claim adds its time to `flickr_requests` of its job, in the update that claims it. A claim that came to no call
//! takes it out again when the job is put back or cancelled. Nothing else is written: until when an attempt can have called follows
//! from the job's other times.

use bson::{DateTime, Document, RawDocumentBuf, doc};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::error::within;
use super::time::{now, to_bson};
use super::{JobStore, StoreError};
use crate::model::JobState;
use crate::queue::Queue;

/// For how long a claim is kept; longer than a request counts, since an attempt may call long after its claim.
const KEPT: SignedDuration = SignedDuration::from_hours(2);

/// Most claims that are kept of one job, the latest. A job has fewer tries than this in two hours.
const MOST: i32 = 100;

/// Jobs fetched at a time.
const BATCH: u32 = 500;

/// The claims of one job that may have called Flickr.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ClaimsOfJob {
    /// The Flickr application that the job was accepted for.
    #[serde(default)]
    pub app: String,
    /// The Flickr user.
    pub user_id: String,
    /// The queue, which says what a claim may call.
    pub queue: Queue,
    /// Where the job stands.
    pub state: JobState,
    /// When it got there.
    #[serde(with = "super::time")]
    pub updated_at: Timestamp,
    flickr_requests: Vec<DateTime>,
}

impl ClaimsOfJob {
    /// The claims of one job, oldest first.
    #[must_use]
    pub fn new(app: &str, user_id: &str, queue: Queue, state: JobState, updated_at: Timestamp) -> Self {
        Self {
            app: app.to_owned(),
            user_id: user_id.to_owned(),
            queue,
            state,
            updated_at,
            flickr_requests: Vec::new(),
        }
    }

    /// The same with one claim more.
    #[must_use]
    pub fn claimed_at(mut self, time: Timestamp) -> Self {
        self.flickr_requests.push(to_bson(time));
        self
    }

    /// When the job was claimed, oldest first.
    pub fn times(&self) -> impl DoubleEndedIterator<Item = Timestamp> {
        self.flickr_requests
            .iter()
            .filter_map(|time| super::time::from_bson(*time))
    }
}

/// `flickr_requests` with one claim more, now; part of an update.
pub(super) fn with_claim(now: Timestamp) -> Document {
    let kept_since = now.saturating_sub(KEPT).unwrap_or(Timestamp::MIN);
    let kept = doc! { "$filter": {
        "input": { "$ifNull": ["$flickr_requests", []] },
        "cond": { "$gt": ["$$this", to_bson(kept_since)] },
    } };
    let claims = doc! { "$concatArrays": [kept, [to_bson(now)]] };
    doc! { "flickr_requests": { "$slice": [claims, -MOST] } }
}

/// `flickr_requests` without the claim that the job had last; part of an update.
pub(super) fn without_claim() -> Document {
    doc! { "flickr_requests": { "$filter": {
        "input": { "$ifNull": ["$flickr_requests", []] },
        "cond": { "$ne": ["$$this", "$started_at"] },
    } } }
}

impl JobStore {
    /// The claims of every job that may have called Flickr within the last `span`; of one moment, so that no job is missing
    /// because it moved meanwhile. They are about as many as the budgets allow requests.
    ///
    /// Finished jobs are found by the time at which they are deleted. Those that finished before `retentionDays` was raised
    /// are missing for an hour.
    ///
    /// # Errors
    /// When MongoDB fails.
    pub async fn claims(&self, span: SignedDuration) -> Result<Vec<ClaimsOfJob>, StoreError> {
        let unfinished = [JobState::Queued, JobState::Dispatched, JobState::Running].map(JobState::name);
        let since = self
            .clock()
            .purged_at(now().saturating_sub(span).unwrap_or(Timestamp::MIN));
        let called = doc! { "$exists": true };
        let filters = [
            doc! {
                "state": { "$in": unfinished.as_slice() },
                "finished_at": null,
                "flickr_requests.0": &called,
            },
            doc! { "purge_at": { "$gte": since }, "flickr_requests.0": &called },
        ];
        let jobs = self.jobs.clone_with_type::<RawDocumentBuf>();
        let mut session = within(jobs.client().start_session().snapshot(true).into_future()).await?;
        let mut claims = Vec::new();
        for filter in filters {
            let find = jobs
                .find(filter)
                .projection(doc! { "app": 1, "user_id": 1, "queue": 1, "state": 1, "updated_at": 1, "flickr_requests": 1 })
                .batch_size(BATCH)
                .session(&mut session);
            let mut cursor = within(find.into_future()).await?;
            while within(cursor.advance(&mut session).boxed()).await? {
                match bson::deserialize_from_slice(cursor.current().as_bytes()) {
                    Ok(job) => claims.push(job),
                    // One request too few is better than no request at all.
                    Err(error) => {
                        tracing::error!(%error, "the claims of a job cannot be read; they are not counted");
                    }
                }
            }
        }
        Ok(claims)
    }
}

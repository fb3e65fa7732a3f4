//! The jobs that a bench submitted: their form, how they ended, and that they go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flickrhub_job::lane::LaneEntry;
use flickrhub_job::model::{JobId, Priority};
use flickrhub_job::queue::Queue;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use mongodb::Collection;
use mongodb::bson::{Document, Uuid, doc};
use serde_json::json;

use crate::Failure;
use crate::load::Body;
use crate::quantile::Times;
use crate::tier::Tier;

/// How often it is asked whether jobs are still under way.
const LOOK: Duration = Duration::from_millis(250);
/// Places in the lanes that are given back at a time.
const AT_A_TIME: usize = 32;

/// The jobs of some users since a moment.
pub(crate) struct Jobs<'a> {
    tier: &'a Tier,
    users: &'a [String],
    since: Uuid,
}

/// How jobs ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// How many jobs are in each state.
    pub(crate) states: BTreeMap<String, usize>,
    /// From the first acceptance to the last end, by the clock of the hub's processes.
    pub(crate) took: Duration,
}

impl<'a> Jobs<'a> {
    /// The jobs of these users from now on.
    pub(crate) fn from_now(tier: &'a Tier, users: &'a [String]) -> Self {
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        // The least version 7 id of this millisecond.
        let least = uuid::Builder::from_unix_timestamp_millis(now, &[0; 10]).into_uuid();
        Self {
            tier,
            users,
            since: Uuid::from_bytes(least.into_bytes()),
        }
    }

    /// The bodies of no-op jobs: each user in turn, and no two alike, so that no cache answers.
    pub(crate) fn body(&self) -> Body {
        let users: Arc<[String]> = self.users.into();
        Arc::new(move |index| noop(&users[index % users.len()], index))
    }

    /// Waits until no job is under way, at most `limit`. Answers whether that is so.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub(crate) async fn over(&self, limit: Duration) -> Result<bool, Failure> {
        let deadline = Instant::now() + limit;
        let under_way = doc! {
            "state": { "$in": ["queued", "dispatched", "running"] }, "finished_at": null,
            "_id": { "$gte": self.since }, "user_id": { "$in": self.users },
        };
        let jobs = self.jobs();
        while Instant::now() < deadline {
            let found = jobs.find_one(under_way.clone()).projection(doc! { "_id": 1 });
            if found.await?.is_none() {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(false)
    }

    /// How they ended.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub(crate) async fn ended(&self) -> Result<Ended, Failure> {
        let pipeline = [
            doc! { "$match": self.filter() },
            doc! { "$group": {
                "_id": "$state", "jobs": { "$sum": 1 },
                "first": { "$min": "$created_at" }, "last": { "$max": "$finished_at" },
            } },
        ];
        let groups: Vec<Document> = self.jobs().aggregate(pipeline).await?.try_collect().await?;
        let times = |name| {
            groups
                .iter()
                .filter_map(move |group| group.get_datetime(name).ok())
        };
        let first = times("first")
            .map(|time| time.timestamp_millis())
            .min()
            .unwrap_or_default();
        let last = times("last")
            .map(|time| time.timestamp_millis())
            .max()
            .unwrap_or_default();
        let states = groups.iter().filter_map(|group| {
            let jobs = group.get_i32("jobs").ok()?;
            Some((group.get_str("_id").ok()?.to_owned(), usize::try_from(jobs).ok()?))
        });
        Ok(Ended {
            states: states.collect(),
            took: Duration::from_millis(u64::try_from(last - first).unwrap_or_default()),
        })
    }

    /// How long each took from its acceptance to its end, by the clocks of the hub's processes.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub(crate) async fn times(&self) -> Result<Times, Failure> {
        let found: Vec<Document> = self
            .jobs()
            .find(self.filter())
            .projection(doc! { "created_at": 1, "finished_at": 1 })
            .await?
            .try_collect()
            .await?;
        let took = found.iter().filter_map(|job| {
            let finished = job.get_datetime("finished_at").ok()?.timestamp_millis();
            let created = job.get_datetime("created_at").ok()?.timestamp_millis();
            Some(Duration::from_millis(
                u64::try_from(finished - created).unwrap_or_default(),
            ))
        });
        Ok(took.collect())
    }

    /// Removes them, wherever they are. One that the dispatcher already had in hand is forgotten by it, as soon as it
    /// finds no document.
    ///
    /// # Errors
    /// When MongoDB or Redis does not answer.
    pub(crate) async fn remove(&self) -> Result<(), Failure> {
        let fields = doc! { "app": 1, "user_id": 1, "created_at": 1, "finished_at": 1 };
        let found: Vec<Document> = self
            .jobs()
            .find(self.filter())
            .projection(fields)
            .await?
            .try_collect()
            .await?;
        self.jobs().delete_many(self.filter()).await?;
        let places = found
            .iter()
            .filter(|job| job.get_datetime("finished_at").is_err())
            .filter_map(place);
        futures::stream::iter(places)
            .map(Ok::<_, Failure>)
            .try_for_each_concurrent(AT_A_TIME, async |entry| Ok(self.tier.lanes.done(&entry).await?))
            .await
    }

    /// What selects them in MongoDB.
    pub(crate) fn filter(&self) -> Document {
        doc! { "user_id": { "$in": self.users }, "_id": { "$gte": self.since } }
    }

    fn jobs(&self) -> Collection<Document> {
        self.tier.database.collection("jobs")
    }
}

/// The body of a call that changes nothing and is answered at once.
pub(crate) fn noop(user: &str, index: usize) -> Bytes {
    let job = json!({"user_id": user, "method": "flickr.test.echo", "params": {"n": index.to_string()}});
    job.to_string().into()
}

/// The place of a stored job in the lanes.
fn place(job: &Document) -> Option<LaneEntry> {
    let id = job.get("_id").and_then(|id| match id {
        mongodb::bson::Bson::Binary(binary) => binary.to_uuid().ok(),
        _ => None,
    })?;
    let created_at = job.get_datetime("created_at").ok()?.timestamp_millis();
    Some(LaneEntry {
        queue: Queue::Rest,
        app: job.get_str("app").ok()?.to_owned(),
        user_id: job.get_str("user_id").ok()?.to_owned(),
        job_id: JobId::from(uuid::Uuid::from_bytes(id.bytes())),
        priority: Priority::Normal,
        weight: 1,
        created_at: Timestamp::from_millisecond(created_at).ok()?,
    })
}

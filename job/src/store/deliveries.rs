//! The delivery log: what became of each try to deliver a callback.
//!
//! It is for people who look for a fault between the hub and a receiver, and promises less than the state of the callback
//! in the job's document, by which alone it is decided whether there is another try:
//!
//! | the process dies | the log |
//! | --- | --- |
//! | before the try | has no entry; the try is made when its lease ends, under the next number if it was counted |
//! | after the try, before its outcome is stored | has no entry of that try; the next entry has a higher number, and the gap tells |
//! | after the outcome is stored, before the entry | has no entry of that try, which may be the last one |
//! | after the entry | is complete |
//!
//! An entry is written with the acknowledgement of one member and a limit of [`APPEND_TIMEOUT`]; one that cannot be written
//! is lost, and so may be one that only a failed primary had. Neither holds up a delivery.
//!
//! Entries are deleted with the jobs' retention time. A callback has at most [`MOST_TRIES`](crate::callback::MOST_TRIES) of
//! them, and as many again each time its client asks for it to be retried. An entry holds nothing of what was sent or
//! answered except the status, and of the address what [`shown`](super::shown) leaves of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use mongodb::options::{CollectionOptions, WriteConcern};
use mongodb::{Collection, Database};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::collections::CollectionName;
use super::error::within;
use super::{StoreError, id, index};
use crate::callback::TryOutcome;
use crate::model::JobId;

/// The longest that the writing of an entry may take.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);

/// The identity of an entry: a UUID version 7, so ids sort by the time of the try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(Uuid);

impl DeliveryId {
    /// A new id for a try that is made now.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "two calls give two ids; a default would hide that"
    )]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    fn to_bson(self) -> bson::Uuid {
        bson::Uuid::from_bytes(self.0.into_bytes())
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for DeliveryId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl Serialize for DeliveryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_bson().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DeliveryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = bson::Uuid::deserialize(deserializer)?;
        Ok(Self(Uuid::from_bytes(id.bytes())))
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Identity.
    #[serde(rename = "_id")]
    pub id: DeliveryId,
    /// The client that was told.
    pub client_id: String,
    /// The job that it was told of.
    #[serde(with = "crate::store::id")]
    pub job_id: JobId,
    /// Where: see [`shown`](super::shown); empty where the callback had no address that can be read.
    pub url: String,
    /// The number of the try, from 1; after a retry that the client asked for it begins at 1 again.
    pub attempt: u32,
    /// When it was made.
    #[serde(with = "crate::store::time")]
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// What it came to.
    pub outcome: TryOutcome,
    /// The status of the answer, from 100 to 999, if there was one.
    pub status: Option<u16>,
    /// The next try is not before this time; `None`: there is none.
    #[serde(with = "crate::store::time::option")]
    pub next_at: Option<Timestamp>,
}

/// Which entries to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only those of this client.
    pub client_id: String,
    /// Only those of this job.
    pub job_id: Option<JobId>,
    /// Only tries that came to this.
    pub outcome: Option<TryOutcome>,
    /// Only entries before this one: the last one of the page before.
    pub before: Option<DeliveryId>,
    /// At most so many, at least one.
    pub limit: u32,
}

/// A page of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryList {
    /// Newest first.
    pub deliveries: Vec<Delivery>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// The delivery log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeliveryStore {
    deliveries: Collection<Delivery>,
    retention: SignedDuration,
}

impl DeliveryStore {
    /// Opens the log and creates the indexes that are missing. An entry is deleted `retention_days` days after its try.
    ///
    /// # Errors
    /// When MongoDB cannot be reached or refuses an index.
    pub async fn open(database: &Database, retention_days: u32) -> Result<Self, StoreError> {
        let options = CollectionOptions::builder()
            .write_concern(WriteConcern::nodes(1))
            .build();
        let deliveries = CollectionName::CallbackDeliveries.with_options(database, options);
        within(deliveries.create_indexes(index::callback_deliveries())).await?;
        Ok(Self {
            deliveries,
            retention: SignedDuration::from_hours(24)
                .saturating_mul(i32::try_from(retention_days).unwrap_or(i32::MAX)),
        })
    }

    /// Adds an entry. What the caller does must not depend on it.
    ///
    /// # Errors
    /// When MongoDB does not take it within [`APPEND_TIMEOUT`].
    pub async fn append(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let mut document = bson::serialize_to_document(delivery)
            .map_err(|error| StoreError::Unstorable(error.to_string()))?;
        let purge_at = delivery
            .at
            .saturating_add(self.retention)
            .unwrap_or(Timestamp::MAX);
        document.insert("purge_at", super::time::to_bson(purge_at));
        let deliveries = self.deliveries.clone_with_type::<Document>();
        let insert = within(deliveries.insert_one(document));
        let inserted = tokio::time::timeout(APPEND_TIMEOUT, insert).await;
        inserted.unwrap_or(Err(StoreError::Timeout)).map(drop)
    }

    /// The entries of a client, newest first.
    pub async fn list(&self, filter: &DeliveryFilter) -> Result<DeliveryList, StoreError> {
        let limit = usize::try_from(filter.limit.max(1)).unwrap_or(usize::MAX);
        let find = self
            .deliveries
            .find(filter.document())
            .sort(doc! { "_id": -1 })
            // One more than the page holds tells whether there is another page.
            .limit(i64::from(filter.limit.max(1)) + 1);
        let found = within(find).await?;
        let mut deliveries: Vec<Delivery> = within(found.try_collect()).await?;
        let more = deliveries.len() > limit;
        deliveries.truncate(limit);
        Ok(DeliveryList { deliveries, more })
    }
}

impl DeliveryFilter {
    fn document(&self) -> Document {
        let mut document = doc! { "client_id": &self.client_id };
        if let Some(job_id) = self.job_id {
            document.insert("job_id", id::to_bson(job_id));
        }
        if let Some(outcome) = self.outcome {
            document.insert("outcome", outcome.name());
        }
        if let Some(before) = self.before {
            document.insert("_id", doc! { "$lt": Bson::from(before.to_bson()) });
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_is_read_back(
            attempt: u32, duration_ms: u32, status in prop::option::of(100..1_000_u16),
            outcome in prop::sample::select(TryOutcome::ALL.to_vec()),
            at in 0..4_102_444_800_000_i64, next_at in prop::option::of(0..4_102_444_800_000_i64),
        ) {
            let time = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
            let delivery = Delivery {
                id: DeliveryId::new(),
                client_id: "acme".to_owned(),
                job_id: JobId::new(),
                url: "https://acme.example/hook".to_owned(),
                attempt,
                at: time(at),
                duration_ms,
                outcome,
                status,
                next_at: next_at.map(time),
            };
            let bytes = bson::serialize_to_vec(&delivery).unwrap_or_default();
            prop_assert_eq!(bson::deserialize_from_slice::<Delivery>(&bytes).ok(), Some(delivery));
        }
    }

    #[test]
    fn the_document_has_the_types_that_filters_and_indexes_compare() {
        let (before, job_id) = (DeliveryId::new(), JobId::new());
        let filter = DeliveryFilter {
            client_id: "acme".to_owned(),
            job_id: Some(job_id),
            outcome: Some(TryOutcome::RefusedAddress),
            before: Some(before),
            limit: 1,
        };
        let expected = doc! {
            "client_id": "acme",
            "job_id": id::to_bson(job_id),
            "outcome": "refused_address",
            "_id": { "$lt": before.to_bson() },
        };
        assert_eq!(filter.document(), expected);
    }
}

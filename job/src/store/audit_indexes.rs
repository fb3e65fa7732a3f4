//! The indexes of the audit log, one of which lets its entries expire.
//!
//! Whoever may create an index can have MongoDB delete what is in a collection, by one that expires at once. So the processes
//! of a hub may not, and the operator keeps the indexes of the log as they should be: it creates those that are missing, and
//! drops one that lets entries expire at another time. Elsewhere, as in a test, whoever opens the log creates them.
//!
//! If the process dies between a drop and a creation, the next look finds the index missing.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{Acknowledgment, CommitQuorum, IndexOptions, WriteConcern};
use mongodb::{Collection, Database, IndexModel};

use super::audit::AUDIT_RETENTION;
use super::collections::CollectionName;
use super::index;

/// As many as a collection can have ("MongoDB Limits and Thresholds").
const MOST_INDEXES: i32 = 64;
/// How long a change waits for the majority before it answers that it does not know.
const MAJORITY_TIMEOUT: Duration = Duration::from_secs(4);
/// `NamespaceNotFound`: there is no such collection.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// How the indexes of the audit log differ from what they should be.
#[derive(Clone, Debug, Default)]
pub struct AuditIndexes {
    /// Those that let entries expire when they should not, or have the name of another one.
    foreign: Vec<String>,
    missing: Vec<IndexModel>,
}

impl AuditIndexes {
    /// Looks at them. Where there is no log yet, all are missing.
    ///
    /// # Errors
    /// When MongoDB fails.
    pub async fn read(database: &Database) -> Result<Self, Error> {
        let command = doc! {
            "listIndexes": CollectionName::Audit.name(),
            "cursor": { "batchSize": MOST_INDEXES },
        };
        match database.run_command(command).await {
            Ok(answer) => Ok(Self::of(&listed(&answer))),
            Err(error) if is_absent(&error) => Ok(Self::of(&[])),
            Err(error) => Err(error),
        }
    }

    fn of(found: &[&Document]) -> Self {
        let wanted = index::audit(AUDIT_RETENTION.unsigned_abs());
        let is_found = |model: &IndexModel| found.iter().any(|index| is(index, model));
        let is_foreign = |index: &&&Document| {
            let is_wanted = wanted.iter().any(|model| is(index, model));
            let has_a_name = wanted
                .iter()
                .any(|model| name(model) == index.get_str("name").ok());
            !is_wanted && (has_a_name || lifetime(index).is_some())
        };
        Self {
            foreign: found
                .iter()
                .filter(is_foreign)
                .filter_map(|index| index.get_str("name").ok().map(str::to_owned))
                .collect(),
            missing: wanted.iter().filter(|model| !is_found(model)).cloned().collect(),
        }
    }

    /// Whether nothing is to be done.
    pub const fn are_as_wanted(&self) -> bool {
        self.foreign.is_empty() && self.missing.is_empty()
    }

    /// Creates those that are missing. A majority of the members has to have built them, not all, so that one that is away
    /// does not hold it up.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn create(&self, database: &Database) -> Result<(), Error> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let log: Collection<Document> = CollectionName::Audit.of(database);
        let create = log
            .create_indexes(self.missing.clone())
            .commit_quorum(CommitQuorum::Majority)
            .write_concern(majority());
        create.await.map(drop)
    }

    /// Drops those that are foreign, then creates those that are missing.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn correct(&self, database: &Database) -> Result<(), Error> {
        let log: Collection<Document> = CollectionName::Audit.of(database);
        for foreign in &self.foreign {
            log.drop_index(foreign).write_concern(majority()).await?;
        }
        self.create(database).await
    }
}

fn majority() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .w_timeout(MAJORITY_TIMEOUT)
        .build()
}

fn is_absent(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(refusal) if refusal.code == NAMESPACE_NOT_FOUND)
}

fn listed(answer: &Document) -> Vec<&Document> {
    let batch = answer
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let batch = batch.map(Vec::as_slice).unwrap_or_default();
    batch.iter().filter_map(Bson::as_document).collect()
}

/// Whether an index that was found is this one: by its name, its fields, and when documents expire by it. The rest of what
/// it says MongoDB writes in its own way.
fn is(found: &Document, model: &IndexModel) -> bool {
    let options = model.options.as_ref();
    let expires = options.and_then(|options: &IndexOptions| options.expire_after);
    let expires = expires.map(|after| i64::try_from(after.as_secs()).unwrap_or(i64::MAX));
    let has_fields = found
        .get_document("key")
        .is_ok_and(|key| key.keys().eq(model.keys.keys()));
    found.get_str("name").ok() == name(model) && has_fields && lifetime(found) == expires
}

fn name(model: &IndexModel) -> Option<&str> {
    model.options.as_ref()?.name.as_deref()
}

/// After how many seconds documents expire by an index; `None` if they do not. What is no whole number is none of ours.
fn lifetime(index: &Document) -> Option<i64> {
    Some(match index.get("expireAfterSeconds")? {
        Bson::Int32(seconds) => i64::from(*seconds),
        Bson::Int64(seconds) => *seconds,
        Bson::Double(seconds) => seconds.to_string().parse().unwrap_or(-1),
        _ => -1,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What MongoDB lists when all is as it should be.
    fn as_wanted() -> Vec<Document> {
        let own = index::audit(AUDIT_RETENTION.unsigned_abs());
        let mut found = vec![doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }];
        found.extend(own.into_iter().map(|model| {
            let mut index = doc! { "v": 2, "key": model.keys.clone(), "name": name(&model) };
            let after = model.options.and_then(|options| options.expire_after);
            if let Some(after) = after {
                index.insert(
                    "expireAfterSeconds",
                    i64::try_from(after.as_secs()).unwrap_or_default(),
                );
            }
            index
        }));
        found
    }

    fn of(found: &[Document]) -> AuditIndexes {
        AuditIndexes::of(&found.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_log_that_does_not_exist_lacks_every_index() {
        let all = index::audit(AUDIT_RETENTION.unsigned_abs());
        let none = of(&[]);
        assert_eq!(none.missing.len(), all.len());
        assert!(none.foreign.is_empty());
    }

    #[test]
    fn an_index_by_which_entries_expire_otherwise_is_foreign() {
        let expiring = |name: &str, key: Document, after: Bson| {
            let mut found = as_wanted();
            found.retain(|index| index.get_str("name").ok() != Some(name));
            found.push(doc! { "v": 2, "key": key, "name": name, "expireAfterSeconds": after });
            of(&found)
        };
        let year = Bson::Int32(365 * 24 * 3600);
        assert!(expiring("purge", doc! { "at": 1 }, year.clone()).are_as_wanted());
        let whole = Bson::Double(365.0 * 24.0 * 3600.0);
        assert!(expiring("purge", doc! { "at": 1 }, whole).are_as_wanted());
        for after in [Bson::Int32(0), Bson::Int64(1), Bson::Double(f64::NAN), Bson::Null] {
            let changed = expiring("purge", doc! { "at": 1 }, after.clone());
            assert_eq!((changed.foreign.len(), changed.missing.len()), (1, 1), "{after}");
            let another = expiring("another", doc! { "at": -1 }, after);
            assert_eq!(
                (another.foreign.as_slice(), another.missing.len()),
                (&["another".to_owned()][..], 0)
            );
        }
        let elsewhere = expiring("purge", doc! { "other": 1 }, year);
        assert_eq!((elsewhere.foreign.len(), elsewhere.missing.len()), (1, 1));
    }

    #[test]
    fn an_index_of_somebody_that_deletes_nothing_stays() {
        let mut found = as_wanted();
        found.push(doc! { "v": 2, "key": { "address": 1 }, "name": "address_1" });
        assert!(of(&found).are_as_wanted());
    }

    proptest! {
        #[test]
        fn after_a_correction_all_is_as_wanted(
            kept in prop::collection::vec(any::<bool>(), 5),
            lives in prop::collection::vec(prop::option::of(0..40_000_000_i32), 5),
            others in prop::collection::vec(prop::option::of(0..10_i32), 0..4),
        ) {
            let mut found: Vec<Document> = as_wanted()
                .into_iter()
                .zip(kept.iter().zip(&lives))
                .filter(|(index, (kept, _))| **kept || index.get_str("name").ok() == Some("_id_"))
                .map(|(mut index, (_, life))| {
                    if let Some(life) = life.filter(|_| index.get_str("name").ok() != Some("_id_")) {
                        index.insert("expireAfterSeconds", life);
                    }
                    index
                })
                .collect();
            for (number, life) in others.iter().enumerate() {
                let mut other = doc! { "v": 2, "key": { "x": 1 }, "name": format!("x_{number}") };
                if let Some(life) = life {
                    other.insert("expireAfterSeconds", *life);
                }
                found.push(other);
            }
            let difference = of(&found);
            found.retain(|index| {
                !difference.foreign.iter().any(|foreign| index.get_str("name").ok() == Some(foreign.as_str()))
            });
            let wanted = as_wanted();
            found.extend(difference.missing.iter().filter_map(|model| {
                wanted.iter().find(|index| index.get_str("name").ok() == name(model)).cloned()
            }));
            prop_assert!(of(&found).are_as_wanted());
            let expiring: Vec<_> = found.iter().filter_map(lifetime).collect();
            prop_assert_eq!(expiring, [365 * 24 * 3600]);
        }
    }
}

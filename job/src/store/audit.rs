//! The audit log ([`crate::audit`]) in MongoDB: entries are added, never changed, and deleted by their age alone. The user of
//! the processes of a hub has no right to anything else ([`super::CollectionAccess::AppendOnly`]).
//!
//! The id of an entry is made of its time, its chain and its number, so ids sort by time, and an entry that is written again
//! after a lost answer is there once.

use bson::{Bson, DateTime, Document, doc};
use futures::{Stream, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use mongodb::error::ErrorKind;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::collections::CollectionName;
use super::error::{in_time, within};
use super::time::to_bson;
use super::{AuditIndexes, StoreError};
use crate::audit::{AuditEntry, AuditEvent, ChainCheck, ChainFault, FaultKind, Head, SealedEntry};

/// How long entries are kept.
pub const AUDIT_RETENTION: SignedDuration = SignedDuration::from_hours(365 * 24);
/// `DuplicateKey`.
const DUPLICATE_KEY: i32 = 11000;
/// `Unauthorized`.
const UNAUTHORIZED: i32 = 13;
/// Chains that wrote in this time are noted by others.
const ALIVE: SignedDuration = SignedDuration::from_hours(48);
/// The most heads that are noted at a time.
const MOST_HEADS: i32 = 200;

/// The id of an entry: where it is among all, by time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuditId(String);

impl AuditId {
    /// The id of this entry.
    pub fn of(sealed: &SealedEntry) -> Self {
        Self(format!(
            "{:014}:{}:{:012}",
            sealed.entry.at.as_millisecond().max(0),
            sealed.chain,
            sealed.seq
        ))
    }
}

impl std::fmt::Display for AuditId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no id of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no id of an entry of the audit log")]
pub struct InvalidAuditId;

impl std::str::FromStr for AuditId {
    type Err = InvalidAuditId;

    fn from_str(text: &str) -> Result<Self, InvalidAuditId> {
        let mut parts = text.splitn(3, ':');
        let digits = |part: Option<&str>, least| {
            part.is_some_and(|part| {
                part.len() >= least && part.len() < 21 && part.bytes().all(|b| b.is_ascii_digit())
            })
        };
        let fits = digits(parts.next(), 14)
            && parts.next().is_some_and(|chain| Uuid::parse_str(chain).is_ok())
            && digits(parts.next(), 12);
        fits.then(|| Self(text.to_owned())).ok_or(InvalidAuditId)
    }
}

/// As it is stored: times and numbers are those of BSON, so that the TTL index and queries take them.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "_id")]
    id: AuditId,
    chain: String,
    seq: i64,
    previous: String,
    hash: String,
    #[serde(with = "crate::store::time")]
    at: Timestamp,
    event: AuditEvent,
    client_id: Option<String>,
    key_id: Option<String>,
    address: Option<String>,
    method: Option<String>,
    route: Option<String>,
    status: Option<i32>,
    code: Option<String>,
    trace_id: Option<String>,
    note: Option<String>,
}

impl From<SealedEntry> for Stored {
    fn from(sealed: SealedEntry) -> Self {
        let id = AuditId::of(&sealed);
        let AuditEntry {
            at,
            event,
            client_id,
            key_id,
            address,
            method,
            route,
            status,
            code,
            trace_id,
            note,
        } = sealed.entry;
        Self {
            id,
            chain: sealed.chain.to_string(),
            seq: i64::try_from(sealed.seq).unwrap_or(i64::MAX),
            previous: sealed.previous,
            hash: sealed.hash,
            at,
            event,
            client_id,
            key_id,
            address,
            method,
            route,
            status: status.map(i32::from),
            code,
            trace_id,
            note,
        }
    }
}

/// What somebody else wrote into the collection can have numbers that no entry has; they are not what was hashed, and show.
impl From<Stored> for SealedEntry {
    fn from(stored: Stored) -> Self {
        Self {
            chain: Uuid::parse_str(&stored.chain).unwrap_or_default(),
            seq: u64::try_from(stored.seq).unwrap_or(u64::MAX),
            previous: stored.previous,
            entry: AuditEntry {
                at: stored.at,
                event: stored.event,
                client_id: stored.client_id,
                key_id: stored.key_id,
                address: stored.address,
                method: stored.method,
                route: stored.route,
                status: stored.status.and_then(|status| u16::try_from(status).ok()),
                code: stored.code,
                trace_id: stored.trace_id,
                note: stored.note,
            },
            hash: stored.hash,
        }
    }
}

/// Which entries to list; newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this client only; `None`: of every client, and those of none.
    pub client_id: Option<String>,
    /// Of this key only.
    pub key_id: Option<String>,
    /// Of this kind only.
    pub event: Option<AuditEvent>,
    /// From this time on.
    pub after: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
    /// Older than this entry: the last one of the page before.
    pub cursor: Option<AuditId>,
}

impl AuditFilter {
    fn document(&self) -> Document {
        let mut document = Document::new();
        let texts = [("client_id", &self.client_id), ("key_id", &self.key_id)];
        for (field, text) in texts {
            if let Some(text) = text {
                document.insert(field, text);
            }
        }
        if let Some(event) = self.event {
            document.insert("event", event.name());
        }
        let mut at = Document::new();
        for (operator, time) in [("$gte", self.after), ("$lt", self.before)] {
            if let Some(time) = time {
                at.insert(operator, to_bson(time));
            }
        }
        if !at.is_empty() {
            document.insert("at", at);
        }
        if let Some(cursor) = &self.cursor {
            document.insert("_id", doc! { "$lt": &cursor.0 });
        }
        document
    }
}

/// A page of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditList {
    /// Newest first.
    pub entries: Vec<SealedEntry>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// What the verifier found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Chains that were read.
    pub chains: u64,
    /// Entries that were read.
    pub entries: u64,
    /// What is wrong; nothing where the log is whole.
    pub faults: Vec<ChainFault>,
}

/// The audit log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditStore {
    entries: Collection<Stored>,
}

impl AuditStore {
    /// Opens the log and creates the indexes that are missing, where that is allowed. In a hub it is not, and the operator
    /// does it ([`AuditIndexes`]).
    ///
    /// # Errors
    /// When MongoDB cannot be reached or refuses an index for another reason.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let indexes = within(AuditIndexes::read(database)).await?;
        match within(indexes.create(database)).await {
            Err(StoreError::Refused(error)) if is_unauthorized(&error.kind) => {
                tracing::warn!("indexes of the audit log are missing; the operator is to create them");
            }
            outcome => outcome?,
        }
        Ok(Self {
            entries: CollectionName::Audit.of(database),
        })
    }

    /// Adds entries. The same call may be repeated: what is there already stays.
    ///
    /// # Errors
    /// When MongoDB does not take all of them; some may be there.
    pub async fn append(&self, entries: &[SealedEntry]) -> Result<(), StoreError> {
        let documents: Vec<Stored> = entries.iter().cloned().map(Stored::from).collect();
        match in_time(self.entries.insert_many(&documents).ordered(false)).await? {
            Ok(_) => Ok(()),
            Err(error) if are_there(&error.kind) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Entries, newest first, at most `limit`, at least one.
    ///
    /// # Errors
    /// When MongoDB fails.
    pub async fn list(&self, filter: &AuditFilter, limit: u32) -> Result<AuditList, StoreError> {
        let limit = limit.max(1);
        // One more than the page holds tells whether there is another page.
        let find = self
            .entries
            .find(filter.document())
            .sort(doc! { "_id": -1 })
            .limit(i64::from(limit) + 1);
        let mut found: Vec<Stored> = within(within(find).await?.try_collect()).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > most;
        found.truncate(most);
        let entries = found.into_iter().map(SealedEntry::from).collect();
        Ok(AuditList { entries, more })
    }

    /// All entries, newest first, as they are read.
    ///
    /// # Errors
    /// When MongoDB fails.
    pub async fn export(
        &self,
        filter: &AuditFilter,
    ) -> Result<impl Stream<Item = Result<SealedEntry, StoreError>> + Send + use<>, StoreError> {
        let found = within(self.entries.find(filter.document()).sort(doc! { "_id": -1 })).await?;
        Ok(found.map(|entry| entry.map(SealedEntry::from).map_err(StoreError::from)))
    }

    /// Where the chains stand that wrote lately.
    ///
    /// # Errors
    /// When MongoDB fails.
    pub async fn heads(&self, now: Timestamp) -> Result<Vec<Head>, StoreError> {
        let since: DateTime = to_bson(now.saturating_sub(ALIVE).unwrap_or(Timestamp::MIN));
        let pipeline = [
            doc! { "$match": { "at": { "$gte": since } } },
            doc! { "$sort": { "chain": 1, "seq": -1 } },
            doc! { "$group": { "_id": "$chain", "last": { "$first": "$$ROOT" } } },
            doc! { "$replaceRoot": { "newRoot": "$last" } },
            doc! { "$sort": { "at": -1 } },
            doc! { "$limit": MOST_HEADS },
        ];
        let aggregate = self.entries.aggregate(pipeline).with_type::<Stored>();
        let found: Vec<Stored> = within(within(aggregate).await?.try_collect()).await?;
        Ok(found
            .into_iter()
            .map(|stored| SealedEntry::from(stored).head())
            .collect())
    }

    /// Reads the whole log and says what is wrong with it.
    ///
    /// # Errors
    /// When MongoDB fails, or holds something that is no entry.
    pub async fn verify(&self, now: Timestamp) -> Result<AuditReport, StoreError> {
        let mut report = AuditReport::default();
        let mut noted = Vec::new();
        for chain in within(self.entries.distinct("chain", doc! {})).await? {
            let name = chain.as_str().unwrap_or_default();
            let id = Uuid::parse_str(name).unwrap_or_default();
            let mut check = ChainCheck::new(id, AUDIT_RETENTION, now);
            let find = self.entries.find(doc! { "chain": chain }).sort(doc! { "seq": 1 });
            let mut found = within(find).await?;
            while let Some(stored) = within(found.try_next()).await? {
                check.read(&SealedEntry::from(stored));
            }
            report.chains += 1;
            report.entries += check.entries;
            report.faults.append(&mut check.faults);
            let heads = std::mem::take(&mut check.noted);
            noted.extend(heads.into_iter().filter(|head| check.is_kept(head)));
        }
        for head in noted {
            if !self.has(&head).await? {
                report.faults.push(ChainFault {
                    chain: head.chain,
                    seq: head.seq,
                    kind: FaultKind::NotAsNoted,
                });
            }
        }
        Ok(report)
    }

    async fn has(&self, head: &Head) -> Result<bool, StoreError> {
        let filter = doc! {
            "chain": head.chain.to_string(),
            "seq": Bson::Int64(i64::try_from(head.seq).unwrap_or(i64::MAX)),
            "hash": &head.hash,
        };
        Ok(within(self.entries.find_one(filter)).await?.is_some())
    }
}

fn is_unauthorized(error: &ErrorKind) -> bool {
    matches!(error, ErrorKind::Command(refusal) if refusal.code == UNAUTHORIZED)
}

/// Whether an insertion failed only because the entries are there.
fn are_there(error: &ErrorKind) -> bool {
    let ErrorKind::InsertMany(fault) = error else {
        return false;
    };
    let failures = fault.write_errors.as_deref().unwrap_or_default();
    fault.write_concern_error.is_none()
        && !failures.is_empty()
        && failures.iter().all(|failure| failure.code == DUPLICATE_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Chain;

    fn sealed() -> SealedEntry {
        let entry = AuditEntry {
            client_id: Some("acme".to_owned()),
            key_id: Some("k1".to_owned()),
            address: Some("192.0.2.1".to_owned()),
            method: Some("POST".to_owned()),
            route: Some("/api/v1/jobs".to_owned()),
            status: Some(202),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            ..AuditEntry::of_log(
                AuditEvent::ApiCall,
                Timestamp::constant(1_800_000_000, 123_000_000),
                None,
            )
        };
        Chain::new().seal(entry)
    }

    #[test]
    fn an_entry_is_read_back_as_it_was_hashed() {
        let sealed = sealed();
        let bytes = bson::serialize_to_vec(&Stored::from(sealed.clone())).unwrap_or_default();
        let read: Option<Stored> = bson::deserialize_from_slice(&bytes).ok();
        let read = read.map(SealedEntry::from);
        assert_eq!(read.as_ref(), Some(&sealed));
        assert_eq!(read.as_ref().map(SealedEntry::digest), Some(sealed.hash));
    }

    #[test]
    fn ids_sort_by_time_and_are_read_back() {
        let mut later = sealed();
        let id = AuditId::of(&later);
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        later.entry.at = Timestamp::constant(1_800_000_001, 0);
        assert!(AuditId::of(&later) > id);
        for text in ["", "1:2:3", "00000000000000:x:000000000000", &format!("{id}x")] {
            assert_eq!(text.parse::<AuditId>(), Err(InvalidAuditId), "{text}");
        }
    }

    #[test]
    fn a_filter_names_what_it_filters_by() {
        assert_eq!(AuditFilter::default().document(), Document::new());
        let time = Timestamp::UNIX_EPOCH;
        let filter = AuditFilter {
            client_id: Some("acme".to_owned()),
            event: Some(AuditEvent::AdminAction),
            after: Some(time),
            cursor: Some(AuditId("x".to_owned())),
            ..AuditFilter::default()
        };
        let expected = doc! {
            "client_id": "acme",
            "event": "admin_action",
            "at": { "$gte": to_bson(time) },
            "_id": { "$lt": "x" },
        };
        assert_eq!(filter.document(), expected);
    }
}

//! Guarded updates of single jobs in groups: one `update` command of many statements, each with its own guard.
//!
//! The answer of the command has one number for all: how many statements matched. If that is not all of them, or the
//! answer of an earlier command was lost, it takes more to tell whose guard held, and nothing but the job itself can. So
//! each statement leaves a mark: it sets `holder` to a [`Holder`] that nobody else is. Only a job that carries the mark was
//! moved by it, whoever else wanted to move the job; and a statement that is sent twice matches once, because it leaves
//! the state that its guard asks for.
//!
//! [`marked_as`] looks for the marks. It is a read, and sees what the majority has: right after a failover that may be
//! less than was acknowledged. A mark that is seen is there to stay, because every command waits for the majority, also one
//! that matches nothing (the server then waits for the latest entry of its oplog). A mark that is not seen proves nothing:
//! who misses one asks by a write.

use std::collections::{HashMap, HashSet};

use bson::raw::cstr;
use bson::{Document, RawArrayBuf, RawDocumentBuf, doc};
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::error::{Error, ErrorKind, WriteConcernError, WriteFailure};
use serde::Deserialize;

use super::error::within;
use super::group_commit::Limits;
use super::holder::Holder;
use super::insertion::write_error;
use super::transition::Transition;
use super::{StoreError, id};
use crate::model::{Job, JobId, JobState};

/// All statements of a command have to fit into one document of 16 MiB.
pub(super) const LIMITS: Limits = Limits {
    commits: 1,
    operations: 200,
    bytes: 12 * 1024 * 1024,
    held_bytes: 64 * 1024 * 1024,
};

/// A guarded update of one job that leaves a mark.
pub(super) struct Statement {
    pub(super) job: JobId,
    /// The mark.
    pub(super) by: Holder,
    raw: RawDocumentBuf,
}

impl Statement {
    /// # Errors
    /// [`StoreError::Unstorable`] when a text cannot be written as BSON.
    pub(super) fn new(job: JobId, by: Holder, transition: &Transition) -> Result<Self, StoreError> {
        let statement = doc! { "q": transition.filter.clone(), "u": transition.marked(by).update() };
        let raw = RawDocumentBuf::try_from(&statement)
            .map_err(|error| StoreError::Unstorable(error.to_string()))?;
        Ok(Self { job, by, raw })
    }

    pub(super) fn bytes(&self) -> usize {
        self.raw.as_bytes().len()
    }
}

/// What the server says of a command.
#[derive(Debug)]
pub(super) struct Sent {
    /// Statements whose guard held.
    matched: usize,
    /// Statements that cannot be carried out at all, by their place.
    refused: HashMap<usize, StoreError>,
}

impl Sent {
    /// Whether all of the `count` statements matched, except those that were refused.
    pub(super) fn all_matched(&self, count: usize) -> bool {
        self.matched.saturating_add(self.refused.len()) >= count
    }

    /// The error of the statement at `place`, if it has one.
    pub(super) fn refusal(&mut self, place: usize) -> Option<StoreError> {
        self.refused.remove(&place)
    }
}

/// Sends the statements and waits until the majority has what they did.
///
/// After a failover they are sent once more: each may be repeated, see above.
///
/// # Errors
/// Those of the command as a whole: any of the statements may have been applied.
pub(super) async fn send<'a>(
    jobs: &Collection<Job>,
    statements: impl Iterator<Item = &'a Statement> + Clone,
) -> Result<Sent, StoreError> {
    let run = async || {
        let database = jobs.client().database(&jobs.namespace().db);
        within(database.run_raw_command(command(jobs, statements.clone())?)).await
    };
    let reply = match run().await {
        // The driver repeats single writes by itself, but not a command that it does not know.
        Err(StoreError::Unavailable(error)) => {
            tracing::debug!(%error, "the statements are sent once more");
            run().await?
        }
        answer => answer?,
    };
    sent(reply)
}

fn command<'a>(
    jobs: &Collection<Job>,
    statements: impl Iterator<Item = &'a Statement>,
) -> Result<RawDocumentBuf, StoreError> {
    let mut updates = RawArrayBuf::new();
    for statement in statements {
        updates.push(statement.raw.as_ref());
    }
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("update"), jobs.name());
    command.append(cstr!("ordered"), false);
    if let Some(concern) = jobs.write_concern() {
        let concern = bson::serialize_to_raw_document_buf(concern)
            .map_err(|error| StoreError::Unstorable(error.to_string()))?;
        command.append(cstr!("writeConcern"), concern);
    }
    command.append(cstr!("updates"), updates);
    Ok(command)
}

/// The parts of a reply that tell something.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    n: i64,
    #[serde(default)]
    write_errors: Vec<Document>,
    write_concern_error: Option<WriteConcernError>,
}

fn sent(reply: Document) -> Result<Sent, StoreError> {
    let reply: Reply =
        bson::deserialize_from_document(reply).map_err(|error| StoreError::Refused(Error::custom(error)))?;
    if let Some(fault) = reply.write_concern_error {
        return Err(Error::from(ErrorKind::Write(WriteFailure::WriteConcernError(fault))).into());
    }
    let mut refused = HashMap::new();
    for described in reply.write_errors {
        let place = described
            .get_i32("index")
            .ok()
            .and_then(|place| usize::try_from(place).ok());
        let error = write_error(described);
        let Some(place) = place else {
            return Err(error);
        };
        refused.insert(place, error);
    }
    Ok(Sent {
        matched: usize::try_from(reply.n).unwrap_or(0),
        refused,
    })
}

/// Of the jobs that carry the mark of one of `statements`, the documents with the `fields` asked for, as they are stored;
/// see the module for what it means that one is missing.
pub(super) async fn marked_as<'a>(
    jobs: &Collection<Job>,
    statements: impl Iterator<Item = &'a Statement> + Clone,
    fields: Document,
) -> Result<HashMap<JobId, RawDocumentBuf>, StoreError> {
    let ids: Vec<_> = distinct(statements.clone().map(|statement| statement.job));
    let marks: Vec<_> = statements.map(|statement| statement.by.to_bson()).collect();
    let marked = doc! { "_id": { "$in": ids }, "holder": { "$in": marks } };
    let documents = jobs.clone_with_type::<RawDocumentBuf>();
    let mut found = within(documents.find(marked).projection(fields)).await?;
    let mut stored = HashMap::new();
    while let Some(document) = within(found.try_next()).await? {
        if let Some(id) = id_of(&document) {
            stored.insert(id, document);
        }
    }
    Ok(stored)
}

fn distinct(ids: impl Iterator<Item = JobId>) -> Vec<bson::Uuid> {
    let ids: HashSet<JobId> = ids.collect();
    ids.into_iter().map(id::to_bson).collect()
}

/// The id of a stored job.
pub(super) fn id_of(document: &RawDocumentBuf) -> Option<JobId> {
    uuid_at(document, "_id").map(JobId::from)
}

/// Whether a stored job carries the mark of `by`.
pub(super) fn is_marked(document: &RawDocumentBuf, by: Holder) -> bool {
    uuid_at(document, "holder").is_some_and(|holder| by.is(holder))
}

/// Whether a stored job is in `state`.
pub(super) fn is_in(document: &RawDocumentBuf, state: JobState) -> bool {
    document.get_str("state").is_ok_and(|name| name == state.name())
}

fn uuid_at(document: &RawDocumentBuf, field: &str) -> Option<uuid::Uuid> {
    let binary = document.get_binary(field).ok()?;
    uuid::Uuid::from_slice(binary.bytes).ok()
}

/// A stored job as this version reads it.
///
/// # Errors
/// [`StoreError::Unreadable`].
pub(super) fn read(document: &RawDocumentBuf) -> Result<Job, StoreError> {
    bson::deserialize_from_slice(document.as_bytes())
        .map_err(|error| StoreError::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_statement_counts_neither_as_matched_nor_against_the_others() {
        let refusal = doc! { "index": 1, "code": 17419, "errmsg": "Resulting document after update is larger than 16777216" };
        let reply = doc! { "ok": 1.0, "n": 2, "nModified": 2, "writeErrors": [refusal] };
        let mut sent = sent(reply).unwrap_or_else(|error| panic!("{error}"));
        assert!(sent.all_matched(3) && !sent.all_matched(4));
        assert!(matches!(sent.refusal(1), Some(StoreError::Unstorable(_))));
        assert!(sent.refusal(0).is_none());
    }

    #[test]
    fn what_the_majority_does_not_have_may_yet_be_lost() {
        let fault = doc! { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out" };
        let reply = doc! { "ok": 1.0, "n": 2, "nModified": 2, "writeConcernError": fault };
        assert!(sent(reply).is_err_and(|error| error.is_transient()));
    }

    #[test]
    fn an_answer_that_says_nothing_is_refused() {
        assert!(matches!(sent(doc! { "ok": 1.0 }), Err(StoreError::Refused(_))));
    }

    #[test]
    fn a_mark_is_known_by_whoever_left_it_alone() {
        let (by, job) = (Holder::new(), JobId::new());
        let stored = doc! { "_id": id::to_bson(job), "holder": by.to_bson() };
        let stored = RawDocumentBuf::try_from(&stored).unwrap_or_default();
        assert_eq!(id_of(&stored), Some(job));
        assert!(is_marked(&stored, by) && !is_marked(&stored, Holder::new()));
        assert!(!is_marked(&RawDocumentBuf::new(), by));
    }
}

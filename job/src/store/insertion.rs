//! New documents in groups: one `insert` command for all that are to be stored at the same time.

use bson::RawDocumentBuf;
use mongodb::Collection;
use mongodb::error::{Error, ErrorKind, WriteError, WriteFailure};

use super::StoreError;
use super::error::in_time;
use super::group_commit::{Executor, Limits, Outcomes};

/// As many as clients submit in one batch; far from the limits of the server (100,000 documents, 48 MB).
pub(super) const LIMITS: Limits = Limits {
    commits: 1,
    operations: 1_000,
    bytes: 12 * 1024 * 1024,
    held_bytes: 64 * 1024 * 1024,
};

/// Inserts documents that have an `_id`.
///
/// Each stands for itself: the server goes on after one that it refuses. That a document of the same id is stored already is
/// success, so an insert may be repeated; the driver repeats the command itself once after a failover.
pub(super) struct Insertion {
    documents: Collection<RawDocumentBuf>,
}

impl Insertion {
    pub(super) const fn new(documents: Collection<RawDocumentBuf>) -> Self {
        Self { documents }
    }
}

impl Executor for Insertion {
    type Operation = RawDocumentBuf;
    type Answer = ();

    fn bytes(document: &RawDocumentBuf) -> usize {
        document.as_bytes().len()
    }

    async fn commit(&self, documents: Vec<RawDocumentBuf>) -> Outcomes<()> {
        match in_time(self.documents.insert_many(&documents).ordered(false)).await? {
            Ok(_) => Ok(documents.iter().map(|_| Ok(())).collect()),
            Err(error) => outcomes(documents.len(), error),
        }
    }
}

/// What became of each of `count` documents.
///
/// Without the majority nobody's document is safe, also of those that are stored: their callers do not know.
fn outcomes(count: usize, error: Error) -> Outcomes<()> {
    let ErrorKind::InsertMany(fault) = &*error.kind else {
        return Err(error.into());
    };
    if fault.write_concern_error.is_some() {
        return Err(error.into());
    }
    let mut outcomes: Vec<_> = (0..count).map(|_| Ok(())).collect();
    for refusal in fault.write_errors.iter().flatten() {
        let Some(outcome) = outcomes.get_mut(refusal.index) else {
            return Err(error.into());
        };
        *outcome = refused(refusal.code, &refusal.message);
    }
    Ok(outcomes)
}

fn refused(code: i32, message: &str) -> Result<(), StoreError> {
    let refusal = bson::doc! { "code": code, "errmsg": message };
    match write_error(refusal) {
        error if error.is_same_id() => Ok(()),
        error => Err(error),
    }
}

/// The error for one document or statement of many, as the server describes it.
pub(super) fn write_error(described: bson::Document) -> StoreError {
    match bson::deserialize_from_document::<WriteError>(described) {
        Ok(refusal) => Error::from(ErrorKind::Write(WriteFailure::WriteError(refusal))).into(),
        Err(error) => StoreError::Refused(Error::custom(error)),
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};
    use mongodb::error::InsertManyError;

    use super::*;

    fn fault(described: Document) -> Error {
        match bson::deserialize_from_document::<InsertManyError>(described) {
            Ok(fault) => ErrorKind::InsertMany(fault).into(),
            Err(error) => panic!("{error}"),
        }
    }

    fn duplicate(position: i32, index: &str) -> Document {
        let message =
            format!("E11000 duplicate key error collection: hub.jobs index: {index} dup key: {{ : 1 }}");
        doc! { "index": position, "code": 11000, "errmsg": message }
    }

    #[test]
    fn a_refused_document_fails_alone_and_one_that_is_stored_already_not_at_all() {
        let too_large = doc! { "index": 3, "code": 10334, "errmsg": "too large" };
        let errors = vec![duplicate(0, "_id_"), duplicate(2, "idempotency"), too_large];
        let outcomes = outcomes(
            5,
            fault(doc! { "writeErrors": errors, "writeConcernError": null }),
        );
        let outcomes = outcomes.unwrap_or_default();
        assert!(
            matches!(
                outcomes.as_slice(),
                [Ok(()), Ok(()), Err(StoreError::Duplicate { index }), Err(StoreError::Unstorable(_)), Ok(())]
                    if index == "idempotency"
            ),
            "{outcomes:?}"
        );
    }

    #[test]
    fn without_the_majority_nobody_knows() {
        let concern = doc! { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out" };
        let fault = fault(doc! { "writeErrors": [duplicate(0, "_id_")], "writeConcernError": concern });
        assert!(outcomes(2, fault).is_err_and(|error| error.is_transient()));
    }

    #[test]
    fn a_broken_connection_is_everybodys() {
        let broken = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(outcomes(2, broken).is_err_and(|error| error.is_transient()));
    }
}

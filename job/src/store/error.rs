//! What can go wrong with MongoDB, sorted by what a caller does about it.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR, WriteFailure};

use super::MAX_RESULT_BYTES;

/// The longest that one operation may take. Longer than the driver waits for a primary and then for the majority, so
/// it fires only when a connection hangs without an error.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(25);

/// The store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No primary, no majority, or the connection broke: try again later. A write may have been applied.
    #[error("MongoDB is not available: {}", .0.kind)]
    Unavailable(Error),
    /// No answer in time: try again later. A write may have been applied.
    #[error("MongoDB did not answer within {} s", OPERATION_TIMEOUT.as_secs())]
    Timeout,
    /// Another document has the same key in a unique index.
    #[error("another document has the same key in the index {index}")]
    Duplicate {
        /// The name of the index; `_id_` is that of the identity.
        index: String,
    },
    /// The result does not fit into the job; the job has to fail.
    #[error("the result has {bytes} bytes; at most {} are stored", MAX_RESULT_BYTES)]
    ResultTooLarge {
        /// Its length as JSON text.
        bytes: usize,
    },
    /// The document does not fit into MongoDB (16 MiB), or a name in it contains a NUL character.
    #[error("the document cannot be stored: {0}")]
    Unstorable(String),
    /// The document in MongoDB has another shape than this version expects.
    #[error("a document in MongoDB cannot be read: {0}")]
    Unreadable(String),
    /// The body store has no such file: it was deleted, or its upload never finished.
    #[error("the body store has no file {0}")]
    NoSuchBody(String),
    /// MongoDB refused; a fault of the installation or of this program.
    #[error("MongoDB refused: {}", .0.kind)]
    Refused(Error),
}

impl StoreError {
    /// Whether the same call may succeed later, so that an API answers 503 and a worker tries again.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout)
    }

    /// Whether the same document, or another one with its identity, is stored already.
    pub(super) fn is_same_id(&self) -> bool {
        matches!(self, Self::Duplicate { index } if index == ID_INDEX)
    }

    pub(super) fn too_large() -> Self {
        Self::Unstorable("it is larger than 16 MiB".to_owned())
    }
}

/// Runs one operation of the driver within [`OPERATION_TIMEOUT`].
pub(super) async fn within<T>(
    operation: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(OPERATION_TIMEOUT, operation.into_future()).await {
        Ok(answer) => answer.map_err(StoreError::from),
        Err(_) => Err(StoreError::Timeout),
    }
}

/// The index of a collection's identity.
const ID_INDEX: &str = "_id_";

/// Error codes of MongoDB that pass by themselves: elections, shutdowns, network trouble between members, time limits.
/// From `src/mongo/base/error_codes.yml` of MongoDB and the driver specification "Retryable Writes".
const TRANSIENT_CODES: [i32; 19] = [
    6,     // HostUnreachable
    7,     // HostNotFound
    50,    // MaxTimeMSExpired
    64,    // WriteConcernFailed
    89,    // NetworkTimeout
    91,    // ShutdownInProgress
    112,   // WriteConflict
    133,   // FailedToSatisfyReadPreference
    134,   // ReadConcernMajorityNotAvailableYet
    189,   // PrimarySteppedDown
    202,   // NetworkInterfaceExceededTimeLimit
    262,   // ExceededTimeLimit
    9001,  // SocketException
    10058, // LegacyNotPrimary
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11602, // InterruptedDueToReplStateChange
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
];
/// `DuplicateKey`.
const DUPLICATE_KEY: i32 = 11000;
/// `BSONObjectTooLarge`, and what updates report when the new document would be too large.
const TOO_LARGE_CODES: [i32; 3] = [10334, 17419, 17420];

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let (code, message) = match &*error.kind {
            ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::Write(WriteFailure::WriteConcernError(_)) => return Self::Unavailable(error),
            ErrorKind::InsertMany(fault) if fault.write_concern_error.is_some() => {
                return Self::Unavailable(error);
            }
            ErrorKind::Bson(fault) => return Self::Unreadable(fault.to_string()),
            ErrorKind::Command(refusal) => (refusal.code, refusal.message.as_str()),
            ErrorKind::Write(WriteFailure::WriteError(refusal)) => (refusal.code, refusal.message.as_str()),
            _ => (0, ""),
        };
        if TRANSIENT_CODES.contains(&code) || error.contains_label(RETRYABLE_WRITE_ERROR) {
            Self::Unavailable(error)
        } else if code == DUPLICATE_KEY {
            Self::Duplicate {
                index: index_of(message).to_owned(),
            }
        } else if TOO_LARGE_CODES.contains(&code) {
            Self::too_large()
        } else {
            Self::Refused(error)
        }
    }
}

/// The name of the index in the message of a duplicate key, which is the only place where the server tells it:
/// `E11000 duplicate key error collection: hub.jobs index: _id_ dup key: { … }`. Empty where the message is another.
fn index_of(message: &str) -> &str {
    message
        .split_once(" index: ")
        .and_then(|(_, rest)| rest.split_ascii_whitespace().next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_transient() {
        let broken = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(StoreError::from(broken).is_transient());
        assert!(StoreError::Timeout.is_transient());
    }

    #[test]
    fn what_would_fail_again_is_not_transient() {
        let duplicate = StoreError::Duplicate {
            index: "key_id".to_owned(),
        };
        assert!(!duplicate.is_transient());
        assert!(!StoreError::ResultTooLarge { bytes: 1 << 30 }.is_transient());
        assert!(!StoreError::from(Error::custom("no such thing")).is_transient());
    }

    #[test]
    fn a_duplicate_names_its_index() {
        let message = |index| {
            format!(
                "E11000 duplicate key error collection: hub.jobs index: {index} dup key: {{ a: \" index: b \" }}"
            )
        };
        assert_eq!(index_of(&message("_id_")), "_id_");
        assert_eq!(index_of(&message("idempotency")), "idempotency");
        assert_eq!(index_of("E11000 duplicate key"), "");
    }
}

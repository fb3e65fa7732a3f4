//! Reading many jobs without being stopped by one.
//!
//! A document that another version of the program wrote, or a person edited, may be no job to this one. Whoever goes
//! through all jobs to recover them leaves it out and goes on: it concerns nobody else.

use bson::{Bson, RawDocumentBuf};
use futures::{Stream, TryStreamExt, future, stream};
use mongodb::Cursor;

use super::StoreError;
use super::error::within;
use crate::model::Job;

/// The jobs of a cursor, each fetch limited in time; what cannot be read is logged and left out.
pub(super) fn readable(cursor: Cursor<RawDocumentBuf>) -> impl Stream<Item = Result<Job, StoreError>> + Send {
    stream::try_unfold(cursor, |mut cursor| async move {
        let document = within(cursor.try_next()).await?;
        Ok(document.map(|document| (document, cursor)))
    })
    .try_filter_map(|document| future::ok(decode(&document)))
}

fn decode(document: &RawDocumentBuf) -> Option<Job> {
    match bson::deserialize_from_slice(document.as_bytes()) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::error!(
                job_id = id_of(document), %error,
                "a job in MongoDB cannot be read; it is left out"
            );
            None
        }
    }
}

/// The id as text, whatever it is.
fn id_of(document: &RawDocumentBuf) -> String {
    match document.get("_id").ok().flatten().map(Bson::try_from) {
        Some(Ok(Bson::Binary(binary))) => binary
            .to_uuid()
            .map_or_else(|_| binary.to_string(), |id| id.to_string()),
        Some(Ok(other)) => other.to_string(),
        Some(Err(_)) | None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;
    use crate::store::fixture::queued_job;

    fn stored(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap_or_default()
    }

    #[test]
    fn a_job_is_read() {
        let job = queued_job();
        let document = bson::serialize_to_document(&job).unwrap_or_default();
        assert_eq!(decode(&stored(&document)), Some(job));
    }

    #[test]
    fn what_is_no_job_is_left_out_and_named() {
        let job = queued_job();
        let mut document = bson::serialize_to_document(&job).unwrap_or_default();
        document.insert("state", "paused");
        assert_eq!(decode(&stored(&document)), None);
        assert_eq!(id_of(&stored(&document)), job.id.to_string());
        assert_eq!(id_of(&stored(&doc! { "_id": 7 })), "7");
        assert_eq!(id_of(&stored(&doc! {})), "unknown");
    }
}

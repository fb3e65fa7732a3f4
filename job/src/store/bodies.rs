//! The photos of uploads, from acceptance until Flickr has them: MongoDB's GridFS, bucket `uploads`.
//!
//! A file is visible once its last piece is stored: the document in `uploads.files` is written last. If the process
//! dies while it writes, the pieces without a file are found and deleted by [`BodyStore::delete_orphans`]; so is a
//! file whose job was never stored, or is deleted.

use std::io;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use bytes::Bytes;
use futures::{AsyncWriteExt, Stream};
use mongodb::Database;
use mongodb::error::{Error, ErrorKind, GridFsErrorKind};
use mongodb::gridfs::{GridFsBucket, GridFsUploadStream};
use mongodb::options::GridFsBucketOptions;

use super::StoreError;
use super::body_stream::{self, Chunk};
use super::collections::CollectionName;
use super::error::within;
use crate::model::Body;

/// The name of the GridFS bucket.
pub(super) const BUCKET: &str = "uploads";
/// The length of a stored piece. Every piece waits for the majority, so few and large ones are faster; one or two are
/// in memory at a time.
const CHUNK_BYTES: u32 = 1024 * 1024;

/// The body store. Cheap to clone.
#[derive(Clone)]
pub struct BodyStore {
    pub(super) database: Database,
    bucket: GridFsBucket,
}

/// A body that is being received. Dropped without [`BodyWriter::finish`], what was written is deleted.
pub struct BodyWriter {
    stream: GridFsUploadStream,
    body: Body,
}

impl BodyStore {
    /// The body store in this database. Nothing is sent yet.
    pub fn new(database: &Database) -> Self {
        let options = GridFsBucketOptions::builder()
            .bucket_name(BUCKET.to_owned())
            .chunk_size_bytes(CHUNK_BYTES)
            .build();
        Self {
            database: database.clone(),
            bucket: database.gridfs_bucket(options),
        }
    }

    /// Begins a body.
    pub async fn create(&self, file_name: &str, content_type: &str) -> Result<BodyWriter, StoreError> {
        let id = ObjectId::new();
        let open = self
            .bucket
            .open_upload_stream(file_name)
            .id(Bson::ObjectId(id))
            .metadata(doc! { "content_type": content_type });
        Ok(BodyWriter {
            stream: within(open).await?,
            body: Body {
                file_id: id.to_hex(),
                length: 0,
                file_name: file_name.to_owned(),
                content_type: content_type.to_owned(),
            },
        })
    }

    /// Reads a body piece by piece, with a few MiB in memory at a time.
    ///
    /// A read that is cut off by an election goes on where it was. The stream ends with an error when the body is not
    /// complete ([`io::ErrorKind::NotFound`]), so that never a part of a photo passes for the whole.
    pub fn open(&self, body: &Body) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<> {
        let chunks = CollectionName::UploadChunks.of::<Chunk>(&self.database);
        body_stream::read(chunks, body)
    }

    /// Whether a body is still there, so that a job which names it can send it.
    pub async fn has(&self, body: &Body) -> Result<bool, StoreError> {
        let Ok(id) = parse_id(&body.file_id) else {
            return Ok(false);
        };
        let files = CollectionName::UploadFiles.of::<Document>(&self.database);
        let found = files.find_one(doc! { "_id": id }).projection(doc! { "_id": 1 });
        Ok(within(found).await?.is_some())
    }

    /// Deletes a body; one that is gone already is no error.
    pub async fn delete(&self, file_id: &str) -> Result<(), StoreError> {
        self.delete_file(parse_id(file_id)?).await
    }

    pub(super) async fn delete_file(&self, id: ObjectId) -> Result<(), StoreError> {
        within(async {
            match self.bucket.delete(Bson::ObjectId(id)).await {
                Err(error) if is_gone(&error) => Ok(()),
                answer => answer,
            }
        })
        .await
    }
}

impl BodyWriter {
    /// Appends a piece of any length.
    ///
    /// # Errors
    /// After an error the body is lost: the client has to send it again.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        within(async { self.stream.write_all(&piece).await.map_err(driver_error) }).await?;
        self.body.length += piece.len() as u64;
        Ok(())
    }

    /// Stores the rest. After this returns the body survives the loss of any one member of the replica set.
    pub async fn finish(mut self) -> Result<Body, StoreError> {
        within(async { self.stream.close().await.map_err(driver_error) }).await?;
        Ok(self.body)
    }

    /// Deletes what was written.
    pub async fn abort(mut self) -> Result<(), StoreError> {
        within(async { self.stream.abort().await }).await
    }
}

pub(super) fn parse_id(file_id: &str) -> Result<ObjectId, StoreError> {
    ObjectId::parse_str(file_id).map_err(|_| StoreError::NoSuchBody(file_id.to_owned()))
}

fn is_gone(error: &Error) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::GridFs(GridFsErrorKind::FileNotFound { .. })
    )
}

/// The driver hides its own errors in [`io::Error`]s.
fn driver_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_error_is_found_in_an_io_error() {
        let hidden = io::Error::other(Error::from(io::Error::from(io::ErrorKind::BrokenPipe)));
        assert!(StoreError::from(driver_error(hidden)).is_transient());
    }

    #[test]
    fn an_id_that_is_none_names_no_body() {
        assert!(matches!(parse_id("../etc"), Err(StoreError::NoSuchBody(id)) if id == "../etc"));
    }
}

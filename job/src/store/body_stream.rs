//! Reading a body: the chunks of GridFS in order.
//!
//! The driver's own download stream fetches up to 16 MiB at once and breaks at an election; this one fetches two
//! chunks and goes on.

use std::future::ready;
use std::io;

use bson::oid::ObjectId;
use bson::{Binary, doc};
use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use mongodb::{Collection, Cursor};
use serde::Deserialize;

use super::StoreError;
use super::bodies::parse_id;
use super::error::within;
use crate::model::Body;

/// Chunks that are fetched at once.
const BATCH: u32 = 2;
/// How often one body may be interrupted.
const MAX_INTERRUPTIONS: u32 = 3;

/// A document of `uploads.chunks` (GridFS specification, "chunks collection").
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    n: u32,
    data: Binary,
}

/// The content of a body.
pub(super) fn read(
    chunks: Collection<Chunk>,
    body: &Body,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<> {
    let reader = parse_id(&body.file_id).map(|id| Reader {
        chunks,
        id,
        cursor: None,
        interruptions: 0,
        progress: Progress {
            length: body.length,
            read: 0,
            next: 0,
        },
    });
    stream::once(ready(reader))
        .map_ok(|reader| {
            stream::try_unfold(reader, |mut reader| async move {
                Ok(reader.next().await?.map(|bytes| (bytes, reader)))
            })
        })
        .try_flatten()
        .map_err(io_error)
}

struct Reader {
    chunks: Collection<Chunk>,
    id: ObjectId,
    cursor: Option<Cursor<Chunk>>,
    interruptions: u32,
    progress: Progress,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.progress.is_complete() {
            return Ok(None);
        }
        loop {
            match self.fetch().await {
                Ok(chunk) => {
                    let bytes = self.progress.accept(chunk);
                    return bytes
                        .map(Some)
                        .ok_or_else(|| StoreError::NoSuchBody(self.id.to_hex()));
                }
                Err(error) if error.is_transient() && self.interruptions < MAX_INTERRUPTIONS => {
                    self.interruptions += 1;
                    self.cursor = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn fetch(&mut self) -> Result<Option<Chunk>, StoreError> {
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            none => {
                let rest = doc! { "files_id": self.id, "n": { "$gte": self.progress.next } };
                let find = self.chunks.find(rest).sort(doc! { "n": 1 }).batch_size(BATCH);
                none.insert(within(find).await?)
            }
        };
        within(cursor.try_next()).await
    }
}

/// How far a body is read.
struct Progress {
    length: u64,
    read: u64,
    next: u32,
}

impl Progress {
    fn is_complete(&self) -> bool {
        self.read == self.length
    }

    /// The content of the chunk, if it is the one that follows and the body does not become too long by it.
    fn accept(&mut self, chunk: Option<Chunk>) -> Option<Bytes> {
        let chunk = chunk.filter(|chunk| chunk.n == self.next)?;
        self.read += chunk.data.bytes.len() as u64;
        self.next += 1;
        (self.read <= self.length).then(|| Bytes::from(chunk.data.bytes))
    }
}

fn io_error(error: StoreError) -> io::Error {
    match error {
        StoreError::NoSuchBody(_) => io::Error::new(io::ErrorKind::NotFound, error),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "what the code under test takes")]
    fn chunk(n: u32, bytes: &[u8]) -> Option<Chunk> {
        Some(Chunk {
            n,
            data: Binary {
                subtype: BinarySubtype::Generic,
                bytes: bytes.to_vec(),
            },
        })
    }

    fn progress(length: u64) -> Progress {
        Progress {
            length,
            read: 0,
            next: 0,
        }
    }

    #[test]
    fn chunks_in_order_make_up_the_body() {
        let mut progress = progress(5);
        assert_eq!(progress.accept(chunk(0, b"abc")).as_deref(), Some(&b"abc"[..]));
        assert!(!progress.is_complete());
        assert_eq!(progress.accept(chunk(1, b"de")).as_deref(), Some(&b"de"[..]));
        assert!(progress.is_complete());
    }

    #[test]
    fn a_missing_chunk_is_noticed() {
        assert_eq!(progress(5).accept(chunk(1, b"abc")), None);
        assert_eq!(progress(5).accept(None), None);
    }

    #[test]
    fn a_body_that_is_longer_than_it_was_is_refused() {
        assert_eq!(progress(2).accept(chunk(0, b"abc")), None);
    }
}

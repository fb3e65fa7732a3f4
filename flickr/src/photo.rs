//! A photo on its way to Flickr.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::{
    error::Failure,
    identifier::{PhotoId, TicketId},
};

/// A photo's content as a stream of known length, so that it is never held whole in memory.
#[derive(Debug)]
pub struct PhotoBody<S> {
    /// The name the file has at the user's.
    pub file_name: String,
    /// A media type such as `image/jpeg`.
    pub content_type: String,
    /// The exact length in bytes. A stream that yields more or less fails the upload.
    pub length: u64,
    /// The bytes.
    pub stream: S,
}

/// What an upload or replacement gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// The photo is there.
    Photo(PhotoId),
    /// The photo is being processed (`async=1`): see
    /// [`FlickrClient::check_tickets`](crate::FlickrClient::check_tickets).
    Ticket(TicketId),
}

/// How much of a photo was handed to the connection. Shared by the stream and whoever waits for it.
#[derive(Debug)]
pub(crate) struct Progress {
    declared: u64,
    read: AtomicU64,
    source_failed: AtomicU64,
}

impl Progress {
    pub(crate) fn new(declared: u64) -> Arc<Self> {
        Arc::new(Self {
            declared,
            read: AtomicU64::new(0),
            source_failed: AtomicU64::new(0),
        })
    }

    /// Whether the last byte was handed over, so that Flickr may have the whole photo.
    pub(crate) fn is_whole(&self) -> bool {
        self.read.load(Relaxed) >= self.declared
    }

    /// What was wrong with the stream, if anything was.
    pub(crate) fn source_failure(&self) -> Option<Failure> {
        match self.source_failed.load(Relaxed) {
            SOURCE_BROKE => Some(Failure::PhotoSource),
            LENGTH_DIFFERS => Some(Failure::PhotoLength {
                declared: self.declared,
                read: self.read.load(Relaxed),
            }),
            _ => None,
        }
    }
}

const SOURCE_BROKE: u64 = 1;
const LENGTH_DIFFERS: u64 = 2;

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The same stream, counted: it fails when the length is not the declared one.
pub(crate) fn counted(
    source: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    progress: Arc<Progress>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let source: Chunks = Box::pin(source);
    stream::unfold(Some((source, progress)), |state| async move {
        let (mut source, progress) = state?;
        let fail = |how, error| {
            progress.source_failed.store(how, Relaxed);
            Some((Err(error), None))
        };
        match source.next().await {
            Some(Ok(chunk)) => {
                let read = progress.read.load(Relaxed) + chunk.len() as u64;
                progress.read.store(read, Relaxed);
                if read > progress.declared {
                    return fail(LENGTH_DIFFERS, io::ErrorKind::InvalidData.into());
                }
                Some((Ok(chunk), Some((source, progress))))
            }
            Some(Err(error)) => fail(SOURCE_BROKE, error),
            None if progress.is_whole() => None,
            None => fail(LENGTH_DIFFERS, io::ErrorKind::UnexpectedEof.into()),
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    /// What comes through when `chunks` are sent as a photo of `declared` bytes.
    fn through(declared: u64, chunks: Vec<io::Result<&'static [u8]>>) -> (usize, Option<Failure>) {
        let progress = Progress::new(declared);
        let source = stream::iter(chunks.into_iter().map(|chunk| chunk.map(Bytes::from_static)));
        let passed = block_on(counted(source, progress.clone()).collect::<Vec<_>>());
        let bytes = passed.iter().flatten().map(Bytes::len).sum();
        (bytes, progress.source_failure())
    }

    #[test]
    fn a_stream_of_the_declared_length_passes() {
        assert!(matches!(through(5, vec![Ok(b"abc"), Ok(b"de")]), (5, None)));
        assert!(matches!(through(0, vec![]), (0, None)));
    }

    #[test]
    fn a_stream_of_another_length_fails() {
        assert!(matches!(
            through(5, vec![Ok(b"abc")]),
            (3, Some(Failure::PhotoLength { declared: 5, read: 3 }))
        ));
        assert!(matches!(
            through(2, vec![Ok(b"ab"), Ok(b"c")]),
            (2, Some(Failure::PhotoLength { declared: 2, read: 3 }))
        ));
    }

    #[test]
    fn a_broken_source_fails() {
        let broken = vec![Ok(&b"ab"[..]), Err(io::ErrorKind::TimedOut.into())];
        assert!(matches!(through(5, broken), (2, Some(Failure::PhotoSource))));
    }
}

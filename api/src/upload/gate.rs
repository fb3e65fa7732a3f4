//! Stands between the connection and the multipart parser, and lets through only so much at a time.
//!
//! The parser takes in whatever its source has ready, and holds the headers of a part until they are complete. The gate
//! therefore hands out one piece at a time and closes when the headers of a part grow too long, when the body as a whole
//! does, when nothing comes for too long, or when the whole takes too long; and it remembers why.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::auth::signature::digest::is_mismatch;
use crate::problem::Problem;
use crate::validate::PHOTO_PART;

/// How long the whole body may take: 100 MB at 28 kB/s.
const OVERALL: Duration = Duration::from_hours(1);
/// What may come between two parts: the headers of a part, in pieces that may also hold the beginning of its content.
const BETWEEN_PARTS: u64 = 1024 * 1024;

/// The gate is closed; [`Gate::problem`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the body is refused")]
pub(super) struct Closed;

/// The gate of one request.
#[derive(Debug)]
pub(super) struct Gate {
    /// What the whole body may still have.
    remaining: AtomicU64,
    /// What may still come until the parser reports progress.
    until_progress: AtomicU64,
    limit: u64,
    patience: Duration,
    deadline: Instant,
    problem: OnceLock<Problem>,
    /// The body, when the parser is through with it. Locked for one piece at a time, by one reader at a time.
    source: Mutex<Option<BodyDataStream>>,
}

impl Gate {
    /// A gate for a body of at most `total` bytes, of which `limit` are what the client is told, and whose next piece comes within
    /// `patience`, and its last one within an hour.
    pub(super) fn new(total: u64, limit: u64, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            remaining: AtomicU64::new(total),
            until_progress: AtomicU64::new(BETWEEN_PARTS),
            limit,
            patience,
            deadline: Instant::now() + OVERALL,
            problem: OnceLock::new(),
            source: Mutex::const_new(None),
        })
    }

    /// The parser is past what came so far: it gave a part, or a piece of one.
    pub(super) fn progress(&self) {
        self.until_progress.store(BETWEEN_PARTS, Ordering::Relaxed);
    }

    /// Why the gate closed, if it did.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.problem.get().cloned()
    }

    /// The body as it comes through.
    pub(super) async fn watch(
        self: &Arc<Self>,
        body: Body,
    ) -> impl Stream<Item = Result<Bytes, Closed>> + Send + use<> {
        *self.source.lock().await = Some(body.into_data_stream());
        stream::unfold(Some(Arc::clone(self)), |gate| async move {
            let gate = gate?;
            // The parser reads until its source is not ready: it is not ready once before each piece.
            tokio::task::yield_now().await;
            match gate.next().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(gate))),
                Err(Closed) => Some((Err(Closed), None)),
            }
        })
    }

    /// Reads what is behind the last part, up to the end of the body: what checks the whole of it says so there.
    ///
    /// # Errors
    /// [`Closed`], also when what is behind the last part is longer than the headers of a part may be.
    pub(super) async fn finish(&self) -> Result<(), Closed> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// The next piece; `None` at the end.
    async fn next(&self) -> Result<Option<Bytes>, Closed> {
        let mut source = self.source.lock().await;
        let Some(body) = source.as_mut() else {
            return Ok(None);
        };
        let now = Instant::now();
        let until = self.deadline.min(now + self.patience);
        let verdict = match tokio::time::timeout_at(until, body.next()).await {
            // What is ready comes through a time limit that is over.
            _ if now >= self.deadline => Err(Problem::BodyIncomplete),
            Ok(Some(Ok(piece))) => self.admit(piece.len()).map(|()| Some(piece)),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) if is_mismatch(&error) => Err(Problem::DigestMismatch),
            Ok(Some(Err(_))) | Err(_) => Err(Problem::BodyIncomplete),
        };
        if !matches!(verdict, Ok(Some(_))) {
            *source = None;
        }
        verdict.map_err(|problem| {
            // Only one piece is ever under way, so nothing was there before.
            let _ = self.problem.set(problem);
            Closed
        })
    }

    fn admit(&self, length: usize) -> Result<(), Problem> {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let take = |counter: &AtomicU64| {
            let left = counter.load(Ordering::Relaxed).checked_sub(length);
            left.map(|left| counter.store(left, Ordering::Relaxed))
        };
        take(&self.remaining).ok_or(Problem::BodyTooLarge {
            limit: self.limit,
            field: Some(PHOTO_PART),
        })?;
        take(&self.until_progress).ok_or(Problem::InvalidMultipart)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::auth::signature::digest::DigestMismatch;

    const IDLE: Duration = Duration::from_secs(30);

    /// How many bytes come through a gate for `total` bytes, and why it closed.
    async fn through(total: u64, pieces: Vec<io::Result<Bytes>>, progress: bool) -> (usize, Option<Problem>) {
        let gate = Gate::new(total, 7, IDLE);
        let stream = gate.watch(Body::from_stream(stream::iter(pieces))).await;
        let mut stream = Box::pin(stream);
        let mut bytes = 0;
        while let Some(Ok(piece)) = stream.next().await {
            bytes += piece.len();
            if progress {
                gate.progress();
            }
        }
        (bytes, gate.problem())
    }

    fn pieces(count: usize, length: usize) -> Vec<io::Result<Bytes>> {
        (0..count).map(|_| Ok(Bytes::from(vec![0; length]))).collect()
    }

    #[tokio::test]
    async fn a_body_within_its_limit_comes_through() {
        assert_eq!(through(100, pieces(10, 10), false).await, (100, None));
    }

    #[tokio::test]
    async fn a_body_past_its_limit_is_cut_off() {
        let (bytes, problem) = through(99, pieces(10, 10), false).await;
        let too_large = Problem::BodyTooLarge {
            limit: 7,
            field: Some("photo"),
        };
        assert_eq!((bytes, problem), (90, Some(too_large)));
    }

    #[tokio::test]
    async fn headers_without_end_are_cut_off() {
        let endless = || pieces(200, 10_000);
        assert_eq!(
            through(u64::MAX, endless(), false).await.1,
            Some(Problem::InvalidMultipart)
        );
        assert_eq!(through(u64::MAX, endless(), true).await, (2_000_000, None));
    }

    #[tokio::test]
    async fn a_broken_connection_is_told_from_the_end() {
        let broken = vec![
            Ok(Bytes::from_static(b"ab")),
            Err(io::ErrorKind::ConnectionReset.into()),
        ];
        assert_eq!(
            through(100, broken, false).await,
            (2, Some(Problem::BodyIncomplete))
        );
    }

    #[tokio::test]
    async fn a_silent_connection_is_given_up() {
        let gate = Gate::new(100, 7, Duration::from_millis(10));
        let body = Body::from_stream(stream::pending::<io::Result<Bytes>>());
        let mut stream = Box::pin(gate.watch(body).await);
        assert!(matches!(stream.next().await, Some(Err(Closed))));
        assert_eq!(gate.problem(), Some(Problem::BodyIncomplete));
    }

    #[tokio::test]
    async fn a_connection_that_drips_is_given_up_in_the_end() {
        let mut gate = Gate::new(100, 7, IDLE);
        if let Some(gate) = Arc::get_mut(&mut gate) {
            gate.deadline = Instant::now() + Duration::from_millis(50);
        }
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b"a")), ()))
        });
        let mut stream = Box::pin(gate.watch(Body::from_stream(drip)).await);
        let mut pieces = 0;
        while let Some(Ok(_)) = stream.next().await {
            pieces += 1;
        }
        assert!((1..=5).contains(&pieces), "{pieces}");
        assert_eq!(gate.problem(), Some(Problem::BodyIncomplete));
    }

    #[tokio::test]
    async fn what_is_behind_the_form_is_read_to_its_end_and_only_so_far() {
        let gate = Gate::new(u64::MAX, 7, IDLE);
        let body = |count| Body::from_stream(stream::iter(pieces(count, 10_000)));
        let mut stream = Box::pin(gate.watch(body(3)).await);
        assert!(matches!(stream.next().await, Some(Ok(_))));
        drop(stream);
        assert!(gate.finish().await.is_ok());
        drop(gate.watch(body(200)).await);
        assert!(gate.finish().await.is_err());
        assert_eq!(gate.problem(), Some(Problem::InvalidMultipart));
    }

    #[tokio::test]
    async fn a_body_that_is_not_the_one_of_its_digest_is_refused_at_its_end() {
        let pieces = vec![
            Ok(Bytes::from_static(b"ab")),
            Err(axum::BoxError::from(DigestMismatch)),
        ];
        let gate = Gate::new(100, 7, IDLE);
        let mut stream = Box::pin(gate.watch(Body::from_stream(stream::iter(pieces))).await);
        assert!(matches!(stream.next().await, Some(Ok(_))));
        drop(stream);
        assert!(gate.finish().await.is_err());
        assert_eq!(gate.problem(), Some(Problem::DigestMismatch));
    }

    #[tokio::test]
    async fn it_hands_out_one_piece_at_a_time() {
        let gate = Gate::new(100, 7, IDLE);
        let mut stream = Box::pin(gate.watch(Body::from_stream(stream::iter(pieces(3, 10)))).await);
        for _ in 0..3 {
            assert!(futures::poll!(stream.next()).is_pending());
            assert!(matches!(
                futures::poll!(stream.next()),
                std::task::Poll::Ready(Some(Ok(_)))
            ));
        }
    }
}

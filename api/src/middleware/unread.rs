//! What a client still sends when its answer is known already: it is read for a while, and thrown away.
//!
//! A server that closes the connection while the client is sending takes the answer away with it: the client's next write
//! is answered with a reset, and what it has not read by then is lost (RFC 9112, section 9.6). So a client whose body is too
//! large would see a broken connection instead of a 413.
//!
//! The rest is read by a task of its own, which ends with the body, with the connection, or at one of the limits; when the
//! process dies, the connection goes with it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long it is read.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of it, in bytes.
const LIMIT: usize = 32 * 1024 * 1024;

/// The body, of which the rest is read and thrown away when its reader drops it before its end. A client that waits for
/// `100 Continue` sends nothing when it is refused: its body is left alone.
pub(super) fn read_to_the_end(headers: &HeaderMap, body: Body) -> Body {
    if headers.contains_key(header::EXPECT) {
        return body;
    }
    Body::new(ReadToTheEnd::of(body, PATIENCE))
}

struct ReadToTheEnd {
    body: Body,
    patience: Duration,
}

impl ReadToTheEnd {
    const fn of(body: Body, patience: Duration) -> Self {
        Self { body, patience }
    }
}

impl HttpBody for ReadToTheEnd {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ReadToTheEnd {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.body);
        if rest.is_end_stream() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(self.patience, throw_away(rest)));
        }
    }
}

async fn throw_away(mut rest: Body) {
    let mut length = 0;
    while length < LIMIT {
        let Some(Ok(frame)) = rest.frame().await else {
            return;
        };
        length += frame.data_ref().map_or(0, Bytes::len);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{Stream, StreamExt, stream};

    use super::*;

    const PIECE: usize = 64 * 1024;

    /// So many pieces; how many were taken, and whether somebody still holds the source.
    fn source(
        pieces: usize,
    ) -> (
        impl Stream<Item = Result<Bytes, Infallible>> + Send,
        Arc<AtomicUsize>,
    ) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let pieces = stream::iter(0..pieces).map(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from(vec![0; PIECE]))
        });
        (pieces, taken)
    }

    /// Lets other tasks go on until the source is held by nobody else.
    async fn let_go(taken: &Arc<AtomicUsize>) -> usize {
        while Arc::strong_count(taken) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        taken.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn the_rest_of_a_body_is_read_up_to_the_limit() {
        for (pieces, read) in [(0, 0), (1, 1), (100, 100), (10_000, LIMIT / PIECE)] {
            let (source, taken) = source(pieces);
            drop(read_to_the_end(&HeaderMap::new(), Body::from_stream(source)));
            assert_eq!(let_go(&taken).await, read, "{pieces}");
        }
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_more_is_let_go() {
        let (source, taken) = source(3);
        let stalling = source.chain(stream::pending());
        let body = ReadToTheEnd::of(Body::from_stream(stalling), Duration::from_millis(20));
        drop(body);
        assert_eq!(let_go(&taken).await, 3);
    }

    #[tokio::test]
    async fn who_reads_to_the_end_has_it_all_and_who_waits_to_be_asked_is_not_asked() {
        let (whole, taken) = source(5);
        let body = read_to_the_end(&HeaderMap::new(), Body::from_stream(whole));
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 5 * PIECE);
        assert_eq!(let_go(&taken).await, 5);

        let mut expecting = HeaderMap::new();
        expecting.insert(header::EXPECT, "100-continue".parse().unwrap());
        let (unasked, taken) = source(5);
        drop(read_to_the_end(&expecting, Body::from_stream(unasked)));
        assert_eq!(let_go(&taken).await, 0);
    }
}

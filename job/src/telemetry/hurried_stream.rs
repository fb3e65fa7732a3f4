//! A connection that is given up when its client does not ask in time, or does not take its answer.
//!
//! Of requests and answers it sees the bytes alone, so it counts the time from the answer before: a client that sends its
//! request byte by byte is answered by nothing, and a client that takes nothing of its answer takes no bytes of it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client has for a request with its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hurry {
    /// The first on a connection.
    pub(super) first: Duration,
    /// A later one, counted from the answer before. A connection that is kept open is closed after as long.
    pub(super) later: Duration,
}

/// A stream that fails when nothing was written to it for a while.
pub(super) struct HurriedStream<S> {
    stream: S,
    later: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl<S> HurriedStream<S> {
    pub(super) fn new(stream: S, hurry: Hurry) -> Self {
        Self {
            stream,
            later: hurry.later,
            deadline: Box::pin(sleep(hurry.first)),
        }
    }

    /// What is still to come, unless the time is up.
    fn within<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        outcome
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if matches!(outcome, Poll::Ready(Ok(1..))) {
            self.deadline.as_mut().reset(Instant::now() + self.later);
        }
        self.within(context, outcome)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HurriedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.within(context, outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HurriedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.within(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(context, outcome)
    }
}

/// Hurries every client of another listener.
pub(super) struct HurriedListener<L> {
    listener: L,
    hurry: Hurry,
}

impl<L> HurriedListener<L> {
    pub(super) const fn new(listener: L, hurry: Hurry) -> Self {
        Self { listener, hurry }
    }
}

impl<L: Listener> Listener for HurriedListener<L> {
    type Io = HurriedStream<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = self.listener.accept().await;
        (HurriedStream::new(stream, self.hurry), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const HURRY: Hurry = Hurry {
        first: Duration::from_millis(50),
        later: Duration::from_millis(500),
    };

    #[tokio::test]
    async fn whoever_asks_byte_by_byte_is_given_up() {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = HurriedStream::new(ours, HURRY);
        tokio::spawn(async move {
            while theirs.write_all(b"a").await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let mut buffer = [0; 8];
        let mut last = Ok(0);
        while last.is_ok() {
            last = stream.read(&mut buffer).await.map_err(|error| error.kind());
        }
        assert_eq!(last, Err(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn whoever_takes_no_answer_is_given_up() {
        let (ours, _theirs) = duplex(8);
        let mut stream = HurriedStream::new(ours, HURRY);
        let outcome = stream.write_all(&[0; 100]).await;
        assert_eq!(
            outcome.map_err(|error| error.kind()),
            Err(io::ErrorKind::TimedOut)
        );
    }

    #[tokio::test]
    async fn whoever_was_answered_has_more_time() {
        let (ours, mut theirs) = duplex(1024);
        let mut stream = HurriedStream::new(ours, HURRY);
        stream.write_all(b"an answer").await.unwrap();
        sleep(HURRY.first * 2).await;
        theirs.write_all(b"next").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 4);
    }
}

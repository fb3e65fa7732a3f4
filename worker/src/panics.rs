//! A bug that one piece of work meets must not end the others: its panic is caught, and is a failure of that piece alone.
//!
//! Where and why it happened is logged by the hook that [`flickrhub_job::telemetry::init_logging`] sets, with the ids of
//! the spans around it. Nothing of it reaches a client: [`Panicked`] carries no text.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

/// A piece of work ended by a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program met a bug of its own; the panic is logged where it happened")]
pub struct Panicked;

/// Does `work`; a panic ends it and nothing else.
///
/// What the pieces share survives a panic of one of them: servers are spoken to by whole messages, and no lock is held
/// over a change of several steps.
///
/// # Errors
/// [`Panicked`] when `work` did.
pub fn caught<F: Future>(work: F) -> impl Future<Output = Result<F::Output, Panicked>> {
    // On the heap, because these are nested: each would otherwise hold the next one by value, more than once in a build
    // without optimisation, and a thread's stack is 2 MiB.
    let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
    // The payload is dropped: the hook has logged it.
    async move { work.await.map_err(|_| Panicked) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_ends_alone() {
        let works = [false, true, false].map(|panics| {
            caught(async move {
                tokio::task::yield_now().await;
                assert!(!panics, "a bug");
                1
            })
        });
        let ended = futures::future::join_all(works).await;
        assert_eq!(ended, [Ok(1), Err(Panicked), Ok(1)]);
    }

    #[test]
    fn nothing_of_the_panic_is_told() {
        assert!(!Panicked.to_string().contains("a bug at"));
    }
}

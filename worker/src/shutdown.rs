//! SIGTERM: stop taking work, finish what is held, exit 0.
//!
//! The operator gives each pod a `terminationGracePeriodSeconds`, after which Kubernetes kills it. Held work may go on for
//! less than that, so that the process still says good-bye to the broker and tells what it leaves behind:
//!
//! | role | grace of the pod | held work |
//! | --- | --- | --- |
//! | `run` | the queue's `timeoutSeconds` + 45 s | what was handed over begins within [`BEGIN_LIMIT`], 30 s; then [`run_limit`]: `timeoutSeconds` + 5 s |
//! | `dispatch` | 30 s | [`DISPATCH_LIMIT`]: 25 s |
//! | `callbacks` | 60 s | [`CALLBACKS_LIMIT`]: 50 s |

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long releases that have begun may go on: as long as one operation of MongoDB may take.
pub const DISPATCH_LIMIT: Duration = Duration::from_secs(25);

/// How long tries of callbacks may go on: the receiver's time to answer, and that of Vault and MongoDB.
pub const CALLBACKS_LIMIT: Duration = Duration::from_secs(50);

/// How long jobs whose messages the process holds may still be begun. Nobody then has to be handed such a message again:
/// a worker holds no more than its prefetch, which takes seconds unless each job takes very long.
pub const BEGIN_LIMIT: Duration = Duration::from_secs(30);

/// What jobs have beyond the longest attempt, to store their outcome.
const RUN_MARGIN: Duration = Duration::from_secs(5);

/// How long jobs of a queue may go on whose attempts take at most `timeout_seconds`.
pub const fn run_limit(timeout_seconds: u32) -> Duration {
    Duration::from_secs(timeout_seconds as u64).saturating_add(RUN_MARGIN)
}

/// A token that is cancelled at the first SIGTERM or SIGINT.
///
/// # Errors
/// When the process may not install a signal handler.
pub fn on_terminate() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: no new work is taken, held work is finished");
        stop.cancel();
    });
    Ok(token)
}

/// Waits for `duration`, or until the process is asked to stop; `false` when it is.
pub async fn pause(duration: Duration, stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(duration))
        .await
        .is_some()
}

/// Runs `work`, which ends by itself once the process is asked to stop, but for no longer than `limit` after that;
/// `false` when it was cut off.
pub async fn within_limit(work: impl Future<Output = ()>, limit: Duration, stop: &CancellationToken) -> bool {
    let overrun = async {
        stop.cancelled().await;
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        () = work => true,
        () = overrun => false,
    }
}

/// Runs `work` until it is done or the process is asked to stop; `None` when it is.
///
/// `work` is dropped where it waits, so it must not hold anything that only its end would give back.
pub async fn unless_stopped<F: Future>(work: F, stop: &CancellationToken) -> Option<F::Output> {
    stop.run_until_cancelled(work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_work_ends_before_the_pod_is_killed() {
        // What is left of the grace: two waits of 3 s for the broker before the work is waited for, one after it.
        let good_bye = Duration::from_secs(9);
        for timeout_seconds in [1, 30, 300] {
            let grace = Duration::from_secs(u64::from(timeout_seconds) + 45);
            let limit = run_limit(timeout_seconds);
            assert!(limit > Duration::from_secs(u64::from(timeout_seconds)));
            assert!(BEGIN_LIMIT + limit + good_bye < grace, "{timeout_seconds}");
        }
        assert!(DISPATCH_LIMIT < Duration::from_secs(30));
        assert!(CALLBACKS_LIMIT < Duration::from_mins(1));
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_cut_off_only_after_the_process_is_asked_to_stop() {
        let stop = CancellationToken::new();
        assert!(within_limit(async {}, Duration::ZERO, &stop).await);
        let slow = async { tokio::time::sleep(Duration::from_millis(20)).await };
        assert!(
            within_limit(slow, Duration::ZERO, &stop).await,
            "nobody asked yet"
        );
        stop.cancel();
        assert!(!within_limit(std::future::pending(), Duration::from_millis(1), &stop).await);
    }
}

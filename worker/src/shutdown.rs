//! SIGTERM: stop taking work, finish what is held, exit 0.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long held work may go on after SIGTERM. Below the pod's `terminationGracePeriodSeconds` (120 s), so that the
/// process still says good-bye to the broker before it is killed.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(110);

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

/// Runs `work` until it is done or the process is asked to stop; `None` when it is.
///
/// `work` is dropped where it waits, so it must not hold anything that only its end would give back.
pub async fn unless_stopped<F: Future>(work: F, stop: &CancellationToken) -> Option<F::Output> {
    stop.run_until_cancelled(work).await
}

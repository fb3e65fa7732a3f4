//! How the process ends when it is told to (SIGTERM), without losing what exists nowhere else.
//!
//! | step | takes at most |
//! | --- | --- |
//! | no reconciliation begins any more; those under way are finished, or dropped where they are ([`wind_up`]) | [`RECONCILIATION_GRACE`] |
//! | the keys of an OpenBao that is being initialised are stored ([`finish`]) | [`INITIALISATION_LIMIT`] |
//! | the lease is given back | [`leader::TIMEOUT`] |
//!
//! Dropping a reconciliation is safe at any point, because the next process goes on from what it reads; only the answer
//! to an initialisation cannot be read a second time, so it is held by a task of its own. The lease is kept until that
//! task has ended. Nearly always all of this takes a moment: the process waits for the keys only while the Kubernetes API
//! does not take them. Then it needs all of [`GRACE_PERIOD`], and so the `terminationGracePeriodSeconds` of the operator's
//! Deployments must not be shorter: the kubelet would kill the process, and the keys with it.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::vault::INITIALISATION_LIMIT;
use crate::leader;

/// How long reconciliations under way may go on.
pub const RECONCILIATION_GRACE: Duration = Duration::from_secs(20);
/// The longest that the process takes to end.
pub const GRACE_PERIOD: Duration = RECONCILIATION_GRACE
    .saturating_add(INITIALISATION_LIMIT)
    .saturating_add(leader::TIMEOUT);

/// Works until `working` ends, which takes no longer than [`RECONCILIATION_GRACE`] after `stopped`.
pub async fn wind_up(working: impl Future<Output = ()>, stopped: &CancellationToken) {
    wind_up_within(RECONCILIATION_GRACE, working, stopped).await;
}

async fn wind_up_within(grace: Duration, working: impl Future<Output = ()>, stopped: &CancellationToken) {
    let patience = async {
        stopped.cancelled().await;
        sleep(grace).await;
    };
    tokio::select! {
        () = working => {}
        () = patience => tracing::warn!("drops the reconciliations that are still under way; they are repeated"),
    }
}

/// Waits for tasks that hold what exists nowhere else, as long as they may take to give up.
pub async fn finish(saves: &TaskTracker) {
    saves.close();
    if !saves.is_empty() {
        tracing::warn!("waits until the keys of OpenBao are stored; do not kill the operator");
    }
    if timeout(INITIALISATION_LIMIT, saves.wait()).await.is_err() {
        tracing::error!("the keys of OpenBao could not be stored and are lost");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// The grace period of a Deployment in YAML, in seconds.
    fn grace_period(deployment: &str) -> Option<u64> {
        let line = deployment
            .lines()
            .find_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds:"));
        line?.trim().parse().ok()
    }

    #[test]
    fn no_deployment_of_the_operator_is_killed_before_it_has_ended_by_itself() {
        for deployment in [
            include_str!("../../charts/flickrhub-operator/templates/deployment.yaml"),
            include_str!("../../manifests/operator/deployment.yaml"),
        ] {
            assert!(grace_period(deployment) >= Some(GRACE_PERIOD.as_secs()));
        }
    }

    #[tokio::test]
    async fn what_is_being_stored_is_stored_although_the_reconciliation_that_waits_for_it_is_dropped() {
        let saves = TaskTracker::new();
        let stored = Arc::new(AtomicBool::new(false));
        let storing = Arc::clone(&stored);
        let task = saves.spawn(async move {
            sleep(Duration::from_millis(50)).await;
            storing.store(true, Ordering::Relaxed);
        });
        drop(task);
        finish(&saves).await;
        assert!(stored.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn work_that_ends_is_not_waited_for() {
        let stopped = CancellationToken::new();
        stopped.cancel();
        let wound_up = timeout(Duration::from_secs(1), wind_up(async {}, &stopped)).await;
        assert!(wound_up.is_ok());
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_dropped_after_a_while_and_not_before_it_is_told() {
        let grace = Duration::from_millis(20);
        let stopped = CancellationToken::new();
        let endless = || wind_up_within(grace, std::future::pending(), &stopped);
        assert!(timeout(5 * grace, endless()).await.is_err());
        stopped.cancel();
        assert!(timeout(Duration::from_secs(5), endless()).await.is_ok());
    }
}

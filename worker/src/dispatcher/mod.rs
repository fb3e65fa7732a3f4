//! Moves jobs from their lanes to RabbitMQ in fair order, and recovers those that got stuck on the way.
//!
//! Any number of dispatchers run at once without a leader: a release is one atomic script, a dispatch one guarded update,
//! and everything that recovery does changes nothing when it is done twice.
//!
//! What happens when the process dies, or loses a server, after a step of a release:
//!
//! | after | the job is | then |
//! | --- | --- | --- |
//! | the release from its lane | `queued`, in the window | its place in the window ends, and it is back in its lane |
//! | the update to `dispatched` | `dispatched`, not published | its lease ends, recovery queues it again |
//! | the publication, not confirmed | `dispatched`, perhaps in RabbitMQ | the same; should the message exist, its claim is refused, because the attempt number has moved on |
//! | the confirmation | `dispatched`, in RabbitMQ | a worker has it |
//!
//! | module | does |
//! | --- | --- |
//! | `release` | the way of a job from its lane to RabbitMQ |
//! | `overdue` | jobs whose lease has ended |
//! | `reconcile` | lanes from MongoDB: after Redis lost them, and now and then for single jobs that are in none |
//! | `budgets` | how many requests Flickr may get: settings, rebuilding, metrics |
//! | `apart` | one job of many, without harm to the others |
//! | `turn` | which dispatcher does what one of them is enough for |
//! | `depth` | how much waits, for the metrics |
//! | `orphans` | photos that no job needs any more |

mod apart;
mod budgets;
mod depth;
mod orphans;
mod overdue;
mod reconcile;
mod release;
mod turn;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use flickrhub_job::budget::{BudgetSettings, FlickrBudget};
use flickrhub_job::config::QueueConfig;
use flickrhub_job::connection::redis::{Redis, RedisError};
use flickrhub_job::lane::{LaneError, Lanes};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{BodyStore, JobStore, StoreError};
use flickrhub_job::telemetry::Metrics;
use flickrhub_job::topology::Publisher;
use futures::future::join_all;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::backoff::about;
use crate::panics::caught;
use crate::shutdown::{DISPATCH_LIMIT, pause, within_limit};

/// How often jobs whose lease has ended, and the loss of Redis's data, are looked for.
const RECOVERY_PERIOD: Duration = Duration::from_secs(5);

/// How often the loss of budgets is looked for: until it is found, Flickr is not called.
const BUDGET_PERIOD: Duration = Duration::from_secs(1);

/// How often every queued job is looked at, by any one of the dispatchers.
const RECONCILE_PERIOD: Duration = Duration::from_mins(1);

/// How often photos that no job needs are looked for, by any one of the dispatchers.
const ORPHANS_PERIOD: Duration = Duration::from_hours(1);

/// How often the lane gauges are set; not slower than Prometheus scrapes.
const DEPTH_PERIOD: Duration = Duration::from_secs(10);

/// What dispatching takes.
pub struct Dispatcher {
    /// The settings of each queue.
    pub queues: BTreeMap<Queue, QueueConfig>,
    /// Jobs.
    pub store: JobStore,
    /// Photos.
    pub bodies: BodyStore,
    /// Lanes.
    pub lanes: Lanes,
    /// The budgets of Flickr requests.
    pub budget: FlickrBudget,
    /// How large they are.
    pub budget_settings: BudgetSettings,
    /// Where the lanes are; the dispatchers take turns there.
    pub redis: Redis,
    /// The prefix of every key in Redis.
    pub key_prefix: String,
    /// RabbitMQ.
    pub publisher: Publisher,
    /// Instruments.
    pub metrics: Metrics,
}

/// Recovery could not go on; it begins again with its next turn.
#[derive(Debug, thiserror::Error)]
enum RecoveryError {
    /// MongoDB failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis failed.
    #[error(transparent)]
    Lanes(#[from] LaneError),
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl RecoveryError {
    /// Whether a server is away, which concerns every job.
    const fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Lanes(error) => error.is_transient(),
            Self::Redis(error) => error.is_transient(),
        }
    }
}

impl Dispatcher {
    /// Dispatches until `stop`; releases that have begun are finished, within [`DISPATCH_LIMIT`].
    pub async fn run(self, stop: CancellationToken) {
        if !within_limit(self.dispatch_until(&stop), DISPATCH_LIMIT, &stop).await {
            tracing::warn!("stopping with releases under way; recovery has them when their leases end");
        }
    }

    async fn dispatch_until(&self, stop: &CancellationToken) {
        let releases = self
            .queues
            .iter()
            .map(|(&queue, settings)| self.release_until(queue, settings, stop));
        let configured = AtomicBool::new(false);
        let grace = overdue::Grace::new(Timestamp::now());
        tokio::join!(
            join_all(releases),
            every(RECOVERY_PERIOD, stop, || self.recover_overdue(&grace)),
            every(RECOVERY_PERIOD, stop, || self.rebuild_if_lost(stop)),
            every(RECONCILE_PERIOD, stop, || self.reconcile_in_turn(stop)),
            every(ORPHANS_PERIOD, stop, || self.delete_orphans_in_turn()),
            every(DEPTH_PERIOD, stop, || self.record_depths()),
            every(BUDGET_PERIOD, stop, || self.keep_budgets(&configured, stop)),
            every(DEPTH_PERIOD, stop, || self.record_budgets()),
        );
    }
}

/// Does `work` again and again, about `period` apart, until `stop`; a failure or a panic is logged and the next turn goes
/// on.
async fn every<F>(period: Duration, stop: &CancellationToken, mut work: impl FnMut() -> F)
where
    F: Future<Output = Result<(), RecoveryError>>,
{
    loop {
        match caught(async { work().await }).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "recovery has to wait for the data tier"),
            Err(panicked) => {
                tracing::error!(%panicked, "this turn of recovery ends here; the next one begins anew");
            }
        }
        if !pause(about(period), stop).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_turn_that_panics_is_followed_by_the_next_one() {
        let stop = CancellationToken::new();
        let turns = AtomicU32::new(0);
        let work = async || {
            let turn = turns.fetch_add(1, Ordering::Relaxed);
            if turn == 2 {
                stop.cancel();
            }
            assert_ne!(turn, 0, "a bug");
            Err::<(), _>(RecoveryError::from(StoreError::Timeout))
        };
        every(Duration::from_millis(1), &stop, work).await;
        assert_eq!(turns.load(Ordering::Relaxed), 3);
    }
}

//! The way of a job from its lane to RabbitMQ.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use flickrhub_job::config::QueueConfig;
use flickrhub_job::envelope::Envelope;
use flickrhub_job::fail_point;
use flickrhub_job::lane::{LaneEntry, LaneError, Release, Released};
use flickrhub_job::model::{DEFAULT_WEIGHT, Job, JobError, JobState, Priority};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{Holder, StoreError};
use flickrhub_job::telemetry::lifecycle;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Dispatcher;
use crate::backoff::DATA_TIER;
use crate::panics::caught;
use crate::shutdown::{pause, unless_stopped};

/// The shortest lease of a released job: enough for a message to wait out the restart of its queue's workers.
const SHORTEST_LEASE: Duration = Duration::from_mins(2);

/// How long servers that are away are waited for before a released job goes back.
const PATIENCE: Duration = Duration::from_mins(1);

/// Most jobs that one release takes. Fair order is decided by the release; within a batch, and between those that are on their
/// way, it may change.
const BATCH: usize = 64;

/// Batches of one queue that are on their way at a time.
const BATCHES: usize = 2;

/// The longest wait for work before the lanes are looked at again, whatever they said: a hint to look can be lost.
const IDLE: Duration = Duration::from_secs(1);

/// What became of the mark on a job: `None` if it is not to be dispatched.
type Marked = Result<Option<Job>, StoreError>;

/// What to do about a job that could not be dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It is over or gone: the lanes forget it.
    Forget,
    /// Its time has run out: it expires.
    Expire,
    /// It waits for its next attempt.
    Delay {
        /// The earliest time of it.
        until: Timestamp,
    },
    /// Nothing speaks against it any more: back into the lane.
    PutBack,
    /// It is on its way already.
    Leave,
}

/// How long a released job may wait for a worker before it is taken for lost.
///
/// Twice the longest attempt of its queue, because a message may wait behind another one. Only a dispatcher that dies
/// between the update and the publication lets a job wait so long for nothing.
fn lease(settings: &QueueConfig) -> Duration {
    Duration::from_secs(2 * u64::from(settings.timeout_seconds)).max(SHORTEST_LEASE)
}

fn signed(lease: Duration) -> SignedDuration {
    SignedDuration::try_from(lease).unwrap_or(SignedDuration::MAX)
}

/// Why the guard of a dispatch failed, as far as the stored job tells.
fn refusal(job: Option<&Job>, now: Timestamp) -> Refusal {
    let Some(job) = job else {
        return Refusal::Forget;
    };
    match job.state {
        JobState::Queued if job.expires_at <= now => Refusal::Expire,
        JobState::Queued if job.available_at > now => Refusal::Delay {
            until: job.available_at,
        },
        JobState::Queued => Refusal::PutBack,
        JobState::Dispatched | JobState::Running => Refusal::Leave,
        JobState::Succeeded | JobState::Failed | JobState::Dead | JobState::Expired | JobState::Cancelled => {
            Refusal::Forget
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ReleaseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Lanes(#[from] LaneError),
}

impl ReleaseError {
    /// Whether a server is away; else another try would fail the same way.
    const fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Lanes(error) => error.is_transient(),
        }
    }

    const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unreadable(_)))
    }
}

/// One batch of released jobs on its way.
struct Batch<'a> {
    queue: Queue,
    jobs: Vec<Released>,
    lease: Duration,
    stop: &'a CancellationToken,
}

impl Dispatcher {
    /// Releases the jobs of `queue` until `stop`, then brings what is released on its way.
    ///
    /// The next batch is released while fewer than [`BATCHES`] are on their way: a job that comes alone does not wait until the
    /// one before it is confirmed by RabbitMQ, and of many the next ones collect meanwhile.
    pub(super) async fn release_until(&self, queue: Queue, settings: &QueueConfig, stop: &CancellationToken) {
        let mut failures = 0;
        let mut on_their_way = FuturesUnordered::new();
        let mut due = Instant::now();
        while !stop.is_cancelled() {
            let next = caught(self.release_when_due(queue, settings, &mut due, stop));
            match beside(&mut on_their_way, next).await {
                Ok(Ok(batch)) => {
                    failures = 0;
                    on_their_way.extend(batch.map(|batch| self.bring(batch)));
                    while on_their_way.len() >= BATCHES {
                        on_their_way.next().await;
                    }
                    continue;
                }
                Ok(Err(error)) => tracing::warn!(queue = queue.name(), %error, "cannot release jobs"),
                Err(panicked) => tracing::error!(queue = queue.name(), %panicked, "cannot release jobs"),
            }
            failures += 1;
            beside(&mut on_their_way, pause(DATA_TIER.wait(failures), stop)).await;
        }
        while on_their_way.next().await.is_some() {}
    }

    /// Waits until there may be something to release, `due` at the latest, and releases one batch if there is.
    async fn release_when_due<'a>(
        &self,
        queue: Queue,
        settings: &QueueConfig,
        due: &mut Instant,
        stop: &'a CancellationToken,
    ) -> Result<Option<Batch<'a>>, LaneError> {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            match unless_stopped(self.lanes.wait_for_work(queue, wait), stop).await {
                Some(waited) => waited?,
                None => return Ok(None),
            }
        }
        let lease = lease(settings);
        let Release { jobs, next_due } = self.lanes.release(queue, BATCH, settings.window, lease).await?;
        *due = Instant::now() + next_due.unwrap_or(IDLE).min(IDLE);
        Ok((!jobs.is_empty()).then_some(Batch {
            queue,
            jobs,
            lease,
            stop,
        }))
    }

    /// Brings a batch to RabbitMQ.
    async fn bring(&self, batch: Batch<'_>) {
        let Batch {
            queue,
            jobs,
            lease,
            stop,
        } = batch;
        let holder = Holder::new();
        let marked = match caught(self.mark_all(&jobs, holder, lease, stop)).await {
            Ok(Ok(marked)) => marked,
            // Their places in the window end, and they are back in their lanes; or their leases end.
            Ok(Err(error)) => {
                tracing::error!(
                    queue = queue.name(), %error, jobs = jobs.len(),
                    "the jobs are not dispatched this time"
                );
                return;
            }
            Err(panicked) => {
                tracing::error!(
                    queue = queue.name(), %panicked, jobs = jobs.len(),
                    "the jobs are not dispatched this time"
                );
                return;
            }
        };
        // All at once: their publications share round trips and confirmations.
        let dispatches = jobs.into_iter().zip(marked).map(|(released, marked)| {
            let (job_id, user_id) = (released.job_id, released.user_id.clone());
            let dispatch = caught(self.dispatch(queue, released, marked, holder, lease, stop));
            async move {
                if let Err(panicked) = dispatch.await {
                    // Its place in the window ends, or its lease.
                    tracing::error!(%job_id, user_id, %panicked, "the job is not dispatched this time");
                }
            }
        });
        join_all(dispatches).await;
    }

    /// Marks all jobs of a batch as `dispatched` that are to be, with some patience for a MongoDB that is away; what became of
    /// each, in their order.
    async fn mark_all(
        &self,
        batch: &[Released],
        holder: Holder,
        lease: Duration,
        stop: &CancellationToken,
    ) -> Result<Vec<Marked>, StoreError> {
        fail_point!("dispatch/after-release");
        let patience_ends = Instant::now() + PATIENCE;
        let ids: Vec<_> = batch.iter().map(|released| released.job_id).collect();
        let mut failures = 0;
        loop {
            match self.store.dispatch_many(&ids, holder, signed(lease)).await {
                Ok(marked) => return Ok(marked),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, jobs = ids.len(), "cannot dispatch the jobs yet");
                    failures += 1;
                    if !wait_before(patience_ends, failures, stop).await {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Brings one released job to RabbitMQ, with some patience for servers that are away. `marked` is what became of it so far.
    async fn dispatch(
        &self,
        queue: Queue,
        released: Released,
        marked: Marked,
        holder: Holder,
        lease: Duration,
        stop: &CancellationToken,
    ) {
        let patience_ends = Instant::now() + PATIENCE;
        let mut marked = marked;
        let mut failures = 0;
        let job = loop {
            match self.to_publish(queue, &released, marked).await {
                Ok(Some(job)) => break job,
                Ok(None) => return,
                Err(error) if error.is_transient() => tracing::warn!(
                    job_id = %released.job_id, user_id = released.user_id, %error,
                    "cannot dispatch the job yet"
                ),
                Err(error) => {
                    tracing::error!(
                        job_id = %released.job_id, user_id = released.user_id, %error,
                        "the job cannot be dispatched"
                    );
                    if error.is_unreadable() {
                        self.forget(queue, &released).await;
                    }
                    return;
                }
            }
            failures += 1;
            if !wait_before(patience_ends, failures, stop).await {
                // Its place in the window ends, and it is back in its lane.
                return;
            }
            marked = self.store.dispatch(released.job_id, holder, signed(lease)).await;
        };
        self.publish(queue, &job, patience_ends, stop).await;
    }

    /// Publishes a job that is `dispatched`; takes it back when RabbitMQ stays away.
    async fn publish(&self, queue: Queue, job: &Job, patience_ends: Instant, stop: &CancellationToken) {
        fail_point!("dispatch/after-update");
        let envelope = Envelope {
            job_id: job.id,
            attempt: job.attempt,
            user_id: job.user_id.clone(),
            trace: job.trace.child(),
        };
        let mut failures = 0;
        while let Err(error) = self.publisher.publish(queue, &envelope).await {
            tracing::warn!(
                job_id = %job.id, user_id = job.user_id, trace_id = job.trace.trace_id, queue = queue.name(), %error,
                "cannot publish the job yet"
            );
            failures += 1;
            if !wait_before(patience_ends, failures, stop).await {
                self.take_back(job).await;
                return;
            }
        }
        fail_point!("dispatch/after-publish");
    }

    /// Gives up the place of a job whose document cannot be read: it would be released again and again, and as many such
    /// jobs as the window has places would stop the queue. Reconciliation puts it back once it can be read.
    async fn forget(&self, queue: Queue, released: &Released) {
        if let Err(error) = self.lanes.done(&entry_of_lost(queue, released)).await {
            tracing::warn!(job_id = %released.job_id, user_id = released.user_id, %error, "the lanes keep it for now");
        }
    }

    /// Queues a job again that could not be published. If this fails too, its lease ends and recovery does the same.
    async fn take_back(&self, job: &Job) {
        let error = JobError {
            code: "temporarily_unavailable".to_owned(),
            message: "The queue could not take the job; it is sent again.".to_owned(),
            flickr_code: None,
        };
        let queued = self.store.take_back(job.id, job.attempt, &error).await;
        let told = match queued {
            Ok(Some(queued)) => self
                .lanes
                .requeue(&LaneEntry::from(&queued))
                .await
                .map_err(ReleaseError::from),
            // A publication without a confirmation may have arrived: then a worker has the job, and keeps it.
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = told {
            tracing::warn!(
                job_id = %job.id, user_id = job.user_id, trace_id = job.trace.trace_id, %error,
                "the job could not be taken back; recovery does it"
            );
        }
    }

    /// The job, if it is `dispatched`; `None` when it is not to be, which the lanes then know.
    async fn to_publish(
        &self,
        queue: Queue,
        released: &Released,
        marked: Marked,
    ) -> Result<Option<Job>, ReleaseError> {
        if let Some(job) = marked? {
            return Ok(Some(job));
        }
        let stored = self.store.get_in_brief(released.job_id).await?;
        let entry = stored
            .as_ref()
            .map_or_else(|| entry_of_lost(queue, released), LaneEntry::from);
        match refusal(stored.as_ref(), Timestamp::now()) {
            Refusal::Forget => self.lanes.done(&entry).await?,
            Refusal::Expire => self.expire(&entry).await?,
            Refusal::Delay { until } => self.lanes.push_delayed(&entry, until).await?,
            Refusal::PutBack => self.lanes.requeue(&entry).await?,
            Refusal::Leave => {}
        }
        Ok(None)
    }

    async fn expire(&self, entry: &LaneEntry) -> Result<(), ReleaseError> {
        if let Some(expired) = self.store.expire_if_due(entry.job_id).await? {
            lifecycle::report(&expired, &self.metrics);
            self.lanes.done(entry).await?;
        } else {
            // It has just moved: the next release tells.
            self.lanes.requeue(entry).await?;
        }
        Ok(())
    }
}

/// What `work` comes to, while the others go on.
async fn beside<T>(
    others: &mut FuturesUnordered<impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(()) = others.next() => {}
        }
    }
}

/// Waits between two tries; `false` when there is no time for another one.
async fn wait_before(deadline: Instant, failures: u32, stop: &CancellationToken) -> bool {
    let wait = DATA_TIER.wait(failures);
    Instant::now() + wait < deadline && pause(wait, stop).await
}

/// An entry that is enough to forget a job by, when MongoDB does not know it.
fn entry_of_lost(queue: Queue, released: &Released) -> LaneEntry {
    LaneEntry {
        queue,
        app: released.app.clone(),
        user_id: released.user_id.clone(),
        job_id: released.job_id,
        priority: Priority::Normal,
        weight: DEFAULT_WEIGHT,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::fixtures::job;

    #[test]
    fn a_job_that_is_gone_or_over_is_forgotten() {
        let now = Timestamp::now();
        assert_eq!(refusal(None, now), Refusal::Forget);
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            assert_eq!(
                refusal(Some(&job().state(state).build()), now),
                Refusal::Forget,
                "{state}"
            );
        }
    }

    #[test]
    fn a_job_that_is_on_its_way_is_left_alone() {
        for state in [JobState::Dispatched, JobState::Running] {
            let refused = refusal(Some(&job().state(state).build()), Timestamp::now());
            assert_eq!(refused, Refusal::Leave);
        }
    }

    #[test]
    fn a_job_that_waits_for_its_next_attempt_is_delayed_until_then() {
        let now = Timestamp::now();
        let until = now + 10.seconds();
        let job = job().available_at(until).build();
        assert_eq!(refusal(Some(&job), now), Refusal::Delay { until });
    }

    #[test]
    fn a_job_whose_time_has_run_out_expires_even_while_it_waits() {
        let now = Timestamp::now();
        let job = job().available_at(now + 10.seconds()).expires_at(now).build();
        assert_eq!(refusal(Some(&job), now), Refusal::Expire);
    }

    #[test]
    fn only_servers_that_are_away_are_waited_for() {
        assert!(ReleaseError::from(StoreError::Timeout).is_transient());
        assert!(!ReleaseError::from(StoreError::Unreadable("state".to_owned())).is_transient());
        assert!(!ReleaseError::from(LaneError::NotAJob(b"x".to_vec())).is_transient());
    }
}

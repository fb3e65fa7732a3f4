//! The operations on the lanes, each one script and so one round trip.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use redis::{Cmd, FromRedisValue, Script, ScriptInvocation};
use uuid::Uuid;

use super::scripts;
use super::{LaneDepth, LaneEntry, Released};
use crate::connection::redis::{Redis, RedisError, Waiter};
use crate::model::JobId;
use crate::queue::Queue;

/// For how long the place of a job is kept between its admission and its push; longer than storing it may take.
pub const RESERVATION: Duration = Duration::from_mins(1);
/// Most jobs that one release gives, so that no call blocks Redis for long.
pub const MAX_RELEASE: usize = 1000;
/// Most jobs that [`Lanes::missing`] looks for in one call, so that none blocks Redis for long.
const MAX_LOOK: usize = 100;
/// Most users named in [`LaneDepth::heaviest`].
pub const HEAVIEST: usize = 20;
/// The pause after a failed wait, so that a caller that waits in a loop does not spin while there is no master.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The lanes cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The lanes hold an id that is no job's. Another program writes under our prefix.
    #[error("the lanes hold {0:?}, which is not a job id")]
    NotAJob(String),
}

impl LaneError {
    /// Whether the same operation may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_transient(),
            Self::NotAJob(_) => false,
        }
    }
}

/// The lanes of every queue; cheap to clone.
#[derive(Clone)]
pub struct Lanes {
    shared: Arc<Shared>,
    reservation: Duration,
}

struct Shared {
    redis: Redis,
    prefix: String,
    waiters: [Waiter; Queue::ALL.len()],
}

impl Lanes {
    /// The lanes under a prefix of keys, `fh:` in production.
    pub fn new(redis: Redis, prefix: &str) -> Self {
        let waiters = Queue::ALL.map(|queue| redis.waiter(format!("{prefix}wake:{queue}")));
        Self {
            shared: Arc::new(Shared {
                redis,
                prefix: prefix.to_owned(),
                waiters,
            }),
            reservation: RESERVATION,
        }
    }

    /// The same lanes, with another time than [`RESERVATION`] (milliseconds count).
    #[must_use]
    pub fn with_reservation(self, reservation: Duration) -> Self {
        Self { reservation, ..self }
    }

    /// Puts a job into its lane, unless it waits for its next attempt or is in the window. Does not ask for limits.
    /// Wakes a dispatcher.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn push(&self, entry: &LaneEntry) -> Result<(), LaneError> {
        let mut call = self.call_for(&scripts::PUSH, entry);
        call.arg("push");
        self.shared.redis.script::<()>(&call).await?;
        Ok(())
    }

    /// Puts a job back into its lane from wherever it is: after its lease in MongoDB ran out. Wakes a dispatcher.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn requeue(&self, entry: &LaneEntry) -> Result<(), LaneError> {
        let mut call = self.call_for(&scripts::PUSH, entry);
        call.arg("requeue");
        self.shared.redis.script::<()>(&call).await?;
        Ok(())
    }

    /// Lets a job wait until `due`, wherever it is; a place in the window becomes free. Wakes a dispatcher.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn push_delayed(&self, entry: &LaneEntry, due: Timestamp) -> Result<(), LaneError> {
        let mut call = self.call_for(&scripts::DELAY, entry);
        call.arg(due.as_millisecond());
        self.shared.redis.script::<()>(&call).await?;
        Ok(())
    }

    /// Puts a job into the window unless the lanes know where it is: for a rebuild, of jobs that MongoDB says are
    /// dispatched or running.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn hold(&self, entry: &LaneEntry, lease: Duration) -> Result<(), LaneError> {
        let mut call = self.call_for(&scripts::HOLD, entry);
        call.arg(milliseconds(lease));
        self.shared.redis.script::<()>(&call).await?;
        Ok(())
    }

    /// Which of these queued jobs of `queue` are not where they belong: in their lane, delayed or in the window. Changes
    /// nothing, so that a look at every job costs Redis no write.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn missing(&self, queue: Queue, entries: &[LaneEntry]) -> Result<HashSet<JobId>, LaneError> {
        let mut missing = HashSet::new();
        for entries in entries.chunks(MAX_LOOK) {
            let mut call = self.call(&scripts::MISSING, queue);
            for entry in entries {
                call.arg(&entry.user_id).arg(entry.job_id.to_string());
            }
            let jobs: Vec<String> = self.shared.redis.script(&call).await?;
            for job in jobs {
                missing.insert(job.parse().map_err(|_| LaneError::NotAJob(job))?);
            }
        }
        Ok(missing)
    }

    /// Releases up to `max` jobs (at most [`MAX_RELEASE`]) in fair order, as long as fewer than `window` are in the
    /// window. Whoever gets a job must finish, delay or requeue it within `lease`, or [`extend`](Self::extend) that.
    ///
    /// # Errors
    /// When Redis fails; jobs that were released nevertheless come back when the lease runs out.
    pub async fn release(
        &self,
        queue: Queue,
        max: usize,
        window: u32,
        lease: Duration,
    ) -> Result<Vec<Released>, LaneError> {
        let ticket = Uuid::now_v7().simple().to_string();
        let mut call = self.call(&scripts::RELEASE, queue);
        call.arg(ticket)
            .arg(max.min(MAX_RELEASE))
            .arg(window)
            .arg(milliseconds(lease));
        let pairs: Vec<(String, String)> = self.shared.redis.script(&call).await?;
        pairs
            .into_iter()
            .map(|(job, user_id)| {
                let job_id = job.parse().map_err(|_| LaneError::NotAJob(job))?;
                Ok(Released { job_id, user_id })
            })
            .collect()
    }

    /// Makes the lease of a job in the window end after `lease` from now; `false` when it is not in the window.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn extend(&self, queue: Queue, job_id: JobId, lease: Duration) -> Result<bool, LaneError> {
        let mut call = self.call(&scripts::EXTEND, queue);
        call.arg(job_id.to_string()).arg(milliseconds(lease));
        Ok(self.shared.redis.script(&call).await?)
    }

    /// Forgets a job, wherever it is: it reached a final state, or was admitted and could not be stored. Wakes a
    /// dispatcher.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn done(&self, entry: &LaneEntry) -> Result<(), LaneError> {
        let mut call = self.call(&scripts::DONE, entry.queue);
        call.arg(&entry.user_id).arg(entry.job_id.to_string());
        self.shared.redis.script::<()>(&call).await?;
        Ok(())
    }

    /// Waits until there may be something to release, at most `patience`.
    ///
    /// One of those who wait is woken, and it should release until it gets fewer jobs than it asked for. Delays and
    /// leases that run out wake nobody: wait no longer than they may be late.
    ///
    /// # Errors
    /// When Redis fails, after a pause of at most 1 s.
    pub async fn wait_for_work(&self, queue: Queue, patience: Duration) -> Result<(), LaneError> {
        let [rest, upload, replace] = &self.shared.waiters;
        let waiter = match queue {
            Queue::Rest => rest,
            Queue::Upload => upload,
            Queue::Replace => replace,
        };
        match waiter.next(patience).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tokio::time::sleep(patience.min(PAUSE_AFTER_FAILURE)).await;
                Err(error.into())
            }
        }
    }

    /// How much waits in a queue.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn depth(&self, queue: Queue) -> Result<LaneDepth, LaneError> {
        let mut call = self.call(&scripts::DEPTH, queue);
        call.arg(HEAVIEST);
        let (jobs, reserved, delayed, inflight, heaviest): (u64, u64, u64, u64, Vec<(String, u64)>) =
            self.shared.redis.script(&call).await?;
        Ok(LaneDepth {
            queued: jobs.saturating_sub(reserved + delayed + inflight),
            delayed,
            inflight,
            reserved,
            heaviest,
        })
    }

    /// The marker that the last rebuild set; `None` after Redis lost its data.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn generation(&self) -> Result<Option<String>, LaneError> {
        let mut get = redis::cmd("GET");
        get.arg(self.generation_key());
        Ok(self.shared.redis.run(&get).await?)
    }

    /// Sets the marker, at the end of a rebuild.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn set_generation(&self, generation: &str) -> Result<(), LaneError> {
        let mut set = redis::cmd("SET");
        set.arg(self.generation_key()).arg(generation);
        self.shared.redis.run::<()>(&set).await?;
        Ok(())
    }

    fn generation_key(&self) -> String {
        format!("{}generation", self.shared.prefix)
    }

    pub(super) fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    pub(super) fn reservation_ms(&self) -> u64 {
        milliseconds(self.reservation)
    }

    pub(super) async fn run<T: FromRedisValue + Send>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, LaneError> {
        Ok(self.shared.redis.script(call).await?)
    }

    pub(super) async fn run_command<T: FromRedisValue + Send>(&self, command: &Cmd) -> Result<T, LaneError> {
        Ok(self.shared.redis.run(command).await?)
    }

    pub(super) fn call<'a>(&self, script: &'a Script, queue: Queue) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.arg(&self.shared.prefix).arg(queue.name());
        call
    }

    pub(super) fn call_for<'a>(&self, script: &'a Script, entry: &LaneEntry) -> ScriptInvocation<'a> {
        let mut call = self.call(script, entry.queue);
        call.arg(&entry.user_id)
            .arg(entry.job_id.to_string())
            .arg(entry.created_at.as_millisecond())
            .arg(entry.encode());
        call
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

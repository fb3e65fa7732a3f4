//! The operations on the lanes, each one script and so one round trip.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use redis::{Cmd, FromRedisValue, Script, ScriptInvocation};
use uuid::Uuid;

use super::scripts;
use super::{LaneDepth, LaneEntry, Release, Released};
use crate::connection::redis::{Redis, RedisError, Waiter, milliseconds};
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
/// The version of what the keys hold, and a part of their names: processes of two versions do not read each other's
/// lanes. To be raised with every change that the scripts of the version before would not understand, in keys.lua too.
pub(super) const LAYOUT: u32 = 2;
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
    NotAJob(Vec<u8>),
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
    release: Arc<Script>,
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
        let waiters = Queue::ALL.map(|queue| redis.waiter(format!("{prefix}{LAYOUT}:wake:{queue}")));
        Self {
            shared: Arc::new(Shared {
                redis,
                prefix: prefix.to_owned(),
                waiters,
            }),
            release: Arc::new(scripts::release(scripts::ROOM)),
            reservation: RESERVATION,
        }
    }

    /// The same lanes, with another time than [`RESERVATION`] (milliseconds count).
    #[must_use]
    pub fn with_reservation(self, reservation: Duration) -> Self {
        Self { reservation, ..self }
    }

    /// The same lanes, where this Lua code says how much room there is, instead of the budgets: it must define the
    /// functions `app_room` and `user_room`.
    #[must_use]
    pub fn with_room(self, room: &str) -> Self {
        let release = Arc::new(scripts::release(room));
        Self { release, ..self }
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
                call.arg(&entry.app)
                    .arg(&entry.user_id)
                    .arg(&raw(entry.job_id)[..]);
            }
            let jobs: Vec<Vec<u8>> = self.shared.redis.script(&call).await?;
            for job in jobs {
                missing.insert(job_id(job)?);
            }
        }
        Ok(missing)
    }

    /// Releases up to `max` jobs (at most [`MAX_RELEASE`]) in fair order, as long as fewer than `window` are in the
    /// window and their applications and users have room. Whoever gets a job must finish, delay or requeue it within
    /// `lease`, or [`extend`](Self::extend) that.
    ///
    /// # Errors
    /// When Redis fails; jobs that were released nevertheless come back when the lease runs out.
    pub async fn release(
        &self,
        queue: Queue,
        max: usize,
        window: u32,
        lease: Duration,
    ) -> Result<Release, LaneError> {
        let ticket = Uuid::now_v7().simple().to_string();
        let mut call = self.call(&self.release, queue);
        call.arg(ticket)
            .arg(max.min(MAX_RELEASE))
            .arg(window)
            .arg(milliseconds(lease));
        let (wait, released): (i64, Vec<(Vec<u8>, String, String)>) = self.shared.redis.script(&call).await?;
        let jobs = released.into_iter().map(|(job, app, user_id)| {
            Ok(Released {
                job_id: job_id(job)?,
                app,
                user_id,
            })
        });
        Ok(Release {
            jobs: jobs.collect::<Result<_, LaneError>>()?,
            next_due: u64::try_from(wait).ok().map(Duration::from_millis),
        })
    }

    /// Makes the lease of a job in the window end after `lease` from now; `false` when it is not in the window.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn extend(&self, queue: Queue, job_id: JobId, lease: Duration) -> Result<bool, LaneError> {
        let mut call = self.call(&scripts::EXTEND, queue);
        call.arg(&raw(job_id)[..]).arg(milliseconds(lease));
        Ok(self.shared.redis.script(&call).await?)
    }

    /// Forgets a job, wherever it is: it reached a final state, or was admitted and could not be stored. Wakes a
    /// dispatcher.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn done(&self, entry: &LaneEntry) -> Result<(), LaneError> {
        let mut call = self.call(&scripts::DONE, entry.queue);
        call.arg(&entry.user_id)
            .arg(&raw(entry.job_id)[..])
            .arg(&entry.app);
        self.shared.redis.script::<()>(&call).await?;
        Ok(())
    }

    /// Waits until there may be something to release, at most `patience`.
    ///
    /// One of those who wait is woken, and it should release until [`Release::next_due`] is a time to come. What comes due
    /// by itself wakes nobody: wait no longer than until then. A hint can be lost with a connection, so wait no longer
    /// than a job may be late.
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
        let (jobs, reserved, delayed, inflight, parked, heaviest): (
            u64,
            u64,
            u64,
            u64,
            u64,
            Vec<(String, u64)>,
        ) = self.shared.redis.script(&call).await?;
        Ok(LaneDepth {
            queued: jobs.saturating_sub(reserved + delayed + inflight),
            delayed,
            inflight,
            reserved,
            parked,
            heaviest: by_user(&heaviest),
        })
    }

    /// The marker that the last rebuild set; `None` after Redis lost its data, and while it has none of this layout.
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

    pub(super) fn redis_and_prefix(&self) -> (&Redis, &str) {
        (&self.shared.redis, &self.shared.prefix)
    }

    fn generation_key(&self) -> String {
        format!("{}{LAYOUT}:generation", self.shared.prefix)
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
            .arg(&raw(entry.job_id)[..])
            .arg(entry.created_at.as_millisecond())
            .arg(entry.encode());
        call
    }
}

/// The form in which the lanes know a job: less than half of its text.
pub(super) fn raw(job_id: JobId) -> [u8; 16] {
    Uuid::from(job_id).into_bytes()
}

fn job_id(raw: Vec<u8>) -> Result<JobId, LaneError> {
    let id = Uuid::from_slice(&raw).map_err(|_| LaneError::NotAJob(raw))?;
    Ok(JobId::from(id))
}

/// The jobs of each user over its lanes (`application:user`), most first.
fn by_user(lanes: &[(String, u64)]) -> Vec<(String, u64)> {
    let mut users: Vec<(String, u64)> = Vec::new();
    for (lane, jobs) in lanes {
        let user = lane.split_once(':').map_or(lane.as_str(), |(_app, user)| user);
        match users.iter_mut().find(|(known, _)| known == user) {
            Some((_, all)) => *all += jobs,
            None => users.push((user.to_owned(), *jobs)),
        }
    }
    users.sort_by(|(user_a, a), (user_b, b)| (b, user_b).cmp(&(a, user_a)));
    users
}

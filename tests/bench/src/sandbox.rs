//! Lanes of a bench's own in the Redis of the hub: the scripts as they run in production, on keys that nobody else has.

use flickrhub_job::connection::redis::Redis;
use flickrhub_job::lane::{AdmissionLimits, LaneEntry, Lanes, Submission};
use flickrhub_job::limits::RequestClass;
use flickrhub_job::model::{JobId, Priority};
use flickrhub_job::queue::Queue;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use redis::{Script, cmd};

use crate::Failure;

/// The queue of the sandbox's jobs.
pub(crate) const QUEUE: Queue = Queue::Rest;
/// Scripts under way at a time.
pub(crate) const AT_A_TIME: usize = 64;
/// Keys that are looked at or deleted at a time, so that no call blocks Redis for long.
const KEYS_AT_A_TIME: usize = 500;
/// Members of a collection whose size is looked at; the rest is taken to be alike.
const SAMPLES: usize = 50;

const MEMORY: &str = r"
local bytes = 0
for _, key in ipairs(KEYS) do
  bytes = bytes + (redis.call('MEMORY', 'USAGE', key, 'SAMPLES', ARGV[1]) or 0)
end
return bytes";

/// What every key of every sandbox begins with.
const PREFIX: &str = "fh-bench:";

/// Lanes under a prefix of their own.
pub(crate) struct Sandbox {
    /// The lanes.
    pub(crate) lanes: Lanes,
    redis: Redis,
    prefix: String,
}

impl Sandbox {
    /// Empty lanes.
    pub(crate) fn new(redis: Redis) -> Self {
        let prefix = format!("{PREFIX}{}:", uuid::Uuid::now_v7().simple());
        Self::under(redis, prefix)
    }

    /// All sandboxes as one, to be cleared: a run that was killed, or lost Redis, left its keys behind.
    pub(crate) fn all(redis: Redis) -> Self {
        Self::under(redis, PREFIX.to_owned())
    }

    fn under(redis: Redis, prefix: String) -> Self {
        Self {
            lanes: Lanes::new(redis.clone(), &prefix).with_room(NO_BUDGETS),
            redis,
            prefix,
        }
    }

    /// Pushes `jobs` jobs in turn for `users` users.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn fill(&self, users: usize, jobs: usize) -> Result<(), Failure> {
        futures::stream::iter(0..jobs)
            .map(Ok::<_, Failure>)
            .try_for_each_concurrent(AT_A_TIME, async |index| {
                Ok(self.lanes.push(&entry(&user(index % users))).await?)
            })
            .await
    }

    /// Has a job admitted that no limit refuses.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn admit(&self, entry: &LaneEntry) -> Result<(), Failure> {
        let limits = AdmissionLimits {
            pending_per_user: u32::MAX,
            buffer: u32::MAX,
            per_user_per_hour: u32::MAX,
            per_class_per_hour: u32::MAX,
            per_client_per_minute: u32::MAX,
        };
        let submission = Submission {
            entry,
            client_id: "bench",
            class: RequestClass::Read,
            idempotency: None,
        };
        self.lanes.admit(&submission, &limits).await?;
        Ok(())
    }

    /// The memory of all keys in bytes, with what Redis itself needs for each.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn bytes(&self) -> Result<u64, Failure> {
        let script = Script::new(MEMORY);
        let mut bytes = 0;
        for keys in self.keys().await?.chunks(KEYS_AT_A_TIME) {
            let mut call = script.prepare_invoke();
            for key in keys {
                call.key(key);
            }
            call.arg(SAMPLES);
            bytes += self.redis.script::<u64>(&call).await?;
        }
        Ok(bytes)
    }

    /// Deletes every key.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn clear(&self) -> Result<(), Failure> {
        for keys in self.keys().await?.chunks(KEYS_AT_A_TIME) {
            let mut unlink = cmd("UNLINK");
            unlink.arg(keys);
            self.redis.run::<u64>(&unlink).await?;
        }
        Ok(())
    }

    async fn keys(&self) -> Result<Vec<String>, Failure> {
        let (mut keys, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{}*", self.prefix))
                .arg("COUNT")
                .arg(2000);
            let (next, found): (u64, Vec<String>) = self.redis.run(&scan).await?;
            keys.extend(found);
            if next == 0 {
                // SCAN may give a key twice.
                keys.sort_unstable();
                keys.dedup();
                return Ok(keys);
            }
            cursor = next;
        }
    }
}

/// Lanes alone, without the budgets.
const NO_BUDGETS: &str = "
local function app_room() return 1000000 end
local function user_room() return 1000000 end
";

/// The id of the user with this number.
pub(crate) fn user(index: usize) -> String {
    format!("{}@N00", 20_000_000 + index)
}

/// A new job of this user.
pub(crate) fn entry(user: &str) -> LaneEntry {
    LaneEntry {
        queue: QUEUE,
        app: "main".to_owned(),
        user_id: user.to_owned(),
        job_id: JobId::new(),
        priority: Priority::Normal,
        weight: 1,
        created_at: Timestamp::now(),
    }
}

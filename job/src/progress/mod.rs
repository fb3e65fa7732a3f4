//! Who waits for a job to move, and how they hear of it.
//!
//! Whoever moves a job publishes a [`Notice`], the job's id and how it moved, over Redis after the transition in MongoDB.
//! A process that has waiters subscribes once, and hands each notice to those who [`watch`](Progress::watch) that job.
//!
//! **A notice is a hint.** It may be lost (a subscriber that reconnects, a full buffer, a publisher that dies after the
//! transition), come twice, or come late. So a waiter reads MongoDB, after it has begun to watch and whenever it is woken,
//! and looks again by itself every few seconds: a lost notice delays, and loses nothing. Nothing is decided by a notice.
//!
//! # Topics
//!
//! | topic | channel | told by | heard by |
//! | --- | --- | --- | --- |
//! | [`Topic::Moves`] | `<prefix>progress` | the scripts of the lanes, when a job is over or waits for its next attempt; workers, when they begin | the API |
//! | [`Topic::Cancellations`] | `<prefix>cancellations` | the API, for a job that runs | workers |
//!
//! One channel for all jobs: a notice has some 20 bytes, so that an API process hears of thousands of jobs a second at the
//! cost of looking each up in a map. Cancellations of running jobs are rare, and have a channel of their own so that workers
//! are not woken by every move.
//!
//! # What it costs
//!
//! The end of a job and a retry are published by the script that frees the job's place in the lanes, without a round trip of
//! their own. The beginning is handed to a task that sends what has come together since its last round trip, and drops it
//! when there is too much: it never delays a worker. That a job was dispatched is not told: a moment later it runs.

mod announce;
mod notice;
mod subscription;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use notice::{Move, Notice};
pub use watch::Watch;

use self::watch::Watchers;
use crate::connection::redis::{Redis, RedisError};
use crate::model::JobId;

/// Notices that wait to be sent; more are dropped.
const WAITING_NOTICES: usize = 10_000;

/// After this time without a notice a waiter looks by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long to wait for a notice before one looks by itself: about 5 s, a fifth more or less, so that waiters which began
/// together do not look together.
#[must_use]
pub fn look_again() -> Duration {
    LOOK_AGAIN.mul_f64(rand::random_range(0.8..=1.2))
}

/// What notices are about, and who hears them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A job moved.
    Moves,
    /// A running job is to be cancelled.
    Cancellations,
}

impl Topic {
    /// The channel in Redis, behind the prefix.
    const fn channel(self) -> &'static str {
        match self {
            Self::Moves => "progress",
            Self::Cancellations => "cancellations",
        }
    }
}

/// Tells of jobs that move, and hears of them. Cheap to clone; the last clone ends its tasks.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    redis: Redis,
    prefix: String,
    watchers: Arc<Watchers>,
    outgoing: mpsc::Sender<Notice>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Progress {
    /// Begins to hear of `topic` under a prefix of keys, `fh:` in production. Where Redis is away it is tried again and again;
    /// until then waiters hear nothing, and look by themselves.
    ///
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn new(redis: Redis, prefix: &str, topic: Topic) -> Self {
        let watchers = Arc::new(Watchers::default());
        let (outgoing, incoming) = mpsc::channel(WAITING_NOTICES);
        let listened = format!("{prefix}{}", topic.channel());
        let told = format!("{prefix}{}", Topic::Moves.channel());
        let tasks = [
            tokio::spawn(subscription::listen(
                redis.clone(),
                listened,
                Arc::clone(&watchers),
            )),
            tokio::spawn(announce::send(redis.clone(), told, incoming)),
        ];
        Self {
            shared: Arc::new(Shared {
                redis,
                prefix: prefix.to_owned(),
                watchers,
                outgoing,
                tasks,
            }),
        }
    }

    /// Tells that a job moved; costs its caller nothing. For moves that no script of the lanes tells.
    pub fn announce(&self, job_id: JobId, to: Move) {
        // Full: nobody misses anything but some time.
        let _ = self.shared.outgoing.try_send(Notice { job_id, to });
    }

    /// Tells whoever runs the job that its client wants it cancelled; that is noted in MongoDB before.
    ///
    /// # Errors
    /// When Redis fails. The holder then learns of it with its next sign of life.
    pub async fn announce_cancellation(&self, job_id: JobId) -> Result<(), RedisError> {
        let notice = Notice {
            job_id,
            to: Move::CancelRequested,
        };
        let channel = format!("{}{}", self.shared.prefix, Topic::Cancellations.channel());
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(notice.to_bytes());
        self.shared.redis.run::<()>(&publish).await
    }

    /// Watches one job from now on. Read MongoDB after this, not before.
    #[must_use]
    pub fn watch(&self, job_id: JobId) -> Watch {
        Watchers::watch(&self.shared.watchers, job_id)
    }

    /// How many jobs are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.shared.watchers.len()
    }
}

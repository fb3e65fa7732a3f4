//! The audit log of this process: what is written, and how it gets into MongoDB.
//!
//! Every request to `/api/` is an entry. Entries go through a bounded queue to one task ([`writer`]), which seals them into
//! the chain of this process and writes them in batches. Nobody waits for the entry of a call. An administrative action and a
//! failure are answered when their entry is written, or after [`LONGEST_WAIT`] with the entry in the process's own log.
//!
//! | what happens | what becomes of entries |
//! | --- | --- |
//! | MongoDB is away | the queue holds [`QUEUE`] of them; requests go on meanwhile, those that need MongoDB with a 503. Nobody waits for an entry while the one before it could not be written |
//! | the queue is full | they are lost to the log: each is written to the process's own log, counted, and the chain says how many |
//! | the process is told to stop | what waits is written, if MongoDB takes it within [`LAST_WORDS`] |
//! | the process dies | of calls, what waited, about the last half second where MongoDB answers, is only in the access log. Of administrative actions and failures, those that had no answer yet: an effect can be there without an entry if the process dies between the two |
//! | somebody without a credential sends many requests | one address has an entry a second, the rest are counted |

mod classify;
#[cfg(test)]
pub(crate) mod fixture;
mod writer;

pub use classify::{Answer, event_of};

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flickrhub_job::audit::{AuditEntry, Head, SealedEntry};
use flickrhub_job::store::StoreError;
use jiff::Timestamp;
use prometheus::IntCounterVec;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::network_of;
use crate::auth::rate::{Meter, Rate};

/// Entries that wait to be written, of a few hundred bytes each.
pub const QUEUE: usize = 20_000;
/// How long an answer waits for its entry to be written.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long the last entries of a process that stops may take.
pub const LAST_WORDS: Duration = Duration::from_secs(3);
/// Entries of one address that proved nothing.
const OF_STRANGERS: Rate = Rate {
    interval: Duration::from_secs(1),
    burst: 60,
};
/// Addresses of strangers that are counted at a time.
const COUNTED_STRANGERS: usize = 20_000;

/// Where sealed entries go.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Adds entries; may be repeated.
    ///
    /// # Errors
    /// When they may not all be there. `None`: there is no MongoDB yet.
    async fn append(&self, entries: &[SealedEntry]) -> Result<(), Option<StoreError>>;

    /// Where the chains stand that wrote lately.
    ///
    /// # Errors
    /// When that cannot be found out.
    async fn heads(&self, now: Timestamp) -> Result<Vec<Head>, Option<StoreError>>;
}

/// Takes entries; clones share the queue.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
}

/// An entry that is to be written.
struct Waiting {
    entry: AuditEntry,
    /// Who waits for that.
    written: Option<oneshot::Sender<()>>,
}

struct Shared {
    /// Whether the last batch could not be written.
    is_held_up: AtomicBool,
    strangers: Meter<IpAddr>,
    left_out: LeftOut,
    closing: CancellationToken,
    tasks: TaskTracker,
    entries: IntCounterVec,
}

/// Entries that are not in the chain, since the last time that it said so.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    lost: AtomicU64,
    of_strangers: AtomicU64,
}

impl LeftOut {
    /// What the chain says of them, if there are any; from then on they are said.
    fn note(&self) -> Option<String> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let of_strangers = self.of_strangers.swap(0, Ordering::Relaxed);
        (lost + of_strangers > 0).then(|| format!("queue_full={lost} rate_of_strangers={of_strangers}"))
    }
}

impl AuditLog {
    /// A log whose entries go to `sink`. Must be called within a Tokio runtime.
    pub fn new(sink: Arc<dyn AuditSink>, entries: IntCounterVec) -> Self {
        Self::with_room(sink, entries, QUEUE)
    }

    fn with_room(sink: Arc<dyn AuditSink>, entries: IntCounterVec, room: usize) -> Self {
        let (queue, waiting) = mpsc::channel(room);
        let shared = Arc::new(Shared {
            is_held_up: AtomicBool::new(false),
            strangers: Meter::new(COUNTED_STRANGERS),
            left_out: LeftOut::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            entries,
        });
        let writer = writer::run(waiting, sink, Arc::downgrade(&shared), shared.closing.clone());
        shared.tasks.spawn(writer);
        Self { queue, shared }
    }

    /// Adds an entry, and waits for nothing. `address`: where the request came from; `is_known`: whether its sender proved
    /// who it is.
    pub fn record(&self, entry: AuditEntry, address: Option<IpAddr>, is_known: bool) {
        let waiting = Waiting { entry, written: None };
        self.put(waiting, address, is_known);
    }

    /// Adds an entry, and waits until it is written; not for long, and not while MongoDB does not take entries: then the
    /// entry, which stays in the queue, is also in the process's own log.
    pub async fn write(&self, entry: AuditEntry, address: Option<IpAddr>, is_known: bool) {
        let (written, is_written) = oneshot::channel();
        let waiting = Waiting {
            entry: entry.clone(),
            written: Some(written),
        };
        let is_held_up = self.shared.is_held_up.load(Ordering::Relaxed);
        if !self.put(waiting, address, is_known) {
            return;
        }
        if is_held_up || !matches!(timeout(LONGEST_WAIT, is_written).await, Ok(Ok(()))) {
            let entry = serde_json::to_string(&entry).unwrap_or_default();
            tracing::warn!(
                event = "audit_entry_late",
                entry,
                "a request is answered before its entry is in the audit log"
            );
        }
    }

    /// Whether the entry is in the queue.
    fn put(&self, waiting: Waiting, address: Option<IpAddr>, is_known: bool) -> bool {
        let shared = &self.shared;
        // Requests that came over no connection are counted together.
        let stranger = network_of(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()));
        if !is_known
            && shared
                .strangers
                .take(&stranger, OF_STRANGERS, Instant::now())
                .is_err()
        {
            shared.left_out.of_strangers.fetch_add(1, Ordering::Relaxed);
            shared.entries.with_label_values(&["left_out"]).inc();
            return false;
        }
        match self.queue.try_send(waiting) {
            Ok(()) => true,
            Err(TrySendError::Full(waiting) | TrySendError::Closed(waiting)) => {
                shared.left_out.lost.fetch_add(1, Ordering::Relaxed);
                shared.entries.with_label_values(&["lost"]).inc();
                let entry = serde_json::to_string(&waiting.entry).unwrap_or_default();
                tracing::warn!(
                    event = "audit_entry_lost",
                    entry,
                    "an entry is not in the audit log"
                );
                false
            }
        }
    }

    /// Writes what waits, and ends the chain. To be called when no request comes in any more.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests;

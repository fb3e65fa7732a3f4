//! The task that writes the audit log.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use flickrhub_job::audit::{AuditEntry, AuditEvent, Chain, SealedEntry};
use flickrhub_job::store::time;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{AuditSink, LAST_WORDS, Shared, Waiting};

/// How long entries are collected for a batch.
const COLLECT: Duration = Duration::from_millis(250);
/// The most entries of a batch.
const BATCH: usize = 500;
/// The first and the longest pause before a batch is written again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How often a chain notes where the others stand.
const CHECKPOINT: Duration = Duration::from_hours(1);
/// How long it may take to find that out.
const HEADS: Duration = Duration::from_secs(10);

struct Writer {
    sink: Arc<dyn AuditSink>,
    shared: Weak<Shared>,
    closing: CancellationToken,
    chain: Chain,
}

/// Writes what comes through the queue, until `closing` is cancelled or nobody is left to send.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<Waiting>,
    sink: Arc<dyn AuditSink>,
    shared: Weak<Shared>,
    closing: CancellationToken,
) {
    let mut writer = Writer {
        sink,
        shared,
        closing,
        chain: Chain::new(),
    };
    let mut event = AuditEvent::ChainStarted;
    let mut due = Instant::now();
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            () = writer.closing.cancelled() => break,
            () = tokio::time::sleep_until(due) => {
                batch.push(of_log(writer.with_heads(event).await));
                event = AuditEvent::Checkpoint;
                due = Instant::now() + CHECKPOINT;
            }
            received = waiting.recv_many(&mut batch, BATCH) => {
                if received == 0 {
                    break;
                }
                // Whoever waits for an entry is not made to wait for others. While a batch is being written the next one
                // gathers, so a flood of such entries costs one write in the time of a write.
                if batch.iter().all(|waiting| waiting.written.is_none()) {
                    sleep(COLLECT).await;
                }
                while batch.len() < BATCH && let Ok(entry) = waiting.try_recv() {
                    batch.push(entry);
                }
            }
        }
        if !writer.write(batch).await {
            break;
        }
    }
    let rest = async {
        waiting.close();
        let mut batch = Vec::new();
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            writer.write(std::mem::take(&mut batch)).await;
        }
        let end = AuditEntry::of_log(AuditEvent::ChainEnded, time::now(), None);
        writer.write(vec![of_log(end)]).await;
    };
    if timeout(LAST_WORDS, rest).await.is_err() {
        tracing::warn!("the last entries of the audit log were not written");
    }
}

/// An entry that nobody waits for.
const fn of_log(entry: AuditEntry) -> Waiting {
    Waiting { entry, written: None }
}

impl Writer {
    /// An entry that notes where other chains stand. A chain begins also while that cannot be found out.
    async fn with_heads(&self, event: AuditEvent) -> AuditEntry {
        let now = time::now();
        let heads = match timeout(HEADS, self.sink.heads(now)).await {
            Ok(Ok(heads)) => heads,
            _ => Vec::new(),
        };
        let others = heads.iter().filter(|head| head.chain != self.chain.id());
        let note = others.map(ToString::to_string).collect::<Vec<_>>().join(" ");
        AuditEntry::of_log(event, time::now(), (!note.is_empty()).then_some(note))
    }

    /// Seals and writes a batch, however long it takes; `false`: it is not certain to be written, and the process stops.
    async fn write(&mut self, batch: Vec<Waiting>) -> bool {
        let left_out = self.shared.upgrade().and_then(|shared| shared.left_out.note());
        let left_out =
            left_out.map(|note| AuditEntry::of_log(AuditEvent::EntriesLeftOut, time::now(), Some(note)));
        let mut wait: Vec<oneshot::Sender<()>> = Vec::new();
        let mut sealed: Vec<SealedEntry> = Vec::with_capacity(batch.len() + 1);
        for waiting in batch.into_iter().chain(left_out.map(of_log)) {
            sealed.push(self.chain.seal(waiting.entry));
            wait.extend(waiting.written);
        }
        let mut pause = PAUSES.0;
        let mut last_try = self.closing.is_cancelled();
        loop {
            match self.sink.append(&sealed).await {
                Ok(()) => {
                    for written in wait {
                        // Who waited may have gone.
                        let _ = written.send(());
                    }
                    if let Some(shared) = self.shared.upgrade() {
                        shared.is_held_up.store(false, Ordering::Relaxed);
                        let written = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
                        shared.entries.with_label_values(&["written"]).inc_by(written);
                    }
                    return true;
                }
                // The data tier is being connected to; that is reported elsewhere.
                Err(None) => {}
                Err(Some(error)) => {
                    tracing::warn!(%error, entries = sealed.len(), "the audit log is not written for now");
                }
            }
            if let Some(shared) = self.shared.upgrade() {
                shared.is_held_up.store(true, Ordering::Relaxed);
            }
            if last_try {
                return false;
            }
            tokio::select! {
                () = sleep(pause) => pause = PAUSES.1.min(pause * 2),
                () = self.closing.cancelled() => last_try = true,
            }
        }
    }
}

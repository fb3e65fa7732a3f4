//! Group commit: what many callers want of MongoDB at the same time is sent in one command.
//!
//! A write that waits for the majority costs almost the same for one document as for a hundred: a round trip, an entry in
//! the journal of every member, an acknowledgement through the oplog. So a caller hands in its operation and waits for its
//! own outcome. While commits are under way the next one collects; nobody waits for a timer, and a caller who finds nothing
//! under way is on its way at once.
//!
//! What a caller hands in together is a batch, and stays together: one commit has all of it, unless it is larger than a
//! commit may be. So the caller of a thousand operations waits for one acknowledgement, whoever comes at the same time.
//!
//! Nothing here is kept when the process dies, and nothing is promised before the [`Executor`] has answered:
//!
//! | the process dies | then |
//! | --- | --- |
//! | while an operation waits for its commit | it did not happen; its caller was told nothing |
//! | while the commit is under way | it may have happened; its caller was told nothing, as with a single write whose answer is lost |
//! | after the answer | the majority has it |
//!
//! A caller that goes away takes only its own operations along, if the commit has not begun, and nothing otherwise: the
//! commit runs in a task of its own, so it is never cut off in the middle. A commit that fails as a whole fails for each of
//! its callers as a single write would; one that panics leaves them with [`StoreError::Interrupted`], and the next goes on.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::FutureExt;
use prometheus::IntCounterVec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::StoreError;

/// What one operation weighs at least, however small it is: the memory of its place in the queue, and a bound on how many
/// there are.
const LEAST_BYTES: usize = 16 * 1024;

/// The outcomes of one commit, one for each operation in their order, unless it failed as a whole.
pub(super) type Outcomes<T> = Result<Vec<Result<T, StoreError>>, StoreError>;

/// Commits many operations at once.
pub(super) trait Executor: Send + Sync + 'static {
    /// What a caller wants.
    type Operation: Send + 'static;
    /// What it gets.
    type Answer: Send + 'static;

    /// How much of a command the operation takes, in bytes.
    fn bytes(operation: &Self::Operation) -> usize;

    /// Commits the operations, which are at least one.
    fn commit(&self, operations: Vec<Self::Operation>)
    -> impl Future<Output = Outcomes<Self::Answer>> + Send;
}

/// How much is done at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Commits under way.
    pub(super) commits: usize,
    /// Operations of one commit.
    pub(super) operations: usize,
    /// Bytes of one commit; a single operation may be larger.
    pub(super) bytes: usize,
    /// Bytes of all operations that wait or are under way, each counted as [`LEAST_BYTES`] at least. Who comes when they are
    /// used up waits for room, in order.
    pub(super) held_bytes: usize,
}

/// Counts what is committed, whatever comes of it, by what it writes.
pub(super) struct Counters {
    /// Commits.
    pub(super) commits: IntCounterVec,
    /// Their operations.
    pub(super) operations: IntCounterVec,
    /// The label of both.
    pub(super) write: &'static str,
}

impl Counters {
    fn count(&self, operations: usize) {
        let operations = u64::try_from(operations).unwrap_or(u64::MAX);
        self.commits.with_label_values(&[self.write]).inc();
        self.operations
            .with_label_values(&[self.write])
            .inc_by(operations);
    }
}

/// Takes operations of many callers and commits them in groups. Cheap to clone.
pub(super) struct GroupCommit<E: Executor> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: Executor> {
    executor: E,
    limits: Limits,
    room: Arc<Semaphore>,
    queue: Mutex<Queue<E>>,
    counters: OnceLock<Counters>,
}

struct Queue<E: Executor> {
    waiting: VecDeque<Waiting<E>>,
    /// Committers, those that are starting included.
    committers: usize,
    /// Whether one of them has yet to take its first group. Until it does, it takes whoever comes along.
    starting: bool,
}

/// A batch, and who waits for it.
struct Waiting<E: Executor> {
    batch: Vec<E::Operation>,
    bytes: usize,
    outcomes: oneshot::Sender<Vec<Outcome<E>>>,
    /// Given back with the outcomes.
    room: OwnedSemaphorePermit,
}

type Outcome<E> = Result<<E as Executor>::Answer, StoreError>;

impl<E: Executor> GroupCommit<E> {
    pub(super) fn new(executor: E, limits: Limits) -> Self {
        let shared = Shared {
            room: Arc::new(Semaphore::new(units(limits.held_bytes))),
            executor,
            limits,
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                committers: 0,
                starting: false,
            }),
            counters: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Counts commits from now on; the first counters that it is given stay.
    pub(super) fn counted_in(&self, counters: Counters) {
        let _ = self.shared.counters.set(counters);
    }

    /// Commits the operation with whatever else is to be committed now.
    pub(super) async fn submit(&self, operation: E::Operation) -> Outcome<E> {
        let waiting = self.shared.enqueue(vec![operation]).await?;
        let outcome = heard::<E>(waiting, 1).await.pop();
        outcome.unwrap_or(Err(StoreError::Interrupted))
    }

    /// Commits the operations as one batch, or as few as the limits allow; their outcomes in the same order.
    pub(super) async fn submit_all(
        &self,
        operations: impl IntoIterator<Item = E::Operation>,
    ) -> Vec<Outcome<E>> {
        let mut batches = Vec::new();
        for batch in batches_of::<E>(operations, self.shared.limits) {
            let count = batch.len();
            // Room for it comes back from those before it, which are on their way.
            batches.push((count, self.shared.enqueue(batch).await));
        }
        let mut outcomes = Vec::new();
        for (count, waiting) in batches {
            match waiting {
                Ok(waiting) => outcomes.append(&mut heard::<E>(waiting, count).await),
                Err(error) => outcomes.extend(all_failed::<E>(count, &error)),
            }
        }
        outcomes
    }
}

impl<E: Executor> Clone for GroupCommit<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<E: Executor> fmt::Debug for GroupCommit<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit")
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

impl<E: Executor> Shared<E> {
    fn lock(&self) -> MutexGuard<'_, Queue<E>> {
        // Each change under the lock is whole, so a panic elsewhere leaves nothing half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much room the batch takes.
    fn units_of(&self, batch: &[E::Operation]) -> u32 {
        let of_batch = batch.iter().map(|operation| units(E::bytes(operation)));
        let of_batch = of_batch.fold(0, usize::saturating_add);
        // A batch larger than all the room takes all of it.
        u32::try_from(of_batch.min(units(self.limits.held_bytes))).unwrap_or(u32::MAX)
    }

    /// Puts the batch in the queue as soon as there is room for it.
    async fn enqueue(
        self: &Arc<Self>,
        batch: Vec<E::Operation>,
    ) -> Result<oneshot::Receiver<Vec<Outcome<E>>>, StoreError> {
        let units = self.units_of(&batch);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        // It is never closed.
        let room = room.map_err(|_| StoreError::Interrupted)?;
        let (sender, outcomes) = oneshot::channel();
        let bytes = batch.iter().map(E::bytes);
        let waiting = Waiting {
            bytes: bytes.fold(0, usize::saturating_add),
            batch,
            outcomes: sender,
            room,
        };
        let mut queue = self.lock();
        queue.waiting.push_back(waiting);
        self.start_if_useful(&mut queue);
        Ok(outcomes)
    }

    /// Starts another committer, if somebody waits and none is about to take them along.
    fn start_if_useful(self: &Arc<Self>, queue: &mut Queue<E>) {
        if queue.starting || queue.waiting.is_empty() || queue.committers >= self.limits.commits {
            return;
        }
        queue.starting = true;
        queue.committers += 1;
        tokio::spawn(Arc::clone(self).commit_until_nobody_waits());
    }

    async fn commit_until_nobody_waits(self: Arc<Self>) {
        let mut group = {
            let mut queue = self.lock();
            queue.starting = false;
            self.next_group(&mut queue)
        };
        while let Some(operations) = group {
            self.commit(operations).await;
            group = self.next_group(&mut self.lock());
        }
    }

    /// The next batches to commit; without any, this committer ends.
    fn next_group(self: &Arc<Self>, queue: &mut Queue<E>) -> Option<Vec<Waiting<E>>> {
        let mut group = Vec::new();
        let (mut operations, mut bytes) = (0_usize, 0_usize);
        while let Some(next) = queue.waiting.pop_front() {
            if next.outcomes.is_closed() {
                // Its caller has gone.
                continue;
            }
            operations = operations.saturating_add(next.batch.len());
            bytes = bytes.saturating_add(next.bytes);
            let fits = operations <= self.limits.operations && bytes <= self.limits.bytes;
            if !group.is_empty() && !fits {
                queue.waiting.push_front(next);
                break;
            }
            group.push(next);
            if operations >= self.limits.operations {
                break;
            }
        }
        if group.is_empty() {
            queue.committers -= 1;
            return None;
        }
        self.start_if_useful(queue);
        Some(group)
    }

    async fn commit(&self, group: Vec<Waiting<E>>) {
        let mut operations = Vec::new();
        let mut callers = Vec::with_capacity(group.len());
        for waiting in group {
            callers.push((waiting.outcomes, waiting.batch.len(), waiting.room));
            operations.extend(waiting.batch);
        }
        if let Some(counters) = self.counters.get() {
            counters.count(operations.len());
        }
        let commit = AssertUnwindSafe(self.executor.commit(operations)).catch_unwind();
        // Who is left without an outcome hears that from its dropped sender. The panic itself is logged by its hook.
        match commit.await {
            Ok(Ok(outcomes)) => {
                let mut outcomes = outcomes.into_iter();
                for (caller, count, _room) in callers {
                    // A caller that has gone does not want them.
                    let _ = caller.send(outcomes.by_ref().take(count).collect());
                }
            }
            Ok(Err(error)) => {
                for (caller, count, _room) in callers {
                    let _ = caller.send(all_failed::<E>(count, &error).collect());
                }
            }
            Err(_panic) => {}
        }
    }
}

/// The operations in their order, cut where the limits of a commit ask for it.
fn batches_of<E: Executor>(
    operations: impl IntoIterator<Item = E::Operation>,
    limits: Limits,
) -> Vec<Vec<E::Operation>> {
    let mut batches: Vec<Vec<E::Operation>> = Vec::new();
    let mut bytes = 0_usize;
    for operation in operations {
        let of_operation = E::bytes(&operation);
        bytes = bytes.saturating_add(of_operation);
        match batches.last_mut() {
            Some(batch) if batch.len() < limits.operations && bytes <= limits.bytes => {
                batch.push(operation);
            }
            _ => {
                bytes = of_operation;
                batches.push(vec![operation]);
            }
        }
    }
    batches
}

/// The outcomes of a batch of `count` operations, once they are there.
async fn heard<E: Executor>(waiting: oneshot::Receiver<Vec<Outcome<E>>>, count: usize) -> Vec<Outcome<E>> {
    let mut outcomes = waiting.await.unwrap_or_default();
    outcomes.resize_with(count, || Err(StoreError::Interrupted));
    outcomes
}

fn all_failed<E: Executor>(count: usize, error: &StoreError) -> impl Iterator<Item = Outcome<E>> {
    (0..count).map(|_| Err(error.clone()))
}

/// Room is counted in units of [`LEAST_BYTES`].
fn units(bytes: usize) -> usize {
    bytes.div_ceil(LEAST_BYTES).max(1)
}

#[cfg(test)]
mod tests;

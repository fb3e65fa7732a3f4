//! Group commit: what many callers want of MongoDB at the same time is sent in one command.
//!
//! A write that waits for the majority costs almost the same for one document as for a hundred: a round trip, an entry in
//! the journal of every member, an acknowledgement through the oplog. So a caller hands in its operation and waits for its
//! own outcome. While commits are under way the next one collects; nobody waits for a timer, and a caller who finds nothing
//! under way is on its way at once.
//!
//! Nothing here is kept when the process dies, and nothing is promised before the [`Executor`] has answered:
//!
//! | the process dies | then |
//! | --- | --- |
//! | while an operation waits for its commit | it did not happen; its caller was told nothing |
//! | while the commit is under way | it may have happened; its caller was told nothing, as with a single write whose answer is lost |
//! | after the answer | the majority has it |
//!
//! A caller that goes away takes only its own operation along, if the commit has not begun, and nothing otherwise: the
//! commit runs in a task of its own, so it is never cut off in the middle. A commit that fails as a whole fails for each of
//! its callers as a single write would; one that panics leaves them with [`StoreError::Interrupted`], and the next goes on.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
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

/// Takes operations of many callers and commits them in groups. Cheap to clone.
pub(super) struct GroupCommit<E: Executor> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: Executor> {
    executor: E,
    limits: Limits,
    room: Arc<Semaphore>,
    queue: Mutex<Queue<E>>,
}

struct Queue<E: Executor> {
    waiting: VecDeque<Waiting<E>>,
    /// Committers, those that are starting included.
    committers: usize,
    /// Whether one of them has yet to take its first group. Until it does, it takes whoever comes along.
    starting: bool,
}

struct Waiting<E: Executor> {
    operation: E::Operation,
    bytes: usize,
    outcome: oneshot::Sender<Result<E::Answer, StoreError>>,
    /// Given back with the outcome.
    room: OwnedSemaphorePermit,
}

type Outcome<E> = oneshot::Receiver<Result<<E as Executor>::Answer, StoreError>>;

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
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Commits the operation with whatever else is to be committed now.
    pub(super) async fn submit(&self, operation: E::Operation) -> Result<E::Answer, StoreError> {
        let room = self.shared.room_for(&operation).await?;
        let (waiting, outcome) = waiting(operation, room);
        self.shared.enqueue([waiting]);
        heard(outcome).await
    }

    /// Commits the operations together, as far as the limits allow; their outcomes in the same order.
    pub(super) async fn submit_all(
        &self,
        operations: impl IntoIterator<Item = E::Operation>,
    ) -> Vec<Result<E::Answer, StoreError>> {
        let mut outcomes = Vec::new();
        let mut collected = Vec::new();
        for operation in operations {
            let room = if let Some(room) = self.shared.free_room_for(&operation) {
                room
            } else {
                // Room comes back only from operations that are on their way.
                self.shared.enqueue(std::mem::take(&mut collected));
                match self.shared.room_for(&operation).await {
                    Ok(room) => room,
                    Err(error) => {
                        outcomes.push(Err(error));
                        continue;
                    }
                }
            };
            let (waiting, outcome) = waiting(operation, room);
            collected.push(waiting);
            outcomes.push(Ok(outcome));
        }
        self.shared.enqueue(collected);
        let mut answers = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            answers.push(match outcome {
                Ok(outcome) => heard(outcome).await,
                Err(error) => Err(error),
            });
        }
        answers
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

    fn units_of(&self, operation: &E::Operation) -> u32 {
        // An operation larger than all the room takes all of it.
        let units = units(E::bytes(operation)).min(units(self.limits.held_bytes));
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    async fn room_for(&self, operation: &E::Operation) -> Result<OwnedSemaphorePermit, StoreError> {
        let units = self.units_of(operation);
        // It is never closed.
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        room.map_err(|_| StoreError::Interrupted)
    }

    fn free_room_for(&self, operation: &E::Operation) -> Option<OwnedSemaphorePermit> {
        let units = self.units_of(operation);
        Arc::clone(&self.room).try_acquire_many_owned(units).ok()
    }

    fn enqueue(self: &Arc<Self>, waiting: impl IntoIterator<Item = Waiting<E>>) {
        let mut queue = self.lock();
        queue.waiting.extend(waiting);
        self.start_if_useful(&mut queue);
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

    /// The next operations to commit; without any, this committer ends.
    fn next_group(self: &Arc<Self>, queue: &mut Queue<E>) -> Option<Vec<Waiting<E>>> {
        let mut group = Vec::new();
        let mut bytes = 0_usize;
        while let Some(next) = queue.waiting.pop_front() {
            if next.outcome.is_closed() {
                // Its caller has gone.
                continue;
            }
            bytes = bytes.saturating_add(next.bytes);
            if !group.is_empty() && bytes > self.limits.bytes {
                queue.waiting.push_front(next);
                break;
            }
            group.push(next);
            if group.len() >= self.limits.operations {
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
        let mut operations = Vec::with_capacity(group.len());
        let mut callers = Vec::with_capacity(group.len());
        for waiting in group {
            operations.push(waiting.operation);
            callers.push((waiting.outcome, waiting.room));
        }
        let commit = AssertUnwindSafe(self.executor.commit(operations)).catch_unwind();
        // Who is left without an outcome hears that from its dropped sender. The panic itself is logged by its hook.
        match commit.await {
            Ok(Ok(outcomes)) => {
                for ((caller, _room), outcome) in callers.into_iter().zip(outcomes) {
                    // A caller that has gone does not want it.
                    let _ = caller.send(outcome);
                }
            }
            Ok(Err(error)) => {
                for (caller, _room) in callers {
                    let _ = caller.send(Err(error.clone()));
                }
            }
            Err(_panic) => {}
        }
    }
}

fn waiting<E: Executor>(operation: E::Operation, room: OwnedSemaphorePermit) -> (Waiting<E>, Outcome<E>) {
    let (sender, outcome) = oneshot::channel();
    let waiting = Waiting {
        bytes: E::bytes(&operation),
        operation,
        outcome: sender,
        room,
    };
    (waiting, outcome)
}

async fn heard<T>(outcome: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    outcome.await.unwrap_or(Err(StoreError::Interrupted))
}

/// Room is counted in units of [`LEAST_BYTES`].
fn units(bytes: usize) -> usize {
    bytes.div_ceil(LEAST_BYTES).max(1)
}

#[cfg(test)]
mod tests;

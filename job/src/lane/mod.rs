//! Lanes: one per user and queue, in Redis. They decide what is accepted and what is released next.
//!
//! # Fairness
//!
//! Stride scheduling (Waldspurger and Weihl, 1995). Each lane with jobs has a *pass*. A release takes a job from the
//! lane with the least pass and moves the pass on by `STRIDE / weight`, so lanes that wait are served in turn however
//! many jobs they hold. The *virtual time* of a queue is the pass that was served last; a lane that opens starts there,
//! or at the pass it closed with when that is ahead. Within a lane jobs go by priority, then by time of acceptance.
//! Every operation costs O(log n).
//!
//! # Keys
//!
//! Under the prefix, for each queue `q`; `job` is the job's id:
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `pending:{user}` | sorted set | job → acceptance in ms, the user's jobs over all queues |
//! | `jobs:{q}` | sorted set | job → acceptance in ms, all jobs of the queue |
//! | `entries:{q}` | hash | job → `score\|weight\|user`, what is needed to put the job into its lane |
//! | `reserved:{q}` | sorted set | job → end of the reservation in ms: admitted, not pushed |
//! | `lane:{q}:{user}` | sorted set | job → rank · 10¹³ + acceptance in ms: waits |
//! | `delayed:{q}` | sorted set | job → due time in ms: waits for its next attempt |
//! | `inflight:{q}` | sorted set | job → end of the lease in ms: in the window, between release and its end |
//! | `lanes:{q}` | sorted set | user → pass of the lane, for lanes that hold jobs |
//! | `sizes:{q}` | sorted set | user → jobs in the lane, for lanes that hold jobs |
//! | `passes:{q}` | sorted set | user → pass of a lane that closed, while ahead of the virtual time |
//! | `vtime:{q}` | number | the virtual time |
//! | `released:{q}:{ticket}` | list | the answer of one release, for 30 s |
//! | `wake:{q}` | list | one element when there may be work |
//! | `generation` | text | set by the last rebuild; missing after Redis lost its data |
//!
//! Invariants, kept by every script: the jobs in `jobs`, in `entries` and in the `pending` sets are the same; each of
//! them is in exactly one of `reserved`, its lane, `delayed` and `inflight`; a user is in `lanes` and in `sizes`
//! exactly while the lane holds a job, and then not in `passes`. Times are those of the clock of Redis, except for
//! acceptance and due times, which come from MongoDB.
//!
//! Who may have a job accepted at all is decided by [`Lanes::admit`], which has keys of its own: the windows and marks.
//!
//! # When a process dies, or Redis loses writes
//!
//! MongoDB says what a job's state is; the lanes are an index that can be made again. A lane may therefore offer a job
//! that is not queued any more: the guarded update in MongoDB refuses it, and whoever sees that calls
//! [`Lanes::done`], or leaves it in the window when another process holds it.
//!
//! | what happened | what follows |
//! | --- | --- |
//! | admitted, never stored | the place is given back after [`RESERVATION`], the mark of an idempotency key after [`MARK`]; the job counts in its windows until they are over |
//! | admitted and stored, never pushed | the next reconciliation with MongoDB ([`Lanes::missing`]) pushes it |
//! | released, the dispatcher died before it changed MongoDB, or the answer was lost | the lease runs out, the job is back at the head of its lane |
//! | released and dispatched, the holder died | the lease in MongoDB runs out, [`Lanes::requeue`] |
//! | finished in MongoDB, [`Lanes::done`] never called | the lease runs out, the job is released once more, MongoDB refuses it, [`Lanes::done`] |
//! | Redis failed over and lost the last writes | a lost push is made again by the next reconciliation; a lost release releases again, and MongoDB refuses it |
//! | Redis lost everything | [`Lanes::generation`] is `None`; every unfinished job is pushed, delayed or held again, then [`Lanes::set_generation`] |
//!
//! Every operation can be repeated without harm, by the same process or another one.

mod admission;
#[cfg(test)]
mod admission_tests;
mod entry;
mod lanes;
mod retry_after;
mod scripts;

pub use admission::{Admission, AdmissionLimits, Admitted, MARK, Policy, Quota, Quotas, Submission};
pub use entry::{LaneDepth, LaneEntry, Released};
pub use lanes::{HEAVIEST, LaneError, Lanes, MAX_RELEASE, RESERVATION};

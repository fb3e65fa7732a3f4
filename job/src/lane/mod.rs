//! Lanes: one per user, queue and Flickr application, in Redis. They decide what is accepted and what is released next.
//!
//! # Fairness
//!
//! *Among lanes*: stride scheduling (Waldspurger and Weihl, 1995). Each lane with jobs has a *pass*. A release takes a
//! job from the lane with the least pass and moves the pass on by `STRIDE / weight`, so lanes that wait are served in
//! proportion to their weights however many jobs they hold. The *virtual time* of a queue is the pass that was served
//! last; a lane that opens starts there, or at the pass it closed with when that is ahead. The weight of a lane is that
//! of the job in it that was accepted last: a new weight counts from the next job on. A lane that waits is served after
//! at most `weight of the other / own weight + 2` jobs of each other lane.
//!
//! *Among applications*: each has lanes of its own, so that one without budget costs a look and nothing else. Their
//! passes are on one scale, and the least pass of those with room is served: users of all applications share a queue by
//! their weights. While an application has no room, its clock stands still: what its least pass is behind the virtual
//! time when it has room again is added to its *shift*, and with that to all its passes. So it does not catch up at
//! the cost of the others, and its own users are as far apart as they were: where the budget of the application is
//! what is scarce, they share it by their weights.
//!
//! *Within a lane*: smooth weighted round-robin over the priorities of which there are jobs, high : normal : low =
//! 6 : 3 : 1; within one priority by acceptance. A low job at the head of the low ones waits for at most 12 others.
//!
//! *Parking*: a lane whose user has no room in the budget of its token leaves the turns until the time that the budget
//! gives, and opens again by itself, no further ahead than it was and no further behind than a new one.
//!
//! Every operation costs O(log n) per job in lanes and jobs, and O(1) in applications per job (there are a handful), and
//! one call does a bounded number of such steps. Any number of dispatchers may release at a time: a script is one step.
//!
//! # Keys
//!
//! Under the prefix and the number of the layout (`fh:2:`), for each queue `q` and application `app`. `job` is the 16
//! bytes of the job's id, and a lane `app:user`:
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `pending:{user}` | sorted set | job → acceptance in ms, the user's jobs over all queues |
//! | `size:{q}` | number | all jobs of the queue |
//! | `lane:{q}:{app}:{user}` | sorted set | job → rank · 2⁵¹ + acceptance in ms since 2020 · 2¹⁰ + weight: waits |
//! | `reserved:{q}` | sorted set | job → end of the reservation in ms: admitted, not pushed |
//! | `delayed:{q}` | sorted set | job → due time in ms: waits for its next attempt |
//! | `inflight:{q}` | sorted set | job → end of the lease in ms: in the window, between release and its end |
//! | `entries:{q}` | hash | job → `score\|app\|user`, to put a job into its lane that is in one of those three |
//! | `window_app` | hash | application → its jobs in the windows of all queues |
//! | `window_user` | hash | user → its jobs in the windows of all queues |
//! | `lanes:{q}:{app}` | sorted set | user → pass of the lane, for lanes that hold jobs and are not parked |
//! | `parked:{q}` | sorted set | lane → time in ms at which its user may have room |
//! | `passes:{q}:{app}` | sorted set | user → pass of a lane that closed or is parked, while ahead of the virtual time |
//! | `sizes:{q}` | sorted set | lane → jobs in the lane, for lanes that hold jobs |
//! | `credits:{q}` | hash | lane → accounts of the priorities, once a lane had several |
//! | `shifts:{q}` | hash | application → shift, for applications that had lanes since the queue was empty |
//! | `vtime:{q}` | number | the virtual time; with it the shifts begin anew whenever nobody waits |
//! | `released:{q}:{ticket}` | list | the answer of one release, for 30 s |
//! | `wake:{q}` | list | one element when there may be work |
//! | `generation` | text | set by the last rebuild; missing after Redis lost its data |
//!
//! Invariants, kept by every script: each job in a `pending` set is in exactly one of `reserved`, its lane, `delayed` and
//! `inflight`, and in `entries` exactly while it is not in its lane; `size` counts them. `window_app` and `window_user`
//! count the jobs of the three `inflight` sets, and have no zeros. A lane is in `sizes` exactly while it holds a job, and
//! then either in `lanes` or in `parked`; only in `lanes` it is not in `passes`. Times are those of the clock of Redis,
//! except for acceptance and due times, which come from MongoDB.
//!
//! What a waiting job costs is two members of sorted sets: some 60 bytes where a user has up to 128 jobs, and some 230
//! where it has more.
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
//! | a lane was parked, every dispatcher died | the first release after the time it is parked for opens it |
//! | a wake-up was lost with the connection that took it | the dispatcher looks again within 1 s |
//! | Redis failed over and lost the last writes | a lost push is made again by the next reconciliation; a lost release releases again, and MongoDB refuses it; every script is lost as a whole, so the counts stay right |
//! | Redis lost everything | [`Lanes::generation`] is `None`; every unfinished job is pushed, delayed or held again, then [`Lanes::set_generation`]; the counts come with the jobs, passes begin anew |
//! | a version with another layout takes over | its [`Lanes::generation`] is `None` too, so it rebuilds; what the processes of the version before still push is found by reconciliation, and [`Lanes::delete_old_layouts`] removes what they left |
//!
//! Every operation can be repeated without harm, by the same process or another one.
//!
//! # Room
//!
//! The release asks two functions in Lua, which come before it in the script: `app_room(app)` and
//! `user_room(app, user)` answer how many requests may be released now and, when none, the time in ms since 1970 at
//! which to ask again. They count what is promised already by `window_of_app(app)` and `window_of_user(user)`.

mod admission;
#[cfg(test)]
mod admission_tests;
mod backlog;
mod entry;
mod lanes;
mod old_layout;
mod retry_after;
mod scripts;

pub use admission::{Admission, AdmissionLimits, Admitted, MARK, Policy, Quota, Quotas, Submission};
pub use backlog::{Backlog, backlog, window_key};
pub use entry::{LaneDepth, LaneEntry, Release, Released};
pub use lanes::{HEAVIEST, LaneError, Lanes, MAX_RELEASE, RESERVATION};

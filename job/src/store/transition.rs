//! Every transition of a job as data: a filter that is its guard, and an update.
//!
//! Both are sent as one `findAndModify`, so MongoDB checks the guard and applies the update atomically, on the
//! primary. If the process dies before the call, nothing happened; if it dies after, the job has moved, and whoever
//! looks next finds it in its new state: a dispatched or running job whose holder died is found by its lease.
//!
//! Times are the calling process's. Clocks that differ shorten or lengthen a lease by their difference, which costs
//! an attempt at worst: that two processes move one job is prevented by the guards on state and attempt alone.
//!
//! Updates are aggregation pipelines, because a final transition makes the callback due only where there is one.
//! In a pipeline a text that begins with `$` would be an expression, so texts that come from outside are `$literal`.

use bson::{Bson, DateTime, Document, doc};
use jiff::{SignedDuration, Timestamp};

use super::flickr_requests;
use super::holder::Holder;
use super::id;
use super::time::to_bson;
use crate::model::{CallbackState, JobError, JobId, JobState, MAX_ATTEMPTS_KEPT};

/// How far the clock that set `available_at` may be ahead of the one that dispatches. The lanes have waited already, by
/// the clock of Redis; without a tolerance a dispatcher whose clock is a little late would send the job back to wait.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// The error of an attempt whose worker was lost, in the record of attempts.
const WORKER_LOST: &str = "worker_lost";

/// A guarded change of one job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Transition {
    /// Matches the job only while the transition is allowed.
    pub(super) filter: Document,
    set: Document,
}

/// When a transition happens, and how long a job is kept once it is final.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Timestamp,
    pub(super) retention: SignedDuration,
}

impl Clock {
    fn now(self) -> DateTime {
        to_bson(self.now)
    }

    /// When a job that finishes at `time` is deleted.
    pub(super) fn purged_at(self, time: Timestamp) -> DateTime {
        Self { now: time, ..self }.after(self.retention)
    }

    fn after(self, duration: SignedDuration) -> DateTime {
        to_bson(self.now.checked_add(duration).unwrap_or(Timestamp::MAX))
    }
}

impl Transition {
    /// The move of a job to `next` from any state that may become it.
    fn to(next: JobState, job: JobId, clock: Clock) -> Self {
        let from: Vec<_> = JobState::ALL
            .into_iter()
            .filter(|state| state.may_become(next))
            .map(JobState::name)
            .collect();
        let mut set = doc! { "state": next.name(), "updated_at": clock.now() };
        if next.is_final() {
            set.extend(doc! {
                "finished_at": clock.now(),
                "purge_at": clock.after(clock.retention),
                "lease_until": null,
                "callback": due_callback(clock.now()),
            });
        }
        Self {
            filter: doc! { "_id": id::to_bson(job), "state": { "$in": from } },
            set,
        }
    }

    /// Of the states that may become the next one, only these.
    fn only_from<const N: usize>(self, states: [JobState; N]) -> Self {
        self.guarded_by(doc! { "state": { "$in": Bson::from(states.map(JobState::name).as_slice()) } })
    }

    /// Adds the attempt that ends here to those that the job remembers.
    fn ending_attempt(self, error: Option<&str>, clock: Clock) -> Self {
        self.setting(doc! { "trail.attempts": with_attempt(error, clock) })
    }

    fn guarded_by(mut self, guard: Document) -> Self {
        self.filter.extend(guard);
        self
    }

    fn setting(mut self, set: Document) -> Self {
        self.set.extend(set);
        self
    }

    /// Only while nobody holds the job: its lease is over, and no sign of life has come since.
    pub(super) fn if_overdue(self, clock: Clock) -> Self {
        self.guarded_by(doc! { "lease_until": { "$lt": clock.now() } })
    }

    /// Of all these jobs and not of one.
    pub(super) fn of_all(self, jobs: &[JobId]) -> Self {
        let ids: Vec<_> = jobs.iter().copied().map(id::to_bson).collect();
        self.guarded_by(doc! { "_id": { "$in": ids } })
    }

    /// The same, leaving in the job's document who moved it.
    pub(super) fn marked(&self, by: Holder) -> Self {
        self.clone().setting(doc! { "holder": by.to_bson() })
    }

    /// The update, as a pipeline of one stage.
    pub(super) fn update(&self) -> Vec<Document> {
        vec![doc! { "$set": self.set.clone() }]
    }
}

/// The callback, due now; null where the job has none.
fn due_callback(now: DateTime) -> Document {
    let due = doc! { "state": CallbackState::Pending.name(), "next_at": now };
    doc! { "$cond": [
        { "$eq": [{ "$type": "$callback" }, "object"] },
        { "$mergeObjects": ["$callback", due] },
        "$callback",
    ] }
}

/// The attempts so far and the one that ends now, the last ones of them.
fn with_attempt(error: Option<&str>, clock: Clock) -> Document {
    let attempt = doc! {
        "number": "$attempt",
        "started_at": "$started_at",
        "ended_at": clock.now(),
        "worker": { "$ifNull": ["$trail.worker", null] },
        "error": error.map(|code| doc! { "$literal": code }),
    };
    let kept = i32::try_from(MAX_ATTEMPTS_KEPT).unwrap_or(i32::MAX);
    doc! { "$slice": [{ "$concatArrays": [attempts(), [attempt]] }, -kept] }
}

fn attempts() -> Document {
    doc! { "$ifNull": ["$trail.attempts", []] }
}

/// Matches a job that may be tried again: its client does not want it cancelled, or Flickr may have its photo already, so
/// that what became of that has to be found out.
fn may_be_tried_again() -> Document {
    doc! { "$or": [{ "trail.cancel_requested_at": null }, { "trail.sent_by": { "$type": "number" } }] }
}

/// The error of a job that ends without another attempt: the one that it has, or, where Flickr may have its photo, that.
fn unless_nothing_happened() -> Document {
    let may_be_at_flickr = doc! { "$or": [
        { "$isNumber": "$trail.sent_by" },
        { "$eq": [{ "$type": "$trail.ticket" }, "string"] },
    ] };
    doc! { "$cond": [may_be_at_flickr, error_document(&JobError::outcome_unknown(None)), "$error"] }
}

fn error_document(error: &JobError) -> Document {
    let mut document = doc! { "code": &error.code, "message": &error.message };
    if let Some(code) = error.flickr_code {
        document.insert("flickr_code", code);
    }
    doc! { "$literal": document }
}

/// The dispatcher takes the job out of its lane.
pub(super) fn dispatch(job: JobId, holder: Holder, lease: SignedDuration, clock: Clock) -> Transition {
    Transition::to(JobState::Dispatched, job, clock)
        .guarded_by(doc! { "available_at": { "$lte": clock.after(CLOCK_TOLERANCE) } })
        .guarded_by(doc! { "expires_at": { "$gt": clock.now() } })
        .setting(doc! { "attempt": { "$add": ["$attempt", 1] }, "lease_until": clock.after(lease) })
        .setting(doc! { "holder": holder.to_bson() })
}

/// A worker begins with the job: a try, counted before it is made, so that one which kills the worker counts.
pub(super) fn claim(
    job: JobId,
    attempt: u32,
    holder: Holder,
    worker: Option<&str>,
    lease: SignedDuration,
    clock: Clock,
) -> Transition {
    let worker = worker.map(|name| doc! { "$literal": name });
    Transition::to(JobState::Running, job, clock)
        .guarded_by(doc! { "attempt": attempt, "expires_at": { "$gt": clock.now() } })
        .setting(doc! { "started_at": clock.now(), "lease_until": clock.after(lease) })
        .setting(doc! { "tries": { "$add": [{ "$ifNull": ["$tries", 0] }, 1] } })
        .setting(flickr_requests::with_claim(clock.now))
        .setting(doc! { "holder": holder.to_bson(), "trail.worker": worker })
}

/// The holder asks again for what it got without hearing so. No transition: the job is `state` already, of this
/// `attempt` if the holder knows it, and only the lease begins anew.
///
/// A write and not a read, because a read sees only what the majority has, and the answer may have been lost for want
/// of a majority.
pub(super) fn take_again(
    job: JobId,
    state: JobState,
    attempt: Option<u32>,
    holder: Holder,
    lease: SignedDuration,
    clock: Clock,
) -> (Document, Document) {
    let mut filter = doc! { "_id": id::to_bson(job), "state": state.name(), "holder": holder.to_bson() };
    if let Some(attempt) = attempt {
        filter.insert("attempt", attempt);
    }
    (filter, doc! { "$max": { "lease_until": clock.after(lease) } })
}

/// Flickr did it; `result` is the JSON text of its answer.
pub(super) fn succeed(job: JobId, attempt: u32, result: String, clock: Clock) -> Transition {
    Transition::to(JobState::Succeeded, job, clock)
        .guarded_by(doc! { "attempt": attempt })
        .setting(doc! { "result": { "$literal": result }, "error": null })
        .ending_attempt(None, clock)
}

/// Another attempt would not help.
pub(super) fn fail(job: JobId, attempt: u32, error: &JobError, clock: Clock) -> Transition {
    Transition::to(JobState::Failed, job, clock)
        .guarded_by(doc! { "attempt": attempt })
        .setting(doc! { "error": error_document(error) })
        .ending_attempt(Some(&error.code), clock)
}

/// The last attempt is used up.
pub(super) fn die(job: JobId, attempt: u32, error: &JobError, clock: Clock) -> Transition {
    Transition::to(JobState::Dead, job, clock)
        .guarded_by(doc! { "attempt": attempt })
        .setting(doc! { "error": error_document(error) })
        .ending_attempt(Some(&error.code), clock)
}

/// The dispatcher could not hand the job over. Not once a worker has claimed it: the message got through after all.
pub(super) fn take_back(job: JobId, attempt: u32, error: &JobError, clock: Clock) -> Transition {
    Transition::to(JobState::Queued, job, clock)
        .only_from([JobState::Dispatched])
        .guarded_by(doc! { "attempt": attempt })
        .setting(doc! {
            "error": error_document(error),
            "available_at": clock.now(),
            "lease_until": null,
        })
}

/// The attempt failed; the next one is not before `available_at`. Not if the client wants the job cancelled: then
/// [`abandon`] ends it.
pub(super) fn retry(
    job: JobId,
    attempt: u32,
    error: &JobError,
    available_at: Timestamp,
    clock: Clock,
) -> Transition {
    Transition::to(JobState::Queued, job, clock)
        .only_from([JobState::Running])
        .guarded_by(doc! { "attempt": attempt })
        .setting(doc! {
            "error": error_document(error),
            "available_at": to_bson(available_at),
            "lease_until": null,
        })
        .guarded_by(may_be_tried_again())
        .ending_attempt(Some(&error.code), clock)
}

/// The call could not be made, so the try does not count; the next one is not before `available_at`.
pub(super) fn postpone(
    job: JobId,
    attempt: u32,
    error: &JobError,
    available_at: Timestamp,
    clock: Clock,
) -> Transition {
    retry(job, attempt, error, available_at, clock)
        .setting(doc! { "tries": { "$max": [{ "$subtract": ["$tries", 1] }, 0] } })
}

/// [`postpone`] for an attempt that did not call Flickr at all.
pub(super) fn postpone_uncalled(
    job: JobId,
    attempt: u32,
    error: &JobError,
    available_at: Timestamp,
    clock: Clock,
) -> Transition {
    postpone(job, attempt, error, available_at, clock).setting(flickr_requests::without_claim())
}

/// Whoever held the job did not move it before its lease ran out. Not if the client wants the job cancelled.
pub(super) fn requeue_overdue(job: JobId, attempt: u32, clock: Clock) -> Transition {
    let was_running = doc! { "$eq": ["$state", JobState::Running.name()] };
    Transition::to(JobState::Queued, job, clock)
        .guarded_by(doc! { "attempt": attempt })
        .guarded_by(may_be_tried_again())
        .if_overdue(clock)
        .setting(doc! { "available_at": clock.now(), "lease_until": null })
        .setting(doc! {
            "trail.attempts": { "$cond": [was_running, with_attempt(Some(WORKER_LOST), clock), attempts()] },
        })
}

/// It was not started in time, or not again.
pub(super) fn expire(job: JobId, clock: Clock) -> Transition {
    Transition::to(JobState::Expired, job, clock)
        .guarded_by(doc! { "expires_at": { "$lte": clock.now() } })
        .setting(doc! { "error": unless_nothing_happened() })
}

/// Its client takes it back before a worker has begun with it.
pub(super) fn cancel(client_id: &str, job: JobId, clock: Clock) -> Transition {
    Transition::to(JobState::Cancelled, job, clock)
        .only_from([JobState::Queued, JobState::Dispatched])
        .guarded_by(doc! { "client_id": client_id })
        .setting(doc! { "error": unless_nothing_happened() })
}

/// Its client wants a running job cancelled. No transition: its holder sees the mark, the first of which stays.
pub(super) fn request_cancellation(client_id: &str, job: JobId, clock: Clock) -> (Document, Document) {
    (
        doc! { "_id": id::to_bson(job), "client_id": client_id, "state": JobState::Running.name() },
        doc! { "$min": { "trail.cancel_requested_at": clock.now() } },
    )
}

/// Its holder ends it as its client wished: no call that acts was made.
pub(super) fn abandon(job: JobId, attempt: u32, clock: Clock) -> Transition {
    Transition::to(JobState::Cancelled, job, clock)
        .only_from([JobState::Running])
        .guarded_by(doc! { "attempt": attempt })
        .guarded_by(doc! { "trail.cancel_requested_at": { "$type": "date" }, "trail.sent_by": null })
        .ending_attempt(Some(JobState::Cancelled.name()), clock)
}

/// [`abandon`] for an attempt that did not call Flickr at all.
pub(super) fn abandon_uncalled(job: JobId, attempt: u32, clock: Clock) -> Transition {
    abandon(job, attempt, clock).setting(flickr_requests::without_claim())
}

/// The holder needs more time. No transition: the state stays, and so does `updated_at`.
pub(super) fn extend_lease(
    job: JobId,
    attempt: u32,
    lease: SignedDuration,
    clock: Clock,
) -> (Document, Document) {
    let held = [JobState::Dispatched.name(), JobState::Running.name()];
    (
        doc! { "_id": id::to_bson(job), "state": { "$in": Bson::from(held.as_slice()) }, "attempt": attempt },
        doc! { "$max": { "lease_until": clock.after(lease) } },
    )
}

#[cfg(test)]
mod tests;

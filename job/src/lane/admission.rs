//! Whether a job may be accepted: one script, one round trip, all or nothing.
//!
//! The questions, in this order; the first that is answered with no decides the verdict:
//!
//! | question | limit |
//! | --- | --- |
//! | is the job known? Then it was admitted before, and is not counted again | |
//! | does another request have the same idempotency key? | one at a time, and one in 24 h |
//! | has the API client had too many jobs accepted in the last minute? | [`AdmissionLimits::per_client_per_minute`] |
//! | has the user, in the last hour, over all classes? | [`AdmissionLimits::per_user_per_hour`] |
//! | has the user, in the last hour, in this class? | [`AdmissionLimits::per_class_per_hour`] |
//! | has the user too many jobs that are not finished? | [`AdmissionLimits::pending_per_user`] |
//! | has the queue? | [`AdmissionLimits::buffer`] |
//!
//! The windows are exact [sliding logs](crate::sliding_log): in no hour (minute) more jobs are admitted than the limit
//! says, and none is refused that the limit allows. A client may use all of its minute at once.
//!
//! The time to wait is exact too where a window is full: once it has passed, none of the windows refuses, unless the
//! user or the client had other jobs accepted meanwhile. When an unfinished job will be done nobody knows; that time is
//! an estimate.
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `client:{client}` | sliding log of a minute | what was accepted for the client |
//! | `window:{user}:{class}` | sliding log of an hour | what was accepted for the user |
//! | `idem:{hash}` | text | `p\|\|{job}` while a request is under way, for [`MARK`]; `d\|{payload}\|{job}` afterwards, until the key's day is over |
//!
//! MongoDB decides about idempotency, by a unique index; the mark spares it most of the repetitions, and tells those that come
//! while the first request is under way that it is. A mark that is lost costs an attempt to insert.

use std::time::Duration;

use super::lanes::raw;
use super::retry_after::retry_after;
use super::{LaneEntry, LaneError, Lanes, scripts};
use crate::connection::redis::milliseconds;
use crate::limits::{Limits, RequestClass};
use crate::model::{Idempotency, JobId};

/// For how long a request is taken to be under way when nobody says how it ended: its process died.
pub const MARK: Duration = Duration::from_secs(15);

/// A job that asks to be accepted.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// The job.
    pub entry: &'a LaneEntry,
    /// Its API client.
    pub client_id: &'a str,
    /// What it is limited as.
    pub class: RequestClass,
    /// What it is recognised by when it comes again.
    pub idempotency: Option<&'a Idempotency>,
}

/// What an admission is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Unfinished jobs of one user, over all queues.
    pub pending_per_user: u32,
    /// Unfinished jobs of one queue, over all users.
    pub buffer: u32,
    /// Jobs of one user accepted in any hour.
    pub per_user_per_hour: u32,
    /// Jobs of one user and the submission's class accepted in any hour.
    pub per_class_per_hour: u32,
    /// Jobs of one client accepted in any minute.
    pub per_client_per_minute: u32,
}

impl AdmissionLimits {
    /// Those for a submission of this class.
    pub const fn of(limits: &Limits, class: RequestClass) -> Self {
        Self {
            pending_per_user: limits.pending_per_user,
            buffer: limits.buffer_per_queue,
            per_user_per_hour: limits.per_user_per_hour,
            per_class_per_hour: limits.classes.of(class),
            per_client_per_minute: limits.per_client_per_minute,
        }
    }
}

/// Whether a job may be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes; its place is kept for [`RESERVATION`](super::RESERVATION), and once pushed until it is done.
    Admitted(Admitted),
    /// The user has too many unfinished jobs.
    UserBusy {
        /// Unfinished jobs of the user.
        pending: u64,
        /// When a place is expected to be free, 1 to 60 s from now.
        retry_after: Duration,
    },
    /// The queue has too many unfinished jobs.
    QueueFull {
        /// When a place is expected to be free, 1 to 60 s from now.
        retry_after: Duration,
    },
    /// A window is full.
    WindowFull {
        /// Whose.
        policy: Policy,
        /// When no window is full any more, in whole seconds.
        retry_after: Duration,
    },
    /// A request with the same idempotency key is under way.
    InFlight,
    /// A request with the same idempotency key was accepted.
    Repeated {
        /// What it asked for: [`Idempotency::payload`].
        payload: String,
        /// The job that it was accepted as.
        job_id: JobId,
    },
}

/// What an admission took, to be handed to [`Lanes::give_back`] where the job cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// When, in milliseconds since 1970 by the clock of Redis; 0 where the job had been admitted before.
    at: u64,
}

/// Whose use is limited in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The API client's, in a minute.
    Client,
    /// The user's over all classes, in an hour.
    User,
    /// The user's in one class, in an hour.
    Class(RequestClass),
}

impl Policy {
    /// The length of the window.
    pub const fn window(self) -> Duration {
        match self {
            Self::Client => Duration::from_mins(1),
            Self::User | Self::Class(_) => Duration::from_hours(1),
        }
    }
}

/// How much of a window is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Which window.
    pub policy: Policy,
    /// Jobs that it takes.
    pub limit: u32,
    /// Jobs that it would take at once.
    pub remaining: u32,
    /// Seconds, rounded up, until the oldest job leaves it, so that it takes another one; 0 while there is none.
    pub reset: u32,
}

impl Quota {
    fn new(policy: Policy, limit: u32, (count, reset): (u64, u64)) -> Self {
        let used = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            policy,
            limit,
            remaining: limit.saturating_sub(used),
            reset: u32::try_from(reset.div_ceil(1000)).unwrap_or(u32::MAX),
        }
    }
}

/// What is left of every window that a submission counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas(pub [Quota; 3]);

impl Quotas {
    /// The window that will refuse first: the one with the least left, and of those the one that takes longest.
    pub fn tightest(&self) -> Quota {
        let [first, rest @ ..] = self.0;
        let key = |quota: &Quota| (quota.remaining, std::cmp::Reverse(quota.reset));
        rest.into_iter().fold(first, |tightest, quota| {
            if key(&quota) < key(&tightest) {
                quota
            } else {
                tightest
            }
        })
    }
}

/// What the script answers: verdict, two numbers about it, time, jobs in and milliseconds to the end of the oldest in
/// the windows of client, user and class, and the mark that was found.
pub(super) type Reply = (u8, u64, u64, u64, u64, u64, u64, u64, u64, u64, String);

/// The verdict of a reply, with what is left of the windows.
///
/// # Errors
/// [`LaneError::NotAJob`] when the mark holds none.
pub(super) fn read(
    reply: Reply,
    class: RequestClass,
    limits: &AdmissionLimits,
) -> Result<(Admission, Quotas), LaneError> {
    let (verdict, number, age, at, client, client_reset, user, user_reset, of_class, class_reset, mark) =
        reply;
    let quotas = Quotas([
        Quota::new(
            Policy::Client,
            limits.per_client_per_minute,
            (client, client_reset),
        ),
        Quota::new(Policy::User, limits.per_user_per_hour, (user, user_reset)),
        Quota::new(
            Policy::Class(class),
            limits.per_class_per_hour,
            (of_class, class_reset),
        ),
    ]);
    let full = |policy| Admission::WindowFull {
        policy,
        retry_after: Duration::from_secs(number.div_ceil(1000).max(1)),
    };
    let estimate = || retry_after(number, Duration::from_millis(age));
    let admission = match verdict {
        0 => Admission::Admitted(Admitted { at }),
        1 => Admission::UserBusy {
            pending: number,
            retry_after: estimate(),
        },
        2 => Admission::QueueFull {
            retry_after: estimate(),
        },
        3 => full(Policy::Client),
        4 => full(Policy::User),
        5 => full(Policy::Class(class)),
        6 => Admission::InFlight,
        _ => repeated(&mark)?,
    };
    Ok((admission, quotas))
}

fn repeated(mark: &str) -> Result<Admission, LaneError> {
    let (payload, job) = mark.split_once('|').unwrap_or(("", mark));
    Ok(Admission::Repeated {
        payload: payload.to_owned(),
        job_id: job
            .parse()
            .map_err(|_| LaneError::NotAJob(job.as_bytes().to_vec()))?,
    })
}

impl Lanes {
    /// Keeps a place for a job if nothing is against it, and counts it in its windows. A job that has a place already
    /// is admitted and not counted again.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn admit(
        &self,
        submission: &Submission<'_>,
        limits: &AdmissionLimits,
    ) -> Result<(Admission, Quotas), LaneError> {
        self.decide("take", submission, limits).await
    }

    /// Whether a job would be admitted now; changes nothing. A request that may be a repetition is let through, because
    /// only its whole content tells.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn would_admit(
        &self,
        submission: &Submission<'_>,
        limits: &AdmissionLimits,
    ) -> Result<(Admission, Quotas), LaneError> {
        self.decide("look", submission, limits).await
    }

    async fn decide(
        &self,
        mode: &str,
        submission: &Submission<'_>,
        limits: &AdmissionLimits,
    ) -> Result<(Admission, Quotas), LaneError> {
        let mut call = self.call_for(&scripts::ADMIT, submission.entry);
        call.arg(mode)
            .arg(limits.pending_per_user)
            .arg(limits.buffer)
            .arg(self.reservation_ms())
            .arg(submission.client_id)
            .arg(limits.per_client_per_minute)
            .arg(limits.per_user_per_hour)
            .arg(submission.class.name())
            .arg(limits.per_class_per_hour)
            .arg(submission.idempotency.map_or("", |idempotency| &idempotency.key))
            .arg(milliseconds(MARK));
        read(self.run(&call).await?, submission.class, limits)
    }

    /// Takes back what an admission took, because the job was not stored: its place, its mark, and its count in the
    /// windows of its user if no other job of this class was accepted since; else it counts there until its hour is
    /// over, so the user may get one job less in it, never one more. The client's minute keeps it: the request was made.
    ///
    /// # Errors
    /// When Redis fails; the place and the mark then run out by themselves.
    pub async fn give_back(&self, submission: &Submission<'_>, admitted: Admitted) -> Result<(), LaneError> {
        let mut call = self.call(&scripts::GIVE_BACK, submission.entry.queue);
        call.arg(&submission.entry.user_id)
            .arg(&raw(submission.entry.job_id)[..])
            .arg(&submission.entry.app)
            .arg(submission.class.name())
            .arg(admitted.at)
            .arg(submission.idempotency.map_or("", |idempotency| &idempotency.key));
        self.run::<()>(&call).await
    }

    /// Lets repetitions of a request that was accepted as `job_id` be answered without asking MongoDB to insert them, for
    /// `lifetime` from now.
    ///
    /// # Errors
    /// When Redis fails; repetitions then find the job by MongoDB's index.
    pub async fn remember(
        &self,
        idempotency: &Idempotency,
        job_id: JobId,
        lifetime: Duration,
    ) -> Result<(), LaneError> {
        let mut set = redis::cmd("SET");
        set.arg(self.mark_key(idempotency))
            .arg(format!("d|{}|{job_id}", idempotency.payload))
            .arg("PX")
            .arg(milliseconds(lifetime).max(1));
        self.run_command::<()>(&set).await
    }

    /// Drops what was [remembered](Lanes::remember): MongoDB does not know it any more.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn forget(&self, idempotency: &Idempotency) -> Result<(), LaneError> {
        let mut del = redis::cmd("DEL");
        del.arg(self.mark_key(idempotency));
        self.run_command::<()>(&del).await
    }

    fn mark_key(&self, idempotency: &Idempotency) -> String {
        format!("{}idem:{}", self.prefix(), idempotency.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(remaining: u32, reset: u32) -> Quota {
        Quota {
            policy: Policy::User,
            limit: 10,
            remaining,
            reset,
        }
    }

    #[test]
    fn the_tightest_window_has_the_least_left_and_then_takes_longest() {
        let of = |quotas: [(u32, u32); 3]| {
            let tightest = Quotas(quotas.map(|(remaining, reset)| quota(remaining, reset))).tightest();
            (tightest.remaining, tightest.reset)
        };
        assert_eq!(of([(5, 1), (3, 1), (4, 9)]), (3, 1));
        assert_eq!(of([(0, 1), (3, 99), (0, 60)]), (0, 60));
        assert_eq!(of([(7, 0), (7, 0), (7, 0)]), (7, 0));
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let limits = AdmissionLimits::of(&Limits::default(), RequestClass::Read);
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (3_600_000, 3600)] {
            let reply = (3, milliseconds, 0, 5, 0, 0, 0, 0, 0, 0, String::new());
            let admission = read(reply, RequestClass::Read, &limits).map(|(admission, _)| admission);
            let expected = Admission::WindowFull {
                policy: Policy::Client,
                retry_after: Duration::from_secs(seconds),
            };
            assert_eq!(admission.ok(), Some(expected));
        }
    }
}

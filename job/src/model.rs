//! A job: one Flickr call of one user, from acceptance to its final state.
//!
//! ```text
//! queued → dispatched → running → succeeded | failed | dead | cancelled
//!   ↑ └────────┬─────────┘ │
//!   └──────────┴───────────┘ retry, or a lease that ran out
//! queued | dispatched → expired | cancelled
//! ```
//!
//! A running job is not cancelled by its client but by whoever holds it, since only the holder knows whether Flickr may have
//! acted: the client's wish is a mark on the job ([`Trail::cancel_requested_at`]), and the holder ends the job when the call
//! was not made, or reads only; a call that acts and was made goes on, and the job ends as what Flickr answered.
//!
//! Every transition is one atomic update in MongoDB that is guarded by [`JobState::may_become`] and by the attempt
//! number, so two processes that both believe to own a job can never both move it.
//!
//! Two numbers count how often a job came around:
//!
//! | field | grows | for |
//! | --- | --- | --- |
//! | [`Job::attempt`] | with each dispatch | the guard: no two holders have the same number |
//! | [`Job::tries`] | with each claim, and is given back when the call could not be made | the limit: a job is dead after so many tries |
//!
//! So an outage of MongoDB, Redis, RabbitMQ or Vault brings no job nearer to `dead`, however often it has to be dispatched
//! meanwhile. A try is counted before it is made: a job that kills its worker is counted by nobody afterwards, and would
//! else come around for ever. A client sees the tries.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::queue::Queue;

mod callback;
mod trail;

pub use callback::{Callback, CallbackFailure, CallbackState};
pub use trail::{AttemptRecord, MAX_ATTEMPTS_KEPT, Trail};

/// The identity of a job: a UUID version 7 (RFC 9562 section 5.7), so ids sort by time of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id for a job accepted now.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "two calls give two ids; a default would hide that"
    )]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl JobId {
    /// The least id that a job accepted at `time` can have; times before 1970 count as 1970.
    ///
    /// Ids are made on several machines, whose clocks differ: leave a tolerance where a bound must not miss a job.
    #[must_use]
    pub fn first_at(time: Timestamp) -> Self {
        let milliseconds = u128::try_from(time.as_millisecond()).unwrap_or(0) & 0xffff_ffff_ffff;
        // RFC 9562 section 5.7: 48 bits of time, the version, and the least of everything else with the variant.
        Self(Uuid::from_u128(
            milliseconds << 80 | 0x7000_u128 << 64 | 0x8000_u128 << 48,
        ))
    }
}

impl From<Uuid> for JobId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<JobId> for Uuid {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The text is no job id.
#[derive(Debug, thiserror::Error)]
#[error("a job id is a UUID")]
pub struct InvalidJobId;

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidJobId)
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted, waits in its lane or for its next attempt.
    Queued,
    /// Released by the dispatcher, its message is (or is about to be) in RabbitMQ.
    Dispatched,
    /// Claimed by a worker.
    Running,
    /// Done; the result is stored.
    Succeeded,
    /// Flickr refused it for good; another attempt would not help.
    Failed,
    /// Given up after the last attempt; can be replayed.
    Dead,
    /// Not started before its `expires_at`.
    Expired,
    /// Cancelled by its client.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Dispatched,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Dead,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The name in MongoDB, in metrics and in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing happens to the job any more by itself.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Dead | Self::Expired | Self::Cancelled
        )
    }

    /// Whether a job in this state may move to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Dispatched | Self::Expired | Self::Cancelled),
            Self::Dispatched => matches!(
                next,
                Self::Queued | Self::Running | Self::Expired | Self::Cancelled
            ),
            Self::Running => matches!(
                next,
                Self::Queued | Self::Succeeded | Self::Failed | Self::Dead | Self::Cancelled
            ),
            Self::Succeeded | Self::Failed | Self::Dead | Self::Expired | Self::Cancelled => false,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The order of jobs within one user's lane.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before the others.
    High,
    /// The default.
    #[default]
    Normal,
    /// After the others.
    Low,
}

/// A photo that waits in the body store for its worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The id in the body store (GridFS).
    pub file_id: String,
    /// Length in bytes, as counted while it was received.
    pub length: u64,
    /// The file name that the client gave.
    pub file_name: String,
    /// The media type that the client gave, checked against the content.
    pub content_type: String,
}

/// What went wrong, as the client sees it: no internal, no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// A stable name, for example `flickr_error` or `timeout`.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// Flickr's own error number, where Flickr gave one.
    pub flickr_code: Option<i64>,
}

impl JobError {
    /// [`JobError::code`] of a job that ended without success although Flickr may have done what it asked for.
    pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

    /// The error of such a job; `cause` is how its last attempt ended.
    pub fn outcome_unknown(cause: Option<&Self>) -> Self {
        let mut message =
            "Flickr may have done this already, and it is not known whether it did; look at Flickr before \
                           you submit it anew."
                .to_owned();
        if let Some(cause) = cause {
            message = format!("{message} ({})", cause.message);
        }
        Self {
            code: Self::OUTCOME_UNKNOWN.to_owned(),
            message,
            flickr_code: cause.and_then(|cause| cause.flickr_code),
        }
    }
}

/// What makes one submission the same as another: its idempotency key and what it asked for, both hashed, so that their
/// length is bounded and nothing of the client's is stored twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// SHA-256 over the client and its key, in hexadecimal digits.
    pub key: String,
    /// SHA-256 over everything that was asked for, in hexadecimal digits.
    pub payload: String,
}

/// The trace that a job belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// The id that the client sees as `X-Trace-Id`: 32 lower-case hexadecimal digits (W3C Trace Context section 3.2.2.3).
    pub trace_id: String,
    /// The `traceparent` of the request that created the job (W3C Trace Context section 3.2).
    pub traceparent: String,
}

/// One Flickr call of one user.
///
/// This is the document in MongoDB, field by field; there the id is a BSON UUID, times are BSON dates (milliseconds)
/// and the result is JSON text, because BSON has no faithful form of every JSON value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Identity.
    #[serde(rename = "_id", with = "crate::store::id")]
    pub id: JobId,
    /// The API client that submitted it.
    pub client_id: String,
    /// The Flickr user (NSID) on whose behalf it runs.
    pub user_id: String,
    /// The Flickr application whose budget it uses: the one that the user's token belonged to when it was accepted. Empty in
    /// documents of versions that did not store it.
    #[serde(default)]
    pub app: String,
    /// The queue it belongs to.
    pub queue: Queue,
    /// The Flickr method, `upload` or `replace`.
    pub method: String,
    /// The arguments of the method, by name; empty where jobs are read without their content
    /// ([`JobStore::get_in_brief`](crate::store::JobStore::get_in_brief) and its like).
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// The photo, for uploads and replacements.
    pub body: Option<Body>,
    /// The order within the user's lane.
    pub priority: Priority,
    /// The user's share of the queue relative to other users', as it was when the job was accepted; at least 1.
    #[serde(default = "weight_of_most")]
    pub weight: u32,
    /// Where it stands.
    pub state: JobState,
    /// How often it was dispatched: 0 before the first time. The guard of every later transition.
    pub attempt: u32,
    /// How often a worker tried it, the present try included; not those that could not be made because something of our
    /// own was away. The limit is the queue's `max_attempts`.
    #[serde(default)]
    pub tries: u32,
    /// Where its callback stands, if it has one.
    pub callback: Option<Callback>,
    /// Whether its client wants an answer of Flickr's own, and none that is cached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_cache: bool,
    /// What it is recognised by when its client sends it again, if the client gave a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// When it was accepted.
    #[serde(with = "crate::store::time")]
    pub created_at: Timestamp,
    /// When its state changed last.
    #[serde(with = "crate::store::time")]
    pub updated_at: Timestamp,
    /// Not dispatched before this time; later than `created_at` after a retry.
    #[serde(with = "crate::store::time")]
    pub available_at: Timestamp,
    /// It is not started after this time.
    #[serde(with = "crate::store::time")]
    pub expires_at: Timestamp,
    /// When a worker claimed it last.
    #[serde(with = "crate::store::time::option")]
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    #[serde(with = "crate::store::time::option")]
    pub finished_at: Option<Timestamp>,
    /// While dispatched or running: who holds it must move it before this time, or it is queued again.
    #[serde(with = "crate::store::time::option")]
    pub lease_until: Option<Timestamp>,
    /// Flickr's answer; none where jobs are read without their content.
    #[serde(default, with = "crate::store::json_text")]
    pub result: Option<Value>,
    /// The last thing that went wrong.
    pub error: Option<JobError>,
    /// What happened to it on its way.
    #[serde(default, skip_serializing_if = "Trail::is_empty")]
    pub trail: Trail,
}

/// A job that nobody has run yet, as far as every one has to say it; the rest is in the fields of [`Job`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// See [`Job::client_id`].
    pub client_id: String,
    /// See [`Job::user_id`].
    pub user_id: String,
    /// See [`Job::app`].
    pub app: String,
    /// See [`Job::queue`].
    pub queue: Queue,
    /// See [`Job::method`].
    pub method: String,
    /// See [`Job::params`].
    pub params: BTreeMap<String, String>,
    /// See [`Job::trace`].
    pub trace: TraceContext,
}

impl NewJob {
    /// The job, with an id of its own: accepted at `now`, to be started before `expires_at`, and apart from that like most.
    #[must_use]
    pub fn accepted(self, now: Timestamp, expires_at: Timestamp) -> Job {
        Job {
            id: JobId::new(),
            client_id: self.client_id,
            user_id: self.user_id,
            app: self.app,
            queue: self.queue,
            method: self.method,
            params: self.params,
            body: None,
            priority: Priority::default(),
            weight: DEFAULT_WEIGHT,
            state: JobState::Queued,
            attempt: 0,
            tries: 0,
            callback: None,
            no_cache: false,
            idempotency: None,
            trace: self.trace,
            created_at: now,
            updated_at: now,
            available_at: now,
            expires_at,
            started_at: None,
            finished_at: None,
            lease_until: None,
            result: None,
            error: None,
            trail: Trail::default(),
        }
    }
}

/// The weight of a user for whom nothing else is configured.
pub const DEFAULT_WEIGHT: u32 = 1;

const fn weight_of_most() -> u32 {
    DEFAULT_WEIGHT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_state_is_never_left() {
        for state in JobState::ALL.into_iter().filter(|s| s.is_final()) {
            for next in JobState::ALL {
                assert!(!state.may_become(next), "{state} → {next}");
            }
        }
    }

    #[test]
    fn every_state_that_is_not_final_leads_to_a_final_one() {
        for state in JobState::ALL.into_iter().filter(|s| !s.is_final()) {
            assert!(
                JobState::ALL
                    .into_iter()
                    .any(|next| next.is_final() && state.may_become(next))
            );
        }
    }

    #[test]
    fn an_id_is_not_below_the_first_of_its_time_nor_above_that_of_a_later_one() {
        let before = Timestamp::now();
        let id = JobId::new();
        assert!(JobId::first_at(before) <= id);
        assert!(id < JobId::first_at(before + jiff::SignedDuration::from_secs(5)));
        assert_eq!(
            JobId::first_at(Timestamp::MIN),
            JobId::first_at(Timestamp::UNIX_EPOCH)
        );
        let version = Uuid::from(JobId::first_at(before)).get_version_num();
        assert_eq!(version, 7);
    }

    #[test]
    fn a_job_is_cancelled_from_every_state_that_is_not_final() {
        for state in JobState::ALL {
            assert_eq!(
                state.may_become(JobState::Cancelled),
                !state.is_final(),
                "{state}"
            );
        }
    }

    #[test]
    fn only_a_job_that_a_worker_had_can_die() {
        let dies: Vec<_> = JobState::ALL
            .into_iter()
            .filter(|state| state.may_become(JobState::Dead))
            .collect();
        assert_eq!(dies, [JobState::Running]);
    }

    #[test]
    fn the_serialised_state_is_its_name() {
        for state in JobState::ALL {
            assert_eq!(serde_json::to_value(state).ok(), Some(Value::from(state.name())));
        }
    }

    #[test]
    fn the_serialised_reason_of_a_given_up_callback_is_its_name() {
        for failure in CallbackFailure::ALL {
            assert_eq!(
                serde_json::to_value(failure).ok(),
                Some(Value::from(failure.name()))
            );
        }
    }

    #[test]
    fn ids_sort_by_the_time_of_acceptance() {
        let ids: Vec<_> = (0..100).map(|_| JobId::new()).collect();
        assert!(ids.is_sorted());
    }
}

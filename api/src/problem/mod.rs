//! Every way in which the API says no: RFC 9457 problem details.
//!
//! A handler answers with a [`Problem`]; [`crate::middleware::problem`] renders it, because only the middleware knows
//! the trace id of the request. A problem never holds an internal detail: what happened inside is logged where it
//! happened, under the same trace id.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use flickrhub_flickr::Permission;
use flickrhub_job::lane::Quotas;
use flickrhub_job::limits::RequestClass;
use flickrhub_job::model::{CallbackState, JobId, JobState};

use crate::auth::ScopeName;
use crate::auth::signature::SignatureFault;
use crate::validate::MAX_BATCH;

mod document;
mod kind;

pub use document::{FieldError, ProblemDocument};
pub use kind::{KINDS, Kind, listing};

/// What precedes the code in the `type` of a problem.
const TYPE_BASE: &str = "https://flickrhub.dev/problems/";

/// A refusal or failure, as the client learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No route has this path.
    RouteNotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body's `Content-Type` is not what the route takes.
    UnsupportedMediaType {
        /// What it takes.
        expected: &'static str,
    },
    /// The body is larger than the route takes.
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
        /// The field of a form that has no room; `None` where the body is no form.
        field: Option<&'static str>,
    },
    /// The route needs a body and there is none.
    BodyEmpty,
    /// The connection ended, or nothing came for too long, before the body was complete.
    BodyIncomplete,
    /// The body is not JSON.
    InvalidJson {
        /// Line in the body, from 1.
        line: usize,
        /// Column in the line, from 1.
        column: usize,
    },
    /// The body is no multipart form.
    InvalidMultipart,
    /// Fields of the request are wrong.
    InvalidRequest(Vec<FieldError>),
    /// A batch has no job, or too many.
    BatchSize {
        /// How many it has.
        jobs: usize,
    },
    /// The idempotency key is empty, too long, or has other characters than visible ones of ASCII.
    IdempotencyKeyInvalid,
    /// The request gives two keys that differ.
    IdempotencyKeysDiffer,
    /// The key was given with another request.
    IdempotencyKeyReused,
    /// The request with this key that came before has no answer yet.
    IdempotencyKeyInFlight,
    /// Nobody presented a credential that holds.
    Unauthenticated,
    /// The request is signed, and the signature does not hold.
    SignatureRefused(SignatureFault),
    /// The body is not the one of its `Content-Digest`.
    DigestMismatch,
    /// Too many credentials that do not hold claimed to be of this key, or came from this address.
    TooManyFailures {
        /// When to try again.
        retry_after: Duration,
    },
    /// The credential holds, and its client may not call from this address.
    AddressNotAllowed,
    /// The key made as many requests as a key may.
    KeyRateExceeded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The credential holds, its client may not do this.
    ScopeMissing(ScopeName),
    /// The user does not exist or has not authorised this client. One answer to both, so that a client cannot find out
    /// who uses other clients.
    UnknownUser,
    /// The path names a user that does not exist or has not authorised this client; again one answer to both.
    UserNotFound,
    /// What the user granted at Flickr does not cover the method.
    PermissionInsufficient {
        /// What the method needs.
        needed: Permission,
        /// The field of the request that would have to be another.
        field: &'static str,
    },
    /// There is no such job, or it is another client's.
    JobNotFound,
    /// There is no such dead letter: no such job, or it is not dead, or it is another client's.
    DeadLetterNotFound,
    /// The client, or all together, follow as many jobs as may be followed at the same time.
    TooManyStreams,
    /// The job has gone too far to be cancelled.
    JobNotCancellable(JobState),
    /// The job cannot be replayed in this state.
    JobNotReplayable(JobState),
    /// The photo of the job that is to be replayed was deleted.
    JobBodyGone,
    /// The callback address answered 410 before, and was disabled.
    CallbackDisabled,
    /// No such callback address of the client is disabled.
    EndpointNotDisabled,
    /// The job has no callback.
    JobWithoutCallback,
    /// The callback is not given up, so it cannot be retried.
    CallbackNotFailed(CallbackState),
    /// Another request replaced the webhook secret at the same time.
    SecretRotatedMeanwhile,
    /// The data tier failed while the job was stored, and does not say whether it is.
    OutcomeUnknown {
        /// The id that the job has if it is there.
        job_id: JobId,
        /// Whether the request has an idempotency key, so that it can be sent again without a second effect.
        repeatable: bool,
    },
    /// This process receives as many photos as it has memory for, or as many as one client may send.
    TooManyUploads,
    /// This process has as many connections open as it may have.
    TooManyConnections,
    /// The client had as many jobs accepted in the last minute as a client may.
    ClientRateExceeded {
        /// When to try again.
        retry_after: Duration,
        /// What is left.
        quotas: Quotas,
    },
    /// The user had as many jobs accepted in the last hour as a user may.
    UserRateExceeded {
        /// When to try again.
        retry_after: Duration,
        /// What is left.
        quotas: Quotas,
    },
    /// The user had as many jobs of one class accepted in the last hour as a user may.
    ClassRateExceeded {
        /// Which class.
        class: RequestClass,
        /// When to try again.
        retry_after: Duration,
        /// What is left.
        quotas: Quotas,
    },
    /// The user has as many unfinished jobs as a user may have.
    TooManyPending {
        /// When to try again.
        retry_after: Duration,
        /// What is left of the rates.
        quotas: Quotas,
    },
    /// The queue's buffer is full.
    QueueFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The authorisation was not started here, is older than an hour, or was completed before.
    AuthorisationUnknown,
    /// The user said no at Flickr, or Flickr did not accept what the user's browser brought back.
    AuthorisationRefused,
    /// Flickr could not be reached or answered nonsense.
    FlickrUnavailable,
    /// Flickr must not be called now: the application's requests of the hour are spent, or Flickr fails.
    FlickrBusy {
        /// When it may be.
        retry_after: Duration,
    },
    /// A part that the request needs is not there at the moment.
    Unavailable,
    /// The request took too long; whether it had an effect is not known.
    Timeout,
    /// Our fault.
    Internal,
}

/// How long a client waits before it asks a part again that is failing over: an election takes about ten seconds.
const FAILOVER: Duration = Duration::from_secs(5);

/// How long a client waits until some photos were received, or some streams have ended.
const UPLOADS: Duration = Duration::from_secs(10);

/// How long a client waits for the answer to the same request, which takes a fraction of that.
const IN_FLIGHT: Duration = Duration::from_secs(1);

impl Problem {
    /// One field is wrong.
    pub fn field(field: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self::InvalidRequest(vec![FieldError::new(field, message)])
    }

    /// The stable name that programs compare.
    pub const fn code(&self) -> &'static str {
        self.kind().code
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.kind().status
    }

    /// A sentence about this kind of problem.
    pub const fn title(&self) -> &'static str {
        self.kind().title
    }

    /// A sentence about this occurrence: what to do about it.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::RouteNotFound => "The routes are listed at /docs and in /openapi.json.".into(),
            Self::MethodNotAllowed => "The header Allow lists the methods that it takes.".into(),
            Self::UnsupportedMediaType { expected } => format!("Send the body as {expected}.").into(),
            Self::BodyTooLarge { limit, .. } => format!("This route takes at most {limit} bytes.").into(),
            Self::BodyEmpty => "This route needs a body; /docs shows an example.".into(),
            Self::BodyIncomplete => {
                "The connection ended or stood still before the body was complete; nothing was stored. Send it again."
                    .into()
            }
            Self::InvalidJson { line, column } => {
                format!("The text stops being JSON (RFC 8259) at line {line}, column {column}.").into()
            }
            Self::InvalidMultipart => {
                "Check the boundary and the headers of each part (RFC 7578); nothing was stored.".into()
            }
            Self::InvalidRequest(_) => "The member errors names each field and what would be right.".into(),
            Self::BatchSize { jobs } => format!("It has {jobs}; a batch has 1 to {MAX_BATCH}.").into(),
            Self::IdempotencyKeyInvalid => "A key has 1 to 255 visible ASCII characters, for example a UUID.".into(),
            Self::IdempotencyKeysDiffer => {
                "Idempotency-Key and X-Idempotency-Key mean the same; send one of them, once.".into()
            }
            Self::IdempotencyKeyReused => {
                "Another request had this key within the last 24 hours; take a new key for a new request.".into()
            }
            Self::IdempotencyKeyInFlight => {
                "Send the same request again after the time in Retry-After to have its answer.".into()
            }
            Self::Unauthenticated => {
                "Send the header Authorization: Bearer fh_<key id>_<secret>, or sign the request (RFC 9421).".into()
            }
            Self::SignatureRefused(fault) => format!("{fault}.").into(),
            Self::DigestMismatch => "What arrived is not what Content-Digest is of; nothing was done.".into(),
            Self::TooManyFailures { .. } => {
                "Check the key; try again after the time in Retry-After.".into()
            }
            Self::AddressNotAllowed => "The client has a list of networks that it may call from.".into(),
            Self::KeyRateExceeded { .. } => "Try again after the time in Retry-After.".into(),
            Self::ScopeMissing(scope) => format!("The route needs the scope {scope}.").into(),
            Self::UnknownUser => {
                "The user is not known or has not authorised this client; begin with POST /api/v1/oauth/start.".into()
            }
            Self::UserNotFound => "The user is not known or has not authorised this client.".into(),
            Self::PermissionInsufficient { needed, .. } => format!(
                "The method needs the permission {}; have the user authorise it with POST /api/v1/oauth/start.",
                needed.as_str()
            )
            .into(),
            Self::JobNotFound => "A finished job is deleted after the retention time of this hub.".into(),
            Self::DeadLetterNotFound => {
                "Only a job in the state dead is a dead letter; it is deleted after the retention time of this hub.".into()
            }
            Self::TooManyStreams => {
                "End a stream that is not needed, or ask for the job with the header Prefer: wait=60.".into()
            }
            Self::JobNotCancellable(state) => {
                format!("The job is {state}; a job that is over cannot be cancelled.").into()
            }
            Self::JobNotReplayable(state) => {
                format!("The job is {state}; only a dead, failed or expired job can be replayed.").into()
            }
            Self::JobBodyGone => {
                "Photos are kept as long as their job can be replayed; send the photo again as a new upload.".into()
            }
            Self::CallbackDisabled => {
                "Its receiver answered 410; enable it with POST /api/v1/callbacks/endpoints/enable or name another.".into()
            }
            Self::EndpointNotDisabled => {
                "GET /api/v1/callbacks/endpoints lists those that are; it may be enabled already.".into()
            }
            Self::JobWithoutCallback => "It was submitted without callback_url.".into(),
            Self::CallbackNotFailed(state) => {
                format!("The callback is {}; only a failed one can be retried.", state.name()).into()
            }
            Self::SecretRotatedMeanwhile => {
                "Another request replaced it at the same moment, and its answer has the new secret; this one changed nothing."
                    .into()
            }
            Self::OutcomeUnknown { job_id, repeatable: true } => format!(
                "The job {job_id} may have been accepted; send the same request with the same idempotency key again."
            )
            .into(),
            Self::OutcomeUnknown { job_id, repeatable: false } => format!(
                "The job {job_id} may have been accepted; look it up at /api/v1/jobs/{job_id} before it is sent again."
            )
            .into(),
            Self::TooManyUploads | Self::TooManyConnections => {
                "Try again after the time in Retry-After; nothing was stored.".into()
            }
            Self::ClientRateExceeded { .. } | Self::UserRateExceeded { .. } => {
                "Try again after the time in Retry-After; the header RateLimit-Policy lists the limits.".into()
            }
            Self::ClassRateExceeded { class, .. } => format!(
                "The limit is on jobs of the class {}; try again after the time in Retry-After.",
                class.name()
            )
            .into(),
            Self::TooManyPending { .. } => "Wait until some of the user's jobs have finished.".into(),
            Self::QueueFull { .. } => "Try again after the time in Retry-After; nothing was stored.".into(),
            Self::AuthorisationUnknown => {
                "It was not started here, is older than an hour, or was completed before; start again.".into()
            }
            Self::AuthorisationRefused => {
                "The user declined, or what Flickr sent back has run out; start again if the user wishes.".into()
            }
            Self::FlickrUnavailable => "Flickr did not answer as it should; start again in a moment.".into(),
            Self::FlickrBusy { .. } => {
                "The application's requests to Flickr are spent, or Flickr fails; start again after the time in Retry-After."
                    .into()
            }
            Self::Unavailable => "Try again after the time in Retry-After.".into(),
            Self::Timeout => {
                "Whether the request had an effect is not known; look it up before it is sent again.".into()
            }
            Self::Internal => "Tell the operators of this hub the trace id.".into(),
        }
    }

    /// When the client should try again, for the header `Retry-After`.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ClientRateExceeded { retry_after, .. }
            | Self::UserRateExceeded { retry_after, .. }
            | Self::ClassRateExceeded { retry_after, .. }
            | Self::TooManyPending { retry_after, .. }
            | Self::QueueFull { retry_after }
            | Self::TooManyFailures { retry_after }
            | Self::FlickrBusy { retry_after }
            | Self::KeyRateExceeded { retry_after } => Some(*retry_after),
            Self::IdempotencyKeyInFlight => Some(IN_FLIGHT),
            Self::Unavailable | Self::FlickrUnavailable => Some(FAILOVER),
            Self::TooManyUploads | Self::TooManyStreams | Self::TooManyConnections => Some(UPLOADS),
            _ => None,
        }
    }

    /// The same in whole seconds, as clients are told: rounded up, so that who waits as told does not come too early.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after().map(|wait| seconds(wait).max(1))
    }

    /// What is left of the rates, for the headers `RateLimit` and `RateLimit-Policy`.
    pub const fn quotas(&self) -> Option<&Quotas> {
        match self {
            Self::ClientRateExceeded { quotas, .. }
            | Self::UserRateExceeded { quotas, .. }
            | Self::ClassRateExceeded { quotas, .. }
            | Self::TooManyPending { quotas, .. } => Some(quotas),
            _ => None,
        }
    }

    /// The fields that are wrong.
    pub fn errors(&self) -> Vec<FieldError> {
        match self {
            Self::InvalidRequest(errors) => errors.clone(),
            Self::BatchSize { .. } => vec![FieldError::new("jobs", format!("has 1 to {MAX_BATCH} items"))],
            Self::IdempotencyKeyInvalid => vec![FieldError::new(
                "Idempotency-Key",
                "has 1 to 255 visible ASCII characters",
            )],
            Self::IdempotencyKeysDiffer => ["Idempotency-Key", "X-Idempotency-Key"]
                .map(|header| FieldError::new(header, "is given with two values"))
                .to_vec(),
            Self::UnknownUser => vec![FieldError::new(
                "user_id",
                "is not known or has not authorised this client",
            )],
            Self::CallbackDisabled => vec![FieldError::new("callback_url", "is disabled: it answered 410")],
            Self::PermissionInsufficient { needed, field } => {
                vec![FieldError::new(
                    field,
                    format!("needs the permission {}", needed.as_str()),
                )]
            }
            Self::BodyTooLarge {
                limit,
                field: Some(field),
            } => vec![FieldError::new(field, format!("has more than {limit} bytes"))],
            _ => Vec::new(),
        }
    }
}

impl From<SignatureFault> for Problem {
    fn from(fault: SignatureFault) -> Self {
        Self::SignatureRefused(fault)
    }
}

impl IntoResponse for Problem {
    /// The status alone; the middleware finds the problem in the response's extensions and writes the body.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_have_a_job_learns_its_id_and_is_not_told_to_try_again() {
        let job_id = JobId::new();
        let problem = Problem::OutcomeUnknown {
            job_id,
            repeatable: false,
        };
        assert!(problem.detail().contains(&job_id.to_string()));
        assert_eq!(problem.retry_after(), None);
    }

    #[test]
    fn an_overload_says_when_to_come_back() {
        let wait = Duration::from_secs(3);
        for problem in [
            Problem::QueueFull { retry_after: wait },
            Problem::Unavailable,
            Problem::TooManyUploads,
            Problem::TooManyStreams,
            Problem::TooManyConnections,
        ] {
            assert!(matches!(problem.status().as_u16(), 429 | 503), "{problem:?}");
            assert!(problem.retry_after().is_some(), "{problem:?}");
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_of_which_none_is_too_short() {
        let told = |milliseconds| {
            let retry_after = Duration::from_millis(milliseconds);
            Problem::FlickrBusy { retry_after }.retry_after_seconds()
        };
        for (milliseconds, seconds) in [
            (0, 1),
            (500, 1),
            (1000, 1),
            (1001, 2),
            (36_999, 37),
            (300_000, 300),
        ] {
            assert_eq!(told(milliseconds), Some(seconds), "{milliseconds} ms");
        }
        assert_eq!(Problem::Internal.retry_after_seconds(), None);
    }
}

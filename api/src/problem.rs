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
use flickrhub_job::model::{JobId, JobState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::ScopeName;

/// What precedes the code in the `type` of a problem.
const TYPE_BASE: &str = "https://flickrhub.dev/problems/";

/// One thing that is wrong with one field of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field: its path in the JSON body (`params.photo_id`), its name in the query, path or multipart form.
    #[schema(example = "params.photo_id")]
    pub field: String,
    /// What is wrong with it, and what would be right.
    #[schema(example = "flickr.photos.getInfo needs this argument")]
    pub message: String,
}

/// The longest name of a field that is given back, in characters. Names can be the client's own, and as long as a body.
const MAX_NAME: usize = 64;
/// The longest message in characters; what it repeats of the request is cut off.
const MAX_MESSAGE: usize = 256;

impl FieldError {
    /// `field` is wrong because of `message`. Either is cut off where it is too long to be of use.
    pub fn new(field: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            field: cut(field.as_ref(), MAX_NAME),
            message: cut(message.as_ref(), MAX_MESSAGE),
        }
    }
}

/// The text, or as many of its characters as fit.
fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

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
    /// Nobody presented a credential that holds.
    Unauthenticated,
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
    /// The data tier failed while the job was stored, and does not say whether it is.
    OutcomeUnknown {
        /// The id that the job has if it is there.
        job_id: JobId,
    },
    /// This process receives as many photos as it has memory for.
    TooManyUploads,
    /// The user has as many unfinished jobs as a user may have.
    TooManyPending {
        /// When to try again.
        retry_after: Duration,
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

impl Problem {
    /// One field is wrong.
    pub fn field(field: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self::InvalidRequest(vec![FieldError::new(field, message)])
    }

    /// The stable name, the status and the title. One row for each problem.
    const fn kind(&self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::RouteNotFound => ("route_not_found", S::NOT_FOUND, "There is nothing at this path"),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                S::METHOD_NOT_ALLOWED,
                "This path does not take this method",
            ),
            Self::UnsupportedMediaType { .. } => (
                "unsupported_media_type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The body has the wrong content type",
            ),
            Self::BodyTooLarge { .. } => ("body_too_large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::BodyEmpty => ("body_empty", S::BAD_REQUEST, "The request has no body"),
            Self::BodyIncomplete => ("body_incomplete", S::REQUEST_TIMEOUT, "The body did not arrive"),
            Self::InvalidJson { .. } => ("invalid_json", S::BAD_REQUEST, "The body is not JSON"),
            Self::InvalidMultipart => (
                "invalid_multipart",
                S::BAD_REQUEST,
                "The body is not a multipart form",
            ),
            Self::InvalidRequest(_) => (
                "invalid_request",
                S::UNPROCESSABLE_ENTITY,
                "Fields of the request are wrong",
            ),
            Self::Unauthenticated => ("unauthenticated", S::UNAUTHORIZED, "A valid API key is needed"),
            Self::ScopeMissing(_) => ("scope_missing", S::FORBIDDEN, "The API key does not allow this"),
            Self::UnknownUser => ("unknown_user", S::UNPROCESSABLE_ENTITY, "The user is not known"),
            Self::UserNotFound => ("user_not_found", S::NOT_FOUND, "There is no such user"),
            Self::PermissionInsufficient { .. } => (
                "permission_insufficient",
                S::FORBIDDEN,
                "The user has not granted enough at Flickr",
            ),
            Self::JobNotFound => ("job_not_found", S::NOT_FOUND, "There is no such job"),
            Self::DeadLetterNotFound => (
                "dead_letter_not_found",
                S::NOT_FOUND,
                "There is no such dead letter",
            ),
            Self::TooManyStreams => (
                "too_many_event_streams",
                S::TOO_MANY_REQUESTS,
                "Too many jobs are being followed",
            ),
            Self::JobNotCancellable(_) => (
                "job_not_cancellable",
                S::CONFLICT,
                "The job cannot be cancelled any more",
            ),
            Self::JobNotReplayable(_) => ("job_not_replayable", S::CONFLICT, "The job cannot be replayed"),
            Self::JobBodyGone => ("job_body_gone", S::CONFLICT, "The photo of the job is gone"),
            Self::OutcomeUnknown { .. } => (
                "outcome_unknown",
                S::GATEWAY_TIMEOUT,
                "Whether the job was accepted is not known",
            ),
            Self::TooManyUploads => (
                "too_many_uploads",
                S::SERVICE_UNAVAILABLE,
                "Too many photos are being received",
            ),
            Self::TooManyPending { .. } => (
                "too_many_pending",
                S::TOO_MANY_REQUESTS,
                "The user has too many unfinished jobs",
            ),
            Self::QueueFull { .. } => ("queue_full", S::SERVICE_UNAVAILABLE, "The queue is full"),
            Self::AuthorisationUnknown => (
                "authorisation_unknown",
                S::NOT_FOUND,
                "There is no such authorisation under way",
            ),
            Self::AuthorisationRefused => (
                "authorisation_refused",
                S::FORBIDDEN,
                "Flickr did not authorise this",
            ),
            Self::FlickrUnavailable => ("flickr_unavailable", S::BAD_GATEWAY, "Flickr cannot be reached"),
            Self::Unavailable => (
                "unavailable",
                S::SERVICE_UNAVAILABLE,
                "The service is briefly unavailable",
            ),
            Self::Timeout => ("timeout", S::GATEWAY_TIMEOUT, "The request took too long"),
            Self::Internal => (
                "internal",
                S::INTERNAL_SERVER_ERROR,
                "Something went wrong on our side",
            ),
        }
    }

    /// The stable name that programs compare.
    pub const fn code(&self) -> &'static str {
        self.kind().0
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.kind().1
    }

    /// A sentence about this kind of problem.
    pub const fn title(&self) -> &'static str {
        self.kind().2
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
            Self::Unauthenticated => "Send the header Authorization: Bearer fh_<key id>_<secret>.".into(),
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
            Self::OutcomeUnknown { job_id } => format!(
                "The job {job_id} may have been accepted; look it up at /api/v1/jobs/{job_id} before it is sent again."
            )
            .into(),
            Self::TooManyUploads => "Try again after the time in Retry-After; nothing was stored.".into(),
            Self::TooManyPending { .. } => "Wait until some of the user's jobs have finished.".into(),
            Self::QueueFull { .. } => "Try again after the time in Retry-After; nothing was stored.".into(),
            Self::AuthorisationUnknown => {
                "It was not started here, is older than an hour, or was completed before; start again.".into()
            }
            Self::AuthorisationRefused => {
                "The user declined, or what Flickr sent back has run out; start again if the user wishes.".into()
            }
            Self::FlickrUnavailable => "Flickr did not answer as it should; start again in a moment.".into(),
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
            Self::TooManyPending { retry_after } | Self::QueueFull { retry_after } => Some(*retry_after),
            Self::Unavailable | Self::FlickrUnavailable => Some(FAILOVER),
            Self::TooManyUploads | Self::TooManyStreams => Some(UPLOADS),
            _ => None,
        }
    }

    /// The fields that are wrong.
    pub fn errors(&self) -> Vec<FieldError> {
        match self {
            Self::InvalidRequest(errors) => errors.clone(),
            Self::UnknownUser => vec![FieldError::new(
                "user_id",
                "is not known or has not authorised this client",
            )],
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

    /// The body of the answer.
    pub fn document(&self, trace_id: &str) -> ProblemDocument {
        ProblemDocument {
            r#type: format!("{TYPE_BASE}{}", self.code()),
            title: self.title().to_owned(),
            status: self.status().as_u16(),
            detail: self.detail().into_owned(),
            code: self.code().to_owned(),
            trace_id: trace_id.to_owned(),
            errors: self.errors(),
        }
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

/// An RFC 9457 problem details object, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// A stable URI of this kind of problem.
    #[schema(example = "https://flickrhub.dev/problems/invalid_request")]
    pub r#type: String,
    /// A sentence about this kind of problem.
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// A sentence about this occurrence.
    pub detail: String,
    /// The stable name of this kind of problem.
    #[schema(example = "invalid_request")]
    pub code: String,
    /// The trace id of the request, also in the header `X-Trace-Id`.
    #[schema(example = "4bf92f3577b34da6a3ce929d0e0e4736")]
    pub trace_id: String,
    /// The fields that are wrong; absent where no field is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_names_its_type_code_status_trace_and_fields() {
        let document = Problem::field("params.photo_id", "is missing").document("abc");
        assert_eq!(
            serde_json::to_value(document).ok(),
            Some(serde_json::json!({
                "type": "https://flickrhub.dev/problems/invalid_request",
                "title": "Fields of the request are wrong",
                "status": 422,
                "detail": "The member errors names each field and what would be right.",
                "code": "invalid_request",
                "trace_id": "abc",
                "errors": [{"field": "params.photo_id", "message": "is missing"}],
            }))
        );
    }

    #[test]
    fn a_problem_repeats_little_of_what_the_client_sent() {
        let error = FieldError::new("ä".repeat(1_000_000), "b".repeat(1_000_000));
        assert_eq!(error.field, format!("{}…", "ä".repeat(64)));
        assert_eq!(error.message.chars().count(), 257);
        let error = FieldError::new("a".repeat(64), "is missing");
        assert_eq!(error.field.len(), 64);
    }

    #[test]
    fn a_problem_without_a_wrong_field_has_no_errors_member() {
        let document = serde_json::to_value(Problem::Internal.document("abc")).unwrap_or_default();
        assert_eq!(document.get("errors"), None);
    }

    #[test]
    fn whoever_may_have_a_job_learns_its_id_and_is_not_told_to_try_again() {
        let job_id = JobId::new();
        let problem = Problem::OutcomeUnknown { job_id };
        assert!(problem.detail().contains(&job_id.to_string()));
        assert_eq!(problem.retry_after(), None);
    }

    #[test]
    fn an_overload_says_when_to_come_back() {
        let wait = Duration::from_secs(3);
        for problem in [
            Problem::TooManyPending { retry_after: wait },
            Problem::QueueFull { retry_after: wait },
            Problem::Unavailable,
            Problem::TooManyUploads,
            Problem::TooManyStreams,
        ] {
            assert!(matches!(problem.status().as_u16(), 429 | 503), "{problem:?}");
            assert!(problem.retry_after().is_some(), "{problem:?}");
        }
    }
}

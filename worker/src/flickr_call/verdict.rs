//! What Flickr's errors mean for the job, and what the client is told about them.

use flickrhub_flickr::{Disposition, FlickrError, TicketId};
use flickrhub_job::model::JobError;
use serde_json::json;

use crate::decision::{Failure, FailureKind, Outcome};

/// The outcome of try `tries` (from 1) that ended with `error`.
///
/// When an earlier try's answer was lost, "it is so already" is how its success looks.
pub(super) fn of(error: &FlickrError, tries: u32) -> Outcome {
    if error.is_done_by_this_call() || (tries > 1 && error.is_already_done()) {
        return Outcome::Done(json!({ "stat": "ok", "already_done": true }));
    }
    Outcome::Failed(Failure {
        kind: match error.disposition() {
            Disposition::Retryable => FailureKind::Transient,
            Disposition::Permanent => FailureKind::Permanent,
            Disposition::OutcomeUnknown => FailureKind::Unknown,
        },
        error: JobError {
            code: code(error).to_owned(),
            message: message(error),
            flickr_code: error.code().map(i64::from),
        },
        retry_after: error.retry_after(),
    })
}

/// The error of a job whose user's token does not hold, or does not hold any more.
pub const USER_NOT_AUTHORISED: &str = "user_not_authorised";

/// The stable name of the error that a client sees.
fn code(error: &FlickrError) -> &'static str {
    use flickrhub_flickr::Failure as Cause;
    if error.needs_authorization() {
        return USER_NOT_AUTHORISED;
    }
    match error.failure() {
        Cause::Api(_) | Cause::OAuth(_) => "flickr_error",
        Cause::RateLimited { .. } => "flickr_rate_limited",
        Cause::Http { .. } | Cause::Connect | Cause::Interrupted { .. } => "flickr_unavailable",
        Cause::Malformed { .. } | Cause::AnswerTooLarge { .. } => "flickr_answer_unusable",
        Cause::PhotoSource | Cause::PhotoLength { .. } => "photo_unreadable",
        Cause::ReservedParameter { .. } | Cause::TokenRequired | Cause::Request => "invalid_request",
    }
}

/// The failure's own sentence, which holds no credentials, and no more of an answer than Flickr's message.
fn message(error: &FlickrError) -> String {
    let mut message = error.failure().to_string();
    if !message.ends_with('.') {
        message.push('.');
    }
    message
}

/// The job names a method that Flickr does not have.
pub(super) fn unknown_method(method: &str) -> Failure {
    permanent("unknown_method", format!("Flickr has no method {method:?}."))
}

/// The job has no photo to send, or does not say which one to replace.
pub(super) fn incomplete(what: &str) -> Failure {
    permanent("invalid_request", format!("The job names no {what}."))
}

/// Flickr took the photo and then could not convert it.
pub(super) fn not_converted() -> Failure {
    Failure {
        kind: FailureKind::Settled,
        ..permanent("flickr_error", "Flickr could not process the photo.".to_owned())
    }
}

/// The photo could not be read to its end, because the body store was away; Flickr did not get it.
pub(super) fn photo_unavailable() -> Failure {
    Failure {
        kind: FailureKind::CutShort,
        error: JobError {
            code: "temporarily_unavailable".to_owned(),
            message: "FlickrHub could not send the photo yet and tries again by itself.".to_owned(),
            flickr_code: None,
        },
        retry_after: None,
    }
}

/// Flickr took the photo, and had not finished with it, or does not know the ticket, when the attempt ended.
pub(super) fn unfinished(ticket: &TicketId) -> Failure {
    Failure {
        kind: FailureKind::Unknown,
        error: JobError {
            code: "flickr_unfinished".to_owned(),
            message: format!(
                "Flickr received the photo and did not say in time what became of it (ticket {ticket})."
            ),
            flickr_code: None,
        },
        retry_after: None,
    }
}

fn permanent(code: &str, message: String) -> Failure {
    Failure {
        kind: FailureKind::Permanent,
        error: JobError {
            code: code.to_owned(),
            message,
            flickr_code: None,
        },
        retry_after: None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use flickrhub_flickr::{ApiFailure, Failure as Cause, Interruption, Method, Operation};

    use super::*;

    fn error(method: &str, cause: Cause) -> FlickrError {
        FlickrError::new(Operation::Call(Method::lookup(method).unwrap()), cause)
    }

    fn failed(error: &FlickrError, tries: u32) -> Failure {
        match of(error, tries) {
            Outcome::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flickrs_own_code_reaches_the_client() {
        let failure = failed(
            &error(
                "flickr.photos.getInfo",
                Cause::Api(ApiFailure::new(1, "Photo not found")),
            ),
            1,
        );
        assert_eq!(failure.kind, FailureKind::Permanent);
        assert_eq!(failure.error.code, "flickr_error");
        assert_eq!(failure.error.flickr_code, Some(1));
        assert_eq!(failure.error.message, "Flickr answered error 1: Photo not found.");
    }

    #[test]
    fn a_rate_limit_is_transient_and_its_wait_is_kept() {
        let wait = Some(Duration::from_mins(1));
        let failure = failed(
            &error("flickr.photos.search", Cause::RateLimited { retry_after: wait }),
            1,
        );
        assert_eq!(failure.kind, FailureKind::Transient);
        assert_eq!(failure.retry_after, wait);
    }

    #[test]
    fn a_lost_answer_to_a_comment_has_an_unknown_outcome() {
        let cause = Cause::Interrupted {
            cause: Interruption::Timeout,
            sent: true,
        };
        let failure = failed(&error("flickr.photos.comments.addComment", cause), 1);
        assert_eq!(failure.kind, FailureKind::Unknown);
    }

    #[test]
    fn a_favorite_that_an_earlier_attempt_added_is_a_success() {
        let already = error(
            "flickr.favorites.add",
            Cause::Api(ApiFailure::new(3, "Photo is already in favorites")),
        );
        assert!(matches!(of(&already, 1), Outcome::Failed(_)));
        assert!(matches!(of(&already, 2), Outcome::Done(_)));
    }

    #[test]
    fn a_revoked_token_asks_for_a_new_authorisation() {
        let failure = failed(
            &error(
                "flickr.photos.search",
                Cause::Api(ApiFailure::new(98, "Invalid token")),
            ),
            1,
        );
        assert_eq!(failure.kind, FailureKind::Permanent);
        assert_eq!(failure.error.code, "user_not_authorised");
    }
}

//! The table of all problems: one row for each, from which answers and `docs/problems.md` are made.

use std::fmt::Write;

use axum::http::StatusCode;

use super::{Problem, TYPE_BASE};

/// What all occurrences of one problem have in common.
#[derive(Debug)]
pub struct Kind {
    /// The stable name that programs compare.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// A sentence about it.
    pub title: &'static str,
    /// When it is answered, and what its client does about it.
    pub meaning: &'static str,
}

macro_rules! kinds {
    ($($problem:pat => $code:literal, $status:ident, $title:literal, $meaning:literal;)+) => {
        /// Every kind of problem, in the order of the table.
        pub const KINDS: &[Kind] = &[$(Kind {
            code: $code,
            status: StatusCode::$status,
            title: $title,
            meaning: $meaning,
        }),+];

        impl Problem {
            /// The row of this problem.
            pub const fn kind(&self) -> &'static Kind {
                match self {
                    $($problem => const { &Kind {
                        code: $code,
                        status: StatusCode::$status,
                        title: $title,
                        meaning: $meaning,
                    } },)+
                }
            }
        }
    };
}

kinds! {
    Problem::RouteNotFound => "route_not_found", NOT_FOUND, "There is nothing at this path",
        "No route has this path. The routes are listed at `/docs` and in `/openapi.json`.";
    Problem::MethodNotAllowed => "method_not_allowed", METHOD_NOT_ALLOWED, "This path does not take this method",
        "The header `Allow` lists the methods that it takes.";
    Problem::UnsupportedMediaType { .. } => "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE,
        "The body has the wrong content type",
        "`Content-Type` is missing or another than the route takes, or the body is compressed.";
    Problem::BodyTooLarge { .. } => "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large",
        "The body, or the photo in it, has more bytes than the route takes.";
    Problem::BodyEmpty => "body_empty", BAD_REQUEST, "The request has no body", "The route needs a body.";
    Problem::BodyIncomplete => "body_incomplete", REQUEST_TIMEOUT, "The body did not arrive",
        "The connection ended or stood still before the body was complete. Nothing was stored; send it again.";
    Problem::InvalidJson { .. } => "invalid_json", BAD_REQUEST, "The body is not JSON",
        "The text stops being JSON (RFC 8259) at the line and column that `detail` names.";
    Problem::InvalidMultipart => "invalid_multipart", BAD_REQUEST, "The body is not a multipart form",
        "The boundary or the headers of a part are wrong (RFC 7578), or a part has endless headers.";
    Problem::InvalidRequest(_) => "invalid_request", UNPROCESSABLE_ENTITY, "Fields of the request are wrong",
        "`errors` names each field and what would be right.";
    Problem::BatchSize { .. } => "batch_size", UNPROCESSABLE_ENTITY, "The batch has too few or too many jobs",
        "A batch has 1 to 1,000 jobs; send the others in another one.";
    Problem::IdempotencyKeyInvalid => "idempotency_key_invalid", BAD_REQUEST, "The idempotency key is malformed",
        "`Idempotency-Key` has 1 to 255 visible ASCII characters.";
    Problem::IdempotencyKeysDiffer => "idempotency_keys_differ", BAD_REQUEST, "The request has two idempotency keys",
        "`Idempotency-Key` and `X-Idempotency-Key` are the same header; send one, or both with one value.";
    Problem::IdempotencyKeyReused => "idempotency_key_reused", UNPROCESSABLE_ENTITY,
        "The idempotency key belongs to another request",
        "In the last 24 hours the client sent the same key with other content. Take a new key for a new request.";
    Problem::IdempotencyKeyInFlight => "idempotency_key_in_flight", CONFLICT,
        "A request with the same idempotency key is under way",
        "Its answer is not there yet. Send the same request again after `Retry-After` to have it.";
    Problem::Unauthenticated => "unauthenticated", UNAUTHORIZED, "A valid API key is needed",
        "The request has neither `Authorization` nor a signature, or its key does not hold.";
    Problem::SignatureRefused(_) => "signature_refused", UNAUTHORIZED, "The signature of the request does not hold",
        "`detail` says what is wrong with it; see [authentication.md](authentication.md).";
    Problem::DigestMismatch => "content_digest_mismatch", BAD_REQUEST, "The body is not the one of its digest",
        "The body was changed on its way, or `Content-Digest` (RFC 9530) is of another one. Nothing was done.";
    Problem::TooManyFailures { .. } => "too_many_failed_authentications", TOO_MANY_REQUESTS,
        "Too many keys did not hold",
        "Too many wrong keys came from this address, or claimed to be this key. A key that is at work is not affected.";
    Problem::AddressNotAllowed => "address_not_allowed", FORBIDDEN, "The client may not call from this address",
        "The client has a list of networks, and the address of the request is in none of them.";
    Problem::KeyRateExceeded { .. } => "key_rate_exceeded", TOO_MANY_REQUESTS, "The key makes too many requests",
        "Requests of every kind count, in each API process by itself. Wait for `Retry-After`.";
    Problem::ScopeMissing(_) => "scope_missing", FORBIDDEN, "The API key does not allow this",
        "The client lacks the scope that the header `WWW-Authenticate` names.";
    Problem::UnknownUser => "unknown_user", UNPROCESSABLE_ENTITY, "The user is not known",
        "The user is not known or has not authorised this client; begin with `POST /api/v1/oauth/start`.";
    Problem::UserNotFound => "user_not_found", NOT_FOUND, "There is no such user",
        "The user in the path is not known or has not authorised this client.";
    Problem::PermissionInsufficient { .. } => "permission_insufficient", FORBIDDEN,
        "The user has not granted enough at Flickr",
        "The method needs a permission that the user did not grant; have the user authorise it with `POST /api/v1/oauth/start`.";
    Problem::JobNotFound => "job_not_found", NOT_FOUND, "There is no such job",
        "The job does not exist, is another client's, or was deleted after the retention time.";
    Problem::DeadLetterNotFound => "dead_letter_not_found", NOT_FOUND, "There is no such dead letter",
        "The job does not exist, is another client's, is not dead, or was deleted after the retention time.";
    Problem::TooManyStreams => "too_many_event_streams", TOO_MANY_REQUESTS, "Too many jobs are being followed",
        "The client, or all together, have as many streams of events as this process serves. End one, or wait with `Prefer: wait=60`.";
    Problem::JobNotCancellable(_) => "job_not_cancellable", CONFLICT, "The job cannot be cancelled any more",
        "It is over.";
    Problem::JobNotReplayable(_) => "job_not_replayable", CONFLICT, "The job cannot be replayed",
        "Only a dead, failed or expired job can.";
    Problem::JobBodyGone => "job_body_gone", CONFLICT, "The photo of the job is gone",
        "Photos are kept as long as their job can be replayed; send the photo again as a new upload.";
    Problem::CallbackDisabled => "callback_disabled", UNPROCESSABLE_ENTITY, "The callback address is disabled",
        "Its receiver answered 410. Enable it with `POST /api/v1/callbacks/endpoints/enable`, or name another one.";
    Problem::EndpointNotDisabled => "callback_endpoint_not_found", NOT_FOUND,
        "There is no such disabled callback address",
        "`GET /api/v1/callbacks/endpoints` lists those that are disabled; it may be enabled already.";
    Problem::JobWithoutCallback => "job_without_callback", CONFLICT, "The job has no callback",
        "It was submitted without `callback_url`.";
    Problem::CallbackNotFailed(_) => "callback_not_failed", CONFLICT, "The callback cannot be retried",
        "Only a callback that failed can.";
    Problem::SecretRotatedMeanwhile => "secret_rotated_meanwhile", CONFLICT,
        "The webhook secret was replaced meanwhile",
        "Another request replaced it at the same moment, and its answer has the new secret; this one changed nothing.";
    Problem::OutcomeUnknown { .. } => "outcome_unknown", GATEWAY_TIMEOUT,
        "Whether the job was accepted is not known",
        "The database gave no answer. With an idempotency key, send the same request again; without one, look up the job that `detail` names before it is sent again.";
    Problem::ClientRateExceeded { .. } => "client_rate_exceeded", TOO_MANY_REQUESTS,
        "The client has submitted too many jobs",
        "The client had `limits.perClientPerMinute` jobs accepted in the last minute. After `Retry-After` no rate limit refuses.";
    Problem::UserRateExceeded { .. } => "user_rate_exceeded", TOO_MANY_REQUESTS,
        "Too many jobs were submitted for the user",
        "The user had `limits.perUserPerHour` jobs accepted in the last hour. After `Retry-After` no rate limit refuses.";
    Problem::ClassRateExceeded { .. } => "class_rate_exceeded", TOO_MANY_REQUESTS,
        "Too many jobs of this class were submitted for the user",
        "The user had as many jobs that read, write or upload accepted in the last hour as `limits.classes` allows. After `Retry-After` no rate limit refuses.";
    Problem::TooManyPending { .. } => "too_many_pending", TOO_MANY_REQUESTS,
        "The user has too many unfinished jobs",
        "The user has `limits.pendingPerUser` jobs that are not finished. `Retry-After` estimates when one will be.";
    Problem::QueueFull { .. } => "queue_full", SERVICE_UNAVAILABLE, "The queue is full",
        "The queue holds `limits.bufferPerQueue` jobs that are not finished. `Retry-After` estimates when one will be.";
    Problem::TooManyUploads => "too_many_uploads", SERVICE_UNAVAILABLE, "Too many photos are being received",
        "This process receives as many photos as it has memory for, or as many of this client as leave room to others. Nothing was stored; try again after `Retry-After`.";
    Problem::TooManyConnections => "too_many_connections", SERVICE_UNAVAILABLE, "Too many connections are open",
        "This process has `api.maxConnections` connections open. Use connections again, and close those that are not needed. Over TLS the connection is closed without an answer instead.";
    Problem::AuthorisationUnknown => "authorisation_unknown", NOT_FOUND,
        "There is no such authorisation under way",
        "It was not started here, is older than an hour, or was completed before; start again.";
    Problem::AuthorisationRefused => "authorisation_refused", FORBIDDEN, "Flickr did not authorise this",
        "The user declined, or what Flickr sent back has run out.";
    Problem::FlickrUnavailable => "flickr_unavailable", BAD_GATEWAY, "Flickr cannot be reached",
        "Flickr did not answer as it should; start again after `Retry-After`.";
    Problem::FlickrBusy { .. } => "flickr_busy", SERVICE_UNAVAILABLE, "Flickr must not be called now",
        "The requests that Flickr allows the application in an hour are spent, or its circuit is open; start again after `Retry-After`.";
    Problem::Unavailable => "unavailable", SERVICE_UNAVAILABLE, "The service is briefly unavailable",
        "A part of the hub fails over. Nothing was accepted; try again after `Retry-After`.";
    Problem::Timeout => "timeout", GATEWAY_TIMEOUT, "The request took too long",
        "Whether it had an effect is not known. With an idempotency key, send it again; without one, look first.";
    Problem::Internal => "internal", INTERNAL_SERVER_ERROR, "Something went wrong on our side",
        "Tell the operators of the hub the trace id.";
}

/// `docs/problems.md`.
pub fn listing() -> String {
    let mut text = String::from(
        "<!-- Written by scripts/generate.sh from api/src/problem/kind.rs. -->\n\
         # Problems\n\n\
         Every refusal of the HTTP API is an RFC 9457 problem document, `application/problem+json`:\n\n\
         ```json\n\
         {\n  \"type\": \"https://flickrhub.dev/problems/invalid_request\",\n  \
         \"title\": \"Fields of the request are wrong\",\n  \"status\": 422,\n  \
         \"detail\": \"The member errors names each field and what would be right.\",\n  \
         \"code\": \"invalid_request\",\n  \"trace_id\": \"4bf92f3577b34da6a3ce929d0e0e4736\",\n  \
         \"errors\": [{\"field\": \"params.photo_id\", \"message\": \"flickr.photos.getInfo needs this argument\"}]\n}\n\
         ```\n\n\
         `code` and `type` are stable; `title` and `detail` are for people. `errors` is there where a field is wrong. \
         `trace_id` is also in the header `X-Trace-Id` and in the hub's logs. 429 and 503 carry `Retry-After`; \
         429 of a submission carries `RateLimit` and `RateLimit-Policy` too.\n\n\
         | code | status | title | when, and what to do |\n| --- | --- | --- | --- |\n",
    );
    for kind in KINDS {
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "| <a id=\"{0}\"></a>`{0}` | {1} | {2} | {3} |",
            kind.code,
            kind.status.as_u16(),
            kind.title,
            kind.meaning
        );
    }
    let _ = write!(
        text,
        "\nThe `type` of a problem is `{TYPE_BASE}` followed by its code.\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_problem_has_a_code_of_its_own() {
        let codes: BTreeSet<_> = KINDS.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), KINDS.len());
    }

    #[test]
    fn the_committed_list_is_the_one_that_the_table_makes() {
        assert!(
            listing() == include_str!("../../../docs/problems.md"),
            "docs/problems.md is out of date; run scripts/generate.sh"
        );
    }
}

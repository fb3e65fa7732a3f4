//! One HTTP exchange: send, and read a bounded answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use jiff::Timestamp;
use reqwest::{RequestBuilder, Response};

use crate::{
    answer::RawAnswer,
    error::{Failure, Interruption},
    retry_after,
};

/// The longest answer read, in bytes: 8 MiB. The longest documented, 500 photos with every extra,
/// stays well under it.
pub(crate) const LONGEST_ANSWER: usize = 8 << 20;

/// An answer: read whole, or, when its status tells of a failure, as far as it came.
pub(crate) struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Bytes,
}

impl Answer {
    pub(crate) fn raw(&self) -> RawAnswer<'_> {
        RawAnswer {
            status: self.status,
            retry_after: self.retry_after,
            body: &self.body,
        }
    }
}

/// Sends a request and reads its answer. `is_sent` tells, once the exchange has broken off, whether
/// Flickr may have the whole request.
///
/// # Errors
/// [`Failure::Connect`], [`Failure::Interrupted`], [`Failure::AnswerTooLarge`] or
/// [`Failure::Request`].
pub(crate) async fn exchange(request: RequestBuilder, is_sent: impl Fn() -> bool) -> Result<Answer, Failure> {
    let response = request
        .send()
        .await
        .map_err(|error| transport_failure(&error, is_sent()))?;
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after::parse(value, Timestamp::now()));
    let is_success = response.status().is_success();
    let mut body = BytesMut::new();
    match read_bounded(response, LONGEST_ANSWER, &mut body).await {
        // A refusal whose body breaks off is a refusal still.
        Err(failure) if is_success => Err(failure),
        _ => Ok(Answer {
            status,
            retry_after,
            body: body.freeze(),
        }),
    }
}

/// Reads into `body`, where what came stays when the rest does not come.
async fn read_bounded(mut response: Response, limit: usize, body: &mut BytesMut) -> Result<(), Failure> {
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(Failure::AnswerTooLarge { limit });
    }
    // Flickr has answered, so that it had all it wanted of the request.
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| transport_failure(&error, true))?
    {
        if body.len() + chunk.len() > limit {
            return Err(Failure::AnswerTooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(())
}

/// What an error of the HTTP client means. Its text is dropped: it can contain the address with all
/// parameters.
fn transport_failure(error: &reqwest::Error, sent: bool) -> Failure {
    if error.is_connect() {
        Failure::Connect
    } else if error.is_builder() {
        Failure::Request
    } else {
        let cause = if error.is_timeout() {
            Interruption::Timeout
        } else {
            Interruption::Connection
        };
        Failure::Interrupted { cause, sent }
    }
}

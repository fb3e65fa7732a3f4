//! What Flickr answers: JSON, XML, form-encoded text and HTML, as answers of every kind of call.
//!
//! The first byte of the input is the status, the rest the body.

use std::time::Duration;

use flickrhub_flickr::answer::{self, RawAnswer};
use flickrhub_flickr::{Failure, FlickrError, Operation, Uploaded};

/// The status codes that Flickr and the servers in front of it send.
const STATUSES: [u16; 8] = [200, 201, 302, 400, 401, 429, 500, 503];

pub(crate) fn run(input: &[u8]) {
    let Some((first, body)) = input.split_first() else {
        return;
    };
    let status = STATUSES[usize::from(*first) % STATUSES.len()];
    let raw = RawAnswer {
        status,
        retry_after: Some(Duration::from_secs(7)),
        body,
    };
    let is_success = (200..300).contains(&status);

    let rest = answer::rest(raw);
    assert!(is_success || rest.is_err(), "a success of status {status}");
    tell(rest.err());
    let upload = answer::upload(raw);
    assert!(is_success || upload.is_err(), "a success of status {status}");
    if let Ok(Uploaded::Photo(id)) = &upload {
        assert!(id.as_str().len() <= body.len());
    }
    tell(upload.err());
    let form = answer::form(raw, ["oauth_token", "oauth_token_secret"]);
    assert!(is_success || form.is_err(), "a success of status {status}");
    tell(form.err());
}

/// Whoever has the failure asks this of it. What Flickr sent in place of an answer is not repeated.
fn tell(failure: Option<Failure>) {
    let Some(failure) = failure else { return };
    let is_told = matches!(failure, Failure::Api(_));
    let error = FlickrError::new(Operation::Upload, failure);
    let _ = (
        error.code(),
        error.disposition(),
        error.retry_after(),
        error.label(),
    );
    assert!(is_told || error.to_string().len() < 300, "{error}");
}

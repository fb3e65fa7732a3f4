//! A request as it gets to the code under test: what hyper would refuse before is none.

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Request};

/// The parts of a request; `None` where there can be no such request.
pub(super) fn parts(method: &str, uri: &str, headers: &[(&str, &[u8])]) -> Option<Parts> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

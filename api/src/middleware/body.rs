//! What is known of a body before it is read, the check of its digest while it is, and what becomes of the rest of it.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Body as _;

use super::unread::read_to_the_end;
use crate::auth::signature::digest::checked;

/// Whether the request has a body, as an extension of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasBody(pub bool);

/// Notes whether there is a body, and has it checked against its `Content-Digest`, if it has one.
pub async fn body(mut request: Request, next: Next) -> Response {
    let has_body = !request.body().is_end_stream();
    request.extensions_mut().insert(HasBody(has_body));
    if !has_body {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = checked(&parts.headers, read_to_the_end(&parts.headers, body));
    next.run(Request::from_parts(parts, body)).await
}

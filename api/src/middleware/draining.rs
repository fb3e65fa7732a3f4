//! The last answer on a connection to a process that shuts down.
//!
//! A server that closes an idle connection cannot know whether a request is on its way on it already; such a request fails, and
//! a client must not repeat it by itself unless it is idempotent (RFC 9112, section 9.3.1). So a process that shuts down
//! announces the end of each connection with the answer before it (section 9.6), and clients bring their next request to
//! another process. Only connections without a request in the last seconds are closed without a word.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;

use crate::state::AppState;

/// Adds `Connection: close` to answers while the process shuts down.
pub async fn draining(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if state.readiness.is_draining() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

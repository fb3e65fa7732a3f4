//! How long a request may take that is no upload.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// Longer than MongoDB and Redis take to fail over, so that most requests outlive a failover.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Gives the request [`TIME_LIMIT`]. What it has begun and must finish goes on
/// ([`crate::state::AppState::to_the_end`]).
pub async fn time_limit(request: Request, next: Next) -> Response {
    within(TIME_LIMIT, request, next).await
}

/// Gives the request so much time.
pub(crate) async fn within(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::Timeout.into_response(),
    }
}

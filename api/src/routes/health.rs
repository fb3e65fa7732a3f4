//! Whether the process lives, and whether it can do its work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::AppState;

/// Whether the API can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadinessView {
    /// `ready` or `not ready`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// The parts of the data tier that do not answer.
    #[schema(value_type = Vec<String>)]
    pub failing: Vec<&'static str>,
}

/// The process lives
///
/// Says nothing about the data tier: a restart would not bring that back.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It lives.")))]
pub async fn healthz() -> StatusCode {
    StatusCode::OK
}

/// The API can do its work
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses(
        (status = 200, description = "MongoDB, Redis and Vault answer.", body = ReadinessView),
        (status = 503, description = "A part does not answer, or the process shuts down.", body = ReadinessView),
    )
)]
pub async fn readyz(State(state): State<AppState>) -> (StatusCode, Json<ReadinessView>) {
    let failing = state.readiness.failing().await;
    let (code, status) = if failing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    (code, Json(ReadinessView { status, failing }))
}

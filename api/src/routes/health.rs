//! Whether the process lives, and whether requests are to be sent to it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::AppState;

/// Whether requests are to be sent here.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadinessView {
    /// `ready` or `not ready`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// Why not: `data_tier` until it was connected to, `draining` while the process shuts down.
    #[schema(value_type = Vec<String>)]
    pub failing: Vec<&'static str>,
    /// The parts of the data tier that do not answer at the moment. Requests that need them are answered with 503 and
    /// `Retry-After`.
    #[schema(value_type = Vec<String>)]
    pub unavailable: Vec<&'static str>,
}

/// The process lives
///
/// Says nothing about the data tier: a restart would not bring that back.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It lives.")))]
pub async fn healthz() -> StatusCode {
    StatusCode::OK
}

/// The API takes requests
///
/// An outage of the data tier is reported, and does not make the process unready: it would make all of them so.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses(
        (status = 200, description = "Requests may be sent here.", body = ReadinessView),
        (status = 503, description = "It was never connected to the data tier, or shuts down.", body = ReadinessView),
    )
)]
pub async fn readyz(State(state): State<AppState>) -> (StatusCode, Json<ReadinessView>) {
    let (failing, unavailable) = tokio::join!(state.readiness.failing(), state.dependencies.failing());
    let (code, status) = if failing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let view = ReadinessView {
        status,
        failing,
        unavailable,
    };
    (code, Json(view))
}

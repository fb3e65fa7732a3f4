//! The routes, one file for each resource.

pub mod accepted;
pub mod audit;
pub mod batch;
pub mod cache;
pub mod callbacks;
pub mod dead_letters;
pub mod docs;
pub mod events;
pub mod health;
pub mod jobs;
pub mod oauth;
pub mod uploads;
pub mod usage;
pub mod users;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::middleware::time_limit::time_limit;
use crate::state::AppState;

/// Every route that appears in the OpenAPI document, without its state.
pub fn documented(document: utoipa::openapi::OpenApi) -> OpenApiRouter<AppState> {
    let quick = OpenApiRouter::new()
        .routes(routes!(jobs::submit, jobs::list))
        .routes(routes!(batch::submit_batch))
        .routes(routes!(jobs::read, jobs::cancel))
        .routes(routes!(jobs::replay))
        .routes(routes!(cache::invalidate))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::read))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(oauth::start))
        .routes(routes!(oauth::callback))
        .routes(routes!(users::remove_token))
        .routes(routes!(usage::usage))
        .routes(routes!(audit::read_audit_log))
        .routes(routes!(callbacks::rotate_secret))
        .routes(routes!(callbacks::list_endpoints))
        .routes(routes!(callbacks::enable_endpoint))
        .routes(routes!(callbacks::list_deliveries))
        .routes(routes!(callbacks::list_job_deliveries))
        .routes(routes!(callbacks::retry_callback))
        .layer(from_fn(time_limit));
    // An upload takes as long as its sender needs; it is given up when nothing comes any more. Bytes are counted while
    // they come in, by the route.
    let uploads = OpenApiRouter::new()
        .routes(routes!(uploads::upload))
        .routes(routes!(uploads::replace))
        .layer(DefaultBodyLimit::disable());
    OpenApiRouter::with_openapi(document)
        .merge(quick)
        .merge(uploads)
        // A stream lasts as long as its job.
        .routes(routes!(events::events))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

//! Which web pages may call the API from a browser.

use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::CorsLayer;

use super::trace::X_TRACE_ID;
use crate::auth::signature::digest::CONTENT_DIGEST;
use crate::idempotency::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, X_IDEMPOTENCY_KEY};
use crate::prefer::{PREFER, PREFERENCE_APPLIED};
use crate::rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY};

/// For how long a browser may remember the answer to its preflight.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Allows the listed origins, and none when the list is empty. Credentials are keys in a header, never cookies, so
/// none are allowed to be sent by the browser itself.
pub fn layer(origins: &[String]) -> CorsLayer {
    let origins = origins
        .iter()
        .filter_map(|origin| match HeaderValue::from_str(origin) {
            Ok(value) if origin != "*" => Some(value),
            _ => {
                tracing::warn!(
                    origin,
                    "not an origin; write each one out, for example https://example.com"
                );
                None
            }
        });
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            X_TRACE_ID,
            PREFER,
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("traceparent"),
            IDEMPOTENCY_KEY,
            X_IDEMPOTENCY_KEY,
            CONTENT_DIGEST,
            HeaderName::from_static("signature"),
            HeaderName::from_static("signature-input"),
        ])
        .expose_headers([
            LOCATION,
            RETRY_AFTER,
            X_TRACE_ID,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            IDEMPOTENT_REPLAYED,
            PREFERENCE_APPLIED,
        ])
        .max_age(MAX_AGE)
}

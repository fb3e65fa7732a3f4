//! The trace of a request: its id, its span, its line in the access log, its time in the histogram.

use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use flickrhub_job::model::TraceContext;
use tracing::Instrument;

use super::wait::Waited;
use crate::address;
use crate::auth::AuthRecord;
use crate::problem::Problem;
use crate::state::AppState;

/// The client's name of the trace, in requests and answers.
pub const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
/// W3C Trace Context section 3.2.
const TRACEPARENT: &str = "traceparent";
/// The route of a request that no route matches.
const NO_ROUTE: &str = "none";

/// Gives the request a [`TraceContext`] and observes it.
pub async fn trace(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = of_headers(request.headers());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let route = route.as_deref().unwrap_or(NO_ROUTE);
    let method = method_name(request.method());
    let span = tracing::info_span!(
        "request",
        trace_id = trace.trace_id,
        method,
        route,
        client_id = tracing::field::Empty
    );
    request.extensions_mut().insert(trace.clone());
    request.extensions_mut().insert(AuthRecord::default());
    address::note(&mut request, &state.config.api.trusted_proxies);

    let mut response = next.run(request).instrument(span.clone()).await;

    let took = started.elapsed();
    let waited = response
        .extensions()
        .get::<Waited>()
        .map_or(Duration::ZERO, |waited| waited.0);
    let status = response.status();
    state
        .metrics
        .api_request_latency
        .with_label_values(&[route, method, status.as_str()])
        .observe(took.saturating_sub(waited).as_secs_f64());
    span.in_scope(|| {
        tracing::info!(
            event = "api_request",
            method,
            route,
            status = status.as_u16(),
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "request answered"
        );
    });
    if let Ok(value) = HeaderValue::from_str(&trace.trace_id) {
        response.headers_mut().insert(X_TRACE_ID, value);
    }
    response
}

fn of_headers(headers: &HeaderMap) -> TraceContext {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext::from_headers(text(TRACEPARENT), text(X_TRACE_ID.as_str()))
}

/// The method as a label: clients may invent methods, and every label value costs memory.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The trace of the request, for handlers.
pub struct Traced(pub TraceContext);

impl<S: Send + Sync> FromRequestParts<S> for Traced {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<TraceContext>()
            .cloned()
            .map(Self)
            .ok_or(Problem::Internal)
    }
}

//! Writes the body of every [`Problem`]: here, because here the trace id is known.

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use flickrhub_job::model::TraceContext;

use crate::problem::Problem;
use crate::rate_limit;

/// The code of the problem that was answered, as an extension of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemCode(pub &'static str);

/// RFC 9457 section 3.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Renders the problem that a handler answered, if it did.
pub async fn problem(request: Request, next: Next) -> Response {
    let trace = request.extensions().get::<TraceContext>().cloned();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    tracing::debug!(code = problem.code(), "answered with a problem");
    let trace_id = trace.map(|trace| trace.trace_id).unwrap_or_default();
    // What was there already, for example Allow, stays.
    let mut headers = std::mem::take(response.headers_mut());
    headers.remove(CONTENT_LENGTH);
    add_headers(&problem, &mut headers);
    let body = Json(problem.document(&trace_id)).into_response().into_body();
    let code = Extension(ProblemCode(problem.code()));
    (problem.status(), code, headers, body).into_response()
}

fn add_headers(problem: &Problem, headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    if let Some(seconds) = problem.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(quotas) = problem.quotas() {
        rate_limit::add(quotas, headers);
    }
    // RFC 6750 section 3.
    let challenge = match problem {
        Problem::Unauthenticated | Problem::SignatureRefused(_) => "Bearer realm=\"flickrhub\"".to_owned(),
        Problem::ScopeMissing(scope) => {
            format!("Bearer realm=\"flickrhub\", error=\"insufficient_scope\", scope=\"{scope}\"")
        }
        _ => return,
    };
    if let Ok(value) = HeaderValue::from_str(&challenge) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
}

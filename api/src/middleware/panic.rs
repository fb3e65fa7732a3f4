//! A handler that panics answers 500 like any other fault, and the process goes on where the build unwinds.

use std::any::Any;

use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// The answer; what the panic said is logged, not sent.
#[expect(clippy::needless_pass_by_value, reason = "tower-http hands it over by value")]
pub fn answer(payload: Box<dyn Any + Send + 'static>) -> Response {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    Problem::Internal.into_response()
}

//! The answer to a job that was accepted.

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flickrhub_job::view::JobView;

use crate::accept::Receipt;
use crate::idempotency::IDEMPOTENT_REPLAYED;
use crate::rate_limit;

/// 202, with the address of the job and what is left of the rates.
#[derive(Debug)]
pub struct Accepted(pub Receipt);

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let Receipt {
            job,
            replayed,
            quotas,
        } = self.0;
        let mut response = (StatusCode::ACCEPTED, Json(JobView::from(&job))).into_response();
        let headers = response.headers_mut();
        if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/jobs/{}", job.id)) {
            headers.insert(LOCATION, location);
        }
        if replayed {
            headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        }
        rate_limit::add(&quotas, headers);
        response
    }
}

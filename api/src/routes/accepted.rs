//! The answer to a job that was accepted.

use axum::Json;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flickrhub_job::view::JobView;

use crate::accept::Receipt;
use crate::circuit::CIRCUIT;
use crate::idempotency::IDEMPOTENT_REPLAYED;
use crate::middleware::wait::ShownJob;
use crate::rate_limit;
use crate::state::AppState;

/// 202 with the address of the job, or 200 when it is over already; what is left of the rates, and word of a Flickr that is
/// left alone at the moment.
#[derive(Debug)]
pub struct Accepted {
    receipt: Receipt,
    circuit: Option<String>,
}

impl Accepted {
    /// The answer for `receipt`.
    pub async fn new(state: &AppState, receipt: Receipt) -> Self {
        let circuit = match state.data() {
            Ok(data) if !receipt.job.state.is_final() => data.circuits.header(&receipt.job).await,
            _ => None,
        };
        Self { receipt, circuit }
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        let Receipt {
            job,
            replayed,
            quotas,
        } = self.receipt;
        let shown = ShownJob::from(&job);
        let status = if job.state.is_final() {
            StatusCode::OK
        } else {
            StatusCode::ACCEPTED
        };
        let mut response = (status, Json(JobView::from(&job))).into_response();
        let headers = response.headers_mut();
        if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/jobs/{}", job.id)) {
            headers.insert(LOCATION, location);
        }
        if replayed {
            headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(Ok(circuit)) = self.circuit.as_deref().map(HeaderValue::from_str) {
            headers.insert(CIRCUIT, circuit);
        }
        if let Some(quotas) = quotas {
            rate_limit::add(&quotas, headers);
        }
        response.extensions_mut().insert(shown);
        response
    }
}

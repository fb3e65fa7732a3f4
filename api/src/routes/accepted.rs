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

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use flickrhub_job::model::JobState;

    use super::*;
    use crate::fixtures::job;

    fn answer(state: JobState, replayed: bool, circuit: Option<&str>) -> (u16, HeaderMap) {
        let mut job = job();
        job.state = state;
        let accepted = Accepted {
            receipt: Receipt {
                job,
                replayed,
                quotas: None,
            },
            circuit: circuit.map(str::to_owned),
        };
        let response = accepted.into_response();
        (response.status().as_u16(), response.headers().clone())
    }

    #[test]
    fn word_of_an_open_circuit_is_a_header_of_the_202() {
        let open = "open; until=\"2027-01-01T00:00:00Z\"";
        let (status, headers) = answer(JobState::Queued, false, Some(open));
        assert_eq!(status, 202);
        assert_eq!(headers["flickrhub-circuit"], open);
        assert!(headers.contains_key(LOCATION) && !headers.contains_key(IDEMPOTENT_REPLAYED));
        let (status, headers) = answer(JobState::Queued, true, None);
        assert_eq!(status, 202);
        assert!(!headers.contains_key(CIRCUIT));
        assert_eq!(headers[IDEMPOTENT_REPLAYED], "true");
        assert_eq!(answer(JobState::Succeeded, false, None).0, 200);
    }
}

//! The port for metrics and health, apart from the API's, so that it is open to the cluster and not to clients.

use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;
use tracing::error;

use super::Readiness;

/// The port in every pod.
pub const METRICS_PORT: u16 = 9090;

/// Serves `/metrics`, `/healthz` and `/readyz` until the task is dropped.
///
/// # Errors
/// When the port cannot be opened.
pub async fn serve(address: SocketAddr, registry: Registry, readiness: Readiness) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let routes = readiness
        .routes()
        .route("/metrics", get(move || async move { text(&registry) }));
    axum::serve(listener, routes).await
}

fn text(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "the metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_come_in_the_text_format() {
        let answer = text(&Registry::new());
        assert_eq!(answer.status(), StatusCode::OK);
        let content_type = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        assert_eq!(content_type, Some("text/plain; version=0.0.4"));
    }
}

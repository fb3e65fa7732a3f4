//! The HTTP client of the engine steps.

use std::time::Duration;

use flickrhub_job::connection::trust::Trust;

use super::{ACTION_TIMEOUT, LATER};
use crate::part::PartStatus;

/// How long a TCP connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client for one step in one hub, which reuses its connections during that step.
///
/// It follows no redirect, because a redirect would carry a token to an address that nobody checked, uses no proxy,
/// because every address is inside the cluster, and trusts the authorities of the hub and no others; without any, only
/// plain HTTP is possible.
///
/// # Errors
/// When the TLS library cannot be set up.
pub(super) fn client(trust: Option<&Trust>) -> Result<reqwest::Client, reqwest::Error> {
    let authorities = match trust {
        Some(trust) => reqwest::Certificate::from_pem_bundle(trust.pem().as_bytes())?,
        None => Vec::new(),
    };
    builder().tls_certs_only(authorities).build()
}

/// A client for a server outside the cluster: it trusts the given authorities (PEM), or the system's without any.
///
/// # Errors
/// When the certificates are not PEM, or the system has no authorities.
pub(super) fn external_client(authorities: Option<&[u8]>) -> Result<reqwest::Client, reqwest::Error> {
    match authorities {
        Some(pem) => builder()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?)
            .build(),
        None => builder().build(),
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ACTION_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

/// The status of a part that needs a client where none can be made.
pub(super) fn unusable(error: &reqwest::Error) -> PartStatus {
    let message = format!("The operator cannot set up its HTTP client: {error}.");
    PartStatus::waiting("HttpClientUnusable", message, LATER)
}

/// What went wrong with a request, without its address and what it carried.
pub(super) fn short(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_decode() || error.is_body() {
        "an answer that is not understood"
    } else {
        "the request failed"
    }
}

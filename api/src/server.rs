//! Puts the parts together, and serves them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use flickrhub_flickr::Timeouts;
use flickrhub_job::serving_certificate::ServingCertificate;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

use crate::middleware::audit::audit;
use crate::middleware::body::body;
use crate::middleware::draining::draining;
use crate::middleware::problem::problem;
use crate::middleware::trace::trace;
use crate::middleware::wait::wait;
use crate::middleware::{cors, headers, panic};
use crate::problem::Problem;
use crate::state::AppState;
use crate::{openapi, routes};

use connections::{Answers, Secured};
use places::Places;

mod connections;
mod places;
mod stream;

/// How long requests under way may still take when the process is told to stop. The pod's grace period is longer.
const DRAIN: Duration = Duration::from_secs(25);
/// How long after the process is told to stop it goes on accepting connections, until the cluster has noticed.
const LINGER: Duration = Duration::from_secs(3);

/// How long Flickr may take for a step of the OAuth flow: the two steps of the callback, and what is stored between and
/// after them, take less than [`crate::middleware::time_limit::TIME_LIMIT`].
pub const FLICKR_TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    call: Duration::from_secs(10),
    upload: Duration::from_secs(10),
};

/// Every route behind every middleware.
///
/// # Errors
/// Never in practice: when the OpenAPI document has no JSON form.
pub fn app(state: AppState) -> Result<Router, serde_json::Error> {
    let document: Arc<str> = openapi::text()?.into();
    let (api, _) = routes::documented(openapi::preamble()).split_for_parts();
    let routes = api
        .merge(routes::docs::router(document))
        .fallback(async || Problem::RouteNotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed);
    Ok(surrounded(routes, state))
}

/// The routes behind every middleware.
fn surrounded(routes: Router<AppState>, state: AppState) -> Router {
    routes
        // The last one is the outermost.
        .layer(from_fn_with_state(state.clone(), wait))
        .layer(from_fn(body))
        .layer(CatchPanicLayer::custom(panic::answer))
        .layer(cors::layer(&state.config.api.cors_allowed_origins))
        .layer(map_response(headers::add))
        .layer(from_fn(problem))
        .layer(from_fn_with_state(state.clone(), audit))
        .layer(from_fn_with_state(state.clone(), trace))
        .layer(from_fn_with_state(state.clone(), draining))
        .with_state(state)
}

/// What answers a client for whose connection there is no place.
fn full(state: AppState) -> Router {
    Router::new()
        .fallback(async || Problem::TooManyConnections)
        .layer(map_response(headers::add))
        .layer(from_fn(problem))
        .layer(from_fn_with_state(state, trace))
}

/// Where the API is served.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Plain HTTP.
    pub plain: SocketAddr,
    /// Over TLS, where `api.tls` is configured.
    pub secured: SocketAddr,
}

/// Serves at the addresses; see [`serve_on`].
///
/// # Errors
/// When an address cannot be listened on, or the certificate cannot be used.
pub async fn serve(
    addresses: Addresses,
    state: AppState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind(addresses.plain).await?;
    let Some(files) = state.config.api.tls.clone() else {
        return serve_on(listener, state, stop).await;
    };
    let certificate = ServingCertificate::load(&files).map_err(io::Error::other)?;
    let secured = Secured {
        listener: TcpListener::bind(addresses.secured).await?,
        acceptor: certificate.acceptor().map_err(io::Error::other)?,
    };
    tokio::select! {
        outcome = serve_at(listener, Some(secured), state, stop) => outcome,
        () = certificate.follow(&files) => Ok(()),
    }
}

/// Serves plain HTTP until `stop` resolves, then finishes what is under way.
///
/// | after `stop` | what happens |
/// | --- | --- |
/// | at once | `/readyz` fails, so that no new connections are sent here, and every answer is the last on its connection |
/// | 3 s | no connection is accepted any more; who waits for a job is answered, streams of events end, other requests under way go on |
/// | at most 25 s more | requests and the work they began are finished; what is not is given up and recovered elsewhere |
///
/// # Errors
/// Never in practice: when the OpenAPI document has no JSON form, or the listener has no address.
pub async fn serve_on(
    listener: TcpListener,
    state: AppState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_at(listener, None, state, stop).await
}

async fn serve_at(
    listener: TcpListener,
    secured: Option<Secured>,
    state: AppState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let answers = Answers {
        app: app(state.clone()).map_err(io::Error::other)?,
        full: full(state.clone()),
        places: Places::new(state.config.api.max_connections, state.metrics.clone()),
        patience: state.patience,
    };
    tracing::info!(address = %listener.local_addr()?, tls = secured.is_some(), "serving");
    let (closing, mut closed) = watch::channel(false);
    let (readiness, stopping) = (state.readiness.clone(), state.stopping.clone());
    let stopped = async move {
        stop.await;
        tracing::info!("told to stop");
        readiness.drain();
        tokio::time::sleep(LINGER).await;
        stopping.cancel();
        closing.send_replace(true);
    };
    let finished = async {
        connections::serve(listener, secured, answers, stopped).await;
        state.finish_tasks().await;
    };
    let deadline = async {
        // An error would mean that the sender is gone without a word, which `stopped` never does.
        let _ = closed.wait_for(|closed| *closed).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = finished => tracing::info!("stopped"),
        () = deadline => tracing::warn!("requests were still under way at the end of the grace period"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Accepts connections and lets each finish what it has begun.
//!
//! HTTP/1.1, as the ingress speaks it to its back ends. A client that sends its headers slowly, or keeps a connection
//! without using it, loses it.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// How long the headers of the next request may take. Longer than an ingress keeps an unused connection (60 s), so that
/// it is never the server that closes one on which a request is already on its way.
const HEADERS_WITHIN: Duration = Duration::from_secs(75);
/// The pause after an accept that failed; most likely the file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `stop` resolves, then waits until every connection has answered the request it is in.
pub(super) async fn serve(listener: TcpListener, app: Router, stop: impl Future<Output = ()>) {
    let connections = TaskTracker::new();
    let (closing, closed) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, app.clone(), closed.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    closing.send_replace(true);
    connections.close();
    connections.wait().await;
}

/// Resolves once connections are to end.
async fn told(closed: &mut watch::Receiver<bool>) {
    // An error would mean that the sender is gone, and it outlives the connections.
    let _ = closed.wait_for(|closed| *closed).await;
}

async fn connection(stream: TcpStream, app: Router, mut closed: watch::Receiver<bool>) {
    // Answers are small and wanted at once; without it the connection works too.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = told(&mut closed) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection broke");
    }
}

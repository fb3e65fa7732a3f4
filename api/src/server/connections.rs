//! Accepts connections and lets each finish what it has begun.
//!
//! HTTP/1.1, as the ingress speaks it to its back ends. A client that is too slow loses its connection:
//!
//! | what it is slow with | time |
//! | --- | --- |
//! | the headers of the first request on a connection | [`FIRST_HEADERS_WITHIN`] |
//! | the headers of a later one, counted from the answer before | [`HEADERS_WITHIN`] |
//! | the body | see [`crate::extract`] and [`crate::upload`] |
//! | taking the answer, or a piece of it | [`ANSWER_PROGRESS`] |

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::stream::ImpatientStream;
use crate::address::Peer;

/// How long the headers of the next request may take. Longer than an ingress keeps an unused connection (60 s), so that
/// it is never the server that closes one on which a request is already on its way.
const HEADERS_WITHIN: Duration = Duration::from_secs(75);
/// How long the headers of the first request may take.
const FIRST_HEADERS_WITHIN: Duration = Duration::from_secs(15);
/// The most headers of a request.
const MAX_HEADERS: usize = 100;
/// The most bytes that the headers of a request may have.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How long an answer may make no progress.
const ANSWER_PROGRESS: Duration = Duration::from_secs(30);
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
                Ok((stream, address)) => {
                    let peer = Peer(address.ip());
                    connections.spawn(connection(stream, peer, app.clone(), closed.clone()));
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

async fn connection(stream: TcpStream, peer: Peer, app: Router, mut closed: watch::Receiver<bool>) {
    // Answers are small and wanted at once; without it the connection works too.
    let _ = stream.set_nodelay(true);
    let begun = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        app.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(
            TokioIo::new(ImpatientStream::new(stream, ANSWER_PROGRESS)),
            service,
        );
    let mut connection = pin!(connection);
    let mut first_request = pin!(tokio::time::sleep(FIRST_HEADERS_WITHIN));
    let outcome = loop {
        tokio::select! {
            outcome = connection.as_mut() => break outcome,
            () = told(&mut closed) => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
            () = &mut first_request, if !begun.load(Ordering::Relaxed) && !first_request.is_elapsed() => {
                if !begun.load(Ordering::Relaxed) {
                    tracing::debug!("a connection brought no request");
                    return;
                }
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection broke");
    }
}

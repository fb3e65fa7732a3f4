//! Serving connections, with the power to drop one.
//!
//! `axum::serve` answers every request. A server that can hang up without an answer needs the layer
//! below: hyper closes a connection whose service returns an error.

use std::{convert::Infallible, io, sync::Arc};

use axum::{Router, body::Body, response::Response};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower::ServiceExt;

/// Marks a response that is not to be sent.
#[derive(Debug, Clone, Copy)]
struct HangUp;

/// A response that closes the connection instead.
pub(crate) fn drop_connection() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(HangUp);
    response
}

/// Whether a response closes the connection instead.
pub(crate) fn is_drop(response: &Response) -> bool {
    response.extensions().get::<HangUp>().is_some()
}

/// Serves until `stop` changes or its sender is gone; then closes what is open.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let router = Arc::new(router);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone()));
                }
                // Out of file descriptors, most likely: let some close.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = stop.changed() => break,
        }
    }
}

async fn connection(stream: TcpStream, router: Arc<Router>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let Ok::<_, Infallible>(response) = router.as_ref().clone().oneshot(request.map(Body::new)).await;
            if is_drop(&response) {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
            }
            Ok(response)
        }
    });
    // An error here is a connection that broke, by the client or by a fault.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

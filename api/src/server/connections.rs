//! Accepts connections and lets each finish what it has begun.
//!
//! HTTP/1.1, as the ingress speaks it to its back ends, plain or over TLS. A client that is too slow loses its connection:
//!
//! | what it is slow with | time |
//! | --- | --- |
//! | the handshake of TLS | [`Patience::first_headers`] |
//! | the headers of the first request on a connection | the same again |
//! | the headers of a later one, counted from the answer before | [`Patience::headers`] |
//! | the body | see [`crate::extract`] and [`crate::upload`] |
//! | taking the answer, or a piece of it | [`Patience::answer`] |
//!
//! There may be so many connections and no more ([`super::places`]). Whoever comes then is told so over plain HTTP, and over
//! TLS is closed: a handshake costs more than an answer.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::places::{Places, Port};
use super::stream::ImpatientStream;
use crate::address::Peer;
use crate::patience::Patience;

/// The most headers of a request.
const MAX_HEADERS: usize = 100;
/// The most bytes that the headers of a request may have.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How long whoever is one too many has to ask and to hear so.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(2);
/// The pause after an accept that failed; most likely the file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where clients connect over TLS, and what they are shown.
pub(super) struct Secured {
    pub(super) listener: TcpListener,
    pub(super) acceptor: TlsAcceptor,
}

impl Secured {
    /// The next connection; never one where there is no such listener.
    async fn accept(secured: Option<&Self>) -> io::Result<(TcpStream, SocketAddr, TlsAcceptor)> {
        let Some(Self { listener, acceptor }) = secured else {
            return std::future::pending().await;
        };
        let (stream, address) = listener.accept().await?;
        Ok((stream, address, acceptor.clone()))
    }
}

/// What answers requests.
pub(super) struct Answers {
    /// Every route.
    pub(super) app: Router,
    /// What whoever is one too many is told.
    pub(super) full: Router,
    /// The places for connections.
    pub(super) places: Places,
    /// How long clients are waited for.
    pub(super) patience: Patience,
}

/// Accepts until `stop` resolves, then waits until every connection has answered the request it is in.
pub(super) async fn serve(
    listener: TcpListener,
    secured: Option<Secured>,
    answers: Answers,
    stop: impl Future<Output = ()>,
) {
    let Answers {
        app,
        full,
        places,
        patience,
    } = answers;
    let connections = TaskTracker::new();
    let (closing, closed) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let peer = Peer(address.ip());
                    if let Some(place) = places.take(Port::Http) {
                        let connection = connection(stream, peer, app.clone(), patience, closed.clone());
                        connections.spawn(kept(place, connection));
                    } else if let Some(place) = places.turn_away() {
                        connections.spawn(kept(place, turned_away(stream, full.clone())));
                    }
                }
                Err(error) => not_accepted(&error).await,
            },
            accepted = Secured::accept(secured.as_ref()) => match accepted {
                Ok((stream, address, acceptor)) => {
                    let peer = Peer(address.ip());
                    if let Some(place) = places.take(Port::Https) {
                        let connection =
                            secured_connection(stream, acceptor, peer, app.clone(), patience, closed.clone());
                        connections.spawn(kept(place, connection));
                    }
                }
                Err(error) => not_accepted(&error).await,
            },
            () = &mut stop => break,
        }
    }
    drop((listener, secured));
    closing.send_replace(true);
    connections.close();
    connections.wait().await;
}

/// Holds a place for as long as a connection lasts.
async fn kept<P>(place: P, connection: impl Future<Output = ()>) {
    connection.await;
    drop(place);
}

/// Answers one request with what whoever is one too many is told.
async fn turned_away(stream: TcpStream, full: Router) {
    let service = service_fn(|request: Request<Incoming>| full.clone().oneshot(request));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // However it ends: there is nobody to tell.
    let _ = timeout(TURNED_AWAY_WITHIN, connection).await;
}

async fn not_accepted(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Resolves once connections are to end.
async fn told(closed: &mut watch::Receiver<bool>) {
    // An error would mean that the sender is gone, and it outlives the connections.
    let _ = closed.wait_for(|closed| *closed).await;
}

/// The handshake may take as long as the headers of the first request.
async fn secured_connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    peer: Peer,
    app: Router,
    patience: Patience,
    mut closed: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let shaken = tokio::select! {
        shaken = timeout(patience.first_headers, acceptor.accept(stream)) => shaken,
        () = told(&mut closed) => return,
    };
    match shaken {
        Ok(Ok(stream)) => answer(stream, peer, app, patience, closed).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on TLS"),
        Err(_) => tracing::debug!("a connection brought no request"),
    }
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    app: Router,
    patience: Patience,
    closed: watch::Receiver<bool>,
) {
    // Answers are small and wanted at once; without it the connection works too.
    let _ = stream.set_nodelay(true);
    answer(stream, peer, app, patience, closed).await;
}

async fn answer<S>(stream: S, peer: Peer, app: Router, patience: Patience, mut closed: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let begun = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        app.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.headers)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(
            TokioIo::new(ImpatientStream::new(stream, patience.answer)),
            service,
        );
    let mut connection = pin!(connection);
    let mut first_request = pin!(tokio::time::sleep(patience.first_headers));
    let mut ending = false;
    let outcome = loop {
        tokio::select! {
            outcome = connection.as_mut() => break outcome,
            // Whoever has begun its first request then has the rest of the time for it, and no more.
            () = told(&mut closed), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
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

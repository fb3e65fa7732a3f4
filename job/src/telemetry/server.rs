//! The port for metrics and health, apart from the API's, so that it is open to the cluster and not to clients.
//!
//! It is served over TLS where there is a certificate. Handshakes go on beside each other, bounded in number and time, so
//! that nobody who can reach the port keeps the kubelet from asking. A connection whose client is slow to ask, or to take its
//! answer, is given up ([`HURRY`]).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, warn};

use super::Readiness;
use super::hurried_stream::{HurriedListener, Hurry};
use crate::config::TlsFiles;
use crate::serving_certificate::ServingCertificate;

/// The port in every pod.
pub const METRICS_PORT: u16 = 9090;
/// How long a handshake may take. A probe of the kubelet waits for three seconds.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);
/// Handshakes at the same time; the next client waits.
const MAX_HANDSHAKES: usize = 64;
/// How long a client has for a request with its answer. Prometheus asks again on the same connection after 30 or 60 s.
const HURRY: Hurry = Hurry {
    first: Duration::from_secs(15),
    later: Duration::from_secs(75),
};
/// The pause after an accept that failed; most likely the file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `/metrics`, `/healthz` and `/readyz` until the task is dropped: over TLS with the certificate in the files, which
/// may be replaced meanwhile; without files, plain.
///
/// # Errors
/// When the port cannot be opened, or the certificate cannot be used.
pub async fn serve(
    address: SocketAddr,
    registry: Registry,
    readiness: Readiness,
    tls: Option<&TlsFiles>,
) -> io::Result<()> {
    let Some(files) = tls else {
        let listener = HurriedListener::new(TcpListener::bind(address).await?, HURRY);
        return axum::serve(listener, routes(registry, readiness)).await;
    };
    let certificate = ServingCertificate::load(files).map_err(io::Error::other)?;
    tokio::select! {
        served = serve_secured(address, registry, readiness, &certificate) => served,
        () = certificate.follow(files) => Ok(()),
    }
}

/// The same with a certificate that somebody else keeps up to date.
///
/// # Errors
/// When the port cannot be opened.
pub async fn serve_secured(
    address: SocketAddr,
    registry: Registry,
    readiness: Readiness,
    certificate: &ServingCertificate,
) -> io::Result<()> {
    let acceptor = certificate.acceptor().map_err(io::Error::other)?;
    let listener = SecuredListener::new(TcpListener::bind(address).await?, acceptor);
    axum::serve(HurriedListener::new(listener, HURRY), routes(registry, readiness)).await
}

fn routes(registry: Registry, readiness: Readiness) -> Router {
    readiness
        .routes()
        .route("/metrics", get(move || async move { text(&registry) }))
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

/// Connections after their handshake.
struct SecuredListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl SecuredListener {
    fn new(listener: TcpListener, acceptor: TlsAcceptor) -> Self {
        Self {
            listener,
            acceptor,
            handshakes: JoinSet::new(),
        }
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        let handshake = self.acceptor.accept(stream);
        self.handshakes.spawn(async move {
            match timeout(HANDSHAKE_WITHIN, handshake).await {
                Ok(Ok(stream)) => Some((stream, address)),
                Ok(Err(error)) => {
                    debug!(%error, "a client did not agree on TLS");
                    None
                }
                Err(_) => None,
            }
        });
    }
}

impl Listener for SecuredListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
                accepted = self.listener.accept(), if self.handshakes.len() < MAX_HANDSHAKES => {
                    match accepted {
                        Ok((stream, address)) => self.begin(stream, address),
                        Err(error) => {
                            warn!(%error, "a connection was not accepted");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::serving_certificate::tests::{another, files, write};

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

    fn client(authority: &str) -> reqwest::Client {
        let certificate = reqwest::Certificate::from_pem(authority.as_bytes()).expect("a certificate");
        reqwest::Client::builder()
            .tls_certs_only([certificate])
            .timeout(Duration::from_secs(2))
            .build()
            .expect("a client")
    }

    #[tokio::test]
    async fn with_a_certificate_the_port_speaks_tls_alone_and_nobody_holds_it_up() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (certificate, key) = another();
        let files = files("metrics");
        write(&files, &certificate, &key);
        let shown = ServingCertificate::load(&files).expect("it can be used");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let listener = SecuredListener::new(listener, shown.acceptor().expect("an acceptor"));
        let app = routes(Registry::new(), Readiness::new());
        tokio::spawn(async move { axum::serve(listener, app).await });

        // Clients that never say anything.
        let mut silent = Vec::new();
        for _ in 0..MAX_HANDSHAKES - 1 {
            silent.push(TcpStream::connect(address).await.expect("a connection"));
        }
        let port = address.port();
        for path in ["metrics", "healthz", "readyz"] {
            let url = format!("https://localhost:{port}/{path}");
            let answer = client(&certificate).get(url).send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
        }
        let stranger = client(&another().0).get(format!("https://localhost:{port}/metrics"));
        assert!(stranger.send().await.is_err(), "another authority");
        let plain = client(&certificate).get(format!("http://localhost:{port}/metrics"));
        assert!(plain.send().await.is_err(), "not plain");
        let mut plain = TcpStream::connect(address).await.expect("a connection");
        let asked = plain
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: hub\r\n\r\n")
            .await;
        asked.expect("sent");
        let said = until_it_ends(&mut plain).await;
        // An alert of TLS (RFC 8446, section 6) has seven bytes and says which kind of message was not understood.
        assert!(
            said.len() <= 7 && said.first().is_none_or(|kind| *kind == 21),
            "{said:?}"
        );
    }

    /// What the server says until it closes the connection.
    async fn until_it_ends(stream: &mut TcpStream) -> Vec<u8> {
        let mut said = Vec::new();
        // A reset ends it as well.
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut said))
            .await
            .expect("it is closed");
        said
    }

    #[tokio::test]
    async fn slow_clients_lose_their_connections_and_others_are_served_meanwhile() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let hurry = Hurry {
            first: Duration::from_secs(1),
            later: Duration::from_secs(1),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = routes(Registry::new(), Readiness::new());
        tokio::spawn(async move { axum::serve(HurriedListener::new(listener, hurry), app).await });

        let mut slow = Vec::new();
        for said in ["", "GET /metrics HTTP/1.1\r\nhost: hub\r\nx: "] {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(said.as_bytes()).await.expect("sent");
            let (mut reader, mut writer) = stream.into_split();
            tokio::spawn(async move {
                while !said.is_empty() && writer.write_all(b"y").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // Held open until the server closes it.
                std::future::pending::<()>().await;
            });
            slow.push(tokio::spawn(async move {
                let mut said = Vec::new();
                let _ = reader.read_to_end(&mut said).await;
                said
            }));
        }
        let client = reqwest::Client::new();
        for path in ["metrics", "healthz", "readyz"] {
            let answer = client.get(format!("http://{address}/{path}")).send().await;
            assert_eq!(answer.expect("an answer").status(), 200, "{path}");
        }
        for connection in slow {
            let said = timeout(Duration::from_secs(10), connection)
                .await
                .expect("it is closed");
            assert_eq!(said.expect("it was read"), b"", "without an answer");
        }
    }
}

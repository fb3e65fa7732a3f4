//! Clients that are slow on purpose, over real sockets: each loses its connection, and others are served meanwhile. And
//! clients that speak another protocol than their port.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flickrhub_job::serving_certificate::ServingCertificate;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::super::connections::Secured;
use super::super::serve_at;
use super::{config, parts};
use crate::patience::Patience;
use crate::state::{AppState, Parts};

/// What the API of these tests has patience for, of each step.
const BRIEF: Duration = Duration::from_secs(1);
/// The time between two bytes of a client that drips.
const PAUSE: Duration = Duration::from_millis(50);
/// By then a connection is over, also on a machine that is busy.
const WITHIN: Duration = Duration::from_secs(12);
/// Slow clients at a time.
const MANY: usize = 20;

const ASK: &str = "GET /healthz HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n";

fn brief() -> Patience {
    Patience {
        first_headers: BRIEF,
        headers: BRIEF,
        answer: BRIEF,
        body_piece: BRIEF,
        body: BRIEF * 2,
        photo_piece: BRIEF,
    }
}

/// An API on two ports of this machine.
struct Served {
    plain: SocketAddr,
    secured: SocketAddr,
    certificate: CertificateDer<'static>,
    state: AppState,
}

async fn served(max_connections: u32) -> Served {
    let mut config = config();
    config.api.max_connections = max_connections;
    let state = AppState::of(Parts {
        patience: brief(),
        ..parts(config)
    });
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("issued");
    let certificate = issued.cert.der().clone();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
    let shown = ServingCertificate::new(vec![certificate.clone()], &key).expect("it can be used");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let plain = listener.local_addr().expect("an address");
    let secured = Secured {
        listener: TcpListener::bind("127.0.0.1:0").await.expect("a port"),
        acceptor: shown.acceptor().expect("an acceptor"),
    };
    let served = Served {
        plain,
        secured: secured.listener.local_addr().expect("an address"),
        certificate,
        state: state.clone(),
    };
    tokio::spawn(serve_at(listener, Some(secured), state, std::future::pending()));
    served
}

impl Served {
    /// A connection to the plain port on which this was sent.
    async fn connect(&self, said: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.plain).await.expect("a connection");
        stream.write_all(said).await.expect("sent");
        stream
    }

    /// The same to the port that speaks TLS, without TLS.
    async fn connect_to_tls(&self, said: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.secured).await.expect("a connection");
        stream.write_all(said).await.expect("sent");
        stream
    }

    /// A connection over TLS.
    async fn secured(&self) -> impl AsyncRead + AsyncWrite + Unpin + Send + use<> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let client = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.secured).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(client));
        connector.connect(name, stream).await.expect("a handshake")
    }

    /// How many connections are open to a port.
    fn open(&self, port: &str) -> i64 {
        self.state
            .metrics
            .api_connections
            .with_label_values(&[port])
            .get()
    }

    /// Somebody else is served, plain and over TLS.
    async fn serves_others(&self) {
        for _ in 0..3 {
            let plain = until_it_ends(self.connect(ASK.as_bytes()).await).await;
            assert!(plain.starts_with(b"HTTP/1.1 200"), "{plain:?}");
            let mut secured = self.secured().await;
            secured.write_all(ASK.as_bytes()).await.expect("sent");
            let secured = until_it_ends(secured).await;
            assert!(secured.starts_with(b"HTTP/1.1 200"), "{secured:?}");
        }
    }
}

/// What the server says until the connection is over. A reset ends it as well.
async fn until_it_ends(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = timeout(WITHIN, stream.read_to_end(&mut said))
        .await
        .expect("the connection is over");
    said
}

/// A client that goes on sending the bytes, a few at a time; what the server says meanwhile, once the connection is over.
fn drip(stream: TcpStream, bytes: &'static [u8]) -> JoinHandle<Vec<u8>> {
    let (reader, mut writer) = stream.into_split();
    let dripping = tokio::spawn(async move {
        while writer.write_all(bytes).await.is_ok() {
            sleep(PAUSE).await;
        }
    });
    tokio::spawn(async move {
        let said = until_it_ends(reader).await;
        dripping.abort();
        said
    })
}

/// A client that says nothing more.
fn wait(stream: TcpStream) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move { until_it_ends(stream).await })
}

async fn said(client: JoinHandle<Vec<u8>>) -> String {
    let said = client.await.expect("it was closed in time");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn headers_that_do_not_come_to_an_end_cost_the_connection() {
    let served = served(1000).await;
    let mut slow = Vec::new();
    for _ in 0..MANY {
        slow.push(wait(served.connect(b"").await));
        let begun = served.connect(b"GET /healthz HTTP/1.1\r\nhost: hub\r\nx: ").await;
        slow.push(drip(begun, b"y"));
        // A header now and then instead of a byte.
        let begun = served.connect(b"GET /healthz HTTP/1.1\r\n").await;
        slow.push(drip(begun, b"x: y\r\n"));
    }
    served.serves_others().await;
    for client in slow {
        assert_eq!(said(client).await, "");
    }
}

#[tokio::test]
async fn so_do_those_of_a_later_request() {
    let served = served(1000).await;
    let mut slow = Vec::new();
    for begun in ["", "GET /healthz HTTP/1.1\r\nhost: hub\r\nx: "] {
        let first = format!("GET /healthz HTTP/1.1\r\nhost: hub\r\n\r\n{begun}");
        let stream = served.connect(first.as_bytes()).await;
        slow.push(if begun.is_empty() {
            wait(stream)
        } else {
            drip(stream, b"y")
        });
    }
    served.serves_others().await;
    for client in slow {
        let said = said(client).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_costs_the_connection() {
    let served = served(1000).await;
    let mut slow = Vec::new();
    for _ in 0..MANY {
        slow.push(wait(served.connect_to_tls(b"").await));
        // The beginning of a record with a ClientHello of 512 bytes.
        let begun = served
            .connect_to_tls(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
            .await;
        slow.push(drip(begun, b"\x03"));
    }
    served.serves_others().await;
    for client in slow {
        client.await.expect("it was closed in time");
    }
    // And after it a request is expected soon.
    assert_eq!(until_it_ends(served.secured().await).await, b"");
    let closed = async {
        while served.open("https") > 0 {
            sleep(PAUSE).await;
        }
    };
    timeout(WITHIN, closed).await.expect("all are closed");
}

#[tokio::test]
async fn a_body_that_does_not_come_to_an_end_is_refused_and_costs_the_connection() {
    let served = served(1000).await;
    let head = "POST /api/v1/jobs HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n\
                authorization: Bearer fh_writer_secret\r\n";
    let counted = format!("{head}content-length: 1000\r\n\r\n{{\"user_id\": \"");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let mut slow = Vec::new();
    for _ in 0..MANY {
        slow.push(wait(served.connect(counted.as_bytes()).await));
        slow.push(drip(served.connect(counted.as_bytes()).await, b"y"));
        slow.push(drip(served.connect(chunked.as_bytes()).await, b"1\r\n \r\n"));
    }
    served.serves_others().await;
    for client in slow {
        let said = said(client).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
        assert!(said.contains("\"code\":\"body_incomplete\""), "{said}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_takes_costs_the_connection() {
    let served = served(1000).await;
    // More answers than all buffers on the way hold.
    let ask = "GET /openapi.json HTTP/1.1\r\nhost: hub\r\n\r\n".repeat(1000);
    let _deaf = served.connect(ask.as_bytes()).await;
    served.serves_others().await;
    let closed = async {
        while served.open("http") > 0 {
            sleep(PAUSE).await;
        }
    };
    timeout(WITHIN, closed).await.expect("it is closed");
}

#[tokio::test]
async fn slow_clients_hold_every_place_no_longer_than_there_is_patience_for() {
    let served = served(u32::try_from(MANY).unwrap_or(1)).await;
    let mut slow = Vec::new();
    for _ in 0..MANY {
        let begun = served.connect(b"GET /healthz HTTP/1.1\r\nx: ").await;
        slow.push(drip(begun, b"y"));
    }
    let there_is_room = async {
        while !until_it_ends(served.connect(ASK.as_bytes()).await)
            .await
            .starts_with(b"HTTP/1.1 200")
        {
            sleep(PAUSE).await;
        }
    };
    timeout(WITHIN, there_is_room).await.expect("a place");
    for client in slow {
        assert_eq!(said(client).await, "");
    }
}

#[tokio::test]
async fn a_process_that_stops_does_not_wait_for_headers_that_do_not_come() {
    // Longer than the process goes on accepting, so that the client is in the middle of its headers then.
    let patience = Patience {
        first_headers: Duration::from_secs(5),
        ..Patience::default()
    };
    let state = AppState::of(Parts {
        patience,
        ..parts(config())
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve_at(listener, None, state, async {
        let _ = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nx: ")
        .await
        .expect("sent");
    let slow = drip(stream, b"y");
    stop.send(()).expect("it is served");
    let ended = timeout(WITHIN, serving)
        .await
        .expect("it stops before its time is up");
    assert!(ended.is_ok_and(|outcome| outcome.is_ok()));
    assert_eq!(said(slow).await, "");
}

#[tokio::test]
async fn plain_http_on_the_port_of_tls_is_told_nothing() {
    let served = served(1000).await;
    for ask in [
        ASK,
        "GET /readyz HTTP/1.0\r\n\r\n",
        "POST /api/v1/jobs HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer fh_writer_secret\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{0}",
    ] {
        let said = until_it_ends(served.connect_to_tls(ask.as_bytes()).await).await;
        // An alert of TLS (RFC 8446, section 6) has seven bytes and says which kind of message was not understood.
        assert!(said.len() <= 7, "{ask}: {said:?}");
        assert!(said.first().is_none_or(|kind| *kind == 21), "{ask}: {said:?}");
    }
    served.serves_others().await;
}

#[tokio::test]
async fn tls_on_the_port_of_plain_http_is_told_nothing() {
    let served = served(1000).await;
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n\r\n";
    let said = until_it_ends(served.connect(hello).await).await;
    let said = String::from_utf8_lossy(&said).to_lowercase();
    assert!(said.is_empty() || said.starts_with("http/1.1 400"), "{said}");
    assert!(said.is_empty() || said.ends_with("\r\n\r\n"), "{said}");
    assert!(!said.contains("\r\nserver:"), "{said}");
}

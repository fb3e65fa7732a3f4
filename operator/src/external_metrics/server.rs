//! Serves the API: TLS with a client certificate, HTTP/1.1, one answer after the other.
//!
//! Whoever has no certificate of the aggregation layer gets no further than the handshake. The number of connections and the
//! time for a handshake are bounded, so that nobody who can reach the port can keep the operator from its work.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use kube::Client;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::Access;
use super::answer;
use super::front_proxy::FrontProxy;
use super::registration::{Credentials, Registration, RegistrationError};
use super::request::{Asked, Misunderstood};
use crate::autoscaling::BACKLOG_METRIC;
use crate::backlogs::{BacklogError, Backlogs};
use crate::backoff;
use crate::own_certificate::serving::CertificateError;

/// How often Secret, `APIService` and what the API server publishes are looked at.
const REFRESH: Duration = Duration::from_mins(1);
/// The same after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How long a handshake may take, and the last answer of a connection that has lived for long.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may live: then the API server opens another one, and shows a certificate that holds by then.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(30);
/// Connections at the same time. API servers have one or two each.
const MAX_CONNECTIONS: usize = 64;

/// The certificate and the keys do not fit together, or cannot be used.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the certificate cannot be served: {0}")]
    Tls(#[from] rustls::Error),
    #[error("clients cannot be verified: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What a connection is served with.
struct Ready {
    acceptor: TlsAcceptor,
    proxy: FrontProxy,
}

impl Ready {
    fn new(credentials: &Credentials) -> Result<Self, RefreshError> {
        let roots = credentials.proxy.roots().map_err(RegistrationError::from)?;
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
        let chain = credentials.serving.chain()?;
        let key = credentials.serving.private_key()?;
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            proxy: credentials.proxy.clone(),
        })
    }
}

/// Serves the API at `address`, and keeps it registered, until the task is dropped.
///
/// # Errors
/// When the port cannot be opened.
pub async fn run(
    address: SocketAddr,
    registration: Registration,
    client: Client,
    backlogs: Backlogs,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let (publish, ready) = watch::channel(None);
    let api = Arc::new(Api {
        access: Access::new(client),
        backlogs,
    });
    tokio::select! {
        never = keep_ready(&registration, &publish) => match never {},
        never = accept(&listener, &api, ready) => match never {},
    }
}

async fn keep_ready(registration: &Registration, publish: &watch::Sender<Option<Arc<Ready>>>) -> Infallible {
    loop {
        let pause = match refresh(registration).await {
            Ok(ready) => {
                publish.send_replace(ready.map(Arc::new));
                REFRESH
            }
            // What was served before is served on.
            Err(error) => {
                tracing::warn!(%error, "external metrics cannot be registered");
                RETRY
            }
        };
        sleep(backoff::jittered(pause)).await;
    }
}

async fn refresh(registration: &Registration) -> Result<Option<Ready>, RefreshError> {
    match registration.establish().await? {
        Some(credentials) => Ok(Some(Ready::new(&credentials)?)),
        None => Ok(None),
    }
}

async fn accept(
    listener: &TcpListener,
    api: &Arc<Api>,
    ready: watch::Receiver<Option<Arc<Ready>>>,
) -> Infallible {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            continue;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Such as too many open files, which passes.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Nobody is to come before the API server has been told the CA.
        if let Some(ready) = ready.borrow().clone() {
            tokio::spawn(connection(Arc::clone(api), ready, stream, place));
        }
    }
}

async fn connection(api: Arc<Api>, ready: Arc<Ready>, stream: TcpStream, _place: OwnedSemaphorePermit) {
    let Ok(Ok(stream)) = timeout(PATIENCE, ready.acceptor.accept(stream)).await else {
        tracing::debug!("a TLS handshake failed");
        return;
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|certificate| certificate.clone().into_owned());
    let Some(certificate) = certificate else {
        return;
    };
    let service = service_fn(|request| {
        let (api, ready, certificate) = (Arc::clone(&api), Arc::clone(&ready), certificate.clone());
        async move { Ok::<_, Infallible>(api.respond(&ready.proxy, &certificate, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The API server keeps connections between its requests.
        .header_read_timeout(CONNECTION_LIFETIME)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => log_end(ended),
        () = sleep(CONNECTION_LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            if let Ok(ended) = timeout(PATIENCE, connection).await {
                log_end(ended);
            }
        }
    }
}

fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the aggregation layer broke");
    }
}

/// Answers questions.
struct Api {
    access: Access,
    backlogs: Backlogs,
}

/// A refusal.
struct Refused(StatusCode, String);

impl Api {
    async fn respond<B>(
        &self,
        proxy: &FrontProxy,
        certificate: &CertificateDer<'_>,
        request: &Request<B>,
    ) -> Response<Full<Bytes>> {
        let (status, document) = match self.answer(proxy, certificate, request).await {
            Ok(document) => (StatusCode::OK, document),
            Err(Refused(status, message)) => (status, answer::failure(status, &message)),
        };
        let mut response = Response::new(Full::from(document.to_string()));
        *response.status_mut() = status;
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    async fn answer<B>(
        &self,
        proxy: &FrontProxy,
        certificate: &CertificateDer<'_>,
        request: &Request<B>,
    ) -> Result<Value, Refused> {
        let user = proxy
            .user(certificate, request.headers())
            .map_err(|error| Refused(StatusCode::UNAUTHORIZED, error.to_string()))?;
        let uri = request.uri();
        let asked = Asked::read(request.method(), uri.path(), uri.query()).map_err(|error| {
            let status = match error {
                Misunderstood::NotFound => StatusCode::NOT_FOUND,
                Misunderstood::Method => StatusCode::METHOD_NOT_ALLOWED,
                Misunderstood::Selector(_) => StatusCode::BAD_REQUEST,
            };
            Refused(status, error.to_string())
        })?;
        let allowed = self.access.allows(&user, &asked).await.map_err(|error| {
            tracing::warn!(%error, "cannot ask whether a user may read external metrics");
            let message = "whether the user may is not known at the moment";
            Refused(StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
        })?;
        if !allowed {
            return Err(Refused(StatusCode::FORBIDDEN, forbidden(&user.name, &asked)));
        }
        match asked {
            Asked::Health => Ok(Value::from("ok")),
            Asked::Discovery => Ok(answer::discovery()),
            Asked::Backlog { namespace, selector } => {
                let backlog = self.backlogs.of(&namespace, &selector.hub).await;
                let backlog = backlog.map_err(|error| unknown(&selector.hub, &error))?;
                Ok(answer::values(&backlog, &selector, Timestamp::now()))
            }
        }
    }
}

fn forbidden(user: &str, asked: &Asked) -> String {
    let place = match asked {
        Asked::Backlog { namespace, .. } => format!(" {BACKLOG_METRIC:?} in namespace {namespace:?}"),
        Asked::Discovery | Asked::Health => String::new(),
    };
    format!("user {user:?} may not read external metrics{place}")
}

fn unknown(hub: &str, error: &BacklogError) -> Refused {
    match error {
        BacklogError::NoHub { .. } => Refused(StatusCode::NOT_FOUND, error.to_string()),
        BacklogError::Redis(_) | BacklogError::NoPassword(_) | BacklogError::NoAuthorities(_) => {
            Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        BacklogError::Kubernetes(error) => {
            tracing::warn!(%error, hub, "cannot read the hub whose backlog is asked for");
            let message = format!("the backlog of FlickrHub {hub:?} is not known at the moment");
            Refused(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}

#[cfg(test)]
mod tests;

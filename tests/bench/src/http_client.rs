//! HTTP/1.1 connections that are kept, one request at a time on each: as many as a bench wants, and no more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Failure;

/// How long a connection, or the answer to one request, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The API of the hub and the key of its default client.
#[derive(Clone)]
pub(crate) struct Target {
    /// `host:port`.
    address: Arc<str>,
    authorization: Arc<str>,
}

impl Target {
    /// The API at `host:port`, called with an API key.
    pub(crate) fn new(address: &str, key: &str) -> Self {
        Self {
            address: address.into(),
            authorization: format!("Bearer {key}").into(),
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When it is refused, or not there within 30 s.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let stream = timeout(PATIENCE, TcpStream::connect(&*self.address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; a failure reaches whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Connection {
            target: self.clone(),
            sender,
        })
    }
}

/// A connection that is kept.
pub(crate) struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Connection {
    /// A new connection to the same place.
    ///
    /// # Errors
    /// As [`Target::connect`].
    pub(crate) async fn reopened(&self) -> Result<Self, Failure> {
        self.target.connect().await
    }

    /// Submits a job; with `wait`, the API may hold the answer back for so many seconds until the job is over.
    ///
    /// # Errors
    /// When the connection breaks, or there is no answer within 30 s.
    pub(crate) async fn submit(&mut self, job: Bytes, wait: Option<u8>) -> Result<Answer, Failure> {
        self.send(Method::POST, "/api/v1/jobs", job, wait).await
    }

    /// Looks at a job; see [`Connection::submit`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn job(&mut self, id: &str, wait: Option<u8>) -> Result<Answer, Failure> {
        self.send(Method::GET, &format!("/api/v1/jobs/{id}"), Bytes::new(), wait)
            .await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        wait: Option<u8>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &*self.target.address)
            .header(AUTHORIZATION, &*self.target.authorization);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(seconds) = wait {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let request = request.body(Full::new(body))?;
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Answer { status, body })
        };
        Ok(timeout(PATIENCE, exchange).await??)
    }
}

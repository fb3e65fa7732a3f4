//! A running mock, a client of it, and photos to send.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use flickrhub_flickr::{
    AppCredentials, Endpoints, FlickrClient, FlickrError, Method, PhotoBody, Timeouts, TraceHeaders,
    Uploaded, UserToken,
};
use flickrhub_flickr_mock::{Builder, Entry, MockFlickr, MockHandle, MockUser, Permission};
use futures::{Stream, stream};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use url::Url;

pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(30),
    call: Duration::from_secs(30),
    upload: Duration::from_mins(1),
};

/// A mock and a client of it, with a user who granted everything.
pub(crate) struct Fixture {
    pub(crate) mock: MockHandle,
    pub(crate) client: FlickrClient,
    pub(crate) app: AppCredentials,
    pub(crate) user: MockUser,
    pub(crate) token: UserToken,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder, TIMEOUTS).await
    }

    pub(crate) async fn with(configure: impl FnOnce(Builder) -> Builder, timeouts: Timeouts) -> Self {
        // Fails when another test has installed it, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let builder = MockFlickr::builder()
            .app("app-key", "app-secret")
            .ticket_delay(Duration::from_millis(50));
        let mock = configure(builder).serve(listener).unwrap();
        let endpoints = Endpoints::under(&mock.origin().parse().unwrap()).unwrap();
        let user = mock.add_user("bees", Permission::Delete);
        Self {
            client: FlickrClient::new(endpoints, timeouts).unwrap(),
            app: AppCredentials::new("app-key", "app-secret"),
            token: token(&user),
            user,
            mock,
        }
    }

    pub(crate) async fn call(&self, method: &str, params: &[(&str, &str)]) -> Result<Value, FlickrError> {
        self.call_as(Some(&self.token), method, params).await
    }

    pub(crate) async fn call_as(
        &self,
        token: Option<&UserToken>,
        method: &str,
        params: &[(&str, &str)],
    ) -> Result<Value, FlickrError> {
        let method = Method::lookup(method).unwrap();
        self.client
            .call(&self.app, token, method, &owned(params), &TraceHeaders::none())
            .await
    }

    pub(crate) async fn upload(
        &self,
        fields: &[(&str, &str)],
        photo: PhotoBody<impl Stream<Item = io::Result<Bytes>> + Send + 'static>,
    ) -> Result<Uploaded, FlickrError> {
        let trace = TraceHeaders::none();
        self.client
            .upload(&self.app, &self.token, &owned(fields), photo, &trace)
            .await
    }

    pub(crate) fn last_entry(&self) -> Entry {
        self.mock.log().pop().unwrap()
    }
}

pub(crate) fn token(user: &MockUser) -> UserToken {
    UserToken::new(user.oauth_token.as_str(), user.oauth_token_secret.as_str())
}

pub(crate) fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The bytes of a photo, never the same twice in a row.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| u8::try_from((index * 31 + index / 251) % 256).unwrap())
        .collect()
}

/// A photo in chunks of 64 KiB.
pub(crate) fn photo(bytes: &[u8]) -> PhotoBody<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let chunks: Vec<_> = bytes
        .chunks(64 << 10)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    PhotoBody {
        file_name: "bee \"quoted\" é.jpg".into(),
        content_type: "image/jpeg".into(),
        length: bytes.len() as u64,
        stream: stream::iter(chunks),
    }
}

/// An origin that reads one request's head and sends `answer`, whatever was asked; and the head.
pub(crate) async fn answering(answer: &'static str) -> (Url, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let head = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // Closing with bytes unread would take the answer back.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        String::from_utf8(head).unwrap()
    });
    (origin.parse().unwrap(), head)
}

/// Asks `probe` again until it gives something, for at most 30 s.
pub(crate) async fn eventually<T>(mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it did not happen within 30 s"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

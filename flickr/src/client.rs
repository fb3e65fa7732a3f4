//! The HTTP client.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::Stream;
use http::{
    HeaderMap, HeaderValue, Method as HttpMethod,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use reqwest::{
    Body, Client, RequestBuilder,
    multipart::{Form, Part},
    redirect::Policy,
    retry,
};
use rustls::crypto::CryptoProvider;
use serde_json::Value;
use url::Url;

use crate::{
    answer,
    credentials::{AppCredentials, UserToken},
    endpoints::Endpoints,
    error::{Failure, FlickrError},
    exchange::exchange,
    identifier::{PhotoId, TicketId},
    method::Method,
    oauth1::{self, Signable, Stamp},
    operation::Operation,
    photo::{PhotoBody, Progress, Uploaded, counted},
    ticket::{self, TicketState},
    trace::TraceHeaders,
};

/// Reads whose encoded parameters are longer than this, in bytes, are sent as POST: servers bound
/// the length of an address, most of them at 8 KiB.
const LONGEST_QUERY: usize = 4096;

const CHECK_TICKETS: &str = "flickr.photos.upload.checkTickets";

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included. 10 s by default.
    pub connect: Duration,
    /// For a call or a step of the OAuth flow, from connecting to the answer's end. 30 s by default.
    pub call: Duration,
    /// For an upload or replacement, likewise. 10 min by default.
    pub upload: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            call: Duration::from_secs(30),
            upload: Duration::from_mins(10),
        }
    }
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No TLS implementation is installed; see [`FlickrClient::new`].
    #[error("no rustls crypto provider is installed as the process's default")]
    NoCryptoProvider,
    /// The HTTP client could not be made; mostly, no root certificates were found.
    #[error("the HTTP client could not be made")]
    Http(#[source] reqwest::Error),
}

/// A client of Flickr with a connection pool of its own. Clones share the pool.
///
/// It sends every request once: whether to send it again is the caller's decision, by
/// [`FlickrError::disposition`].
#[derive(Debug, Clone)]
pub struct FlickrClient {
    pub(crate) http: Client,
    pub(crate) endpoints: Endpoints,
    pub(crate) timeouts: Timeouts,
}

impl FlickrClient {
    /// A client of these endpoints.
    ///
    /// # Errors
    /// [`ClientError::NoCryptoProvider`] unless the process has installed one, as by
    /// `rustls::crypto::ring::default_provider().install_default()`.
    pub fn new(endpoints: Endpoints, timeouts: Timeouts) -> Result<Self, ClientError> {
        // Without this check, reqwest would panic.
        if CryptoProvider::get_default().is_none() {
            return Err(ClientError::NoCryptoProvider);
        }
        let http = Client::builder()
            .user_agent(concat!("FlickrHub/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeouts.connect)
            // A signature is good for one address: following a redirect could only leak it.
            .redirect(Policy::none())
            // The default repeats what an HTTP/2 server refused unprocessed. A repeated request has
            // the same nonce, spends budget that nobody counted, and hides from the caller.
            .retry(retry::never())
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self {
            http,
            endpoints,
            timeouts,
        })
    }

    /// Calls a method and gives the JSON object that Flickr answers, `stat` included.
    ///
    /// Reads go by GET, everything else by POST, always signed; without a `token`, by the
    /// application alone.
    ///
    /// # Errors
    /// [`Failure::TokenRequired`] and [`Failure::ReservedParameter`] before anything is sent;
    /// otherwise whatever Flickr or the network says.
    pub async fn call(
        &self,
        app: &AppCredentials,
        token: Option<&UserToken>,
        method: &'static Method,
        params: &[(String, String)],
        trace: &TraceHeaders,
    ) -> Result<Value, FlickrError> {
        self.try_call(app, token, method, params, trace)
            .await
            .map_err(|failure| FlickrError::new(Operation::Call(method), failure))
    }

    async fn try_call(
        &self,
        app: &AppCredentials,
        token: Option<&UserToken>,
        method: &'static Method,
        params: &[(String, String)],
        trace: &TraceHeaders,
    ) -> Result<Value, Failure> {
        if method.needs_login() && token.is_none() {
            return Err(Failure::TokenRequired);
        }
        refuse_reserved(params)?;
        let mut pairs = vec![
            ("method", method.name),
            ("format", "json"),
            ("nojsoncallback", "1"),
        ];
        pairs.extend(borrowed(params));

        let encoded = oauth1::encode_pairs(pairs.iter().copied());
        let request = if method.is_read() && encoded.len() <= LONGEST_QUERY {
            let mut url = self.endpoints.rest.clone();
            url.set_query(Some(&encoded));
            self.signed(&HttpMethod::GET, &url, &[], &[], app, token, trace)?
        } else {
            self.signed(
                &HttpMethod::POST,
                &self.endpoints.rest,
                &pairs,
                &[],
                app,
                token,
                trace,
            )?
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(encoded)
        };
        let answer = exchange(request.timeout(self.timeouts.call), || true).await?;
        answer::rest(answer.raw())
    }

    /// Uploads a photo as the token's user, who must have granted `write`.
    ///
    /// `fields` are the arguments of Flickr's document `upload.api`. With `async` = `1` among them,
    /// the result is a ticket.
    ///
    /// # Errors
    /// What Flickr or the network says; [`Failure::PhotoSource`] and [`Failure::PhotoLength`] when
    /// the stream fails. A loss of the connection counts as
    /// [`OutcomeUnknown`](crate::Disposition::OutcomeUnknown) once the photo's last byte was handed
    /// over, and as retryable before.
    pub async fn upload<S>(
        &self,
        app: &AppCredentials,
        token: &UserToken,
        fields: &[(String, String)],
        photo: PhotoBody<S>,
        trace: &TraceHeaders,
    ) -> Result<Uploaded, FlickrError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let failed = |failure| FlickrError::new(Operation::Upload, failure);
        refuse_reserved(fields).map_err(failed)?;
        let fields: Vec<_> = borrowed(fields).collect();
        self.send_photo(&self.endpoints.upload, app, token, &fields, photo, trace)
            .await
            .map_err(failed)
    }

    /// Replaces the content of a photo of the token's user, who must have granted `write`.
    ///
    /// `fields` are the arguments of Flickr's document `replace.api` other than `photo_id`.
    ///
    /// # Errors
    /// As [`FlickrClient::upload`], except that a lost connection is always retryable: a second
    /// replacement with the same content does no harm.
    pub async fn replace<S>(
        &self,
        app: &AppCredentials,
        token: &UserToken,
        photo_id: &PhotoId,
        fields: &[(String, String)],
        photo: PhotoBody<S>,
        trace: &TraceHeaders,
    ) -> Result<Uploaded, FlickrError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let failed = |failure| FlickrError::new(Operation::Replace, failure);
        refuse_reserved(fields).map_err(failed)?;
        let mut pairs = vec![("photo_id", photo_id.as_str())];
        pairs.extend(borrowed(fields).filter(|(name, _)| *name != "photo_id"));
        self.send_photo(&self.endpoints.replace, app, token, &pairs, photo, trace)
            .await
            .map_err(failed)
    }

    async fn send_photo<S>(
        &self,
        url: &Url,
        app: &AppCredentials,
        token: &UserToken,
        fields: &[(&str, &str)],
        photo: PhotoBody<S>,
        trace: &TraceHeaders,
    ) -> Result<Uploaded, Failure>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let progress = Progress::new(photo.length);
        let body = Body::wrap_stream(counted(photo.stream, progress.clone()));
        let part = Part::stream_with_length(body, photo.length)
            .file_name(header_text(&photo.file_name))
            .mime_str(&photo.content_type)
            .map_err(|_| Failure::Request)?;
        if fields.iter().any(|(name, _)| header_text(name) != *name) {
            return Err(Failure::Request);
        }
        let form = fields
            .iter()
            // By default, a name with a character beyond ASCII is written in a form that RFC 7578
            // section 4.2 forbids.
            .fold(Form::new().percent_encode_noop(), |form, (name, value)| {
                form.text((*name).to_owned(), (*value).to_owned())
            })
            .part("photo", part);
        let request = self
            .signed(&HttpMethod::POST, url, fields, &[], app, Some(token), trace)?
            .multipart(form)
            .timeout(self.timeouts.upload);
        match exchange(request, || progress.is_whole()).await {
            Ok(answer) => answer::upload(answer.raw()),
            // A failing stream looks like a lost connection from outside.
            Err(failure) => Err(progress.source_failure().unwrap_or(failure)),
        }
    }

    /// The states of asynchronous uploads, in the order asked. Flickr wants no login for this, so
    /// that the application's key suffices.
    ///
    /// # Errors
    /// As [`FlickrClient::call`].
    pub async fn check_tickets(
        &self,
        app: &AppCredentials,
        tickets: &[TicketId],
        trace: &TraceHeaders,
    ) -> Result<Vec<(TicketId, TicketState)>, FlickrError> {
        let Some(method) = Method::lookup(CHECK_TICKETS) else {
            unreachable!("the table has {CHECK_TICKETS}, as a test ensures");
        };
        let ids: Vec<_> = tickets.iter().map(TicketId::as_str).collect();
        let params = [("tickets".to_owned(), ids.join(","))];
        let answer = self.call(app, None, method, &params, trace).await?;
        ticket::states(&answer, tickets).ok_or_else(|| {
            let failure = Failure::Malformed {
                expected: "list of tickets",
            };
            FlickrError::new(Operation::Call(method), failure)
        })
    }

    /// A request with its signature and trace headers. `body` are the parameters the signature
    /// covers besides the address's query.
    #[allow(clippy::too_many_arguments, reason = "they are the parts of a signed request")]
    pub(crate) fn signed(
        &self,
        http_method: &HttpMethod,
        url: &Url,
        body: &[(&str, &str)],
        protocol: &[(&str, &str)],
        app: &AppCredentials,
        token: Option<&UserToken>,
        trace: &TraceHeaders,
    ) -> Result<RequestBuilder, Failure> {
        let signable = Signable {
            http_method: http_method.as_str(),
            url,
            body,
            protocol,
        };
        let header = oauth1::authorization_header(&signable, app, token, &Stamp::now());
        let mut authorization = HeaderValue::try_from(header).map_err(|_| Failure::Request)?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization);
        trace.insert_into(&mut headers);
        Ok(self
            .http
            .request(http_method.clone(), url.clone())
            .headers(headers))
    }
}

fn borrowed(pairs: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Text that can stand between quotes in a part's header: with quotes and control characters
/// percent-encoded, as browsers do (HTML standard, section "multipart form data").
fn header_text(text: &str) -> String {
    text.chars()
        .fold(String::new(), |written, character| match character {
            '"' | '\0'..='\x1f' | '\x7f' => format!("{written}%{:02X}", u32::from(character)),
            _ => written + character.encode_utf8(&mut [0; 4]),
        })
}

/// Refuses parameters that would change who calls, what is called or how the answer is written.
fn refuse_reserved(params: &[(String, String)]) -> Result<(), Failure> {
    const RESERVED: [&str; 8] = [
        "method",
        "format",
        "nojsoncallback",
        "jsoncallback",
        "api_key",
        "api_sig",
        "auth_token",
        "photo",
    ];
    params
        .iter()
        .find(|(name, _)| name.starts_with("oauth_") || RESERVED.contains(&name.as_str()))
        .map_or(Ok(()), |(name, _)| {
            Err(Failure::ReservedParameter { name: name.clone() })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_method_for_tickets() {
        assert!(Method::lookup(CHECK_TICKETS).is_some());
    }

    #[test]
    fn nothing_breaks_out_of_a_parts_header() {
        let name = "bee \"x\"; y\r\nX-Evil: 1\u{7f} é.jpg";
        assert_eq!(header_text(name), "bee %22x%22; y%0D%0AX-Evil: 1%7F é.jpg");
    }

    #[test]
    fn protocol_parameters_are_refused() {
        let refused = |name: &str| refuse_reserved(&[(name.to_owned(), String::new())]).is_err();
        for name in [
            "oauth_token",
            "oauth_anything",
            "method",
            "api_key",
            "format",
            "photo",
            "auth_token",
        ] {
            assert!(refused(name), "{name}");
        }
        for name in ["photo_id", "text", "async", "title"] {
            assert!(!refused(name), "{name}");
        }
    }
}

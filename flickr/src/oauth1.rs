//! Request signing of RFC 5849 (OAuth 1.0), by HMAC-SHA1, the one method Flickr takes besides
//! PLAINTEXT.
//!
//! Everything here is pure but [`Stamp::now`].

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use url::Url;
use zeroize::Zeroizing;

use crate::credentials::{AppCredentials, UserToken};

/// The characters that RFC 5849 section 3.6 leaves as they are, taken out of the set to encode.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The timestamp and nonce that make a signed request unique (RFC 5849 section 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub timestamp: u64,
    /// Text that never repeats for the same timestamp and token.
    pub nonce: String,
}

impl Stamp {
    /// The current time with 128 random bits.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            timestamp: since_epoch.as_secs(),
            nonce: format!("{:032x}", rand::random::<u128>()),
        }
    }
}

/// The parts of a request that its signature covers.
///
/// `Debug` shows the method and the address without its query: parameters can be secret.
#[derive(Clone, Copy)]
pub struct Signable<'a> {
    /// The HTTP method in upper case.
    pub http_method: &'a str,
    /// The address, with its query if it has one.
    pub url: &'a Url,
    /// Parameters of a form-encoded body, or the text fields of an upload: decoded, in any order.
    ///
    /// RFC 5849 section 3.4.1.3.1 leaves multipart bodies out of the signature; Flickr's document
    /// `upload.api` wants every field but `photo` in it.
    pub body: &'a [(&'a str, &'a str)],
    /// Protocol parameters besides the usual ones: `oauth_callback` or `oauth_verifier`.
    pub protocol: &'a [(&'a str, &'a str)],
}

impl fmt::Debug for Signable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signable")
            .field("http_method", &self.http_method)
            .field("url", &base_string_uri(self.url))
            .finish_non_exhaustive()
    }
}

/// The value of the `Authorization` header (RFC 5849 section 3.5.1) for a request.
///
/// Without a `token` the signature is by the application alone. The value contains the token, so
/// treat it as sensitive.
pub fn authorization_header(
    request: &Signable<'_>,
    app: &AppCredentials,
    token: Option<&UserToken>,
    stamp: &Stamp,
) -> String {
    let timestamp = stamp.timestamp.to_string();
    let mut protocol = vec![
        ("oauth_consumer_key", app.key.as_str()),
        ("oauth_nonce", stamp.nonce.as_str()),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", timestamp.as_str()),
        ("oauth_version", "1.0"),
    ];
    if let Some(token) = token {
        protocol.push(("oauth_token", token.token.expose_secret()));
    }
    protocol.extend_from_slice(request.protocol);

    let covered: Vec<_> = protocol.iter().chain(request.body).copied().collect();
    let base = signature_base_string(request.http_method, request.url, &covered);
    let signature = hmac_sha1(&base, &app.secret, token.map(|token| &token.secret));
    protocol.push(("oauth_signature", &signature));

    let fields: Vec<_> = protocol
        .iter()
        .map(|(name, value)| format!("{}=\"{}\"", percent_encode(name), percent_encode(value)))
        .collect();
    format!("OAuth {}", fields.join(", "))
}

/// Text with every octet but letters, digits and `-._~` percent-encoded (RFC 5849 section 3.6).
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Pairs as `name=value&name=value`, encoded by [`percent_encode`], in the order given.
pub fn encode_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// The text that is signed (RFC 5849 section 3.4.1.1). `parameters` are those outside the query.
fn signature_base_string(http_method: &str, url: &Url, parameters: &[(&str, &str)]) -> String {
    let query: Vec<_> = url.query_pairs().collect();
    let all = query
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .chain(parameters.iter().copied());
    format!(
        "{}&{}&{}",
        percent_encode(&http_method.to_ascii_uppercase()),
        percent_encode(&base_string_uri(url)),
        percent_encode(&normalize(all)),
    )
}

/// Scheme, authority and path (RFC 5849 section 3.4.1.2). `Url` has lower-cased scheme and host and
/// dropped a default port already.
fn base_string_uri(url: &Url) -> String {
    let mut uri = url.clone();
    uri.set_query(None);
    uri.set_fragment(None);
    uri.into()
}

/// Parameters encoded, then sorted by name and value, then joined (RFC 5849 section 3.4.1.3.2).
fn normalize<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut encoded: Vec<_> = parameters
        .into_iter()
        .map(|(name, value)| (percent_encode(name), percent_encode(value)))
        .collect();
    encoded.sort();
    encoded
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

/// The HMAC-SHA1 of RFC 5849 section 3.4.2, in base64.
fn hmac_sha1(text: &str, client: &SecretString, token: Option<&SecretString>) -> String {
    let key = Zeroizing::new(format!(
        "{}&{}",
        percent_encode(client.expose_secret()),
        percent_encode(token.map_or("", |token| token.expose_secret())),
    ));
    // HMAC takes keys of any length (RFC 2104), so that this arm is never reached.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    mac.update(text.as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
#[path = "oauth1_tests.rs"]
mod tests;

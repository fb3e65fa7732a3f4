//! The header `Idempotency-Key`: a request that is sent again has one effect, and the answer of the first.
//!
//! | request with the key | answer |
//! | --- | --- |
//! | the first | its own; refusals (4xx, 429, 503) are not remembered |
//! | the same again within 24 h | the first one's 202, with the job as it was then and `Idempotent-Replayed: true` |
//! | another within 24 h | 422 `idempotency_key_reused` |
//! | while the first is under way | 409 `idempotency_key_in_flight` with `Retry-After` |
//!
//! A key belongs to its client. What makes two requests the same is what they ask for, not how it is written: the order
//! of members, the spaces between them and defaults that are written out do not count.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use flickrhub_job::model::Idempotency;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// The header, and the name that it had before there was a draft of a standard.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// See [`IDEMPOTENCY_KEY`].
pub const X_IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("x-idempotency-key");
/// Says that an answer is the one of an earlier request.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key in bytes.
const MAX_KEY: usize = 255;

/// A key that a client gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key in the headers, if there is one.
    ///
    /// # Errors
    /// [`Problem::IdempotencyKeyInvalid`], [`Problem::IdempotencyKeysDiffer`].
    pub fn of_headers(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let given = [IDEMPOTENCY_KEY, X_IDEMPOTENCY_KEY];
        let mut values = given.iter().flat_map(|name| headers.get_all(name));
        let Some(first) = values.next() else {
            return Ok(None);
        };
        if values.any(|other| other != first) {
            return Err(Problem::IdempotencyKeysDiffer);
        }
        let key = first.as_bytes();
        if (1..=MAX_KEY).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) {
            Ok(Some(Self(key.iter().copied().map(char::from).collect())))
        } else {
            Err(Problem::IdempotencyKeyInvalid)
        }
    }

    /// What is stored of a request of this client that asks for `payload`.
    pub fn of_request(&self, client_id: &str, payload: &Value) -> Idempotency {
        Idempotency {
            key: hash([client_id.as_bytes(), self.0.as_bytes()]),
            payload: payload_hash(payload),
        }
    }

    /// The same for one item of a batch: each has a key of its own, so that a batch of which a part was refused can be
    /// sent again.
    pub fn of_item(&self, client_id: &str, index: usize, payload: &Value) -> Idempotency {
        Idempotency {
            key: hash([
                client_id.as_bytes(),
                self.0.as_bytes(),
                index.to_string().as_bytes(),
            ]),
            payload: payload_hash(payload),
        }
    }
}

/// The parts with a NUL between them, which none of them contains.
fn hash<const N: usize>(parts: [&[u8]; N]) -> String {
    hexadecimal(&Sha256::digest(parts.join(&0)))
}

/// The members of a JSON object are in the order of their names here, whatever order they came in.
fn payload_hash(payload: &Value) -> String {
    hexadecimal(&Sha256::digest(payload.to_string()))
}

/// The digest of a file or a text, as it is stored.
pub fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key of the request, for handlers.
#[derive(Debug)]
pub struct Idempotent(pub Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Idempotent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        IdempotencyKey::of_headers(&parts.headers).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn key(headers: &[(HeaderName, &[u8])]) -> Result<Option<IdempotencyKey>, Problem> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                map.append(name, value);
            }
        }
        IdempotencyKey::of_headers(&map)
    }

    #[test]
    fn either_header_gives_the_key_and_both_give_one() {
        let a: &[u8] = b"8e03978e-40d5-43e8-bc93-6894a57f9324";
        let expected = Ok(Some(IdempotencyKey(
            "8e03978e-40d5-43e8-bc93-6894a57f9324".to_owned(),
        )));
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&[(IDEMPOTENCY_KEY, a)]), expected);
        assert_eq!(key(&[(X_IDEMPOTENCY_KEY, a)]), expected);
        assert_eq!(key(&[(X_IDEMPOTENCY_KEY, a), (IDEMPOTENCY_KEY, a)]), expected);
        for two in [
            [(IDEMPOTENCY_KEY, a), (X_IDEMPOTENCY_KEY, b"b")],
            [(IDEMPOTENCY_KEY, a), (IDEMPOTENCY_KEY, b"b")],
        ] {
            assert_eq!(key(&two), Err(Problem::IdempotencyKeysDiffer));
        }
    }

    #[test]
    fn a_key_is_short_and_visible() {
        for (value, fits) in [
            (b"a".repeat(255), true),
            (b"a".repeat(256), false),
            (Vec::new(), false),
            (b"a b".to_vec(), false),
            (b"a\tb".to_vec(), false),
            ("schl\u{fc}ssel".as_bytes().to_vec(), false),
            (b"\"quoted\"~!".to_vec(), true),
        ] {
            let answer = key(&[(IDEMPOTENCY_KEY, &value)]);
            assert_eq!(answer.is_ok(), fits, "{value:?}: {answer:?}");
        }
    }

    #[test]
    fn keys_of_clients_and_items_differ_and_payloads_do_not_by_their_order() {
        let key = IdempotencyKey("k".to_owned());
        let payload = json!({"b": 1, "a": {"d": 1, "c": 2}});
        let same: Value =
            serde_json::from_str("{\"a\": {\"c\": 2, \"d\": 1},  \"b\": 1}").unwrap_or_default();
        let first = key.of_request("acme", &payload);
        assert_eq!(first, key.of_request("acme", &same));
        assert_eq!((first.key.len(), first.payload.len()), (64, 64));
        assert_ne!(first.key, key.of_request("other", &payload).key);
        assert_ne!(first.payload, key.of_request("acme", &json!({})).payload);
        let item = key.of_item("acme", 1, &payload);
        assert_ne!(item.key, first.key);
        assert_ne!(item.key, key.of_item("acme", 2, &payload).key);
        assert_eq!(item.payload, first.payload);
    }
}

//! `Content-Digest` (RFC 9530): checked while the body streams through, whoever reads it.
//!
//! Every digest that the field has and the hub knows is checked; others say nothing. A body that is not the one of its
//! digest ends with [`DigestMismatch`] instead of its end, so that whoever reads it to the end cannot miss it.

use std::error::Error;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use sfv::{Dictionary, ListEntry, Parser};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// The field.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The longest field that is read, in bytes.
const MAX_FIELD: usize = 1024;

/// The body is not the one that its `Content-Digest` is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not the one of its Content-Digest")]
pub struct DigestMismatch;

/// The digests that a body is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Expected {
    sha256: Option<Vec<u8>>,
    sha512: Option<Vec<u8>>,
}

impl Expected {
    /// What the field says; nothing where it cannot be read.
    fn of(headers: &HeaderMap) -> Self {
        let lines: Vec<&str> = headers
            .get_all(CONTENT_DIGEST)
            .into_iter()
            .map(|line| line.to_str().unwrap_or("?"))
            .collect();
        let text = lines.join(", ");
        if text.len() > MAX_FIELD {
            return Self::default();
        }
        let dictionary: Dictionary = Parser::new(&text).parse().unwrap_or_default();
        let digest = |name: &str| match dictionary.get(name) {
            Some(ListEntry::Item(item)) => item.bare_item.as_byte_sequence().map(<[u8]>::to_vec),
            _ => None,
        };
        Self {
            sha256: digest("sha-256"),
            sha512: digest("sha-512"),
        }
    }

    const fn is_some(&self) -> bool {
        self.sha256.is_some() || self.sha512.is_some()
    }
}

/// Whether the field has a digest that the hub knows.
pub fn has_known_digest(headers: &HeaderMap) -> bool {
    Expected::of(headers).is_some()
}

/// The body, which ends with [`DigestMismatch`] if it is not the one of its digests. Without a digest it is as it was.
pub fn checked(headers: &HeaderMap, body: Body) -> Body {
    let expected = Expected::of(headers);
    if !expected.is_some() {
        return body;
    }
    let reader = Reader {
        sha256: expected.sha256.map(|digest| (Sha256::new(), digest)),
        sha512: expected.sha512.map(|digest| (Sha512::new(), digest)),
    };
    let source = body.into_data_stream();
    Body::from_stream(stream::unfold(Some((source, reader)), |state| async {
        let (mut source, mut reader) = state?;
        match source.next().await {
            Some(Ok(piece)) => {
                reader.update(&piece);
                Some((Ok::<Bytes, axum::BoxError>(piece), Some((source, reader))))
            }
            Some(Err(error)) => Some((Err(error.into()), None)),
            None if reader.agrees() => None,
            None => Some((Err(DigestMismatch.into()), None)),
        }
    }))
}

/// The digests of what came so far, and what they are to be.
struct Reader {
    sha256: Option<(Sha256, Vec<u8>)>,
    sha512: Option<(Sha512, Vec<u8>)>,
}

impl Reader {
    fn update(&mut self, piece: &[u8]) {
        if let Some((digest, _)) = &mut self.sha256 {
            digest.update(piece);
        }
        if let Some((digest, _)) = &mut self.sha512 {
            digest.update(piece);
        }
    }

    fn agrees(self) -> bool {
        let is = |found: &[u8], expected: &[u8]| bool::from(found.ct_eq(expected));
        self.sha256
            .is_none_or(|(digest, expected)| is(&digest.finalize(), &expected))
            && self
                .sha512
                .is_none_or(|(digest, expected)| is(&digest.finalize(), &expected))
    }
}

/// Whether a body ended because it is not the one of its digest. Layers wrap the errors of bodies in their own.
pub fn is_mismatch(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<DigestMismatch>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    /// RFC 9421 appendix B.2, and the other digest of the same body.
    const SHA_512: &str =
        "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
    const SHA_256: &str = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    const BODY: &str = r#"{"hello": "world"}"#;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter(HeaderValue::from_str(value).map(|value| (CONTENT_DIGEST, value)))
    }

    async fn read(value: &str, pieces: &[&'static str]) -> Result<Bytes, bool> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, std::io::Error>(*piece))
            .collect();
        let body = checked(&headers(value), Body::from_stream(stream::iter(pieces)));
        let collected = body.collect().await.map_err(|error| is_mismatch(&error))?;
        Ok(collected.to_bytes())
    }

    #[tokio::test]
    async fn the_body_of_the_digest_comes_through() {
        let pieces = [r#"{"hello""#, r#": "world"}"#];
        for value in [
            SHA_512,
            SHA_256,
            &format!("{SHA_256}, {SHA_512}"),
            &format!("md5=:AAAA:, {SHA_256}"),
        ] {
            assert_eq!(
                read(value, &pieces).await,
                Ok(Bytes::from_static(BODY.as_bytes())),
                "{value}"
            );
        }
    }

    #[tokio::test]
    async fn another_body_ends_with_an_error() {
        for (value, body) in [
            (SHA_512, r#"{"hello": "World"}"#),
            (SHA_256, r#"{"hello": "world"} "#),
            (SHA_256, ""),
            ("sha-256=:AAAA:", BODY),
            (&format!("sha-256=:AAAA:, {SHA_512}"), BODY),
        ] {
            assert_eq!(read(value, &[body]).await, Err(true), "{value} {body}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_no_mismatch() {
        let pieces = vec![
            Ok("{"),
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
        ];
        let body = checked(&headers(SHA_256), Body::from_stream(stream::iter(pieces)));
        assert_eq!(
            body.collect().await.map_err(|error| is_mismatch(&error)).err(),
            Some(false)
        );
    }

    #[test]
    fn only_digests_that_the_hub_knows_count() {
        assert!(has_known_digest(&headers(SHA_256)) && has_known_digest(&headers(SHA_512)));
        for value in ["md5=:AAAA:", "sha-256=AAAA", "sha-256", "?", ""] {
            assert!(!has_known_digest(&headers(value)), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_field_panics(value in "[ -~]{0,100}") {
            let _ = has_known_digest(&headers(&value));
        }
    }
}

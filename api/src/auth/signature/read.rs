//! A signed request: what its fields say, and whether that is enough.

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::request::Parts;
use hmac::{Hmac, KeyInit, Mac};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};
use sha2::Sha256;

use super::base::{base, name_of};
use super::digest::{CONTENT_DIGEST, has_known_digest};
use super::{MAX_SKEW, SignatureFault};

const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// RFC 9421 section 3.3.3.
const ALGORITHM: &str = "hmac-sha256";
/// What every signature covers.
const ALWAYS_COVERED: [&str; 4] = ["@method", "@authority", "@path", "@query"];
/// The longest nonce in bytes.
const MAX_NONCE: usize = 255;
/// The most that each of the two fields may have, in bytes.
const MAX_FIELD: usize = 4096;

/// A signature that was read, and the text that it is of.
#[derive(Debug)]
pub struct SignedRequest {
    /// The id of the key, without `fh_`.
    pub key_id: String,
    /// The nonce.
    pub nonce: String,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    pub(super) expires: Option<i64>,
    pub(super) covered: Vec<String>,
    pub(super) signature: Vec<u8>,
    pub(super) base: String,
}

/// Whether the request comes with a signature, good or bad.
pub fn is_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(SIGNATURE_INPUT) || headers.contains_key(SIGNATURE)
}

impl SignedRequest {
    /// Reads the signature of a request; of several, the first that names a key and could be by `hmac-sha256`. `scheme`: that
    /// of the hub's public address.
    ///
    /// # Errors
    /// What is wrong with its fields.
    pub fn read(parts: &Parts, scheme: &str) -> Result<Self, SignatureFault> {
        let inputs = dictionary(&parts.headers, &SIGNATURE_INPUT)?;
        let signatures = dictionary(&parts.headers, &SIGNATURE)?;
        let lists = inputs.iter().filter_map(|(label, entry)| match entry {
            ListEntry::InnerList(list) => Some((label, list)),
            ListEntry::Item(_) => None,
        });
        let mut fault = SignatureFault::Malformed;
        for (label, list) in lists {
            if text(list, "alg").is_some_and(|algorithm| algorithm != ALGORITHM) {
                fault = SignatureFault::Algorithm;
                continue;
            }
            if text(list, "keyid").is_none() {
                fault = SignatureFault::Missing("keyid");
                continue;
            }
            let Some(ListEntry::Item(item)) = signatures.get(label) else {
                return Err(SignatureFault::Malformed);
            };
            let signature = item
                .bare_item
                .as_byte_sequence()
                .ok_or(SignatureFault::Malformed)?;
            return Self::of(list, signature, base(parts, scheme, list)?);
        }
        Err(fault)
    }

    fn of(list: &InnerList, signature: &[u8], base: String) -> Result<Self, SignatureFault> {
        let missing = SignatureFault::Missing;
        let key_id = text(list, "keyid").ok_or(missing("keyid"))?;
        let nonce = text(list, "nonce").ok_or(missing("nonce"))?;
        let created = seconds(list, "created").ok_or(missing("created"))?;
        let expires = list.params.get("expires").map(|_| seconds(list, "expires"));
        if !(1..=MAX_NONCE).contains(&nonce.len()) {
            return Err(SignatureFault::Malformed);
        }
        Ok(Self {
            // People copy keys with their prefix.
            key_id: key_id.strip_prefix("fh_").unwrap_or(key_id).to_owned(),
            nonce: nonce.to_owned(),
            created,
            expires: match expires {
                Some(expires) => Some(expires.ok_or(SignatureFault::Malformed)?),
                None => None,
            },
            covered: list.items.iter().filter_map(name_of).map(str::to_owned).collect(),
            signature: signature.to_vec(),
            base,
        })
    }

    /// The text that is signed.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The names of the components that are signed.
    pub fn covered(&self) -> &[String] {
        &self.covered
    }

    /// Whether the signature covers what it must, and is of now (seconds since 1970).
    ///
    /// # Errors
    /// What it lacks.
    pub fn check(&self, headers: &HeaderMap, has_body: bool, now: i64) -> Result<(), SignatureFault> {
        let covers = |name: &str| self.covered.iter().any(|covered| covered == name);
        if let Some(name) = ALWAYS_COVERED.into_iter().find(|name| !covers(name)) {
            return Err(SignatureFault::NotCovered(name));
        }
        if has_body {
            if !has_known_digest(headers) {
                return Err(SignatureFault::NoDigest);
            }
            if !covers(CONTENT_DIGEST.as_str()) {
                return Err(SignatureFault::NotCovered("content-digest"));
            }
        }
        let is_fresh = self.created.abs_diff(now) <= MAX_SKEW.unsigned_abs();
        if !is_fresh || self.expires.is_some_and(|expires| expires <= now) {
            return Err(SignatureFault::NotFresh);
        }
        Ok(())
    }

    /// Whether the signature is by this secret; compared in constant time.
    pub fn matches(&self, secret: &[u8]) -> bool {
        Hmac::<Sha256>::new_from_slice(secret)
            .map(|mac| mac.chain_update(self.base.as_bytes()))
            .is_ok_and(|mac| mac.verify_slice(&self.signature).is_ok())
    }
}

/// A field as a dictionary; its lines are one (RFC 9651 section 4.2).
fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Result<Dictionary, SignatureFault> {
    let mut lines = Vec::new();
    for line in headers.get_all(name) {
        lines.push(line.to_str().map_err(|_| SignatureFault::Malformed)?);
    }
    let text = lines.join(", ");
    if text.len() > MAX_FIELD {
        return Err(SignatureFault::Malformed);
    }
    Parser::new(&text).parse().map_err(|_| SignatureFault::Malformed)
}

fn text<'a>(list: &'a InnerList, name: &str) -> Option<&'a str> {
    let value: &BareItem = list.params.get(name)?;
    value.as_string().map(sfv::StringRef::as_str)
}

fn seconds(list: &InnerList, name: &str) -> Option<i64> {
    let value: &BareItem = list.params.get(name)?;
    value.as_integer().map(i64::from)
}

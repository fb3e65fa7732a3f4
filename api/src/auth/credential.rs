//! What a request is authenticated by.

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::PresentedKey;
use super::signature::{SignedRequest, is_signed};
use crate::problem::Problem;

/// What a request is authenticated by.
#[derive(Debug)]
pub enum Credential {
    /// The header `Authorization` (RFC 6750).
    Bearer(PresentedKey),
    /// A signature (RFC 9421) that covers what it must and is of now.
    Signature(Box<SignedRequest>),
}

impl Credential {
    /// What this request has. `Authorization` counts first: what stands before the hub may sign requests for itself.
    /// `scheme`: that of the hub's public address; `now`: seconds since 1970.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`] without any; [`Problem::SignatureRefused`].
    pub fn of(parts: &Parts, has_body: bool, scheme: &str, now: i64) -> Result<Self, Problem> {
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let key = header.to_str().ok().map(PresentedKey::from_authorization);
            return match key {
                Some(Ok(key)) => Ok(Self::Bearer(key)),
                _ => Err(Problem::Unauthenticated),
            };
        }
        if !is_signed(&parts.headers) {
            return Err(Problem::Unauthenticated);
        }
        let signed = SignedRequest::read(parts, scheme)?;
        signed.check(&parts.headers, has_body, now)?;
        Ok(Self::Signature(Box::new(signed)))
    }

    /// The key that it is said to be by.
    pub fn key_id(&self) -> &str {
        match self {
            Self::Bearer(key) => &key.key_id,
            Self::Signature(signed) => &signed.key_id,
        }
    }
}

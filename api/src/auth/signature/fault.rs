//! Why a signature is refused. Each is the sender's own doing and told in words; that a key does not exist, does not sign
//! or signed something else is one and the same.

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// The fields cannot be read.
    #[error(
        "Signature-Input and Signature are dictionaries with one member of the same name; see RFC 9421 section 4"
    )]
    Malformed,
    /// `alg` names another algorithm.
    #[error("The algorithm is hmac-sha256")]
    Algorithm,
    /// A component is covered that the hub does not know, is given twice, or is not in the request.
    #[error("A covered component is unknown, has parameters, is named twice or is not in the request")]
    Component,
    /// A component is not covered that must be.
    #[error("The signature does not cover {0}")]
    NotCovered(&'static str),
    /// A parameter is missing.
    #[error("The signature lacks the parameter {0}")]
    Missing(&'static str),
    /// `created` is too far from now, or `expires` has passed.
    #[error("The signature was not created within 300 seconds of now, or has expired")]
    NotFresh,
    /// `Content-Digest` is missing, or has no digest that the hub knows.
    #[error("A request with a body needs a Content-Digest with sha-256 or sha-512")]
    NoDigest,
    /// The key does not exist, is over, does not sign, or signed another message.
    #[error("The signature is not of this request by a key that holds")]
    Mismatch,
    /// The nonce was used before.
    #[error("The nonce was used before; take a new one for each request")]
    NonceUsed,
}

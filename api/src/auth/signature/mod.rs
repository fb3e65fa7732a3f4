//! HTTP message signatures (RFC 9421) with `hmac-sha256`, next to bearer keys: the secret never travels, and neither can a
//! request be changed on its way nor sent a second time.
//!
//! | step | where | refuses |
//! | --- | --- | --- |
//! | 1 read | [`SignedRequest::read`] | fields that are no structured fields, another algorithm |
//! | 2 policy | [`SignedRequest::check`] | a signature that covers too little, is too old, or is from the future |
//! | 3 key | [`super::KeyRecords`] | a key that does not exist, is over, or does not sign |
//! | 4 compare | [`SignedRequest::matches`], in constant time | a signature by another secret or over another message |
//! | 5 nonce | Redis | a signature that was used before |
//! | 6 body | [`digest`], while the body streams in | a body that is not the one of `Content-Digest` |
//!
//! Steps 1 and 2 cost nothing, and 5 comes after 4, so that strangers cannot fill Redis. No route has an effect before its
//! body was read to the end, so that step 6 comes in time.

mod base;
pub mod digest;
mod fault;
mod read;
#[cfg(test)]
mod tests;

pub use fault::SignatureFault;
pub use read::{SignedRequest, is_signed};

use std::time::Duration;

/// How far `created` may be from now, either way, in seconds: clocks differ, and requests travel.
pub const MAX_SKEW: i64 = 300;
/// How much longer a nonce is remembered than a signature with it is accepted: the clocks of the API's processes differ.
const NONCE_MARGIN: Duration = Duration::from_mins(1);

/// How long the nonce of a signature that was made at `created` is remembered from `now` on; both in seconds since 1970.
pub fn nonce_lifetime(created: i64, now: i64) -> Duration {
    let accepted_for = created.saturating_add(MAX_SKEW).saturating_sub(now);
    Duration::from_secs(u64::try_from(accepted_for).unwrap_or(0)) + NONCE_MARGIN
}

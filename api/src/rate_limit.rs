//! The headers `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): which rates limit a submission,
//! and how much of the tightest one is left.
//!
//! `q` is how many jobs a window of `w` seconds takes, `r` how many more it would take at once, `t` the seconds until the
//! oldest job leaves it: the windows slide, so from then on it takes one more, not all of them.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use flickrhub_job::lane::{Policy, Quotas};
use flickrhub_job::limits::RequestClass;

/// Every rate that limits the submission.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of the tightest one.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The name of a rate.
const fn name(policy: Policy) -> &'static str {
    match policy {
        Policy::Client => "client",
        Policy::User => "user",
        Policy::Class(RequestClass::Read) => "user-read",
        Policy::Class(RequestClass::Write) => "user-write",
        Policy::Class(RequestClass::Upload) => "user-upload",
    }
}

/// Adds both headers.
pub fn add(quotas: &Quotas, headers: &mut HeaderMap) {
    let policies = quotas.0.map(|quota| {
        let window = quota.policy.window().as_secs();
        format!("\"{}\";q={};w={window}", name(quota.policy), quota.limit)
    });
    let tightest = quotas.tightest();
    let left = format!(
        "\"{}\";r={};t={}",
        name(tightest.policy),
        tightest.remaining,
        tightest.reset
    );
    for (header, value) in [(RATE_LIMIT_POLICY, policies.join(", ")), (RATE_LIMIT, left)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(header, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_job::lane::Quota;

    use super::*;

    #[test]
    fn the_headers_name_every_rate_and_what_is_left_of_the_tightest() {
        let quota = |policy, limit, remaining, reset| Quota {
            policy,
            limit,
            remaining,
            reset,
        };
        let quotas = Quotas([
            quota(Policy::Client, 6000, 5999, 60),
            quota(Policy::User, 3500, 12, 1800),
            quota(Policy::Class(RequestClass::Upload), 200, 15, 90),
        ]);
        let mut headers = HeaderMap::new();
        add(&quotas, &mut headers);
        let policies = "\"client\";q=6000;w=60, \"user\";q=3500;w=3600, \"user-upload\";q=200;w=3600";
        assert_eq!(headers[RATE_LIMIT_POLICY], policies);
        assert_eq!(headers[RATE_LIMIT], "\"user\";r=12;t=1800");
    }
}

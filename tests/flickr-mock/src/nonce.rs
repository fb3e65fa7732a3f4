//! Timestamps and nonces (RFC 5849 section 3.3).

use std::collections::{BTreeMap, HashSet};

/// How far a request's clock may differ, in seconds.
const SKEW: u64 = 600;

/// Why a timestamp or nonce is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The timestamp is not near the server's time.
    Timestamp,
    /// The nonce was used with this timestamp, key and token before.
    Used,
}

/// The nonces seen, as long as their timestamps would still be accepted.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    seen: BTreeMap<u64, HashSet<String>>,
}

impl Nonces {
    /// Takes a nonce of `owner` (key and token) if it is new. All times are seconds since 1970.
    pub(crate) fn take(&mut self, owner: &str, nonce: &str, timestamp: u64, now: u64) -> Result<(), Refusal> {
        if timestamp.abs_diff(now) > SKEW {
            return Err(Refusal::Timestamp);
        }
        // What is too old to be accepted need not be remembered.
        self.seen = self.seen.split_off(&now.saturating_sub(SKEW));
        let fresh = self
            .seen
            .entry(timestamp)
            .or_default()
            .insert(format!("{owner}\n{nonce}"));
        if fresh { Ok(()) } else { Err(Refusal::Used) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_per_owner_and_timestamp() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.take("key", "n", 1000, 1000), Ok(()));
        assert_eq!(nonces.take("key", "n", 1000, 1000), Err(Refusal::Used));
        assert_eq!(nonces.take("key", "n", 1001, 1000), Ok(()));
        assert_eq!(nonces.take("other", "n", 1000, 1000), Ok(()));
    }

    #[test]
    fn old_and_future_timestamps_are_refused_and_forgotten() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.take("key", "n", 1000, 1601), Err(Refusal::Timestamp));
        assert_eq!(nonces.take("key", "n", 2000, 1399), Err(Refusal::Timestamp));
        assert_eq!(nonces.take("key", "n", 1000, 1600), Ok(()));
        assert_eq!(nonces.take("key", "n", 3000, 3000), Ok(()));
        assert_eq!(nonces.seen.len(), 1);
    }
}

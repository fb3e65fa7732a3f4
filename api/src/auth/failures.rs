//! How many failed authentications are answered with the work that they cost.
//!
//! Each key id and each address has so many; then what claims to be the key, or comes from the address, is refused without a
//! look. That never meets a key that was verified in this process lately, so nobody can shut out a client that is at work.
//! A client behind the same address as an attacker, whose key this process has not seen for an hour, has to wait: tell the
//! hub of the proxies before it (`api.trustedProxies`), so that addresses are those of callers.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::rate::{Meter, Rate};
use crate::address::network_of;
use crate::problem::Problem;

/// Failures of one address (IPv6: one /64). Each may cost a read in MongoDB.
const OF_ADDRESS: Rate = Rate {
    interval: Duration::from_millis(200),
    burst: 50,
};
/// Failures of one key id, which exists: each costs a bcrypt run, a quarter of a second of processor time.
const OF_KEY: Rate = Rate {
    interval: Duration::from_secs(2),
    burst: 10,
};
/// Addresses, and key ids, that are counted at a time.
const CAPACITY: usize = 20_000;

/// The failures of this process.
#[derive(Debug)]
pub(super) struct Failures {
    addresses: Meter<IpAddr>,
    keys: Meter<String>,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            addresses: Meter::new(CAPACITY),
            keys: Meter::new(CAPACITY),
        }
    }
}

impl Failures {
    /// Whether a key that may turn out wrong is looked at.
    ///
    /// # Errors
    /// [`Problem::TooManyFailures`], if there were too many.
    pub(super) fn check(&self, key_id: &str, address: Option<IpAddr>, now: Instant) -> Result<(), Problem> {
        let of_address =
            address.and_then(|address| self.addresses.wait(&network_of(address), OF_ADDRESS, now));
        let of_key = self.keys.wait(key_id, OF_KEY, now);
        match of_address.max(of_key) {
            Some(retry_after) => Err(Problem::TooManyFailures { retry_after }),
            None => Ok(()),
        }
    }

    /// Counts one that does not exist.
    pub(super) fn count_unknown(&self, address: Option<IpAddr>, now: Instant) {
        if let Some(address) = address {
            self.addresses.count(network_of(address), OF_ADDRESS, now);
        }
    }

    /// Counts a secret that was wrong.
    pub(super) fn count_wrong(&self, key_id: &str, address: Option<IpAddr>, now: Instant) {
        self.keys.count(key_id.to_owned(), OF_KEY, now);
        self.count_unknown(address, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failures_of_a_key_and_of_an_address_are_bounded_and_pass() {
        let (failures, now) = (Failures::default(), Instant::now());
        let (here, there) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        for _ in 0..10 {
            assert_eq!(failures.check("k1", here, now), Ok(()));
            failures.count_wrong("k1", here, now);
        }
        assert!(
            failures.check("k1", there, now).is_err(),
            "the key, from anywhere"
        );
        assert_eq!(failures.check("k2", here, now), Ok(()), "another key");
        for _ in 10..50 {
            failures.count_unknown(here, now);
        }
        assert!(failures.check("k2", here, now).is_err(), "the address, any key");
        assert_eq!(failures.check("k2", there, now), Ok(()));
        let later = now + Duration::from_secs(2);
        assert_eq!(failures.check("k1", here, later), Ok(()));
    }
}

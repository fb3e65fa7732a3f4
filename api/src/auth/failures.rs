//! How many failed authentications are answered with the work that they cost.
//!
//! Each address has so many, each key id from one address, and each key id from anywhere; then what is claimed is refused
//! without a look. That never meets a key that was verified in this process lately, so nobody can shut out a client that is
//! at work. Nor can somebody at one address shut out a client at another whose key this process has not seen for an hour: of
//! a key from anywhere there are many more failures than one address may have. It takes many addresses to use those up.
//! A client behind the same address as an attacker has to wait: tell the hub of the proxies before it
//! (`api.trustedProxies`), so that addresses are those of callers.

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
/// Failures of one key id, which exists, from one address: each costs a bcrypt run, a good part of a second of processor
/// time.
const OF_KEY_AND_ADDRESS: Rate = Rate {
    interval: Duration::from_secs(2),
    burst: 10,
};
/// The same from anywhere.
const OF_KEY: Rate = Rate {
    interval: Duration::from_millis(250),
    burst: 200,
};
/// Addresses, and key ids, that are counted at a time.
const CAPACITY: usize = 20_000;

/// The failures of this process.
#[derive(Debug)]
pub(super) struct Failures {
    addresses: Meter<IpAddr>,
    /// Of a key id, and of a key id and an address.
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
        let of_both = self.keys.wait(&both(key_id, address), OF_KEY_AND_ADDRESS, now);
        match of_address.max(of_key).max(of_both) {
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
        self.keys.count(both(key_id, address), OF_KEY_AND_ADDRESS, now);
        self.count_unknown(address, now);
    }
}

/// A key id has no spaces, so this is none of another pair, nor a key id alone.
fn both(key_id: &str, address: Option<IpAddr>) -> String {
    match address {
        Some(address) => format!("{key_id} {}", network_of(address)),
        None => format!("{key_id} "),
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
        assert!(failures.check("k1", here, now).is_err(), "the key, from here");
        assert_eq!(
            failures.check("k1", there, now),
            Ok(()),
            "nobody shuts out a client that is elsewhere"
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

    #[test]
    fn the_failures_of_a_key_are_bounded_from_however_many_addresses_they_come() {
        let (failures, now) = (Failures::default(), Instant::now());
        let mut looked_at = 0;
        for number in 0..1000_u16 {
            let address = IpAddr::from([10, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]]);
            if failures.check("k1", Some(address), now).is_ok() {
                looked_at += 1;
                failures.count_wrong("k1", Some(address), now);
            }
        }
        assert_eq!(looked_at, 200);
        assert!(
            failures
                .check("k1", None, now + Duration::from_millis(250))
                .is_ok()
        );
    }
}

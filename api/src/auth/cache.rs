//! What bcrypt said of keys that were presented lately, so that a key which comes again costs microseconds.
//!
//! It remembers what the secret is, not what its client may do: whether the key still exists, and with which scopes, is
//! asked again every few seconds ([`super::KeyRecords`]). An entry belongs to the hash that it was compared with, so that a
//! secret which was replaced under the same key id is compared anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// A bounded set of pairs of a key and a stored hash. Of either only the SHA-256 is kept.
#[derive(Debug)]
pub(super) struct ComparedKeys {
    lifetime: Duration,
    capacity: usize,
    entries: Mutex<HashMap<[u8; 32], Entry>>,
}

#[derive(Debug)]
struct Entry {
    hash: [u8; 32],
    until: Instant,
}

impl ComparedKeys {
    /// Remembers at most `capacity` keys, each for `lifetime`.
    pub(super) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self {
            lifetime,
            capacity,
            entries: Mutex::default(),
        }
    }

    /// Whether the key of this digest was compared with `hash`.
    pub(super) fn contains(&self, digest: &[u8; 32], hash: &str, now: Instant) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(digest)
            .is_some_and(|entry| entry.until > now && entry.hash == of(hash))
    }

    /// Whether a key of this digest was compared with anything.
    pub(super) fn knows(&self, digest: &[u8; 32], now: Instant) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(digest).is_some_and(|entry| entry.until > now)
    }

    /// Remembers that the key was compared with `hash`. Where there is no room, what ran out goes, and if nothing did,
    /// everything: the keys in use are back after one comparison each.
    pub(super) fn insert(&self, digest: [u8; 32], hash: &str, now: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity {
            entries.retain(|_, entry| entry.until > now);
        }
        if entries.len() >= self.capacity {
            entries.clear();
        }
        entries.insert(
            digest,
            Entry {
                hash: of(hash),
                until: now + self.lifetime,
            },
        );
    }
}

fn of(hash: &str) -> [u8; 32] {
    Sha256::digest(hash).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_believed_until_its_time_is_up() {
        let (keys, start) = (ComparedKeys::new(Duration::from_secs(30), 10), Instant::now());
        keys.insert([1; 32], "hash", start);
        assert!(keys.contains(&[1; 32], "hash", start + Duration::from_secs(29)));
        assert!(!keys.contains(&[1; 32], "hash", start + Duration::from_secs(30)));
        assert!(!keys.contains(&[2; 32], "hash", start));
    }

    #[test]
    fn a_comparison_with_another_hash_says_nothing() {
        let (keys, start) = (ComparedKeys::new(Duration::from_secs(30), 10), Instant::now());
        keys.insert([1; 32], "hash", start);
        assert!(!keys.contains(&[1; 32], "another", start));
    }

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        let (keys, start) = (ComparedKeys::new(Duration::from_secs(30), 4), Instant::now());
        for digest in 0..100_u8 {
            keys.insert([digest; 32], "hash", start);
            assert!(keys.entries.lock().map_or(usize::MAX, |entries| entries.len()) <= 4);
        }
    }

    #[test]
    fn what_ran_out_makes_room_first() {
        let (keys, start) = (ComparedKeys::new(Duration::from_secs(30), 2), Instant::now());
        keys.insert([1; 32], "hash", start);
        keys.insert([2; 32], "hash", start + Duration::from_secs(20));
        let now = start + Duration::from_secs(31);
        keys.insert([3; 32], "hash", now);
        assert!(keys.contains(&[2; 32], "hash", now) && keys.contains(&[3; 32], "hash", now));
    }
}

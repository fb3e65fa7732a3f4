//! Verified API keys, remembered for a short time, so that a hot key costs microseconds instead of a bcrypt run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Caller;

/// How long a verified key is believed, counted from the end of its verification. A key that is revoked, or whose client
/// loses a scope, works as before until then.
const LIFETIME: Duration = Duration::from_secs(30);
/// The most keys that are remembered.
const CAPACITY: usize = 10_000;

/// A bounded map from the SHA-256 of a key to the caller it stands for.
///
/// Only keys that were verified get in, so strangers cannot fill it. Of the secret only the digest is kept.
#[derive(Debug)]
pub struct VerifiedKeys {
    lifetime: Duration,
    capacity: usize,
    entries: Mutex<HashMap<[u8; 32], Entry>>,
}

#[derive(Debug)]
struct Entry {
    caller: Arc<Caller>,
    until: Instant,
}

impl Default for VerifiedKeys {
    fn default() -> Self {
        Self::new(LIFETIME, CAPACITY)
    }
}

impl VerifiedKeys {
    /// Remembers at most `capacity` keys, each for `lifetime`.
    pub fn new(lifetime: Duration, capacity: usize) -> Self {
        Self {
            lifetime,
            capacity,
            entries: Mutex::default(),
        }
    }

    /// Who presented the key of this digest, if that was verified lately.
    pub fn get(&self, digest: &[u8; 32], now: Instant) -> Option<Arc<Caller>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(digest)
            .filter(|entry| entry.until > now)
            .map(|entry| Arc::clone(&entry.caller))
    }

    /// Remembers a key that was verified just now. Where there is no room, what ran out goes, and if nothing did,
    /// everything: the keys in use are back after one verification each.
    pub fn insert(&self, digest: [u8; 32], caller: Arc<Caller>, now: Instant) {
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
                caller,
                until: now + self.lifetime,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(id: &str) -> Arc<Caller> {
        Arc::new(Caller {
            client_id: id.to_owned(),
            key_id: "k".to_owned(),
            scopes: Vec::new(),
        })
    }

    #[test]
    fn a_key_is_believed_until_its_time_is_up() {
        let (cache, start) = (VerifiedKeys::new(Duration::from_secs(30), 10), Instant::now());
        cache.insert([1; 32], caller("a"), start);
        assert_eq!(
            cache.get(&[1; 32], start + Duration::from_secs(29)),
            Some(caller("a"))
        );
        assert_eq!(cache.get(&[1; 32], start + Duration::from_secs(30)), None);
        assert_eq!(cache.get(&[2; 32], start), None);
    }

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        let (cache, start) = (VerifiedKeys::new(Duration::from_secs(30), 4), Instant::now());
        for digest in 0..100_u8 {
            cache.insert([digest; 32], caller("a"), start);
            assert!(cache.entries.lock().map_or(usize::MAX, |entries| entries.len()) <= 4);
        }
    }

    #[test]
    fn what_ran_out_makes_room_first() {
        let (cache, start) = (VerifiedKeys::new(Duration::from_secs(30), 2), Instant::now());
        let later = start + Duration::from_secs(20);
        cache.insert([1; 32], caller("old"), start);
        cache.insert([2; 32], caller("new"), later);
        let now = start + Duration::from_secs(31);
        cache.insert([3; 32], caller("newest"), now);
        assert_eq!(cache.get(&[2; 32], now), Some(caller("new")));
        assert_eq!(cache.get(&[3; 32], now), Some(caller("newest")));
    }
}

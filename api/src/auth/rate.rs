//! How often something may happen, in this process: the generic cell rate algorithm (ITU-T I.371, annex A), which keeps
//! one time for each thing that it counts.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// `burst` times at once, and then once in each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The time after which one more is allowed; more than nothing.
    pub interval: Duration,
    /// How many are allowed at once; at least one.
    pub burst: u32,
}

impl Rate {
    /// So many in a minute, a sixth of which at once, so that ten seconds of rest are made up for.
    pub(crate) fn per_minute(count: u32) -> Self {
        let count = count.max(1);
        Self {
            interval: Duration::from_mins(1) / count,
            burst: (count / 6).max(1),
        }
    }

    /// How long to wait until one more is allowed; `None`: it is now. `full_at`: when everything would be allowed again.
    fn wait(self, full_at: Option<Instant>, now: Instant) -> Option<Duration> {
        let ahead = full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        let wait = (ahead + self.interval).saturating_sub(self.interval.saturating_mul(self.burst));
        (!wait.is_zero()).then_some(wait)
    }

    /// When everything is allowed again after one more.
    fn after(self, full_at: Option<Instant>, now: Instant) -> Instant {
        full_at.map_or(now, |full_at| full_at.max(now)) + self.interval
    }
}

/// A bounded number of things that are counted apart.
#[derive(Debug)]
pub(crate) struct Meter<K> {
    capacity: usize,
    full_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> Meter<K> {
    /// Counts at most `capacity` things.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            full_at: Mutex::default(),
        }
    }

    /// How long to wait until `key` may happen once more; `None`: it may now. Counts nothing.
    pub(crate) fn wait<Q: Eq + Hash + ?Sized>(&self, key: &Q, rate: Rate, now: Instant) -> Option<Duration>
    where
        K: Borrow<Q>,
    {
        rate.wait(self.counts().get(key).copied(), now)
    }

    /// Counts that `key` happened, whether or not it was allowed.
    pub(crate) fn count(&self, key: K, rate: Rate, now: Instant) {
        let mut counts = self.counts();
        Self::make_room(&mut counts, self.capacity, now);
        let full_at = rate.after(counts.get(&key).copied(), now);
        counts.insert(key, full_at);
    }

    /// Counts `key` if it may happen now.
    ///
    /// # Errors
    /// How long to wait, if it may not.
    pub(crate) fn take<Q>(&self, key: &Q, rate: Rate, now: Instant) -> Result<(), Duration>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut counts = self.counts();
        if let Some(full_at) = counts.get_mut(key) {
            if let Some(wait) = rate.wait(Some(*full_at), now) {
                return Err(wait);
            }
            *full_at = rate.after(Some(*full_at), now);
        } else {
            Self::make_room(&mut counts, self.capacity, now);
            counts.insert(key.to_owned(), rate.after(None, now));
        }
        Ok(())
    }

    /// Where there is no room, what is as if it had never been counted goes, and if nothing is, everything.
    fn make_room(counts: &mut HashMap<K, Instant>, capacity: usize, now: Instant) {
        if counts.len() >= capacity {
            counts.retain(|_, full_at| *full_at > now);
        }
        if counts.len() >= capacity {
            counts.clear();
        }
    }

    /// Counts are whole at any time, also when somebody panicked.
    fn counts(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate {
        interval: Duration::from_secs(1),
        burst: 3,
    };

    #[test]
    fn a_burst_is_allowed_and_then_one_in_each_interval() {
        let (meter, start) = (Meter::<String>::new(10), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for _ in 0..3 {
            assert_eq!(meter.take("a", RATE, start), Ok(()));
        }
        assert_eq!(meter.take("a", RATE, at(400)), Err(Duration::from_millis(600)));
        assert_eq!(meter.take("b", RATE, at(400)), Ok(()), "another is counted apart");
        assert_eq!(meter.take("a", RATE, at(1000)), Ok(()));
        assert!(meter.take("a", RATE, at(1000)).is_err());
        for _ in 0..3 {
            assert_eq!(meter.take("a", RATE, at(10_000)), Ok(()));
        }
    }

    #[test]
    fn to_ask_counts_nothing() {
        let (meter, now) = (Meter::<String>::new(10), Instant::now());
        for _ in 0..10 {
            assert_eq!(meter.wait("a", RATE, now), None);
        }
        for _ in 0..3 {
            meter.count("a".to_owned(), RATE, now);
        }
        assert_eq!(meter.wait("a", RATE, now), Some(Duration::from_secs(1)));
    }

    #[test]
    fn it_never_counts_more_things_than_it_has_room_for() {
        let (meter, now) = (Meter::<u32>::new(4), Instant::now());
        for key in 0..100 {
            meter.count(key, RATE, now);
            assert!(meter.counts().len() <= 4);
        }
    }

    proptest! {
        #[test]
        fn in_no_time_is_more_allowed_than_the_burst_and_what_the_time_adds(pauses in prop::collection::vec(0..3000_u64, 1..100)) {
            let (meter, start) = (Meter::<String>::new(10), Instant::now());
            let (mut now, mut allowed) = (start, 0_u64);
            for pause in pauses {
                now += Duration::from_millis(pause);
                allowed += u64::from(meter.take("a", RATE, now).is_ok());
                let most = u64::from(RATE.burst) + now.duration_since(start).as_secs();
                prop_assert!(allowed <= most, "{} of {}", allowed, most);
            }
        }
    }
}

//! When a callback is tried again: exponential backoff with full jitter, over a day.
//!
//! The pause after a try is drawn evenly between nothing and a ceiling that grows with each try ("full jitter"), so that
//! callbacks that failed together are spread over the whole pause when they come again. How many tries fit into a day is
//! therefore left to chance (about seventeen); that it is a whole day is not:
//!
//! | a callback is given up when | why |
//! | --- | --- |
//! | its try fails a day or more after the first one was due, and was the eighth or a later one | a receiver may be down for a day; the number is for callbacks that an outage of our own kept from being sent meanwhile |
//! | its fiftieth try fails | no row of short pauses goes on for ever; less likely within a day than one in a million million |
//!
//! As no pause of the schedule is longer than four hours, the last try comes at most 28 hours after the first. A receiver
//! that asks for a longer pause by `Retry-After` gets it, up to a day.

use std::time::Duration;

use rand::{Rng, RngExt};

/// For how long a callback is tried, from when it was due first.
pub const PERIOD: Duration = Duration::from_hours(24);
/// So many tries a callback has at least, however long they took to be made.
pub const LEAST_TRIES: u32 = 8;
/// So many tries a callback has at most.
pub const MOST_TRIES: u32 = 50;

/// The longest pause after the first, second, … try, in seconds: soon at first, for a receiver that restarts, then rarely,
/// for one that is down for the night. The last one is repeated.
const CEILINGS: [u64; 7] = [10, 60, 300, 1_800, 5_400, 10_800, 14_400];

/// The longest pause after so many tries.
pub fn longest_pause(attempts: u32) -> Duration {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let last = CEILINGS[CEILINGS.len() - 1];
    Duration::from_secs(CEILINGS.get(index).copied().unwrap_or(last))
}

/// The pause before the next try after `attempts` tries, the last of which failed `elapsed` after the first was due; `None`
/// when the callback is given up. A try is one that could be made: what an outage of our own kept us from sending is none.
pub fn next_try(attempts: u32, elapsed: Duration, rng: &mut impl Rng) -> Option<Duration> {
    let day_is_over = elapsed >= PERIOD && attempts >= LEAST_TRIES;
    if day_is_over || attempts >= MOST_TRIES {
        return None;
    }
    Some(longest_pause(attempts).mul_f64(rng.random_range(0.0..=1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    /// The pauses of a callback whose receiver never takes it, each try lasting no time.
    fn pauses(seed: u64) -> Vec<Duration> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut elapsed = Duration::ZERO;
        (1..)
            .map_while(|attempts| {
                let pause = next_try(attempts, elapsed, &mut rng)?;
                elapsed += pause;
                Some(pause)
            })
            .collect()
    }

    fn ceilings() -> impl Iterator<Item = Duration> {
        (1..).map(longest_pause)
    }

    proptest! {
        #[test]
        fn a_receiver_that_is_down_for_a_day_gets_its_callback(seed: u64) {
            let total: Duration = pauses(seed).iter().sum();
            prop_assert!(total >= PERIOD, "{total:?}");
            prop_assert!(total <= PERIOD + longest_pause(MOST_TRIES), "{total:?}");
        }

        #[test]
        fn no_pause_is_longer_than_its_ceiling_and_there_are_not_many(seed: u64) {
            let pauses = pauses(seed);
            prop_assert!(pauses.iter().zip(ceilings()).all(|(pause, ceiling)| *pause <= ceiling));
            let tries = pauses.len() + 1;
            prop_assert!((8..50).contains(&tries), "{tries}");
        }

        #[test]
        fn a_callback_that_an_outage_kept_from_being_sent_has_tries_left(attempts in 0..LEAST_TRIES, days in 1..100_u64, seed: u64) {
            let elapsed = PERIOD * u32::try_from(days).unwrap_or(1);
            prop_assert!(next_try(attempts, elapsed, &mut StdRng::seed_from_u64(seed)).is_some());
        }

        #[test]
        fn tries_end(attempts in MOST_TRIES.., seconds in 0..1_000_000_u64, seed: u64) {
            let elapsed = Duration::from_secs(seconds);
            prop_assert_eq!(next_try(attempts, elapsed, &mut StdRng::seed_from_u64(seed)), None);
        }
    }

    #[test]
    fn ceilings_grow_to_four_hours_and_sum_to_more_than_a_day() {
        let ceilings: Vec<_> = ceilings().take(11).collect();
        assert!(ceilings.is_sorted());
        assert_eq!(ceilings.last(), Some(&Duration::from_hours(4)));
        assert!(ceilings.iter().sum::<Duration>() >= PERIOD);
    }

    #[test]
    fn jitter_is_full_and_even() {
        let mut rng = StdRng::seed_from_u64(7);
        let draws: Vec<_> = (0..10_000)
            .filter_map(|_| next_try(7, Duration::ZERO, &mut rng))
            .map(|pause| pause.as_secs_f64() / 14_400.0)
            .collect();
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        for tenth in 0..10 {
            let low = f64::from(tenth) / 10.0;
            let within = draws
                .iter()
                .filter(|draw| (low..low + 0.1).contains(*draw))
                .count();
            assert!((850..1150).contains(&within), "{within} from {low}");
        }
    }
}

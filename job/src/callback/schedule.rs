//! When a callback is tried again.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The pauses after the first, second, … try, in seconds: soon at first, for a receiver that restarts, then rarely,
/// for one that is down for the night. In all about a day.
const PAUSES: [u64; 10] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 36_000];
/// Each pause is longer or shorter by up to this part of it, so that callbacks that failed together do not come
/// together again.
const JITTER: f64 = 0.2;

/// The pause before the next try after `attempts` tries, or `None` when the callback is given up. A try is one that could
/// be made: what an outage of our own kept us from sending is none.
pub fn next_try(attempts: u32, rng: &mut impl Rng) -> Option<Duration> {
    let index = usize::try_from(attempts.max(1) - 1).ok()?;
    let pause = Duration::from_secs(*PAUSES.get(index)?);
    Some(pause.mul_f64(rng.random_range(1.0 - JITTER..=1.0 + JITTER)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn pauses(seed: u64) -> Vec<Duration> {
        let mut rng = StdRng::seed_from_u64(seed);
        (1..).map_while(|attempts| next_try(attempts, &mut rng)).collect()
    }

    proptest! {
        #[test]
        fn a_callback_is_given_up_after_about_a_day(seed: u64) {
            let total: Duration = pauses(seed).iter().sum();
            let hours = total.as_secs_f64() / 3600.0;
            prop_assert!((18.0..=29.0).contains(&hours), "{hours} h");
        }

        #[test]
        fn pauses_grow(seed: u64) {
            prop_assert!(pauses(seed).is_sorted());
        }

        #[test]
        fn a_callback_that_was_tried_often_is_not_tried_again(attempts in 11u32.., seed: u64) {
            prop_assert_eq!(next_try(attempts, &mut StdRng::seed_from_u64(seed)), None);
        }
    }

    #[test]
    fn the_second_try_comes_soon() {
        assert!(
            pauses(1)
                .first()
                .is_some_and(|pause| *pause <= Duration::from_secs(6))
        );
    }
}

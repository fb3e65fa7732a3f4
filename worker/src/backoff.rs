//! How long to wait before the next try: exponential backoff with full jitter.
//!
//! Full jitter spreads tries that failed together over the whole interval, which loads a recovering server least; see
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A schedule of waits that doubles from `base` and never passes `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first try.
    pub base: Duration,
    /// The longest wait after any try.
    pub cap: Duration,
}

/// Between attempts of a job.
pub const JOB_ATTEMPTS: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_mins(5),
};

/// Between tries to reach our own data tier, while a message is held.
pub const DATA_TIER: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
};

/// The longest `Retry-After` that is honoured: a larger one is taken for a mistake of the sender.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

impl Backoff {
    /// The longest wait after try `tries` (from 1): `base × 2^(tries − 1)`, at most `cap`.
    pub fn ceiling(self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// A wait after try `tries` (from 1), uniform between nothing and [`Backoff::ceiling`].
    pub fn full_jitter<R: Rng + ?Sized>(self, tries: u32, rng: &mut R) -> Duration {
        self.ceiling(tries).mul_f64(rng.random_range(0.0..=1.0))
    }

    /// [`Backoff::full_jitter`] from the thread's own generator.
    pub fn wait(self, tries: u32) -> Duration {
        self.full_jitter(tries, &mut rand::rng())
    }

    /// A wait after try `tries` (from 1) that is not shorter than the server asked for.
    pub fn after<R: Rng + ?Sized>(self, tries: u32, retry_after: Option<Duration>, rng: &mut R) -> Duration {
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        self.full_jitter(tries, rng).max(asked)
    }
}

/// [`jittered`] from the thread's own generator.
pub fn about(period: Duration) -> Duration {
    jittered(period, &mut rand::rng())
}

/// `period` changed by up to a fifth in either direction, so that replicas that started together drift apart.
pub fn jittered<R: Rng + ?Sized>(period: Duration, rng: &mut R) -> Duration {
    period.mul_f64(rng.random_range(0.8..=1.2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_ceiling_doubles_until_the_cap() {
        let seconds: Vec<u64> = (1..=11).map(|n| JOB_ATTEMPTS.ceiling(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_its_ceiling_nor_the_cap(tries in any::<u32>(), seed in any::<u64>()) {
            let wait = JOB_ATTEMPTS.full_jitter(tries, &mut StdRng::seed_from_u64(seed));
            prop_assert!(wait <= JOB_ATTEMPTS.ceiling(tries));
            prop_assert!(wait <= JOB_ATTEMPTS.cap);
        }

        #[test]
        fn a_wait_is_never_shorter_than_the_server_asked(
            tries in 1..50_u32, asked in 0..=3600_u64, seed in any::<u64>(),
        ) {
            let asked = Duration::from_secs(asked);
            let wait = JOB_ATTEMPTS.after(tries, Some(asked), &mut StdRng::seed_from_u64(seed));
            prop_assert!(wait >= asked);
            prop_assert!(wait <= asked.max(JOB_ATTEMPTS.cap));
        }

        #[test]
        fn an_absurd_retry_after_does_not_park_a_job_for_ever(asked in any::<u64>(), seed in any::<u64>()) {
            let asked = Duration::from_secs(asked);
            let wait = JOB_ATTEMPTS.after(1, Some(asked), &mut StdRng::seed_from_u64(seed));
            prop_assert!(wait <= LONGEST_RETRY_AFTER);
        }

        #[test]
        fn a_jittered_period_stays_within_a_fifth(seed in any::<u64>()) {
            let period = jittered(Duration::from_secs(10), &mut StdRng::seed_from_u64(seed));
            prop_assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&period));
        }
    }
}

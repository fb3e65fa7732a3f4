//! When a client that was refused may try again.

use std::time::Duration;

/// A place among `unfinished` jobs, the oldest of which was accepted `oldest_age` ago, is expected to be free after
/// this time; 1 to 60 s, in whole seconds.
///
/// The place is taken to be full and steady: one job leaves every so often, the oldest first, and another one comes for it.
/// Then the oldest has been there for all but the last of `unfinished` such times, so none of them is longer than
/// `oldest_age / (unfinished - 1)`: after this a job has left, if one leaves once a minute at least. In a burst that says
/// too little, but the answer grows as the burst ages.
pub(super) fn retry_after(unfinished: u64, oldest_age: Duration) -> Duration {
    let others = u128::from(unfinished.saturating_sub(1).max(1));
    let seconds = oldest_age.as_millis().div_ceil(others).div_ceil(1000);
    Duration::from_secs(u64::try_from(seconds.clamp(1, 60)).unwrap_or(60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_time_in_which_one_job_leaves() {
        assert_eq!(retry_after(10, Duration::from_secs(45)), Duration::from_secs(5));
        assert_eq!(retry_after(4, Duration::from_mins(1)), Duration::from_secs(20));
        assert_eq!(retry_after(1000, Duration::from_secs(3)), Duration::from_secs(1));
        assert_eq!(retry_after(1, Duration::from_hours(1)), Duration::from_mins(1));
    }

    proptest! {
        #[test]
        fn it_is_between_a_second_and_a_minute(unfinished: u64, age in 0..=u64::MAX / 1000) {
            let wait = retry_after(unfinished, Duration::from_millis(age));
            prop_assert!((1..=60).contains(&wait.as_secs()) && wait.subsec_nanos() == 0);
        }

        /// A full queue by a clock of its own: one job leaves every `pace` ms, the oldest first, and another one takes its
        /// place at once, to leave as the last of them. Whoever is refused, at any moment, finds a place after waiting as told.
        #[test]
        fn who_waits_as_told_finds_that_a_job_has_left(
            unfinished in 2..2_000_u64, pace in 1..=60_000_u64, moment in 0..60_000_u64,
        ) {
            let leaves_in = pace - moment % pace;
            let age = Duration::from_millis(unfinished * pace - leaves_in);
            let wait = retry_after(unfinished, age);
            prop_assert!(wait >= Duration::from_millis(leaves_in), "{wait:?} of {leaves_in} ms");
        }
    }
}

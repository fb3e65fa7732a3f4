//! When a client that was refused may try again.

use std::time::Duration;

/// A place among `unfinished` jobs, the oldest of which was accepted `oldest_age` ago, is expected to be free after
/// this time; 1 to 60 s, in whole seconds.
///
/// By Little's law, where jobs stay for `oldest_age` and `unfinished` are there, one leaves every
/// `oldest_age / unfinished`. In a burst that says too little, but the answer grows as the burst ages.
pub(super) fn retry_after(unfinished: u64, oldest_age: Duration) -> Duration {
    let milliseconds = oldest_age.as_millis() / u128::from(unfinished.max(1));
    let seconds = milliseconds.div_ceil(1000).clamp(1, 60);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_time_in_which_one_job_leaves() {
        assert_eq!(retry_after(10, Duration::from_secs(45)), Duration::from_secs(5));
        assert_eq!(retry_after(1000, Duration::from_secs(3)), Duration::from_secs(1));
        assert_eq!(retry_after(1, Duration::from_hours(1)), Duration::from_mins(1));
    }

    proptest! {
        #[test]
        fn it_is_between_a_second_and_a_minute(unfinished: u64, age in 0..=u64::MAX / 1000) {
            let wait = retry_after(unfinished, Duration::from_millis(age));
            prop_assert!((1..=60).contains(&wait.as_secs()) && wait.subsec_nanos() == 0);
        }
    }
}

//! How long to wait after a failure.

use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Twice as long after each failure in a row, from one second to five minutes, less up to half of it by chance, so
/// that hubs that failed together do not try again together.
pub fn after(failures: u32) -> Duration {
    jittered(ceiling(failures))
}

/// The duration, less up to half of it by chance.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.5..=1.0))
}

fn ceiling(failures: u32) -> Duration {
    let doubled = 2_u32.checked_pow(failures.saturating_sub(1));
    doubled
        .and_then(|factor| FIRST.checked_mul(factor))
        .map_or(LONGEST, |wait| wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_five_minutes() {
        assert_eq!(ceiling(1), Duration::from_secs(1));
        assert_eq!(ceiling(4), Duration::from_secs(8));
        assert_eq!(ceiling(10), LONGEST);
        assert_eq!(ceiling(u32::MAX), LONGEST);
    }

    #[test]
    fn chance_takes_at_most_half() {
        for failures in 0..20 {
            let wait = after(failures);
            assert!(wait <= ceiling(failures) && wait >= ceiling(failures) / 2);
        }
    }
}

//! How long to wait after a failure.

use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Twice as long after each failure in a row, from one second to five minutes, less up to half of it by chance, so
/// that hubs that failed together do not try again together.
pub fn after(failures: u32) -> Duration {
    jittered(ceiling(failures))
}

/// The duration, less up to half of it by chance.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// How long something is looked at as often as it asks for.
const HASTE: Duration = Duration::from_mins(2);
/// The longest pause that waiting for long leads to.
const CALM: Duration = Duration::from_secs(20);

/// The pause between two looks at something that asks for `pause` and has lasted for `age`: what has not settled within
/// two minutes is looked at less and less often.
pub fn calmed(pause: Duration, age: Duration) -> Duration {
    let more = age.saturating_sub(HASTE) / 15;
    pause.saturating_add(more).min(CALM.max(pause))
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
    fn what_lasts_is_looked_at_less_often() {
        let asked = Duration::from_millis(700);
        let after = |seconds| calmed(asked, Duration::from_secs(seconds));
        assert_eq!((after(0), after(120)), (asked, asked));
        assert_eq!(after(150), Duration::from_millis(2_700));
        assert_eq!((after(600), after(1_000_000)), (CALM, CALM));
        let rare = Duration::from_secs(30);
        assert_eq!(calmed(rare, Duration::from_mins(10)), rare);
    }

    #[test]
    fn chance_takes_at_most_half() {
        for failures in 0..20 {
            let wait = after(failures);
            assert!(wait <= ceiling(failures) && wait >= ceiling(failures) / 2);
        }
    }
}

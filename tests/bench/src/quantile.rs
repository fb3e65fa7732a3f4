//! Quantiles of a sample that is held whole.

use std::time::Duration;

/// Times that were measured.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// The value that the share `q` (0 to 1) of the sample does not exceed (nearest rank); zero for an empty sample.
    pub fn quantile(&self, q: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(rank(sorted.len(), q)).copied().unwrap_or_default()
    }

    /// [`Times::quantile`] in milliseconds.
    pub fn quantile_ms(&self, q: f64) -> f64 {
        self.quantile(q).as_secs_f64() * 1e3
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "samples have far fewer than 2^52 members, and the share is clamped"
)]
fn rank(length: usize, q: f64) -> usize {
    let rank = (length as f64 * q.clamp(0.0, 1.0)).ceil() as usize;
    rank.saturating_sub(1)
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_member_of_the_sample() {
        let times: Times = (1..=100).rev().map(Duration::from_millis).collect();
        for (q, ms) in [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)] {
            assert_eq!(times.quantile(q), Duration::from_millis(ms), "{q}");
        }
        assert_eq!(Times::default().quantile(0.5), Duration::ZERO);
    }
}

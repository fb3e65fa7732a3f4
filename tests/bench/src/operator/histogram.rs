//! Quantiles of a Prometheus histogram, as `histogram_quantile` estimates them.

/// A histogram: upper bounds in seconds, each with how many values are not above it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    /// The histogram `name` of an exposition, summed over its labels.
    pub(crate) fn of(exposition: &str, name: &str) -> Self {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        let prefix = format!("{name}_bucket{{");
        for line in exposition.lines().filter_map(|line| line.strip_prefix(&prefix)) {
            let Some((labels, count)) = line.rsplit_once("} ") else {
                continue;
            };
            let bound = labels.split(',').find_map(|label| label.strip_prefix("le="));
            let bound = bound.map(|bound| bound.trim_matches('"'));
            let bound = bound.map(|bound| bound.parse().unwrap_or(f64::INFINITY));
            let (Some(bound), Ok(count)) = (bound, count.trim().parse::<f64>()) else {
                continue;
            };
            match buckets
                .iter_mut()
                .find(|(known, _)| known.total_cmp(&bound).is_eq())
            {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Self(buckets)
    }

    /// What came after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            let found = earlier
                .0
                .iter()
                .find(|(known, _)| known.total_cmp(&bound).is_eq());
            found.map_or(0.0, |(_, count)| *count)
        };
        Self(
            self.0
                .iter()
                .map(|(bound, count)| (*bound, count - before(*bound)))
                .collect(),
        )
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The value that the share `q` (0 to 1) does not exceed, in milliseconds; zero without values. Within a bucket values
    /// count as evenly spread.
    pub(crate) fn quantile_ms(&self, q: f64) -> f64 {
        let rank = q * self.count();
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= rank && *count > below {
                let high = if bound.is_finite() { *bound } else { low };
                return 1e3 * (low + (high - low) * (rank - below) / (count - below));
            }
            (low, below) = (*bound, *count);
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE t histogram\n\
        t_bucket{outcome=\"a\",le=\"0.01\"} 5\nt_bucket{outcome=\"a\",le=\"0.02\"} 9\nt_bucket{outcome=\"a\",le=\"+Inf\"} 10\n\
        t_bucket{outcome=\"b\",le=\"0.01\"} 5\nt_bucket{outcome=\"b\",le=\"0.02\"} 9\nt_bucket{outcome=\"b\",le=\"+Inf\"} 10\n";

    #[test]
    fn quantiles_are_interpolated_within_buckets_over_all_labels() {
        let histogram = Histogram::of(TEXT, "t");
        assert!((histogram.count() - 20.0).abs() < 1e-9);
        assert!((histogram.quantile_ms(0.5) - 10.0).abs() < 1e-9);
        assert!((histogram.quantile_ms(0.7) - 15.0).abs() < 1e-9);
        assert!(
            (histogram.quantile_ms(0.99) - 20.0).abs() < 1e-9,
            "no more is known"
        );
    }

    #[test]
    fn what_came_before_does_not_count() {
        let histogram = Histogram::of(TEXT, "t");
        assert!(histogram.since(&histogram).count() < 1e-9);
        assert!(histogram.since(&Histogram::default()) == histogram);
    }
}

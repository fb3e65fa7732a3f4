//! What the operator counts of itself.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

/// The operator's instruments.
#[derive(Clone)]
pub struct Metrics {
    reconciliations: HistogramVec,
    leader: IntGauge,
    watch_errors: IntCounterVec,
}

impl Metrics {
    /// Instruments on `registry`.
    ///
    /// # Errors
    /// When an instrument of the same name is there already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reconciliations = HistogramVec::new(
            HistogramOpts::new(
                "flickrhub_operator_reconciliation_seconds",
                "How long reconciliations of a FlickrHub took, by outcome.",
            )
            .buckets(vec![
                0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                30.0,
            ]),
            &["outcome"],
        )?;
        let leader = IntGauge::new(
            "flickrhub_operator_leader",
            "1 while this process holds the lease and reconciles, 0 while it stands by.",
        )?;
        let watch_errors = IntCounterVec::new(
            Opts::new(
                "flickrhub_operator_watch_errors_total",
                "Failures of watches of the Kubernetes API, by the kind that is watched.",
            ),
            &["kind"],
        )?;
        registry.register(Box::new(watch_errors.clone()))?;
        registry.register(Box::new(reconciliations.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        Ok(Self {
            reconciliations,
            leader,
            watch_errors,
        })
    }

    /// Counts a reconciliation.
    pub fn reconciled(&self, succeeded: bool, took: Duration) {
        let outcome = if succeeded { "success" } else { "failure" };
        self.reconciliations
            .with_label_values(&[outcome])
            .observe(took.as_secs_f64());
    }

    /// Counts a failure of the watch of a kind.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_errors.with_label_values(&[kind]).inc();
    }

    /// Notes whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

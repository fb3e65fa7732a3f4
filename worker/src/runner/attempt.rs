//! One attempt of a job that is claimed: prepare, call, decide.

use std::time::Instant;

use flickrhub_job::model::{Body, Job};
use jiff::Timestamp;

use super::Runner;
use crate::decision::{Attempt, Decision, Outcome, decide};
use crate::flickr_call::repeat;

impl Runner {
    /// Makes the attempt and decides what becomes of the job. Nothing is stored yet.
    pub(super) async fn attempt(&self, job: &Job) -> Decision {
        let started = Instant::now();
        let outcome = match self.prepare(job).await {
            Ok(signers) => {
                let open = |body: &Body| self.bodies.open(body);
                self.flickr.call(job, &signers, open, &self.metrics).await
            }
            Err(error) => {
                tracing::warn!(%error, "the call cannot be made");
                Outcome::Failed(error.failure())
            }
        };
        let attempt = Attempt {
            number: job.attempt,
            max: self.settings.max_attempts,
            repeat: repeat(job),
        };
        let decision = decide(attempt, outcome, Timestamp::now(), &mut rand::rng());
        self.metrics
            .worker_processing_time
            .with_label_values(&[self.queue.name(), decision.name()])
            .observe(started.elapsed().as_secs_f64());
        if let Decision::Retry { at, error } = &decision {
            tracing::info!(
                %at, error_code = error.code,
                "the attempt failed; the job is tried again"
            );
        }
        decision
    }
}

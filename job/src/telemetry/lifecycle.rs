//! The end of a job's life, reported by whichever process brought it about: a worker, the dispatcher, or the API for a job
//! that is cancelled.

use crate::model::{Job, JobState};
use crate::telemetry::Metrics;

/// Reports a job that this process has just moved: its lifecycle duration, the event `job_completed`, and `job_dlq` if it is
/// dead. Of a job that is not over there is nothing to report.
///
/// To be called once, by whoever made the transition.
pub fn report(job: &Job, metrics: &Metrics) {
    if !job.state.is_final() {
        return;
    }
    let finished = job.finished_at.unwrap_or(job.updated_at);
    let seconds = finished.duration_since(job.created_at).as_secs_f64().max(0.0);
    metrics
        .job_lifecycle_duration
        .with_label_values(&[job.queue.name(), job.state.name()])
        .observe(seconds);
    let error_code = job.error.as_ref().map(|error| error.code.as_str());
    if job.state == JobState::Dead {
        tracing::warn!(
            event = "job_dlq",
            job_id = %job.id,
            user_id = job.user_id,
            trace_id = job.trace.trace_id,
            queue = job.queue.name(),
            method = job.method,
            attempt = job.attempt,
            error_code,
            "the job is dead; it can be inspected and replayed"
        );
    }
    tracing::info!(
        event = "job_completed",
        job_id = %job.id,
        user_id = job.user_id,
        trace_id = job.trace.trace_id,
        queue = job.queue.name(),
        method = job.method,
        state = job.state.name(),
        attempt = job.attempt,
        seconds,
        error_code,
        "the job is over"
    );
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use super::*;
    use crate::store::fixture::finished_job;

    fn reported(state: JobState) -> (u64, f64) {
        let metrics = Metrics::new().unwrap();
        let job = finished_job(state);
        report(&job, &metrics);
        let duration = metrics
            .job_lifecycle_duration
            .with_label_values(&[job.queue.name(), state.name()]);
        (duration.get_sample_count(), duration.get_sample_sum())
    }

    #[test]
    fn a_job_that_is_over_is_counted_with_the_time_since_its_acceptance() {
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            let (count, seconds) = reported(state);
            assert_eq!(count, 1, "{state}");
            assert!((seconds - 120.0).abs() < 1e-6, "{state}: {seconds}");
        }
    }

    #[test]
    fn of_a_job_that_is_not_over_there_is_nothing_to_report() {
        for state in JobState::ALL.into_iter().filter(|state| !state.is_final()) {
            assert_eq!(reported(state).0, 0, "{state}");
        }
    }
}

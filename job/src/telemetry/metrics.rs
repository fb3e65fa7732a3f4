//! The instruments of the API, the workers, the dispatcher and the callbacks.
//!
//! Each process has all of them; what it never touches does not appear in its `/metrics`. Labels hold only what is
//! bounded: routes and methods by the tables of the code, users by the heaviest of each queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::process::ProcessCollector;
use crate::budget::Standing;
use crate::lane::LaneDepth;
use crate::queue::Queue;

/// Seconds; holds 0.5, the objective for API requests.
const REQUEST_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Seconds; holds 300 and 1,800, the objectives for the whole life of a job.
const LIFECYCLE_BUCKETS: [f64; 14] = [
    0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0,
];
/// Seconds, from a call that Flickr answers at once to a large upload.
const CALL_BUCKETS: [f64; 12] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Seconds; a receiver has 15 to answer.
const CALLBACK_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// Every instrument of the hub, on one registry; clones share them.
#[derive(Clone)]
pub struct Metrics {
    /// Where they are registered.
    pub registry: Registry,
    /// `api_request_latency_seconds{route, method, status}`: from the first byte of a request to the answer.
    pub api_request_latency: HistogramVec,
    /// `job_lifecycle_duration_seconds{queue, state}`: from acceptance to the final state.
    pub job_lifecycle_duration: HistogramVec,
    /// `worker_processing_time_seconds{queue, outcome}`: one attempt in a worker.
    pub worker_processing_time: HistogramVec,
    /// `flickr_api_error_rate_by_code_total{code, method}`: errors that Flickr answered.
    pub flickr_api_errors: IntCounterVec,
    /// `flickr_api_call_duration_seconds{method}`: one call of Flickr.
    pub flickr_api_call_duration: HistogramVec,
    /// `queue_depth_per_token{queue, user_id}`: jobs in the lanes of the heaviest users.
    pub queue_depth_per_token: IntGaugeVec,
    /// `flickrhub_api_connections{port}`: connections of clients that are open; port is `http` or `https`.
    pub api_connections: IntGaugeVec,
    /// `flickrhub_api_connections_refused_total{port}`: connections that were one too many.
    pub api_connections_refused: IntCounterVec,
    /// `flickrhub_jobs_accepted_total{queue}`.
    pub jobs_accepted: IntCounterVec,
    /// `flickrhub_redeliveries_total{queue}`: messages that the broker had handed to a worker before.
    pub redeliveries: IntCounterVec,
    /// `flickrhub_lane_jobs{queue, kind}`: kind is `queued`, `delayed`, `inflight` or `reserved`.
    pub lane_jobs: IntGaugeVec,
    /// `flickrhub_cache_lookups_total{outcome}`: outcome is `hit`, `miss`, `stale`, `stale_served`, `bypass` or `error`. Each look
    /// counts as one of them.
    pub cache_lookups: IntCounterVec,
    /// `cache_hit_rate`: the share of hits among the lookups of this process, 0 to 1, about over the last hundred.
    cache_hit_rate: Gauge,
    /// `flickrhub_flickr_budget_used{app}`: requests of the application that count at present.
    pub flickr_budget_used: IntGaugeVec,
    /// `flickrhub_flickr_budget_limit{app}`: requests that the application may make in an hour.
    pub flickr_budget_limit: IntGaugeVec,
    /// `flickrhub_breaker_state{app, endpoint}`: 0 closed, 1 half-open, 2 open; endpoint is `rest` or `upload`.
    pub breaker_state: IntGaugeVec,
    /// `flickrhub_permits_total{app, outcome}`: questions whether Flickr may be called; outcome is `granted` or why not.
    pub permits: IntCounterVec,
    /// `flickrhub_callbacks_total{outcome}`: what became of a callback after a try to deliver it: `delivered`, `retried`,
    /// `failed`, or `postponed` where it could not be tried.
    pub callbacks: IntCounterVec,
    /// `flickrhub_callback_try_duration_seconds{outcome}`: one try to deliver a callback, by what it came to
    /// ([`TryOutcome`](crate::callback::TryOutcome)).
    pub callback_try_duration: HistogramVec,
    /// `flickrhub_group_commits_total{write}`: commands to MongoDB that wrote for all who were waiting; write is `insert`,
    /// `claim` or `end`.
    pub group_commits: IntCounterVec,
    /// `flickrhub_group_commit_operations_total{write}`: the writes of jobs that these carried; by the commands, it is how many
    /// share one.
    pub group_commit_operations: IntCounterVec,
    /// `flickrhub_audit_entries_total{outcome}`: entries of the audit log; outcome is `written`, `left_out` where one sender
    /// had too many, or `lost` where the queue was full.
    pub audit_entries: IntCounterVec,
    /// The users that `queue_depth_per_token` names at the moment.
    named_users: Arc<Mutex<BTreeMap<Queue, Vec<String>>>>,
}

impl Metrics {
    /// Registers every instrument, and those of the process.
    ///
    /// # Errors
    /// Never in practice: the names are constants, valid and distinct.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::new()?))?;
        let histogram = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, HistogramVec::new(options, labels)?)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            api_request_latency: histogram(
                "api_request_latency_seconds",
                "Time from a request to its answer.",
                &REQUEST_BUCKETS,
                &["route", "method", "status"],
            )?,
            job_lifecycle_duration: histogram(
                "job_lifecycle_duration_seconds",
                "Time from the acceptance of a job to its final state.",
                &LIFECYCLE_BUCKETS,
                &["queue", "state"],
            )?,
            worker_processing_time: histogram(
                "worker_processing_time_seconds",
                "Time of one attempt in a worker.",
                &CALL_BUCKETS,
                &["queue", "outcome"],
            )?,
            flickr_api_errors: counter(
                "flickr_api_error_rate_by_code_total",
                "Errors that Flickr answered, by its error code.",
                &["code", "method"],
            )?,
            flickr_api_call_duration: histogram(
                "flickr_api_call_duration_seconds",
                "Time of one call of Flickr.",
                &CALL_BUCKETS,
                &["method"],
            )?,
            queue_depth_per_token: gauge(
                "queue_depth_per_token",
                "Jobs that wait in the lane of a user, for the users with the most.",
                &["queue", "user_id"],
            )?,
            api_connections: gauge(
                "flickrhub_api_connections",
                "Connections of clients that are open.",
                &["port"],
            )?,
            api_connections_refused: counter(
                "flickrhub_api_connections_refused_total",
                "Connections of clients that were refused because as many were open as may be.",
                &["port"],
            )?,
            jobs_accepted: counter("flickrhub_jobs_accepted_total", "Jobs accepted.", &["queue"])?,
            redeliveries: counter(
                "flickrhub_redeliveries_total",
                "Messages that a worker was handed and another one had been handed before.",
                &["queue"],
            )?,
            lane_jobs: gauge(
                "flickrhub_lane_jobs",
                "Unfinished jobs, by where they are.",
                &["queue", "kind"],
            )?,
            cache_lookups: counter(
                "flickrhub_cache_lookups_total",
                "Looks for a cached answer.",
                &["outcome"],
            )?,
            cache_hit_rate: registered(
                &registry,
                Gauge::new(
                    "cache_hit_rate",
                    "Share of the latest lookups that the cache answered.",
                )?,
            )?,
            callbacks: counter(
                "flickrhub_callbacks_total",
                "Tries to deliver a callback.",
                &["outcome"],
            )?,
            flickr_budget_used: gauge(
                "flickrhub_flickr_budget_used",
                "Requests to Flickr of the last hour, by application.",
                &["app"],
            )?,
            flickr_budget_limit: gauge(
                "flickrhub_flickr_budget_limit",
                "Requests to Flickr that an application may make in an hour.",
                &["app"],
            )?,
            breaker_state: gauge(
                "flickrhub_breaker_state",
                "The circuit breaker: 0 closed, 1 half-open, 2 open.",
                &["app", "endpoint"],
            )?,
            permits: counter(
                "flickrhub_permits_total",
                "Questions whether Flickr may be called, by answer.",
                &["app", "outcome"],
            )?,
            callback_try_duration: histogram(
                "flickrhub_callback_try_duration_seconds",
                "Time of one try to deliver a callback, by what it came to.",
                &CALLBACK_BUCKETS,
                &["outcome"],
            )?,
            group_commits: counter(
                "flickrhub_group_commits_total",
                "Commands that wrote to MongoDB for all who were waiting, by what was written.",
                &["write"],
            )?,
            group_commit_operations: counter(
                "flickrhub_group_commit_operations_total",
                "Writes of jobs that group commits carried.",
                &["write"],
            )?,
            audit_entries: counter(
                "flickrhub_audit_entries_total",
                "Entries of the audit log, by what became of them.",
                &["outcome"],
            )?,
            named_users: Arc::default(),
            registry,
        })
    }

    /// Counts a look for a cached answer; `outcome` as in [`Metrics::cache_lookups`].
    pub fn record_cache_lookup(&self, outcome: &str) {
        /// How much one lookup counts in the moving average.
        const WEIGHT: f64 = 0.01;
        self.cache_lookups.with_label_values(&[outcome]).inc();
        let hit = match outcome {
            "hit" | "stale_served" => 1.0,
            "miss" | "stale" => 0.0,
            _ => return,
        };
        // Two at once may lose one of many: it is an average.
        self.cache_hit_rate
            .set(self.cache_hit_rate.get() * (1.0 - WEIGHT) + hit * WEIGHT);
    }

    /// Sets the gauges of an application's budget and circuits.
    pub fn record_budget(&self, app: &str, standing: &Standing) {
        self.flickr_budget_used
            .with_label_values(&[app])
            .set(standing.app.used.into());
        self.flickr_budget_limit
            .with_label_values(&[app])
            .set(standing.app.limit.into());
        for circuit in standing.circuits {
            self.breaker_state
                .with_label_values(&[app, circuit.endpoint.name()])
                .set(circuit.state.number());
        }
    }

    /// Sets the gauges of a queue. Users that are not among the heaviest any more disappear.
    pub fn record_depth(&self, queue: Queue, depth: &LaneDepth) {
        for (kind, jobs) in [
            ("queued", depth.queued),
            ("delayed", depth.delayed),
            ("inflight", depth.inflight),
            ("reserved", depth.reserved),
        ] {
            self.lane_jobs
                .with_label_values(&[queue.name(), kind])
                .set(gauge_value(jobs));
        }
        let users = depth.heaviest.iter().map(|(user, _)| user.clone()).collect();
        let mut named = self.named_users.lock().unwrap_or_else(PoisonError::into_inner);
        for user in named.insert(queue, users).unwrap_or_default() {
            // It is there unless somebody else removed it.
            let _ = self
                .queue_depth_per_token
                .remove_label_values(&[queue.name(), user.as_str()]);
        }
        for (user, jobs) in &depth.heaviest {
            self.queue_depth_per_token
                .with_label_values(&[queue.name(), user.as_str()])
                .set(gauge_value(*jobs));
        }
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    instrument: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(instrument.clone()))?;
    Ok(instrument)
}

fn gauge_value(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        TextEncoder::new()
            .encode_to_string(&metrics.registry.gather())
            .unwrap()
    }

    #[test]
    fn every_instrument_has_the_name_and_the_labels_that_dashboards_rely_on() {
        let metrics = Metrics::new().unwrap();
        metrics
            .api_request_latency
            .with_label_values(&["/api/v1/jobs", "POST", "202"])
            .observe(0.01);
        metrics
            .job_lifecycle_duration
            .with_label_values(&["flickr_rest", "succeeded"])
            .observe(1.0);
        metrics
            .worker_processing_time
            .with_label_values(&["flickr_rest", "succeeded"])
            .observe(1.0);
        metrics
            .flickr_api_errors
            .with_label_values(&["105", "flickr.test.echo"])
            .inc();
        metrics
            .flickr_api_call_duration
            .with_label_values(&["flickr.test.echo"])
            .observe(0.2);
        metrics.jobs_accepted.with_label_values(&["flickr_rest"]).inc();
        metrics.redeliveries.with_label_values(&["flickr_rest"]).inc();
        metrics.api_connections.with_label_values(&["https"]).set(3);
        metrics.api_connections_refused.with_label_values(&["http"]).inc();
        metrics.callbacks.with_label_values(&["delivered"]).inc();
        metrics.group_commits.with_label_values(&["insert"]).inc();
        metrics
            .group_commit_operations
            .with_label_values(&["insert"])
            .inc_by(1000);
        metrics.permits.with_label_values(&["main", "granted"]).inc();
        metrics.breaker_state.with_label_values(&["main", "rest"]).set(2);
        metrics
            .callback_try_duration
            .with_label_values(&["timeout"])
            .observe(15.0);
        let text = text(&metrics);
        for line in [
            r#"api_request_latency_seconds_count{method="POST",route="/api/v1/jobs",status="202"} 1"#,
            r#"job_lifecycle_duration_seconds_count{queue="flickr_rest",state="succeeded"} 1"#,
            r#"worker_processing_time_seconds_count{outcome="succeeded",queue="flickr_rest"} 1"#,
            r#"flickr_api_error_rate_by_code_total{code="105",method="flickr.test.echo"} 1"#,
            r#"flickr_api_call_duration_seconds_count{method="flickr.test.echo"} 1"#,
            r#"flickrhub_jobs_accepted_total{queue="flickr_rest"} 1"#,
            r#"flickrhub_redeliveries_total{queue="flickr_rest"} 1"#,
            r#"flickrhub_api_connections{port="https"} 3"#,
            r#"flickrhub_api_connections_refused_total{port="http"} 1"#,
            r#"flickrhub_callbacks_total{outcome="delivered"} 1"#,
            r#"flickrhub_group_commits_total{write="insert"} 1"#,
            r#"flickrhub_group_commit_operations_total{write="insert"} 1000"#,
            r#"flickrhub_permits_total{app="main",outcome="granted"} 1"#,
            r#"flickrhub_breaker_state{app="main",endpoint="rest"} 2"#,
            r#"flickrhub_callback_try_duration_seconds_count{outcome="timeout"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }

    #[test]
    fn the_hit_rate_is_the_share_of_lookups_that_the_cache_answered() {
        let metrics = Metrics::new().unwrap();
        let look = |outcomes: &[&str], times: usize| {
            for outcome in outcomes.iter().cycle().take(times) {
                metrics.record_cache_lookup(outcome);
            }
            metrics.cache_hit_rate.get()
        };
        assert!(look(&["hit"], 1_000) > 0.99);
        // What Flickr had to be asked for is a miss, whether or not an old answer was there.
        assert!(look(&["miss", "stale"], 1_000) < 0.01);
        // An old answer that is given saves a call as a fresh one does.
        assert!(look(&["stale_served"], 1_000) > 0.99);
        let half = look(&["hit", "miss"], 1_000);
        assert!((0.45..0.55).contains(&half), "{half}");
        // Neither who wants none nor a Redis that is away says anything about the cache.
        let same = look(&["bypass", "error"], 1_000);
        assert!((same - half).abs() < f64::EPSILON, "{same}");
        let counted = ["hit", "miss", "stale", "stale_served", "bypass", "error"]
            .map(|outcome| metrics.cache_lookups.with_label_values(&[outcome]).get());
        assert_eq!(counted, [1_500, 1_000, 500, 1_000, 500, 500]);
    }

    #[test]
    fn a_user_that_is_not_among_the_heaviest_any_more_disappears() {
        let metrics = Metrics::new().unwrap();
        let depth = |user: &str| LaneDepth {
            queued: 7,
            heaviest: vec![(user.to_owned(), 7)],
            ..LaneDepth::default()
        };
        metrics.record_depth(Queue::Rest, &depth("a"));
        metrics.record_depth(Queue::Upload, &depth("a"));
        metrics.record_depth(Queue::Rest, &depth("b"));
        let text = text(&metrics);
        assert!(!text.contains(r#"queue_depth_per_token{queue="flickr_rest",user_id="a"}"#));
        assert!(text.contains(r#"queue_depth_per_token{queue="flickr_rest",user_id="b"} 7"#));
        assert!(text.contains(r#"queue_depth_per_token{queue="flickr_upload",user_id="a"} 7"#));
        assert!(text.contains(r#"flickrhub_lane_jobs{kind="queued",queue="flickr_rest"} 7"#));
    }
}

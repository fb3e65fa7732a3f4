//! `spec.queues`: the workers of each queue.

use flickrhub_job::queue::Queue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResourcesSpec, rules};

/// The workers of each queue.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueuesSpec {
    /// Calls of the REST endpoint.
    pub rest: QueueSpec,
    /// Photo uploads.
    pub upload: QueueSpec,
    /// Replacements of a photo that exists.
    pub replace: QueueSpec,
}

impl QueuesSpec {
    /// The settings of a queue.
    pub const fn get(&self, queue: Queue) -> &QueueSpec {
        match queue {
            Queue::Rest => &self.rest,
            Queue::Upload => &self.upload,
            Queue::Replace => &self.replace,
        }
    }
}

/// The workers of one queue.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.minReplicas <= self.maxReplicas", "minReplicas must not be greater than maxReplicas; raise maxReplicas or lower minReplicas"),
    ("self.prefetch >= self.concurrency", "prefetch must be at least concurrency, or a worker could never fill its slots; raise prefetch or lower concurrency"),
    ("self.window >= self.concurrency", "window must be at least concurrency, or one worker could never fill its slots; raise window or lower concurrency"),
])))]
pub struct QueueSpec {
    /// Jobs that one worker runs at a time.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: u32,
    /// Messages that RabbitMQ hands to one worker ahead of their acknowledgement.
    #[schemars(range(min = 1, max = 2000))]
    pub prefetch: u16,
    /// Jobs released to RabbitMQ and not finished, over all workers. Small, so that order between users is decided late.
    #[schemars(range(min = 1, max = 10_000))]
    pub window: u32,
    /// Fewest workers. With 0, the last one goes when there has been no job for `autoscaling.scaleInDelaySeconds`, and one
    /// comes with the next job.
    #[schemars(range(min = 0, max = 500))]
    pub min_replicas: u32,
    /// Most workers.
    #[schemars(range(min = 1, max = 500))]
    pub max_replicas: u32,
    /// Jobs, running and waiting, that are enough for one worker: so many more, and another worker comes. Without it
    /// `concurrency`: as many as a worker runs at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub jobs_per_replica: Option<u32>,
    /// Attempts before a job is given up and can only be replayed.
    #[schemars(range(min = 1, max = 50))]
    pub max_attempts: u32,
    /// Seconds until one attempt is given up. Without it 60 for rest, 600 for upload and replace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: Option<u32>,
    /// CPU and memory of one worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            concurrency: 8,
            prefetch: 12,
            window: 64,
            min_replicas: 2,
            max_replicas: 10,
            jobs_per_replica: None,
            max_attempts: 5,
            timeout_seconds: None,
            resources: None,
        }
    }
}

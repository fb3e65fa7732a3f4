//! The workers of each queue, and who all workers are to Vault.

use flickrhub_job::queue::Queue;

use super::process::{self, Access, Process};
use super::{Object, api, autoscaler, pod};
use crate::secrets::SecretsChecksums;
use crate::validate::{QueuePlan, ValidatedHub};

/// What a worker's work needs.
pub(super) const ACCESS: &[Access] = &[
    Access::Redis,
    Access::MongoDb,
    Access::RabbitMq,
    Access::Flickr,
    Access::Vault,
];
/// Seconds that a worker has beyond the longest attempt: to begin what it was handed over, and to say good-bye. The module
/// `shutdown` of the worker says how it uses them.
const GRACE_MARGIN_SECONDS: u32 = 45;

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let account = api::service_account(hub, hub.names.worker(), "worker");
    let mut objects = vec![account.into()];
    objects.extend(autoscaler::shared(hub));
    for (queue, plan) in &hub.queues {
        objects.extend(queue_objects(hub, secrets, *queue, plan));
    }
    objects
}

/// The part that the workers of a queue are.
pub(crate) fn component(queue: Queue) -> &'static str {
    match queue {
        Queue::Rest => "worker-rest",
        Queue::Upload => "worker-upload",
        Queue::Replace => "worker-replace",
    }
}

fn queue_objects(
    hub: &ValidatedHub,
    secrets: &SecretsChecksums,
    queue: Queue,
    plan: &QueuePlan,
) -> Vec<Object> {
    let name = hub.names.queue_worker(queue);
    let component = component(queue);
    let deployment = process::deployment(
        hub,
        secrets,
        &Process {
            name: name.clone(),
            component,
            replicas: None,
            service_account: hub.names.worker(),
            access: ACCESS,
            image: &hub.images.worker,
            command: &[
                "/usr/local/bin/flickrhub-worker",
                "run",
                "--queue",
                queue.short_name(),
            ],
            resources: &plan.resources,
            grace_seconds: plan.timeout_seconds + GRACE_MARGIN_SECONDS,
        },
    );
    let mut objects = vec![
        pod::disruption_budget(hub, name, component).into(),
        deployment.into(),
    ];
    objects.extend(autoscaler::autoscaler(hub, queue, plan));
    objects
}

//! The workers of each queue, and who all workers are to Vault.

use flickrhub_job::queue::Queue;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};

use super::process::{self, Access, Process};
use super::{Object, api, labels, pod};
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
/// Workers that use more than this share of their CPU request get company.
const CPU_PERCENT: i32 = 80;
/// Seconds that a worker has beyond the longest attempt.
const GRACE_MARGIN_SECONDS: u32 = 15;

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let account = api::service_account(hub, hub.names.worker(), "worker");
    let mut objects = vec![account.into()];
    for (queue, plan) in &hub.queues {
        objects.extend(queue_objects(hub, secrets, *queue, plan));
    }
    objects
}

/// The part that the workers of a queue are.
pub(super) fn component(queue: Queue) -> &'static str {
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
) -> [Object; 3] {
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
    [
        pod::disruption_budget(hub, name.clone(), component).into(),
        deployment.into(),
        autoscaler(hub, name, component, plan).into(),
    ]
}

fn autoscaler(
    hub: &ValidatedHub,
    name: String,
    component: &str,
    plan: &QueuePlan,
) -> HorizontalPodAutoscaler {
    HorizontalPodAutoscaler {
        metadata: labels::meta(hub, name.clone(), component),
        spec: HorizontalPodAutoscalerSpec {
            min_replicas: Some(pod::count(plan.min_replicas)),
            max_replicas: pod::count(plan.max_replicas),
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name,
            },
            metrics: Some(vec![MetricSpec {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".to_owned(),
                    target: MetricTarget {
                        type_: "Utilization".to_owned(),
                        average_utilization: Some(CPU_PERCENT),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                // A worker that goes has to finish long uploads first, so none goes for a short lull.
                scale_down: Some(rules(300, 1, 60)),
                scale_up: Some(rules(0, 2, 15)),
            }),
        },
        ..HorizontalPodAutoscaler::default()
    }
}

/// At most `pods` pods more or less in `period` seconds, after `stabilization` seconds of the same opinion.
fn rules(stabilization: i32, pods: i32, period: i32) -> HPAScalingRules {
    HPAScalingRules {
        stabilization_window_seconds: Some(stabilization),
        select_policy: Some("Max".to_owned()),
        policies: Some(vec![HPAScalingPolicy {
            type_: "Pods".to_owned(),
            value: pods,
            period_seconds: period,
        }]),
        ..HPAScalingRules::default()
    }
}

//! What scales the workers of a queue.

use std::collections::BTreeMap;

use flickrhub_job::lane::window_key;
use flickrhub_job::queue::Queue;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, ExternalMetricSource, HPAScalingPolicy, HPAScalingRules,
    HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier,
    MetricSpec, MetricTarget, ResourceMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::keda::{
    Advanced, AuthenticationRef, HorizontalPodAutoscalerConfig, ScaleTargetRef, ScaledObject,
    ScaledObjectSpec, SecretTarget, Trigger, TriggerAuthentication, TriggerAuthenticationSpec,
};
use super::{Object, labels, pod, worker};
use crate::autoscaling::{BACKLOG_METRIC, HUB_LABEL, QUEUE_LABEL, Scaling};
use crate::names::{REDIS_KEY_PREFIX, REDIS_MASTER, SENTINEL_PORT};
use crate::pki::{AUTHORITIES, Server};
use crate::validate::{QueuePlan, ValidatedHub};

/// Workers that use more than this share of their CPU request get company, where nobody can tell the backlog.
const CPU_PERCENT: i32 = 80;
/// Seconds between two looks of KEDA at a queue without workers.
const POLLING_SECONDS: i32 = 5;

/// What the scalers of every queue have in common.
pub(super) fn shared(hub: &ValidatedHub) -> Option<Object> {
    (hub.autoscaling.scaling == Scaling::Keda).then(|| trigger_authentication(hub).into())
}

/// What scales the workers of a queue; `None` while it is not known what should.
pub(super) fn autoscaler(hub: &ValidatedHub, queue: Queue, plan: &QueuePlan) -> Option<Object> {
    match hub.autoscaling.scaling {
        Scaling::Backlog => Some(hpa(hub, queue, plan, backlog_metric(hub, queue, plan)).into()),
        Scaling::Cpu => Some(hpa(hub, queue, plan, cpu_metric()).into()),
        Scaling::Keda => Some(scaled_object(hub, queue, plan).into()),
        Scaling::Unknown => None,
    }
}

fn hpa(hub: &ValidatedHub, queue: Queue, plan: &QueuePlan, metric: MetricSpec) -> HorizontalPodAutoscaler {
    let name = hub.names.queue_worker(queue);
    HorizontalPodAutoscaler {
        metadata: labels::meta(hub, name.clone(), worker::component(queue)),
        spec: HorizontalPodAutoscalerSpec {
            // The last worker comes and goes by the operator: without an alpha feature of Kubernetes, an HPA keeps it.
            min_replicas: Some(pod::count(plan.min_replicas.max(1))),
            max_replicas: pod::count(plan.max_replicas),
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name,
            },
            metrics: Some(vec![metric]),
            behavior: Some(behavior(hub)),
        },
        ..HorizontalPodAutoscaler::default()
    }
}

fn backlog_metric(hub: &ValidatedHub, queue: Queue, plan: &QueuePlan) -> MetricSpec {
    let selected = [(HUB_LABEL, hub.names.hub()), (QUEUE_LABEL, queue.name())];
    let selected = selected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    MetricSpec {
        type_: "External".to_owned(),
        external: Some(ExternalMetricSource {
            metric: MetricIdentifier {
                name: BACKLOG_METRIC.to_owned(),
                selector: Some(LabelSelector {
                    match_labels: Some(BTreeMap::from(selected)),
                    ..LabelSelector::default()
                }),
            },
            target: MetricTarget {
                type_: "AverageValue".to_owned(),
                average_value: Some(Quantity(plan.jobs_per_replica.to_string())),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

fn cpu_metric() -> MetricSpec {
    MetricSpec {
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
    }
}

fn behavior(hub: &ValidatedHub) -> HorizontalPodAutoscalerBehavior {
    HorizontalPodAutoscalerBehavior {
        // A worker that goes has to finish long uploads first, so none goes for a short lull, and they go one by one.
        scale_down: Some(rules(
            pod::count(hub.autoscaling.scale_in_delay_seconds),
            &[("Pods", 1, 30)],
        )),
        scale_up: Some(rules(0, &[("Pods", 2, 15), ("Percent", 100, 15)])),
    }
}

/// After `stabilization` seconds of the same opinion, as far as the most generous of the policies allows: each a number of
/// pods, or a share in percent, in some seconds.
fn rules(stabilization: i32, policies: &[(&str, i32, i32)]) -> HPAScalingRules {
    let policies = policies.iter().map(|(type_, value, period)| HPAScalingPolicy {
        type_: (*type_).to_owned(),
        value: *value,
        period_seconds: *period,
    });
    HPAScalingRules {
        stabilization_window_seconds: Some(stabilization),
        select_policy: Some("Max".to_owned()),
        policies: Some(policies.collect()),
        ..HPAScalingRules::default()
    }
}

/// KEDA reads the size of the window in Redis, behind its Sentinels: what is released to the workers and not finished. What
/// waits for a place there is not in one key, so KEDA does not see it.
fn scaled_object(hub: &ValidatedHub, queue: Queue, plan: &QueuePlan) -> ScaledObject {
    let name = hub.names.queue_worker(queue);
    let sentinels: Vec<String> = hub
        .names
        .redis_hosts(hub.redis.replicas)
        .into_iter()
        .map(|host| format!("{host}:{SENTINEL_PORT}"))
        .collect();
    // KEDA sees no more than the window, so a full window has to bring as many workers as there may be.
    let jobs_per_replica = plan
        .jobs_per_replica
        .min(plan.window.div_ceil(plan.max_replicas.max(1)));
    let metadata = [
        ("addresses", sentinels.join(",")),
        ("sentinelMaster", REDIS_MASTER.to_owned()),
        ("listName", window_key(REDIS_KEY_PREFIX, queue)),
        ("listLength", jobs_per_replica.max(1).to_string()),
        ("activationListLength", "0".to_owned()),
        // Of Redis and of its Sentinels: both speak nothing else.
        ("enableTLS", "true".to_owned()),
    ];
    ScaledObject {
        metadata: labels::meta(hub, name.clone(), worker::component(queue)),
        spec: ScaledObjectSpec {
            scale_target_ref: ScaleTargetRef {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                name,
            },
            polling_interval: POLLING_SECONDS,
            cooldown_period: pod::count(hub.autoscaling.scale_in_delay_seconds),
            min_replica_count: pod::count(plan.min_replicas),
            max_replica_count: pod::count(plan.max_replicas),
            advanced: Advanced {
                horizontal_pod_autoscaler_config: HorizontalPodAutoscalerConfig {
                    behavior: behavior(hub),
                },
            },
            triggers: vec![Trigger {
                type_: "redis-sentinel".to_owned(),
                metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
                authentication_ref: AuthenticationRef {
                    name: hub.names.keda_login(),
                },
            }],
        },
    }
}

/// The user is the default one, of Redis and of its Sentinels. The authorities are read from where the servers have them too,
/// since a `ConfigMap` is no source of every version of KEDA.
fn trigger_authentication(hub: &ValidatedHub) -> TriggerAuthentication {
    let target = |parameter: &str, name: String, key: &str| SecretTarget {
        parameter: parameter.to_owned(),
        name,
        key: key.to_owned(),
    };
    let password = |parameter: &str| target(parameter, hub.names.redis_auth(), "password");
    TriggerAuthentication {
        metadata: labels::meta(hub, hub.names.keda_login(), "autoscaling"),
        spec: TriggerAuthenticationSpec {
            secret_target_ref: vec![
                password("password"),
                password("sentinelPassword"),
                target("ca", Server::Redis.secret(hub), AUTHORITIES),
            ],
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::autoscaling::AutoscalingPlan;
    use crate::autoscaling::cluster::Facts;
    use crate::build::{Kind, build};
    use crate::crd::{AutoscalingProvider, FlickrHub};
    use crate::fixtures;

    fn scaled_by(provider: AutoscalingProvider, facts: &Facts, least: u32) -> Vec<Object> {
        let mut hub: FlickrHub = fixtures::minimal();
        hub.spec.autoscaling.provider = provider;
        hub.spec.queues.rest.min_replicas = least;
        let mut validated = fixtures::validated(&hub);
        validated.autoscaling = AutoscalingPlan::of(&hub.spec.autoscaling).within(facts);
        build(&validated, &fixtures::checksums())
    }

    fn of_kind(objects: &[Object], kind: Kind) -> Vec<Value> {
        let objects = objects.iter().filter(|object| object.kind() == kind);
        objects.map(|object| json!(object)).collect()
    }

    fn of_rest(objects: &[Object], kind: Kind) -> Value {
        let mut found = of_kind(objects, kind).into_iter();
        found
            .find(|object| object["metadata"]["name"] == "gallery-worker-rest")
            .unwrap_or_default()
    }

    #[test]
    fn an_hpa_asks_for_the_backlog_of_its_queue() {
        let objects = scaled_by(AutoscalingProvider::Hpa, &fixtures::cluster(), 0);
        let spec = &of_rest(&objects, Kind::HorizontalPodAutoscaler)["spec"];
        let external = &spec["metrics"][0]["external"];
        assert_eq!(external["metric"]["name"], "flickrhub_queue_backlog");
        assert_eq!(
            external["metric"]["selector"]["matchLabels"],
            json!({"hub": "gallery", "queue": "flickr_rest"})
        );
        assert_eq!(external["target"]["averageValue"], "8");
        assert_eq!(spec["minReplicas"], 1, "an HPA goes no lower");
        assert!(of_kind(&objects, Kind::ScaledObject).is_empty());
    }

    #[test]
    fn keda_reads_the_window_of_the_queue_in_redis() {
        let objects = scaled_by(AutoscalingProvider::Keda, &fixtures::cluster(), 0);
        assert!(of_kind(&objects, Kind::HorizontalPodAutoscaler).is_empty());
        assert_eq!(of_kind(&objects, Kind::ScaledObject).len(), 3);
        insta::assert_yaml_snapshot!("keda-worker-rest", of_rest(&objects, Kind::ScaledObject));
        insta::assert_yaml_snapshot!("keda-login", of_kind(&objects, Kind::TriggerAuthentication));
    }

    /// The names of the parameters: <https://keda.sh/docs/latest/scalers/redis-sentinel-lists/>.
    #[test]
    fn keda_checks_the_certificates_of_redis_and_its_sentinels() {
        let objects = scaled_by(AutoscalingProvider::Keda, &fixtures::cluster(), 1);
        for scaled in of_kind(&objects, Kind::ScaledObject) {
            let metadata = &scaled["spec"]["triggers"][0]["metadata"];
            assert_eq!(metadata["enableTLS"], "true");
            assert_eq!(metadata["unsafeSsl"], Value::Null);
            // A certificate is for names, so KEDA must not connect to addresses.
            let addresses = metadata["addresses"].as_str().unwrap_or_default();
            assert!(
                addresses.split(',').all(|address| address.contains(".svc.")),
                "{addresses}"
            );
        }
        let login = &of_kind(&objects, Kind::TriggerAuthentication)[0]["spec"]["secretTargetRef"];
        let targets = login.as_array().into_iter().flatten();
        let found: Vec<_> = targets
            .map(|target| (&target["parameter"], &target["name"], &target["key"]))
            .collect();
        let found = json!(found);
        assert_eq!(
            found,
            json!([
                ["password", "gallery-redis-auth", "password"],
                ["sentinelPassword", "gallery-redis-auth", "password"],
                ["ca", "gallery-redis-tls", "ca.crt"],
            ])
        );
    }

    #[test]
    fn only_keda_is_let_in_to_redis_and_only_where_it_scales() {
        let let_in = |provider| {
            let objects = scaled_by(provider, &fixtures::cluster(), 1);
            let policies = of_kind(&objects, Kind::NetworkPolicy);
            policies
                .iter()
                .filter(|policy| policy.to_string().contains("keda-operator"))
                .map(|policy| policy["metadata"]["name"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(let_in(AutoscalingProvider::Keda), ["gallery-redis"]);
        assert!(let_in(AutoscalingProvider::Hpa).is_empty());
    }

    #[test]
    fn without_anybody_who_tells_the_backlog_cpu_says_how_many() {
        let objects = scaled_by(AutoscalingProvider::Hpa, &Facts::default(), 2);
        let spec = &of_rest(&objects, Kind::HorizontalPodAutoscaler)["spec"];
        assert_eq!(spec["metrics"][0]["resource"]["name"], "cpu");
        assert_eq!(spec["minReplicas"], 2);
    }

    #[test]
    fn nothing_scales_while_the_cluster_is_unknown() {
        let hub = fixtures::minimal();
        let mut validated = fixtures::validated(&hub);
        validated.autoscaling = AutoscalingPlan::of(&hub.spec.autoscaling);
        let objects = build(&validated, &fixtures::checksums());
        assert!(objects.iter().all(|object| !object.kind().is_autoscaler()));
    }
}

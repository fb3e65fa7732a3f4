//! The RabbitMQ cluster.

use k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler, PodSpec};

use super::stateful::{AUTH, CONFIG, DATA, Members};
use super::tls::{self, TLS};
use super::{Object, checksum, pod, stateful};
use crate::names::{
    AMQP_PORT, DISTRIBUTION_PORT, EPMD_PORT, RABBITMQ_MANAGEMENT_PORT, RABBITMQ_METRICS_PORT,
};
use crate::pki::Server;
use crate::secrets::SecretsChecksums;
use crate::validate::{QueuePlan, ValidatedHub};

pub(super) const COMPONENT: &str = "rabbitmq";
const RUN: &str = "run";
const ENV: &str = include_str!("scripts/rabbitmq-env.sh");
const START: &str = include_str!("scripts/rabbitmq-start.sh");
const HAND_OVER: &str = include_str!("scripts/rabbitmq-hand-over.sh");
const PLUGINS: &str = include_str!("scripts/rabbitmq-plugins");
const SETTINGS: &str = include_str!("scripts/rabbitmq.conf");
const DISTRIBUTION: &str = include_str!("scripts/rabbitmq-distribution.config");

/// Seconds that a worker has beyond its attempts until RabbitMQ takes its messages away.
const ACKNOWLEDGE_MARGIN_SECONDS: u64 = 300;
/// RabbitMQ's own default, in seconds.
const MIN_ACKNOWLEDGE_SECONDS: u64 = 30 * 60;
/// 24 days in seconds: in milliseconds it still is a number of 31 bits.
const MAX_ACKNOWLEDGE_SECONDS: u64 = 24 * 24 * 60 * 60;

const CLIENT_PORTS: [(&str, u16); 3] = [
    ("amqps", AMQP_PORT),
    ("management", RABBITMQ_MANAGEMENT_PORT),
    ("metrics", RABBITMQ_METRICS_PORT),
];

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let name = hub.names.rabbitmq();
    let nodes = hub.names.rabbitmq_nodes();
    let files = [
        ("env.sh", ENV.to_owned()),
        ("start.sh", START.to_owned()),
        ("hand-over.sh", HAND_OVER.to_owned()),
        ("enabled_plugins", PLUGINS.to_owned()),
        ("distribution.config", DISTRIBUTION.to_owned()),
        ("rabbitmq.conf", settings(hub)),
    ];
    let texts = files
        .iter()
        .map(|(_, content)| content.as_str())
        .chain([secrets.rabbitmq_nodes.as_str()]);
    let config = checksum::of_texts(texts);
    let node_ports = [("epmd", EPMD_PORT), ("distribution", DISTRIBUTION_PORT)];
    vec![
        stateful::config_map(hub, name.clone(), COMPONENT, &files).into(),
        stateful::headless(hub, nodes.clone(), COMPONENT, &node_ports).into(),
        stateful::service(hub, name.clone(), COMPONENT, &CLIENT_PORTS).into(),
        pod::disruption_budget(hub, name.clone(), COMPONENT).into(),
        stateful::set(
            hub,
            Members {
                name,
                component: COMPONENT,
                service: nodes,
                replicas: hub.rabbitmq.replicas,
                storage: &hub.rabbitmq.storage,
                template: pod::template(hub, COMPONENT, pod::ENGINE, config, pod_spec(hub)),
            },
        )
        .into(),
    ]
}

/// The settings that depend on the hub, after those that do not.
fn settings(hub: &ValidatedHub) -> String {
    let nodes = hub.rabbitmq.replicas;
    let watermark = hub.rabbitmq.memory_watermark;
    let timeout = acknowledge_seconds(hub.queues.values()) * 1000;
    format!(
        "{SETTINGS}cluster_formation.target_cluster_size_hint = {nodes}\n\
         quorum_queue.initial_cluster_size = {nodes}\n\
         vm_memory_high_watermark.absolute = {watermark}\n\
         consumer_timeout = {timeout}\n"
    )
}

/// How long a worker may hold a message. The last one that it took ahead waits for as many rounds of attempts as it
/// takes to get through all of them; RabbitMQ would close the channel of a worker that only does its work.
fn acknowledge_seconds<'a>(queues: impl Iterator<Item = &'a QueuePlan>) -> u64 {
    queues
        .map(|plan| {
            let rounds = u32::from(plan.prefetch).div_ceil(plan.concurrency.max(1));
            u64::from(plan.timeout_seconds) * u64::from(rounds) + ACKNOWLEDGE_MARGIN_SECONDS
        })
        .max()
        .unwrap_or_default()
        .clamp(MIN_ACKNOWLEDGE_SECONDS, MAX_ACKNOWLEDGE_SECONDS)
}

fn pod_spec(hub: &ValidatedHub) -> PodSpec {
    PodSpec {
        containers: vec![node(hub)],
        // Up to 40 s to hand over and 40 s to leave the cluster, then the node closes its queues.
        termination_grace_period_seconds: Some(120),
        volumes: Some(vec![
            stateful::config_volume(hub.names.rabbitmq()),
            stateful::auth_volume(
                hub.names.rabbitmq_auth(),
                &["username", "password", "erlang-cookie"],
            ),
            tls::volume(hub, Server::RabbitMq),
            pod::memory_dir(RUN, "16Mi"),
            pod::scratch_dir("tmp", "64Mi"),
        ]),
        ..PodSpec::default()
    }
}

fn node(hub: &ValidatedHub) -> Container {
    let mut ports: Vec<_> = CLIENT_PORTS
        .iter()
        .map(|(name, port)| pod::port(name, *port))
        .collect();
    ports.push(pod::port("epmd", EPMD_PORT));
    ports.push(pod::port("distribution", DISTRIBUTION_PORT));
    Container {
        name: "rabbitmq".to_owned(),
        image: Some(hub.images.rabbitmq.clone()),
        image_pull_policy: Some(hub.images.pull_policy.to_owned()),
        command: Some(vec!["sh".to_owned(), "/etc/rabbitmq-config/start.sh".to_owned()]),
        env: Some(vec![
            pod::pod_name_env(),
            pod::env("DOMAIN", hub.names.service_host(&hub.names.rabbitmq_nodes())),
            pod::env("REPLICAS", hub.rabbitmq.replicas.to_string()),
        ]),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(pod::script("/etc/rabbitmq-config/hand-over.sh")),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        ports: Some(ports),
        readiness_probe: Some(pod::FAST.tcp("amqps")),
        resources: Some(pod::resources(&hub.rabbitmq.resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(vec![
            pod::mount(DATA, "/var/lib/rabbitmq"),
            pod::mount(RUN, "/run/rabbitmq"),
            pod::mount("tmp", "/tmp"),
            pod::read_only(CONFIG, "/etc/rabbitmq-config"),
            pod::read_only(AUTH, "/etc/rabbitmq-auth"),
            pod::read_only(TLS, "/etc/rabbitmq-tls"),
        ]),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_job::queue::Queue;

    use super::*;
    use crate::fixtures;

    fn with_upload(change: impl FnOnce(&mut QueuePlan)) -> u64 {
        let mut hub = fixtures::validated(&fixtures::minimal());
        hub.queues.entry(Queue::Upload).and_modify(change);
        acknowledge_seconds(hub.queues.values())
    }

    #[test]
    fn a_worker_may_hold_a_message_until_its_turn_has_come_and_gone() {
        let seconds = with_upload(|plan| {
            (plan.timeout_seconds, plan.prefetch, plan.concurrency) = (3600, 9, 4);
        });
        assert_eq!(seconds, 3 * 3600 + ACKNOWLEDGE_MARGIN_SECONDS);
    }

    #[test]
    fn the_time_to_hold_a_message_has_bounds() {
        let short = with_upload(|plan| (plan.timeout_seconds, plan.prefetch) = (1, 1));
        assert_eq!(short, MIN_ACKNOWLEDGE_SECONDS);
        let long = with_upload(|plan| {
            (plan.timeout_seconds, plan.prefetch, plan.concurrency) = (3600, 2000, 1);
        });
        assert_eq!(long, MAX_ACKNOWLEDGE_SECONDS);
    }
}

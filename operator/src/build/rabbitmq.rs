//! The RabbitMQ cluster.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::stateful::{AUTH, CONFIG, DATA, Members};
use super::{Object, checksum, pod, stateful};
use crate::names::{AMQP_PORT, RABBITMQ_MANAGEMENT_PORT, RABBITMQ_METRICS_PORT, RABBITMQ_USER};
use crate::secrets::SecretsChecksums;
use crate::validate::ValidatedHub;

const COMPONENT: &str = "rabbitmq";
const RUN: &str = "run";
const START: &str = include_str!("scripts/rabbitmq-start.sh");
const PLUGINS: &str = include_str!("scripts/rabbitmq-plugins");
const SETTINGS: &str = include_str!("scripts/rabbitmq.conf");
/// The port by which nodes find each other's distribution port.
const EPMD_PORT: u16 = 4369;
/// The port on which nodes talk to each other.
const DISTRIBUTION_PORT: u16 = 25672;

const CLIENT_PORTS: [(&str, u16); 3] = [
    ("amqp", AMQP_PORT),
    ("management", RABBITMQ_MANAGEMENT_PORT),
    ("metrics", RABBITMQ_METRICS_PORT),
];

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let name = hub.names.rabbitmq();
    let nodes = hub.names.rabbitmq_nodes();
    let files = [
        ("start.sh", START.to_owned()),
        ("enabled_plugins", PLUGINS.to_owned()),
        ("rabbitmq.conf", settings(hub)),
    ];
    let texts = files
        .iter()
        .map(|(_, content)| content.as_str())
        .chain([secrets.rabbitmq.as_str()]);
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
    format!(
        "{SETTINGS}cluster_formation.target_cluster_size_hint = {nodes}\n\
         quorum_queue.initial_cluster_size = {nodes}\n\
         vm_memory_high_watermark.absolute = {watermark}\n"
    )
}

fn pod_spec(hub: &ValidatedHub) -> PodSpec {
    PodSpec {
        containers: vec![node(hub)],
        // Quorum queues move their leaders away first.
        termination_grace_period_seconds: Some(60),
        volumes: Some(vec![
            stateful::config_volume(hub.names.rabbitmq()),
            stateful::auth_volume(hub.names.rabbitmq_auth(), &["password", "erlang-cookie"]),
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
            pod::env("APP_USER", RABBITMQ_USER),
        ]),
        ports: Some(ports),
        readiness_probe: Some(pod::FAST.tcp("amqp")),
        resources: Some(pod::resources(&hub.rabbitmq.resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(vec![
            pod::mount(DATA, "/var/lib/rabbitmq"),
            pod::mount(RUN, "/run/rabbitmq"),
            pod::mount("tmp", "/tmp"),
            pod::read_only(CONFIG, "/etc/rabbitmq-config"),
            pod::read_only(AUTH, "/etc/rabbitmq-auth"),
        ]),
        ..Container::default()
    }
}

//! Redis, each with a Sentinel beside it.

use k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler, PodSpec, Volume};

use super::stateful::{AUTH, CONFIG, DATA, Members};
use super::tls::{self, TLS};
use super::{Object, checksum, pod, stateful};
use crate::names::{REDIS_MASTER, REDIS_PORT, SENTINEL_PORT};
use crate::pki::Server;
use crate::validate::ValidatedHub;

pub(super) const COMPONENT: &str = "redis";
const RUN: &str = "run";
const SCRIPTS: [(&str, &str); 8] = [
    ("certificate.sh", include_str!("scripts/watch-certificate.sh")),
    ("passwords.sh", include_str!("scripts/redis-passwords.sh")),
    ("peers.sh", include_str!("scripts/redis-peers.sh")),
    ("start.sh", include_str!("scripts/redis-start.sh")),
    ("ready.sh", include_str!("scripts/redis-ready.sh")),
    ("alive.sh", include_str!("scripts/redis-alive.sh")),
    ("hand-over.sh", include_str!("scripts/redis-hand-over.sh")),
    ("sentinel.sh", include_str!("scripts/redis-sentinel.sh")),
];

pub(super) fn objects(hub: &ValidatedHub) -> Vec<Object> {
    let name = hub.names.redis();
    let files = SCRIPTS.map(|(name, content)| (name, content.to_owned()));
    let config = checksum::of_texts(SCRIPTS.map(|(_, content)| content));
    let ports = [("redis", REDIS_PORT), ("sentinel", SENTINEL_PORT)];
    vec![
        stateful::config_map(hub, name.clone(), COMPONENT, &files).into(),
        stateful::headless(hub, name.clone(), COMPONENT, &ports).into(),
        pod::disruption_budget(hub, name.clone(), COMPONENT).into(),
        stateful::set(
            hub,
            Members {
                name: name.clone(),
                component: COMPONENT,
                service: name,
                replicas: hub.redis.replicas,
                storage: &hub.redis.storage,
                template: pod::template(hub, COMPONENT, pod::ENGINE, config, pod_spec(hub)),
            },
        )
        .into(),
    ]
}

fn pod_spec(hub: &ValidatedHub) -> PodSpec {
    PodSpec {
        containers: vec![redis(hub), sentinel(hub)],
        // Long enough to hand over and to write what is in memory to the volume.
        termination_grace_period_seconds: Some(30),
        volumes: Some(vec![
            stateful::config_volume(hub.names.redis()),
            auth_volume(hub),
            tls::volume(hub, Server::Redis),
            pod::memory_dir(RUN, "8Mi"),
        ]),
        ..PodSpec::default()
    }
}

/// The passwords that clients may come with: while one is replaced there are two, at other times the one alone.
fn auth_volume(hub: &ValidatedHub) -> Volume {
    let keys = ["password", "next-password", "previous-password"];
    let mut volume = stateful::auth_volume(hub.names.redis_auth(), &keys);
    if let Some(secret) = &mut volume.secret {
        secret.optional = Some(true);
    }
    volume
}

/// What both containers are made of.
fn container(hub: &ValidatedHub, name: &str, script: &str) -> Container {
    let service = hub.names.redis();
    let replicas = hub.redis.replicas;
    // What the data leaves of the limit is for the pages that a rewrite of the append-only file copies, and for what
    // waits for replicas that lag: past the limit the kernel kills the master.
    let limit = hub.redis.resources.memory_limit_bytes;
    Container {
        name: name.to_owned(),
        image: Some(hub.images.redis.clone()),
        image_pull_policy: Some(hub.images.pull_policy.to_owned()),
        command: Some(vec!["sh".to_owned(), format!("/etc/redis/{script}")]),
        env: Some(vec![
            pod::pod_name_env(),
            pod::env("SET_NAME", service.clone()),
            pod::env("DOMAIN", hub.names.service_host(&service)),
            pod::env("REPLICAS", replicas.to_string()),
            pod::env("QUORUM", (replicas / 2 + 1).to_string()),
            pod::env("MASTER_NAME", REDIS_MASTER),
            pod::env("DOWN_AFTER_MS", "3000"),
            pod::env("MAX_MEMORY", (limit / 5 * 3).to_string()),
            pod::env("REPLICA_BUFFER", (limit / 8).to_string()),
        ]),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(vec![
            pod::mount(DATA, "/data"),
            pod::mount(RUN, "/run/redis"),
            pod::read_only(CONFIG, "/etc/redis"),
            pod::read_only(AUTH, "/etc/redis-auth"),
            pod::read_only(TLS, "/etc/redis-tls"),
        ]),
        ..Container::default()
    }
}

fn redis(hub: &ValidatedHub) -> Container {
    Container {
        ports: Some(vec![pod::port("redis", REDIS_PORT)]),
        resources: Some(pod::resources(&hub.redis.resources)),
        readiness_probe: Some(pod::SCRIPTED.script("/etc/redis/ready.sh")),
        liveness_probe: Some(pod::PATIENT.script("/etc/redis/alive.sh")),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(pod::script("/etc/redis/hand-over.sh")),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        ..container(hub, "redis", "start.sh")
    }
}

fn sentinel(hub: &ValidatedHub) -> Container {
    Container {
        ports: Some(vec![pod::port("sentinel", SENTINEL_PORT)]),
        resources: Some(pod::requirements(("10m", "500m"), ("32Mi", "96Mi"))),
        readiness_probe: Some(pod::FAST.tcp("sentinel")),
        ..container(hub, "sentinel", "sentinel.sh")
    }
}

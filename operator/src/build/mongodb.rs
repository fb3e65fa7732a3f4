//! The MongoDB replica set.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::stateful::{AUTH, CONFIG, DATA, Members};
use super::tls::{self, TLS};
use super::{Object, checksum, pod, stateful};
use crate::names::{MONGODB_PORT, MONGODB_REPLICA_SET};
use crate::pki::Server;
use crate::secrets::SecretsChecksums;
use crate::validate::ValidatedHub;

pub(super) const COMPONENT: &str = "mongodb";
const RUN: &str = "run";
const START: &str = include_str!("scripts/mongodb-start.sh");

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let name = hub.names.mongodb();
    let config = checksum::of_texts([START, secrets.mongodb_keyfile.as_str()]);
    vec![
        stateful::config_map(hub, name.clone(), COMPONENT, &[("start.sh", START.to_owned())]).into(),
        stateful::headless(hub, name.clone(), COMPONENT, &[("mongodb", MONGODB_PORT)]).into(),
        pod::disruption_budget(hub, name.clone(), COMPONENT).into(),
        stateful::set(
            hub,
            Members {
                name: name.clone(),
                component: COMPONENT,
                service: name,
                replicas: hub.mongodb.members,
                storage: &hub.mongodb.storage,
                template: pod::template(hub, COMPONENT, pod::ENGINE, config, pod_spec(hub)),
            },
        )
        .into(),
    ]
}

fn pod_spec(hub: &ValidatedHub) -> PodSpec {
    PodSpec {
        containers: vec![mongod(hub)],
        // A primary that is told to stop steps down first, which may take ten seconds.
        termination_grace_period_seconds: Some(60),
        volumes: Some(vec![
            stateful::config_volume(hub.names.mongodb()),
            stateful::auth_volume(hub.names.mongodb_auth(), &["keyfile"]),
            tls::volume(hub, Server::MongoDb),
            pod::memory_dir(RUN, "8Mi"),
            pod::scratch_dir("tmp", "64Mi"),
        ]),
        ..PodSpec::default()
    }
}

fn mongod(hub: &ValidatedHub) -> Container {
    let cache = hub.mongodb.cache_mib;
    Container {
        name: "mongod".to_owned(),
        image: Some(hub.images.mongodb.clone()),
        image_pull_policy: Some(hub.images.pull_policy.to_owned()),
        command: Some(vec!["sh".to_owned(), "/etc/mongodb/start.sh".to_owned()]),
        env: Some(vec![
            pod::env("REPLICA_SET", MONGODB_REPLICA_SET),
            pod::env(
                "CACHE_GIB",
                format!("{}.{:03}", cache / 1024, cache % 1024 * 1000 / 1024),
            ),
        ]),
        ports: Some(vec![pod::port("mongodb", MONGODB_PORT)]),
        readiness_probe: Some(pod::FAST.tcp("mongodb")),
        resources: Some(pod::resources(&hub.mongodb.resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(vec![
            pod::mount(DATA, "/data/db"),
            pod::mount(RUN, "/run/mongodb"),
            pod::mount("tmp", "/tmp"),
            pod::read_only(CONFIG, "/etc/mongodb"),
            pod::read_only(AUTH, "/etc/mongodb-auth"),
            pod::read_only(TLS, "/etc/mongodb-tls"),
        ]),
        ..Container::default()
    }
}

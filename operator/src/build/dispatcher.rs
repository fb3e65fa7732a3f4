//! The dispatcher and the sender of callbacks: two roles of the worker's program.

use super::process::{self, Process};
use super::{Object, pod};
use crate::secrets::SecretsChecksums;
use crate::validate::{ContainerResources, ValidatedHub};

const PROGRAM: &str = "/usr/local/bin/flickrhub-worker";

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let dispatcher = role(
        hub,
        secrets,
        Role {
            name: hub.names.dispatcher(),
            component: "dispatcher",
            command: "dispatch",
            replicas: hub.dispatcher.replicas,
            resources: &hub.dispatcher.resources,
            grace_seconds: 30,
        },
    );
    let callbacks = role(
        hub,
        secrets,
        Role {
            name: hub.names.callbacks(),
            component: "callbacks",
            command: "callbacks",
            replicas: hub.callbacks.replicas,
            resources: &hub.callbacks.resources,
            grace_seconds: 60,
        },
    );
    dispatcher.into_iter().chain(callbacks).collect()
}

/// A role of the worker's program.
struct Role<'a> {
    name: String,
    component: &'static str,
    command: &'static str,
    replicas: u32,
    resources: &'a ContainerResources,
    grace_seconds: u32,
}

fn role(hub: &ValidatedHub, secrets: &SecretsChecksums, role: Role<'_>) -> [Object; 2] {
    let deployment = process::deployment(
        hub,
        secrets,
        &Process {
            name: role.name.clone(),
            component: role.component,
            replicas: Some(role.replicas),
            service_account: hub.names.worker(),
            image: &hub.images.worker,
            command: &[PROGRAM, role.command],
            resources: role.resources,
            grace_seconds: role.grace_seconds,
        },
    );
    [
        pod::disruption_budget(hub, role.name, role.component).into(),
        deployment.into(),
    ]
}

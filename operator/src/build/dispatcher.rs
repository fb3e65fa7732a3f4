//! The dispatcher and the sender of callbacks: two roles of the worker's program.
//!
//! Neither calls Flickr. The dispatcher moves the ids of jobs and reads nothing that is encrypted, so it has a service
//! account of its own that no role in Vault is bound to; the sender of callbacks decrypts webhook secrets and no
//! user's token, so it has one of its own too. It needs neither lanes nor queues.

use super::process::{self, Access, Process};
use super::{Object, api, pod};
use crate::secrets::SecretsChecksums;
use crate::validate::{ContainerResources, ValidatedHub};

const PROGRAM: &str = "/usr/local/bin/flickrhub-worker";

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let accounts = [
        api::service_account(hub, hub.names.dispatcher(), "dispatcher"),
        api::service_account(hub, hub.names.callbacks(), "callbacks"),
    ];
    let dispatcher = role(
        hub,
        secrets,
        Role {
            name: hub.names.dispatcher(),
            component: "dispatcher",
            service_account: hub.names.dispatcher(),
            access: &[Access::Redis, Access::MongoDb, Access::RabbitMq],
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
            service_account: hub.names.callbacks(),
            access: &[Access::MongoDb, Access::Vault],
            command: "callbacks",
            replicas: hub.callbacks.replicas,
            resources: &hub.callbacks.resources,
            grace_seconds: 60,
        },
    );
    accounts
        .map(Object::from)
        .into_iter()
        .chain(dispatcher)
        .chain(callbacks)
        .collect()
}

/// A role of the worker's program.
struct Role<'a> {
    name: String,
    component: &'static str,
    service_account: String,
    access: &'static [Access],
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
            service_account: role.service_account,
            access: role.access,
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

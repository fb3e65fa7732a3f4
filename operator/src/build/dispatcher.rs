//! The dispatcher and the sender of callbacks: two roles of the worker's program.
//!
//! Neither calls Flickr. The dispatcher moves the ids of jobs and reads nothing that is encrypted, so it has a service
//! account of its own that no role in Vault is bound to; the sender of callbacks decrypts webhook secrets and no
//! user's token, so it has one of its own too. It needs neither lanes nor queues.

use super::process::{self, Access, Process};
use super::{Object, api, pod};
use crate::secrets::SecretsChecksums;
use crate::validate::{ContainerResources, ValidatedHub};

/// The part that releases jobs from lanes.
pub(super) const DISPATCHER: &str = "dispatcher";
/// The part that sends callbacks.
pub(super) const CALLBACKS: &str = "callbacks";
/// What the dispatcher's work needs.
pub(super) const DISPATCHER_ACCESS: &[Access] = &[Access::Redis, Access::MongoDb, Access::RabbitMq];
/// What the work of the sender of callbacks needs.
pub(super) const CALLBACKS_ACCESS: &[Access] = &[Access::MongoDb, Access::Vault];
const PROGRAM: &str = "/usr/local/bin/flickrhub-worker";

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let accounts = [
        api::service_account(hub, hub.names.dispatcher(), DISPATCHER),
        api::service_account(hub, hub.names.callbacks(), CALLBACKS),
    ];
    let dispatcher = role(
        hub,
        secrets,
        Role {
            name: hub.names.dispatcher(),
            component: DISPATCHER,
            service_account: hub.names.dispatcher(),
            access: DISPATCHER_ACCESS,
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
            component: CALLBACKS,
            service_account: hub.names.callbacks(),
            access: CALLBACKS_ACCESS,
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

//! What the StatefulSets of the data engines have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, KeyToPath, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PodTemplateSpec, SecretVolumeSource, Service, ServicePort, ServiceSpec, Volume,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{labels, pod};
use crate::validate::{StoragePlan, ValidatedHub};

/// The name of the volume of a member.
pub(super) const DATA: &str = "data";
/// The name of the volume with settings and scripts.
pub(super) const CONFIG: &str = "config";
/// The name of the volume with passwords and keys.
pub(super) const AUTH: &str = "auth";

/// A StatefulSet and what it is governed by.
pub(super) struct Members<'a> {
    /// Its name.
    pub(super) name: String,
    /// The part that it is.
    pub(super) component: &'a str,
    /// The headless Service that names its pods.
    pub(super) service: String,
    /// Its pods.
    pub(super) replicas: u32,
    /// Their volumes.
    pub(super) storage: &'a StoragePlan,
    /// What they run.
    pub(super) template: PodTemplateSpec,
}

/// Members that start all at once, and are replaced by the operator one at a time: see [`crate::rolling`].
pub(super) fn set(hub: &ValidatedHub, members: Members<'_>) -> StatefulSet {
    StatefulSet {
        metadata: labels::meta(hub, members.name, members.component),
        spec: Some(StatefulSetSpec {
            service_name: Some(members.service),
            replicas: Some(pod::count(members.replicas)),
            pod_management_policy: Some("Parallel".to_owned()),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                // The finalizer deletes the claims where that is wanted: what is written here would be the policy of
                // the last apply, not the one at the deletion.
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            revision_history_limit: Some(5),
            selector: labels::selector(hub, members.component),
            template: members.template,
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            volume_claim_templates: Some(vec![claim(hub, members.component, members.storage)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn claim(hub: &ValidatedHub, component: &str, storage: &StoragePlan) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA.to_owned()),
            labels: Some(labels::selector_labels(hub, component)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    Quantity(storage.size.to_string()),
                )])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

/// A Service that gives each pod a DNS name, ready or not: members must find each other before they can be ready.
pub(super) fn headless(hub: &ValidatedHub, name: String, component: &str, ports: &[(&str, u16)]) -> Service {
    let mut service = service(hub, name, component, ports);
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = Some("None".to_owned());
        spec.publish_not_ready_addresses = Some(true);
    }
    service
}

/// A Service before the ready pods of a component; each port leads to the container port of the same name.
pub(super) fn service(hub: &ValidatedHub, name: String, component: &str, ports: &[(&str, u16)]) -> Service {
    let ports = ports.iter().map(|(name, port)| ServicePort {
        name: Some((*name).to_owned()),
        port: i32::from(*port),
        target_port: Some(IntOrString::String((*name).to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    });
    Service {
        metadata: labels::meta(hub, name, component),
        spec: Some(ServiceSpec {
            selector: Some(labels::selector_labels(hub, component)),
            ports: Some(ports.collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// A ConfigMap with the settings and scripts of a component.
pub(super) fn config_map(
    hub: &ValidatedHub,
    name: String,
    component: &str,
    files: &[(&str, String)],
) -> ConfigMap {
    let files = files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.clone()));
    ConfigMap {
        metadata: labels::meta(hub, name, component),
        data: Some(files.collect()),
        ..ConfigMap::default()
    }
}

/// The volume with a ConfigMap's files.
pub(super) fn config_volume(config_map: String) -> Volume {
    Volume {
        name: CONFIG.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map,
            default_mode: Some(0o444),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The volume with these keys of a Secret, each as a file of the key's name.
pub(super) fn auth_volume(secret: String, keys: &[&str]) -> Volume {
    let items = keys.iter().map(|key| KeyToPath {
        key: (*key).to_owned(),
        path: (*key).to_owned(),
        ..KeyToPath::default()
    });
    Volume {
        name: AUTH.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            items: Some(items.collect()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

//! Names, labels and owners of objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;

use crate::crd::FlickrHub;
use crate::validate::ValidatedHub;

/// The label with the name of the hub.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label with the part.
pub(crate) const COMPONENT: &str = "app.kubernetes.io/component";
/// The label by which the operator finds everything it made, and its value.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "flickrhub-operator");
/// The annotation with the namespace of the hub, on objects that have none of their own.
pub(crate) const HUB_NAMESPACE: &str = "flickrhub.dev/hub-namespace";

/// The annotation, with its value, of pods that leave the audit log's indexes to the operator, and so need no more than to add
/// to the log.
pub(crate) const LEAVES_AUDIT_LOG: (&str, &str) = ("flickrhub.dev/audit-log", "append-only");

/// The label of the operator's own pods, as the chart and the manifests give it.
pub(super) const OPERATOR: (&str, &str) = ("app.kubernetes.io/name", "flickrhub-operator");

const NAME: (&str, &str) = ("app.kubernetes.io/name", "flickrhub");
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "flickrhub");

fn text(pair: (&str, &str)) -> (String, String) {
    (pair.0.to_owned(), pair.1.to_owned())
}

/// The labels that pods of a component are selected by. They can never change.
pub(crate) fn selector_labels(hub: &ValidatedHub, component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        text(NAME),
        text((INSTANCE, hub.names.hub())),
        text((COMPONENT, component)),
    ])
}

/// Selects the pods of every component.
pub(super) fn all_pods(hub: &ValidatedHub) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([text(NAME), text((INSTANCE, hub.names.hub()))])),
        ..LabelSelector::default()
    }
}

/// The label selector of the pods and the volumes of every component of a hub.
pub(crate) fn of_hub(hub: &str) -> String {
    format!("{}={},{INSTANCE}={hub}", NAME.0, NAME.1)
}

/// The label selector of everything that the operator made for a hub of this name.
pub(crate) fn managed_for(hub: &str) -> String {
    format!("{}={},{INSTANCE}={hub}", MANAGED_BY.0, MANAGED_BY.1)
}

/// Whether the operator made the object for a hub of this name.
pub(crate) fn is_of_hub(meta: &ObjectMeta, hub: &str) -> bool {
    let is = |(key, value): (&str, &str)| {
        meta.labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
            == Some(value)
    };
    is(MANAGED_BY) && is((INSTANCE, hub))
}

/// Selects the pods of a component.
pub(super) fn selector(hub: &ValidatedHub, component: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector_labels(hub, component)),
        ..LabelSelector::default()
    }
}

/// The labels of every object of a component.
pub(super) fn labels(hub: &ValidatedHub, component: &str) -> BTreeMap<String, String> {
    let mut labels = selector_labels(hub, component);
    labels.extend([text(MANAGED_BY), text(PART_OF)]);
    labels
}

/// The hub as the owner: what it owns goes with it.
fn owner(hub: &ValidatedHub) -> OwnerReference {
    OwnerReference {
        api_version: FlickrHub::api_version(&()).into_owned(),
        kind: FlickrHub::kind(&()).into_owned(),
        name: hub.names.hub().to_owned(),
        uid: hub.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The metadata of an object that goes with the hub.
pub(crate) fn meta(hub: &ValidatedHub, name: impl Into<String>, component: &str) -> ObjectMeta {
    ObjectMeta {
        owner_references: Some(vec![owner(hub)]),
        ..free_meta(hub, name, component)
    }
}

/// The metadata of an object in the hub's namespace that outlives it: volumes cannot be read without the Secrets of the
/// hub, so no owner reference may ever make these go. The finalizer deletes them where that is wanted.
pub(crate) fn free_meta(hub: &ValidatedHub, name: impl Into<String>, component: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(hub.names.namespace().to_owned()),
        labels: Some(labels(hub, component)),
        ..ObjectMeta::default()
    }
}

/// The metadata of an object without namespace: no owner is possible, so it names its hub.
pub(super) fn cluster_meta(hub: &ValidatedHub, name: impl Into<String>, component: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(labels(hub, component)),
        annotations: Some(BTreeMap::from([text((HUB_NAMESPACE, hub.names.namespace()))])),
        ..ObjectMeta::default()
    }
}

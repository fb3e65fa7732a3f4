//! What a namespace has come to, without what the API server or chance put into it, so that two endings can be compared.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::ResourceExt as _;
use kube::api::{ApiResource, DynamicObject};
use serde_json::Value;

use crate::cluster::{Cluster, kinds};
use crate::tier::Tier;

/// The annotations of pod templates that change with made-up Secrets and authorities.
const CHECKSUMS: [&str; 2] = ["flickrhub.dev/config-checksum", "flickrhub.dev/trust-checksum"];
/// The type of Secrets with certificates.
const TLS: &str = "kubernetes.io/tls";
/// What the build is told apart by, in the status.
const BUILT_FROM: &str = "operatorVersion";

/// Every object by kind and name, and the clients' keys that hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ending {
    objects: BTreeMap<String, Value>,
    holding: BTreeMap<String, usize>,
}

/// Everything that data is lost with: volumes and Secrets, each with the uid and the values that must stay.
pub(crate) type Keepsakes = BTreeMap<String, String>;

impl Ending {
    /// What is there now. Values that were made up are left out where they differ from one ending to the other.
    pub(crate) async fn of(cluster: &Cluster, tier: &Tier, with_secrets: bool) -> Self {
        let mut objects = BTreeMap::new();
        for resource in kinds() {
            for object in cluster.list(&resource).await {
                let name = format!("{} {}", resource.kind, object.name_any());
                objects.insert(name, plain(&object, with_secrets));
            }
        }
        let holding = tier.data().holding_keys();
        Self {
            objects,
            holding: holding
                .into_iter()
                .map(|(client, keys)| (client, keys.len()))
                .collect(),
        }
    }

    /// In what it differs from the ending that is expected; `None` if in nothing.
    pub(crate) fn difference(&self, expected: &Self) -> Option<String> {
        let mut differences = Vec::new();
        for (name, object) in &expected.objects {
            match self.objects.get(name) {
                None => differences.push(format!("{name} is missing")),
                Some(found) => compare(name, found, object, &mut differences),
            }
        }
        let surplus = self
            .objects
            .keys()
            .filter(|name| !expected.objects.contains_key(*name));
        differences.extend(surplus.map(|name| format!("{name} is left over")));
        if self.holding != expected.holding {
            differences.push(format!(
                "keys {:?} hold instead of {:?}",
                self.holding, expected.holding
            ));
        }
        (!differences.is_empty()).then(|| differences.join("\n"))
    }

    /// The reason of a condition of the hub.
    pub(crate) fn reason(&self, type_: &str) -> Option<&str> {
        let hub = self
            .objects
            .iter()
            .find(|(name, _)| name.starts_with("FlickrHub "))?
            .1;
        let conditions = hub["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|condition| condition["type"] == type_)?;
        condition["reason"].as_str()
    }

    /// The status of a condition of the hub.
    pub(crate) fn is_true(&self, type_: &str) -> bool {
        let hub = self
            .objects
            .iter()
            .find(|(name, _)| name.starts_with("FlickrHub "));
        let conditions = hub.and_then(|(_, hub)| hub["status"]["conditions"].as_array());
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition["type"] == type_ && condition["status"] == "True")
    }

    /// Drops the generations of the hub, which grow with every change.
    pub(crate) fn forget_generations(&mut self) {
        for (name, hub) in &mut self.objects {
            if name.starts_with("FlickrHub ") {
                hub["status"]["observedGeneration"] = Value::Null;
                hub["status"]["readyGenerations"] = Value::Null;
                if let Some(build) = hub["status"]["build"].as_object_mut() {
                    build.remove("generation");
                }
                let conditions = hub["status"]["conditions"].as_array_mut();
                for condition in conditions.into_iter().flatten() {
                    condition["observedGeneration"] = Value::Null;
                }
            }
        }
    }

    /// The objects of the data tier: sets, their settings, Services and Secrets.
    pub(crate) fn data_tier(&self) -> BTreeMap<String, Value> {
        let engines = ["-redis", "-mongodb", "-rabbitmq", "-vault"];
        let is_of_it =
            |name: &str| !name.starts_with("FlickrHub") && engines.iter().any(|engine| name.contains(engine));
        let objects = self.objects.iter().filter(|(name, _)| is_of_it(name));
        objects
            .map(|(name, object)| (name.clone(), object.clone()))
            .collect()
    }
}

/// What must not be lost.
pub(crate) async fn keepsakes(cluster: &Cluster) -> Keepsakes {
    let mut kept = Keepsakes::new();
    for resource in [
        ApiResource::erase::<PersistentVolumeClaim>(&()),
        ApiResource::erase::<Secret>(&()),
    ] {
        for object in cluster.list(&resource).await {
            let is_of_client = object
                .owner_references()
                .iter()
                .any(|owner| owner.kind == "FlickrHubClient");
            if !is_of_client {
                // A server gets another certificate when members come; its authority stays.
                let is_of_server = object.data["type"] == TLS && object.name_any().ends_with("-tls");
                let data = if is_of_server {
                    &Value::Null
                } else {
                    &object.data["data"]
                };
                let name = format!("{} {}", resource.kind, object.name_any());
                kept.insert(name, format!("{:?} {data}", object.uid()));
            }
        }
    }
    kept
}

/// The object without what differs by chance.
fn plain(object: &DynamicObject, with_secrets: bool) -> Value {
    let mut value = serde_json::to_value(object).expect("JSON");
    let meta = value["metadata"].as_object_mut().expect("metadata");
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "generateName",
    ] {
        meta.remove(field);
    }
    if let Some(owners) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        for owner in owners {
            owner["uid"] = Value::Null;
        }
    }
    if let Some(fields) = value.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    let is_made_up =
        value["type"] == "Opaque" || value["type"] == TLS || object.name_any().ends_with("-trust");
    if value["data"].is_object() && is_made_up && !with_secrets {
        for (_, secret) in value["data"].as_object_mut().into_iter().flatten() {
            *secret = Value::Null;
        }
    }
    drop_chance(&mut value, with_secrets);
    value
}

/// Drops times, addresses, revisions and, without secrets, what is computed from them.
fn drop_chance(value: &mut Value, with_secrets: bool) {
    match value {
        Value::Object(fields) => {
            for field in [
                "lastTransitionTime",
                "clusterIP",
                "clusterIPs",
                "keyId",
                "keyCreatedAt",
                "nextRotation",
                "rotatedAt",
            ] {
                if fields.get(field).is_some_and(|value| value != "None") {
                    fields.remove(field);
                }
            }
            if fields.contains_key("readyReplicas") || fields.contains_key("disruptionsAllowed") {
                fields.remove("observedGeneration");
            }
            if fields.contains_key("disruptionsAllowed") {
                // Written only once it has been otherwise.
                fields.remove("conditions");
            }
            for field in [
                "currentRevision",
                "updateRevision",
                "controller-revision-hash",
                "validUntil",
                "flickrhub.dev/renew-at",
                "rotated-for",
                "flickrhub.dev/credentials-rotated-at",
            ] {
                fields.remove(field);
            }
            if !with_secrets {
                for checksum in CHECKSUMS {
                    fields.remove(checksum);
                }
                if fields.contains_key(BUILT_FROM) {
                    fields.remove("secrets");
                }
            }
            fields
                .values_mut()
                .for_each(|value| drop_chance(value, with_secrets));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_chance(item, with_secrets)),
        _ => {}
    }
}

/// Notes where two values differ.
fn compare(path: &str, found: &Value, expected: &Value, differences: &mut Vec<String>) {
    match (found, expected) {
        (Value::Object(one), Value::Object(other)) => {
            let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let (one, other) = (one.get(name), other.get(name));
                let null = Value::Null;
                compare(
                    &format!("{path}.{name}"),
                    one.unwrap_or(&null),
                    other.unwrap_or(&null),
                    differences,
                );
            }
        }
        (found, expected) if found == expected => {}
        (found, expected) => differences.push(format!("{path} is {found} instead of {expected}")),
    }
}

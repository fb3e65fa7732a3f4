//! What a hub consists of now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Map, Value, json};

use super::children::{Fingerprint, HubId, Known};
use super::differs::compact_ownership;
use super::{ApplyError, api};
use crate::build::labels::{self, HUB_NAMESPACE, INSTANCE, MANAGED_BY};
use crate::build::{Kind, Object};
use crate::context::Context;
use crate::validate::ValidatedHub;

/// As many objects of a kind are read one by one; more are listed.
const FEW: usize = 3;
/// Kinds that are read at the same time.
const READS: usize = 3;

/// The objects of a hub as the API server has them.
#[derive(Clone, Debug, Default)]
pub struct Live {
    objects: BTreeMap<(Kind, String), Value>,
    /// Those of them that are known to be as something was built.
    as_built: BTreeMap<(Kind, String), Fingerprint>,
    unread: BTreeSet<Kind>,
}

impl Live {
    /// These objects.
    #[cfg(test)]
    pub(crate) fn of(objects: impl IntoIterator<Item = (Kind, String, Value)>) -> Self {
        let objects = objects.into_iter();
        Self {
            objects: objects
                .map(|(kind, name, object)| ((kind, name), object))
                .collect(),
            ..Self::default()
        }
    }

    /// The object of this kind and name. Of one that is known to be as built (see [`super::children`]) it is what was
    /// built, and, of workloads, what others wrote into it.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// The objects of a kind, by name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&str, &Value)> {
        let of_kind = self.objects.iter().filter(move |((found, _), _)| *found == kind);
        of_kind.map(|((_, name), object)| (name.as_str(), object))
    }

    /// Takes in what the API server answered.
    ///
    /// # Errors
    /// When the object has no JSON form.
    pub(super) fn insert(&mut self, kind: Kind, object: &DynamicObject) -> Result<(), ApplyError> {
        let mut value = serde_json::to_value(object).map_err(|source| ApplyError::Encoding {
            name: object.name_any(),
            source,
        })?;
        // Items of a list do not say what they are.
        let resource = kind.resource();
        value["apiVersion"] = resource.api_version.into();
        value["kind"] = resource.kind.into();
        compact_ownership(&mut value);
        self.as_built.remove(&(kind, object.name_any()));
        self.objects.insert((kind, object.name_any()), value);
        Ok(())
    }

    /// What an object is known to be as, without a comparison; `None` if it was read.
    pub(super) fn is_as(&self, kind: Kind, name: &str) -> Option<Fingerprint> {
        self.as_built.get(&(kind, name.to_owned())).copied()
    }

    /// Whether the objects of a kind could not be read.
    pub(crate) fn is_unread(&self, kind: Kind) -> bool {
        self.unread.contains(&kind)
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &str) {
        self.as_built.remove(&(kind, name.to_owned()));
        self.objects.remove(&(kind, name.to_owned()));
    }

    /// What is there and was not built.
    pub(crate) fn unwanted(&self, objects: &[Object]) -> Vec<(Kind, String)> {
        let is_wanted = |kind: Kind, name: &str| {
            objects
                .iter()
                .any(|object| object.kind() == kind && object.name() == name)
        };
        let found = self.objects.keys();
        found
            .filter(|(kind, name)| !is_wanted(*kind, name))
            .cloned()
            .collect()
    }
}

/// Reads every object that the operator made for the hub, but for those that are known to be as built (`objects`). Returns
/// the kinds that could not be read as failures too.
pub async fn read(ctx: &Context, hub: &ValidatedHub, objects: &[Object]) -> (Live, Vec<ApplyError>) {
    let kinds: Vec<Kind> = Kind::ALL
        .iter()
        .copied()
        .filter(|kind| hub.autoscaling.looks_at(*kind))
        .collect();
    let mut live = Live::default();
    let mut failures = Vec::new();
    // Not all at once: each answer takes many times the memory that is kept of it.
    for kinds in kinds.chunks(READS) {
        let reads = kinds.iter().map(|kind| read_kind(ctx, hub, *kind, objects));
        for (kind, found) in kinds.iter().zip(join_all(reads).await) {
            match found.and_then(|found| live.take(hub, *kind, found, objects)) {
                Ok(()) => {}
                Err(error) => {
                    live.unread.insert(*kind);
                    failures.push(error);
                }
            }
        }
    }
    (live, failures)
}

/// What was found of a kind: what was read, and what needed no reading.
#[derive(Default)]
struct Found {
    read: Vec<DynamicObject>,
    as_built: Vec<(String, Box<[u8]>)>,
}

async fn read_kind(
    ctx: &Context,
    hub: &ValidatedHub,
    kind: Kind,
    objects: &[Object],
) -> Result<Found, ApplyError> {
    let id = HubId::of(hub);
    let built: HashMap<String, Fingerprint> = objects
        .iter()
        .filter(|object| object.kind() == kind)
        .filter_map(|object| Some((object.name(), Fingerprint::of(object, hub)?)))
        .collect();
    let api = api(&ctx.client, kind, hub.names.namespace());
    let failed = |source| ApplyError::api(kind, hub.names.hub(), source);
    match ctx.children.known(kind, &id, &built) {
        Some(Known { as_built, unread }) if unread.len() <= FEW => {
            let mut read = Vec::new();
            for name in unread {
                read.extend(api.get_opt(&name).await.map_err(failed)?);
            }
            Ok(Found { read, as_built })
        }
        _ => {
            let selector = labels::managed_for(hub.names.hub());
            let found = api.list(&ListParams::default().labels(&selector)).await;
            Ok(Found {
                read: found.map_err(failed)?.items,
                as_built: Vec::new(),
            })
        }
    }
}

impl Live {
    fn take(
        &mut self,
        hub: &ValidatedHub,
        kind: Kind,
        found: Found,
        objects: &[Object],
    ) -> Result<(), ApplyError> {
        for object in &found.read {
            if matches!(ownership(hub, object), Ownership::Own | Ownership::Orphaned) {
                self.insert(kind, object)?;
            }
        }
        for (name, others) in found.as_built {
            let built = objects
                .iter()
                .find(|object| object.kind() == kind && object.name() == name);
            let encoding = |source| ApplyError::Encoding {
                name: name.clone(),
                source,
            };
            let mut object = match built {
                Some(object) if !others.is_empty() || kind == Kind::ConfigMap => {
                    serde_json::to_value(object).map_err(encoding)?
                }
                // Nobody asks for more than that it is there.
                _ => json!({"metadata": {"name": name}}),
            };
            if !others.is_empty() {
                merge(&mut object, serde_json::from_slice(&others).map_err(encoding)?);
            }
            let built = built.and_then(|object| Fingerprint::of(object, hub));
            self.as_built
                .extend(built.map(|built| ((kind, name.clone()), built)));
            self.objects.insert((kind, name), object);
        }
        Ok(())
    }
}

/// What others write into a workload, or into its metadata, and the operator asks for: as JSON, for
/// [`super::children::Children`]. Nothing of other kinds.
pub(super) fn others(kind: Kind, object: &Value) -> Box<[u8]> {
    if !matches!(kind, Kind::Deployment | Kind::StatefulSet) {
        return Box::default();
    }
    let fields = |path: &str, without: &[&str]| {
        let fields = object.pointer(path).and_then(Value::as_object);
        let kept = fields.into_iter().flatten();
        let kept = kept.filter(|(name, _)| !without.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect::<Map<_, _>>()
    };
    let mut kept = json!({
        // What is built of labels and owners was found as it should be.
        "metadata": fields("/metadata", &["managedFields", "labels", "ownerReferences"]),
        "spec": fields("/spec", &["template", "selector"]),
        "status": fields("/status", &[]),
    });
    if let Some(template) = object.pointer("/spec/template/metadata/annotations") {
        kept["spec"]["template"] = json!({"metadata": {"annotations": template}});
    }
    serde_json::to_vec(&kept).unwrap_or_default().into()
}

/// Puts the fields of `others` into an object; what is no object replaces what was there.
fn merge(object: &mut Value, others: Value) {
    match (object, others) {
        (Value::Object(object), Value::Object(others)) => {
            for (name, value) in others {
                merge(object.entry(name).or_insert(Value::Null), value);
            }
        }
        (object, others) => *object = others,
    }
}

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Of this very hub.
    Own,
    /// Made by the operator for a hub of this name, and left without an owner: by a deletion that kept the children,
    /// or by a restore. It is taken up again.
    Orphaned,
    /// Of a former hub of this name; it is about to go.
    Former,
    /// Of somebody else.
    Foreign,
}

/// Judges whose an object is.
pub(super) fn ownership(hub: &ValidatedHub, object: &DynamicObject) -> Ownership {
    let labels = object.labels();
    let is_ours = labels.get(INSTANCE).is_some_and(|name| name == hub.names.hub())
        && labels.get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1);
    if object.namespace().is_none() {
        let namespace = object.annotations().get(HUB_NAMESPACE);
        return if is_ours && namespace.is_some_and(|name| name == hub.names.namespace()) {
            Ownership::Own
        } else {
            Ownership::Foreign
        };
    }
    let owners = object.owner_references();
    if owners.iter().any(|owner| owner.uid == hub.uid) {
        Ownership::Own
    } else if owners.is_empty() && is_ours {
        Ownership::Orphaned
    } else if owners
        .iter()
        .any(|owner| owner.kind == "FlickrHub" && owner.name == hub.names.hub())
    {
        Ownership::Former
    } else {
        Ownership::Foreign
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;
    use crate::fixtures;

    fn object(owner: Option<(&str, &str)>, instance: &str) -> DynamicObject {
        let mut object = DynamicObject::new("gallery-api", &Kind::Service.resource()).within("photos");
        object
            .labels_mut()
            .insert(INSTANCE.to_owned(), instance.to_owned());
        object
            .labels_mut()
            .insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        object
            .owner_references_mut()
            .extend(owner.map(|(kind, uid)| OwnerReference {
                kind: kind.to_owned(),
                name: "gallery".to_owned(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }));
        object
    }

    #[test]
    fn an_object_belongs_to_the_hub_that_its_owner_names() {
        let hub = fixtures::validated(&fixtures::minimal());
        let judge = |owner, instance| ownership(&hub, &object(owner, instance));
        assert_eq!(
            judge(Some(("FlickrHub", hub.uid.as_str())), "gallery"),
            Ownership::Own
        );
        assert_eq!(
            judge(Some(("FlickrHub", "of-a-former-hub")), "gallery"),
            Ownership::Former
        );
        assert_eq!(judge(None, "gallery"), Ownership::Orphaned);
        assert_eq!(judge(None, "another"), Ownership::Foreign);
        assert_eq!(judge(Some(("Other", "1")), "gallery"), Ownership::Foreign);
    }

    #[test]
    fn an_object_without_namespace_belongs_to_the_hub_that_it_names() {
        let hub = fixtures::validated(&fixtures::minimal());
        let mut binding = object(None, "gallery");
        binding.metadata.namespace = None;
        assert_eq!(ownership(&hub, &binding), Ownership::Foreign);
        binding
            .annotations_mut()
            .insert(HUB_NAMESPACE.to_owned(), "photos".to_owned());
        assert_eq!(ownership(&hub, &binding), Ownership::Own);
    }

    #[test]
    fn of_a_workload_that_is_as_built_everything_that_others_write_is_known() -> Result<(), ApplyError> {
        let hub = fixtures::validated(&fixtures::minimal());
        let built = crate::build::build(&hub, &fixtures::checksums());
        let (kind, name) = (Kind::StatefulSet, hub.names.redis());
        let object = built
            .iter()
            .find(|object| object.kind() == kind && object.name() == name);
        let mut current = json!(object);
        current["metadata"]["generation"] = json!(4);
        current["metadata"]["managedFields"] = json!([{"manager": "flickrhub-operator"}]);
        current["spec"]["replicas"] = json!(2);
        current["status"] = json!({"readyReplicas": 2, "updateRevision": "b"});
        let found = Found {
            read: Vec::new(),
            as_built: vec![(name.clone(), others(kind, &current))],
        };
        let mut live = Live::default();
        live.take(&hub, kind, found, &built)?;
        if let Some(meta) = current["metadata"].as_object_mut() {
            meta.remove("managedFields");
        }
        assert!(live.is_as(kind, &name).is_some());
        assert_eq!(live.get(kind, &name), Some(&current));
        Ok(())
    }

    #[test]
    fn only_what_the_hub_owns_and_was_not_built_is_unwanted() -> Result<(), ApplyError> {
        let hub = fixtures::validated(&fixtures::minimal());
        let built = crate::build::build(&hub, &fixtures::checksums());
        let mut live = Live::default();
        live.insert(
            Kind::Service,
            &object(Some(("FlickrHub", hub.uid.as_str())), "gallery"),
        )?;
        assert!(live.unwanted(&built).is_empty());
        assert_eq!(live.unwanted(&[]), [(Kind::Service, "gallery-api".to_owned())]);
        Ok(())
    }
}

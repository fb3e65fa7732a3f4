//! What a hub consists of now.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use super::{ApplyError, api};
use crate::build::labels::{HUB_NAMESPACE, INSTANCE, MANAGED_BY};
use crate::build::{Kind, Object};
use crate::context::Context;
use crate::validate::ValidatedHub;

/// The objects of a hub as the API server has them.
#[derive(Clone, Debug, Default)]
pub struct Live {
    objects: BTreeMap<(Kind, String), Value>,
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
            unread: BTreeSet::new(),
        }
    }

    /// The object of this kind and name.
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
        self.objects.insert((kind, object.name_any()), value);
        Ok(())
    }

    /// Whether the objects of a kind could not be read.
    pub(crate) fn is_unread(&self, kind: Kind) -> bool {
        self.unread.contains(&kind)
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &str) {
        self.objects.remove(&(kind, name.to_owned()));
    }

    /// What is there and was not built.
    pub(super) fn unwanted(&self, objects: &[Object]) -> Vec<(Kind, String)> {
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

/// Reads every object that the operator made for the hub. Returns the kinds that could not be read as failures too.
pub async fn read(ctx: &Context, hub: &ValidatedHub) -> (Live, Vec<ApplyError>) {
    let selector = format!("{}={},{INSTANCE}={}", MANAGED_BY.0, MANAGED_BY.1, hub.names.hub());
    let params = ListParams::default().labels(&selector);
    let mut live = Live::default();
    let mut failures = Vec::new();
    for kind in Kind::ALL {
        if let Err(error) = read_kind(ctx, hub, *kind, &params, &mut live).await {
            live.unread.insert(*kind);
            failures.push(error);
        }
    }
    (live, failures)
}

async fn read_kind(
    ctx: &Context,
    hub: &ValidatedHub,
    kind: Kind,
    params: &ListParams,
    live: &mut Live,
) -> Result<(), ApplyError> {
    let found = api(&ctx.client, kind, hub.names.namespace()).list(params).await;
    let found = found.map_err(|source| ApplyError::api(kind, hub.names.hub(), source))?;
    for object in &found.items {
        if matches!(ownership(hub, object), Ownership::Own | Ownership::Orphaned) {
            live.insert(kind, object)?;
        }
    }
    Ok(())
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

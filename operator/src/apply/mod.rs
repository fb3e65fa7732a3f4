//! Brings the cluster to what was built: server-side apply with one field manager, nothing written where the live
//! object already is as it should be, and no longer wanted objects pruned.
//!
//! If the process dies between two writes, the next one reads the live objects anew and goes on with the rest: every
//! write is idempotent, and none depends on one that comes after it.

pub mod children;
mod differs;
mod keep;
mod live;
mod members;
mod volumes;

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PropagationPolicy};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::build::{Kind, Object};
use crate::context::{Context, FIELD_MANAGER, SCALE_MANAGER};
use crate::validate::ValidatedHub;
use children::{Fingerprint, HubId};
use live::Ownership;

pub use differs::differs;
pub use live::{Live, read};

/// An object cannot be brought to what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server did not answer, or refused.
    #[error("{kind} {name}: {source}")]
    Api {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// What the client says.
        source: kube::Error,
    },
    /// The API server understood the object and does not want it: another try would be answered the same.
    #[error("the API server refuses {kind} {name:?}: {message}")]
    Refused {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server says.
        message: String,
    },
    /// Something else has the name.
    #[error(
        "{kind} {name:?} exists and does not belong to this FlickrHub: delete it, or create the FlickrHub under another name"
    )]
    NameTaken {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// It belongs to a former hub of the same name.
    #[error(
        "{kind} {name:?} of a FlickrHub of the same name that was deleted is still there: it goes by itself"
    )]
    StillThere {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A volume cannot grow.
    #[error(
        "the volume {name} cannot grow to {size}: {source}. Set the size back, or use a storage class that allows expansion"
    )]
    Volume {
        /// The name of the claim.
        name: String,
        /// The size it should have.
        size: String,
        /// What the client says.
        source: kube::Error,
    },
    /// A volume is to be smaller than it is made.
    #[error(
        "the volumes of {name} are made with {made} and cannot shrink to {size}: set storage.size back to {made} or more"
    )]
    Smaller {
        /// The name of the set.
        name: String,
        /// The size that its members' volumes are made with.
        made: String,
        /// The size that they should have.
        size: String,
    },
    /// An object has no JSON form, or the API server sent none.
    #[error("{name} cannot be encoded: {source}")]
    Encoding {
        /// The name of the object.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl ApplyError {
    fn api(kind: Kind, name: &str, source: kube::Error) -> Self {
        Self::of(kind.resource().kind, name.to_owned(), source)
    }

    pub(crate) fn of(kind: String, name: String, source: kube::Error) -> Self {
        match source {
            kube::Error::Api(status) if matches!(status.code, 400 | 422) => Self::Refused {
                kind,
                name,
                message: status.message.clone(),
            },
            source => Self::Api { kind, name, source },
        }
    }
}

/// The API of a kind, in the namespace of the hub where the kind has namespaces.
fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    let resource = kind.resource();
    if kind.is_namespaced() {
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    }
}

fn apply_params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

/// Applies objects and takes what the API server answers into `live`. Returns what could not be applied; it keeps
/// nothing else from being.
pub async fn apply<'a>(
    ctx: &Context,
    hub: &ValidatedHub,
    objects: impl IntoIterator<Item = &'a Object>,
    live: &mut Live,
) -> Vec<ApplyError> {
    let mut failures = Vec::new();
    for object in objects {
        failures.extend(apply_one(ctx, hub, object, live).await.err());
    }
    failures
}

async fn apply_one(
    ctx: &Context,
    hub: &ValidatedHub,
    object: &Object,
    live: &mut Live,
) -> Result<(), ApplyError> {
    let kind = object.kind();
    let name = object.name();
    // What must be kept of an object that could not be read is not known; that it could not is reported.
    if live.is_unread(kind) {
        return Ok(());
    }
    let known = live.is_as(kind, &name);
    if known.is_some() && known == Fingerprint::of(object, hub) {
        return Ok(());
    }
    let mut desired = serde_json::to_value(object).map_err(|source| ApplyError::Encoding {
        name: name.clone(),
        source,
    })?;
    let api = api(&ctx.client, kind, hub.names.namespace());
    if known.is_some() {
        // It is as something else was built.
        let read = api.get_opt(&name).await;
        match read.map_err(|source| ApplyError::api(kind, &name, source))? {
            Some(current) => live.insert(kind, &current)?,
            None => live.remove(kind, &name),
        }
    }
    match live.get(kind, &name) {
        Some(current) => {
            if current.pointer("/metadata/deletionTimestamp").is_some() {
                // It is made anew once it is gone.
                return Ok(());
            }
            if kind == Kind::StatefulSet {
                members::keep(hub, &name, &mut desired, current);
                volumes::refuse_less(&name, &desired, current)?;
            }
            if kind == Kind::StatefulSet && volumes::grew(&desired, current) {
                volumes::grow(&ctx.client, hub.names.namespace(), &desired).await?;
                // The templates of a StatefulSet are immutable, so it is made anew; its pods go on and are adopted.
                let orphan = DeleteParams {
                    propagation_policy: Some(PropagationPolicy::Orphan),
                    ..DeleteParams::default()
                };
                api.delete(&name, &orphan)
                    .await
                    .map_err(|e| ApplyError::api(kind, &name, e))?;
                live.remove(kind, &name);
                return Ok(());
            }
            volumes::keep_templates(&mut desired, current);
            if hub.keeps_templates {
                keep::keep_source(kind, &mut desired, current);
            }
            if !differs(&desired, current) {
                settle(ctx, hub, object, current);
                return Ok(());
            }
        }
        None => refuse_foreign(&api, hub, kind, &name).await?,
    }
    tracing::info!(kind = kind.resource().kind, name, "apply");
    let applied = api
        .patch(&name, &apply_params(), &Patch::Apply(&desired))
        .await
        .map_err(|source| ApplyError::api(kind, &name, source))?;
    live.insert(kind, &applied)?;
    if let Some(current) = live
        .get(kind, &name)
        .filter(|current| !differs(&desired, current))
    {
        settle(ctx, hub, object, current);
    }
    Ok(())
}

/// What applying an object would do.
#[derive(Clone, Debug, PartialEq)]
pub enum Would {
    /// Nothing.
    Stay,
    /// It would be this.
    Become(Value),
    /// Its volumes would grow, and then it would be this.
    Grow(Value),
}

/// What [`apply`] would do to an object, by a dry run.
///
/// # Errors
/// When the API server refuses, or something else has the name.
pub async fn would(
    ctx: &Context,
    hub: &ValidatedHub,
    object: &Object,
    live: &Live,
) -> Result<Would, ApplyError> {
    let (kind, name) = (object.kind(), object.name());
    let mut desired = serde_json::to_value(object).map_err(|source| ApplyError::Encoding {
        name: name.clone(),
        source,
    })?;
    let api = api(&ctx.client, kind, hub.names.namespace());
    match live.get(kind, &name) {
        Some(current) => {
            if kind == Kind::StatefulSet {
                volumes::refuse_less(&name, &desired, current)?;
            }
            if kind == Kind::StatefulSet && volumes::grew(&desired, current) {
                return Ok(Would::Grow(desired));
            }
            volumes::keep_templates(&mut desired, current);
            if hub.keeps_templates {
                keep::keep_source(kind, &mut desired, current);
            }
            if !differs(&desired, current) {
                return Ok(Would::Stay);
            }
        }
        None => refuse_foreign(&api, hub, kind, &name).await?,
    }
    let params = apply_params().dry_run();
    let applied = api.patch(&name, &params, &Patch::Apply(&desired)).await;
    let applied = applied.map_err(|source| ApplyError::api(kind, &name, source))?;
    serde_json::to_value(applied)
        .map(Would::Become)
        .map_err(|source| ApplyError::Encoding { name, source })
}

/// Notes that an object is as built, so that it need not be read again before somebody changes it.
fn settle(ctx: &Context, hub: &ValidatedHub, object: &Object, current: &Value) {
    if let Some(built) = Fingerprint::of(object, hub) {
        ctx.children
            .settle(object.kind(), &HubId::of(hub), current, built);
    }
}

/// Refuses to take over an object of the same name that something else made.
async fn refuse_foreign(
    api: &Api<DynamicObject>,
    hub: &ValidatedHub,
    kind: Kind,
    name: &str,
) -> Result<(), ApplyError> {
    match api.get_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(object)) => match live::ownership(hub, &object) {
            Ownership::Own | Ownership::Orphaned => Ok(()),
            Ownership::Former => Err(ApplyError::StillThere {
                kind: kind.resource().kind,
                name: name.to_owned(),
            }),
            Ownership::Foreign => Err(ApplyError::NameTaken {
                kind: kind.resource().kind,
                name: name.to_owned(),
            }),
        },
        Err(source) => Err(ApplyError::api(kind, name, source)),
    }
}

/// Deletes what belongs to the hub and was not built. Returns what could not be deleted.
pub async fn prune(
    ctx: &Context,
    hub: &ValidatedHub,
    objects: &[Object],
    live: &mut Live,
) -> Vec<ApplyError> {
    let mut failures = Vec::new();
    for (kind, name) in live.unwanted(objects) {
        tracing::info!(kind = kind.resource().kind, name, "prune");
        match delete(&ctx.client, kind, hub.names.namespace(), &name).await {
            Ok(()) => live.remove(kind, &name),
            Err(error) => failures.push(error),
        }
    }
    failures
}

/// Deletes an object; that it does not exist is no error.
///
/// # Errors
/// When the API server fails.
pub async fn delete(client: &Client, kind: Kind, namespace: &str, name: &str) -> Result<(), ApplyError> {
    match api(client, kind, namespace)
        .delete(name, &DeleteParams::background())
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(ApplyError::api(kind, name, source)),
    }
}

/// Applies labels and owners of an object whose content is none of the applier's business.
///
/// # Errors
/// When the API server fails.
pub async fn apply_metadata(client: &Client, current: &Secret, meta: ObjectMeta) -> Result<(), ApplyError> {
    let name = current.name_any();
    let encoding = |source| ApplyError::Encoding {
        name: current.name_any(),
        source,
    };
    let desired = json!({
        "apiVersion": Secret::api_version(&()),
        "kind": Secret::kind(&()),
        "metadata": serde_json::to_value(&meta).map_err(encoding)?,
    });
    let live = json!({
        "apiVersion": Secret::api_version(&()),
        "kind": Secret::kind(&()),
        "metadata": serde_json::to_value(&current.metadata).map_err(encoding)?,
    });
    if !differs(&desired, &live) {
        return Ok(());
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), &meta.namespace.unwrap_or_default());
    match api.patch(&name, &apply_params(), &Patch::Apply(&desired)).await {
        Ok(_) => Ok(()),
        Err(source) => Err(ApplyError::of(Secret::kind(&()).into_owned(), name, source)),
    }
}

/// Takes the owners of one kind off an object, so that it does not go with them.
///
/// # Errors
/// When the API server fails, or the object changed since it was read.
pub async fn disown<K>(api: &Api<K>, meta: &ObjectMeta, owner_kind: &str) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let Some(patch) = without_owners(meta, owner_kind) else {
        return Ok(());
    };
    let name = meta.name.as_deref().unwrap_or_default();
    match api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// The patch that takes the owners of one kind off an object; `None` if it has none.
fn without_owners(meta: &ObjectMeta, owner_kind: &str) -> Option<Value> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let others: Vec<_> = owners.iter().filter(|owner| owner.kind != owner_kind).collect();
    (others.len() < owners.len()).then(|| {
        json!({"metadata": {
            "ownerReferences": others,
            "resourceVersion": meta.resource_version,
        }})
    })
}

/// Raises the number of pods of a Deployment that an autoscaler owns, where it is below the least the user wants. The
/// autoscaler would do it too, but a quarter of a minute later, and not at all where no metrics are served.
///
/// # Errors
/// When the API server fails.
pub async fn raise_replicas(
    ctx: &Context,
    hub: &ValidatedHub,
    name: &str,
    least: u32,
    live: &Live,
) -> Result<(), ApplyError> {
    let current = live
        .get(Kind::Deployment, name)
        .and_then(|object| object.pointer("/spec/replicas")?.as_u64());
    if current.is_none_or(|current| current >= u64::from(least)) {
        return Ok(());
    }
    let params = PatchParams {
        field_manager: Some(SCALE_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api(&ctx.client, Kind::Deployment, hub.names.namespace())
        .patch_scale(name, &params, &Patch::Merge(json!({"spec": {"replicas": least}})))
        .await
        .map(|_| ())
        .map_err(|source| ApplyError::api(Kind::Deployment, name, source))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn refusal(code: u16) -> kube::Error {
        let status = kube::core::Status::failure("spec.rules[0].host: Invalid value", "Invalid");
        kube::Error::Api(Box::new(status.with_code(code)))
    }

    #[test]
    fn a_refusal_keeps_the_words_of_the_api_server() {
        for code in [400, 422] {
            let error = ApplyError::api(Kind::Ingress, "gallery-api", refusal(code));
            assert!(matches!(error, ApplyError::Refused { .. }), "{code}");
            assert_eq!(
                error.to_string(),
                "the API server refuses Ingress \"gallery-api\": spec.rules[0].host: Invalid value"
            );
        }
        for code in [403, 409, 500, 503] {
            let error = ApplyError::api(Kind::Ingress, "gallery-api", refusal(code));
            assert!(matches!(error, ApplyError::Api { .. }), "{code}");
        }
    }

    fn owned_by(kinds: &[&str]) -> ObjectMeta {
        let owner = |kind: &&str| OwnerReference {
            kind: (*kind).to_owned(),
            ..OwnerReference::default()
        };
        ObjectMeta {
            resource_version: Some("7".to_owned()),
            owner_references: Some(kinds.iter().map(owner).collect()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn owners_of_one_kind_are_taken_off_and_others_stay() {
        assert_eq!(without_owners(&owned_by(&["Other"]), "FlickrHub"), None);
        assert_eq!(without_owners(&ObjectMeta::default(), "FlickrHub"), None);
        let patch = without_owners(&owned_by(&["FlickrHub", "Other"]), "FlickrHub").unwrap_or_default();
        assert_eq!(
            patch["metadata"]["ownerReferences"].as_array().map(Vec::len),
            Some(1)
        );
        assert_eq!(patch["metadata"]["ownerReferences"][0]["kind"], "Other");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
    }
}

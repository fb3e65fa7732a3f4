//! What has to go, or to be kept, by hand when a hub is deleted, because no owner reference can do it: the
//! ClusterRoleBinding of a managed Vault, and the volumes and made-up Secrets, whose fate is that of `deletionPolicy` as
//! it stands at the deletion and not when it was last applied.
//!
//! The finalizer is written before the first object is created. If the process dies during the clean-up, the next one
//! repeats it: deleting what is gone is no error.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use crate::apply::{self, ApplyError};
use crate::build::Kind;
use crate::build::labels::{self, INSTANCE, MANAGED_BY};
use crate::crd::{DeletionPolicy, FlickrHub};
use crate::names::{HubNames, set_of_claim};
use crate::secrets;

/// The name of the finalizer.
pub const FINALIZER: &str = "flickrhub.dev/cleanup";
/// The finalizer of a deletion that is to leave the children.
const ORPHAN: &str = "orphan";
/// When to look again at what Kubernetes takes a moment for.
const SOON: Duration = Duration::from_secs(1);

/// The clean-up, or the finalizer itself, failed.
#[derive(Debug, thiserror::Error)]
pub enum FinalizerError {
    /// The finalizers of the hub cannot be written.
    #[error("cannot write the finalizers: {0}")]
    Write(#[source] kube::Error),
    /// Volumes or Secrets cannot be read, deleted or kept.
    #[error("cannot clean up the {what} of the hub: {source}")]
    Data {
        /// What they are.
        what: &'static str,
        /// What the client says.
        source: kube::Error,
    },
    /// The ClusterRoleBinding or a StatefulSet cannot be deleted.
    #[error(transparent)]
    Object(#[from] ApplyError),
}

fn failed(what: &'static str) -> impl Fn(kube::Error) -> FinalizerError {
    move |source| FinalizerError::Data { what, source }
}

/// A hub that is to go. Its metadata and policy are enough, so one that cannot be read otherwise goes too.
pub struct Leaving<'a> {
    meta: &'a ObjectMeta,
    names: HubNames,
    policy: DeletionPolicy,
}

impl<'a> Leaving<'a> {
    /// The hub with this metadata and policy.
    pub fn new(meta: &'a ObjectMeta, policy: DeletionPolicy, cluster_domain: &str) -> Self {
        let name = meta.name.clone().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        Self {
            meta,
            names: HubNames::new(name, namespace, cluster_domain),
            policy,
        }
    }

    fn has_finalizer(&self, name: &str) -> bool {
        finalizers(self.meta).iter().any(|finalizer| finalizer == name)
    }

    /// Whether the data goes too. Children that are left without an owner still need theirs.
    fn loses_data(&self) -> bool {
        self.policy == DeletionPolicy::Delete && !self.has_finalizer(ORPHAN)
    }

    /// Whether a claim is the volume of a member.
    fn has_claim(&self, claim: &str) -> bool {
        let names = &self.names;
        let sets = [names.redis(), names.mongodb(), names.rabbitmq(), names.vault()];
        set_of_claim(claim).is_some_and(|set| sets.iter().any(|name| name == set))
    }
}

fn finalizers(meta: &ObjectMeta) -> &[String] {
    meta.finalizers.as_deref().unwrap_or_default()
}

/// Writes the finalizer where it is missing.
///
/// # Errors
/// When the API server fails, or somebody else changed the hub meanwhile.
pub async fn ensure(client: &Client, hub: &FlickrHub) -> Result<(), FinalizerError> {
    let present = finalizers(&hub.metadata);
    if present.iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    let mut wanted = present.to_vec();
    wanted.push(FINALIZER.to_owned());
    write(client, &hub.metadata, &wanted).await
}

/// Cleans up and lets the hub go. Returns when to go on, where Kubernetes has to do something in between.
///
/// # Errors
/// When something cannot be deleted or kept; the hub stays until it can.
pub async fn clean_up(client: &Client, hub: &Leaving<'_>) -> Result<Option<Duration>, FinalizerError> {
    if !hub.has_finalizer(FINALIZER) {
        return Ok(None);
    }
    let review = hub.names.vault_token_review();
    apply::delete(client, Kind::ClusterRoleBinding, hub.names.namespace(), &review).await?;
    let is_done = if hub.loses_data() {
        delete_data(client, hub).await?
    } else {
        keep_data(client, hub).await?
    };
    if !is_done {
        return Ok(Some(SOON));
    }
    let present = finalizers(hub.meta).iter();
    let others: Vec<String> = present.filter(|name| *name != FINALIZER).cloned().collect();
    write(client, hub.meta, &others).await?;
    Ok(None)
}

/// Deletes the sets, and once none is left to claim a volume anew, the volumes and the made-up Secrets. The claims go
/// when the last pod that uses them does. `false` while a set is left.
async fn delete_data(client: &Client, hub: &Leaving<'_>) -> Result<bool, FinalizerError> {
    let sets = sets(client, hub).await?;
    for set in &sets {
        let namespace = hub.names.namespace();
        apply::delete(client, Kind::StatefulSet, namespace, &set.name_any()).await?;
    }
    if !sets.is_empty() {
        return Ok(false);
    }
    let api: Api<PersistentVolumeClaim> = namespaced(client, hub);
    for claim in claims(&api, hub).await? {
        delete(&api, &claim.name_any()).await.map_err(failed("volumes"))?;
    }
    let api: Api<Secret> = namespaced(client, hub);
    for secret in made_up(&api, hub).await? {
        delete(&api, &secret.name_any())
            .await
            .map_err(failed("Secrets"))?;
    }
    Ok(true)
}

/// Takes care that neither a set nor an owner reference of a former policy takes volumes or Secrets with it. `false`
/// until the StatefulSet controller knows, because it would bring the owners of claims back.
async fn keep_data(client: &Client, hub: &Leaving<'_>) -> Result<bool, FinalizerError> {
    let api: Api<StatefulSet> = namespaced(client, hub);
    let mut is_known = true;
    for set in sets(client, hub).await? {
        if takes_volumes(&set) {
            let patch = json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}});
            api.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map_err(failed("StatefulSets"))?;
            is_known = false;
        } else {
            is_known &= is_observed(&set);
        }
    }
    if !is_known {
        return Ok(false);
    }
    let api: Api<PersistentVolumeClaim> = namespaced(client, hub);
    let owner = StatefulSet::kind(&());
    for claim in claims(&api, hub).await? {
        let disowned = apply::disown(&api, &claim.metadata, &owner).await;
        disowned.map_err(failed("volumes"))?;
    }
    let api: Api<Secret> = namespaced(client, hub);
    let owner = FlickrHub::kind(&());
    for secret in made_up(&api, hub).await? {
        let disowned = apply::disown(&api, &secret.metadata, &owner).await;
        disowned.map_err(failed("Secrets"))?;
    }
    Ok(true)
}

/// Whether the deletion of a set deletes its volumes.
fn takes_volumes(set: &StatefulSet) -> bool {
    let policy = set
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    policy.and_then(|policy| policy.when_deleted.as_deref()) == Some("Delete")
}

/// Whether the StatefulSet controller has seen the set as it is. One that is about to go is not looked at any more.
fn is_observed(set: &StatefulSet) -> bool {
    let observed = set.status.as_ref().and_then(|status| status.observed_generation);
    set.metadata.deletion_timestamp.is_some() || observed >= set.metadata.generation
}

fn namespaced<K>(client: &Client, hub: &Leaving<'_>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), hub.names.namespace())
}

/// Everything that the operator labelled as its own for this hub.
fn ours(hub: &Leaving<'_>) -> ListParams {
    let (key, value) = MANAGED_BY;
    ListParams::default().labels(&format!("{key}={value},{INSTANCE}={}", hub.names.hub()))
}

async fn sets(client: &Client, hub: &Leaving<'_>) -> Result<Vec<StatefulSet>, FinalizerError> {
    let found = namespaced::<StatefulSet>(client, hub).list(&ours(hub)).await;
    Ok(found.map_err(failed("StatefulSets"))?.items)
}

/// The volumes of members, also of those that are gone.
async fn claims(
    api: &Api<PersistentVolumeClaim>,
    hub: &Leaving<'_>,
) -> Result<Vec<PersistentVolumeClaim>, FinalizerError> {
    let params = ListParams::default().labels(&labels::of_hub(hub.names.hub()));
    let found = api.list(&params).await.map_err(failed("volumes"))?.items;
    let claims = found.into_iter();
    Ok(claims.filter(|claim| hub.has_claim(&claim.name_any())).collect())
}

/// The Secrets that were made up for the hub.
async fn made_up(api: &Api<Secret>, hub: &Leaving<'_>) -> Result<Vec<Secret>, FinalizerError> {
    let names = secrets::names(&hub.names);
    let found = api.list(&ours(hub)).await.map_err(failed("Secrets"))?.items;
    let secrets = found.into_iter();
    Ok(secrets
        .filter(|secret| names.contains(&secret.name_any()))
        .collect())
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the finalizers, unless the hub changed since it was read. What else it holds is not read.
async fn write(client: &Client, hub: &ObjectMeta, finalizers: &[String]) -> Result<(), FinalizerError> {
    let namespace = hub.namespace.as_deref().unwrap_or_default();
    let resource = ApiResource::erase::<FlickrHub>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": hub.resource_version,
    }});
    let name = hub.name.as_deref().unwrap_or_default();
    match api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(FinalizerError::Write(error)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{
        StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetStatus,
    };

    use super::*;

    fn meta(finalizers: &[&str]) -> ObjectMeta {
        ObjectMeta {
            name: Some("gallery".to_owned()),
            namespace: Some("photos".to_owned()),
            finalizers: Some(finalizers.iter().map(|name| (*name).to_owned()).collect()),
            ..ObjectMeta::default()
        }
    }

    fn set(when_deleted: Option<&str>, generation: i64, observed: i64) -> StatefulSet {
        StatefulSet {
            metadata: ObjectMeta {
                generation: Some(generation),
                ..ObjectMeta::default()
            },
            spec: Some(StatefulSetSpec {
                persistent_volume_claim_retention_policy: Some(
                    StatefulSetPersistentVolumeClaimRetentionPolicy {
                        when_deleted: when_deleted.map(str::to_owned),
                        when_scaled: None,
                    },
                ),
                ..StatefulSetSpec::default()
            }),
            status: Some(StatefulSetStatus {
                observed_generation: Some(observed),
                ..StatefulSetStatus::default()
            }),
        }
    }

    #[test]
    fn data_is_lost_only_by_the_policy_and_never_with_children_that_stay() {
        let loses = |policy, finalizers: &[&str]| {
            Leaving::new(&meta(finalizers), policy, "cluster.local").loses_data()
        };
        assert!(loses(DeletionPolicy::Delete, &[FINALIZER]));
        assert!(!loses(DeletionPolicy::Retain, &[FINALIZER]));
        assert!(!loses(DeletionPolicy::Delete, &[FINALIZER, ORPHAN]));
    }

    #[test]
    fn only_the_volumes_of_members_are_the_hubs() {
        let meta = meta(&[]);
        let hub = Leaving::new(&meta, DeletionPolicy::Delete, "cluster.local");
        for claim in ["data-gallery-redis-0", "data-gallery-vault-12"] {
            assert!(hub.has_claim(claim), "{claim}");
        }
        for claim in [
            "data-gallery-redis-x",
            "gallery-redis-0",
            "data-other-redis-0",
            "data-gallery-0",
        ] {
            assert!(!hub.has_claim(claim), "{claim}");
        }
    }

    #[test]
    fn a_set_of_a_former_policy_is_seen() {
        assert!(takes_volumes(&set(Some("Delete"), 1, 1)));
        assert!(!takes_volumes(&set(Some("Retain"), 1, 1)));
        assert!(!takes_volumes(&set(None, 1, 1)));
        assert!(is_observed(&set(Some("Retain"), 2, 2)));
        assert!(!is_observed(&set(Some("Retain"), 2, 1)));
    }
}

//! What has to go by hand when a hub is deleted, because no owner reference can make it go: the ClusterRoleBinding of a
//! managed Vault, and under `deletionPolicy: Delete` the keys of that Vault.
//!
//! The finalizer is written before the first of these is created. If the process dies during the clean-up, the next one
//! repeats it: deleting what is gone is no error.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::apply::{self, ApplyError};
use crate::build::Kind;
use crate::crd::{DeletionPolicy, FlickrHub};
use crate::names::HubNames;

/// The name of the finalizer.
pub const FINALIZER: &str = "flickrhub.dev/cleanup";

/// The clean-up, or the finalizer itself, failed.
#[derive(Debug, thiserror::Error)]
pub enum FinalizerError {
    /// The finalizers of the hub cannot be written.
    #[error("cannot write the finalizers: {0}")]
    Write(#[source] kube::Error),
    /// The keys of Vault cannot be deleted.
    #[error("cannot delete the Secret with the keys of Vault: {0}")]
    Keys(#[source] kube::Error),
    /// The ClusterRoleBinding cannot be deleted.
    #[error(transparent)]
    Binding(#[from] ApplyError),
}

/// Whether something of the hub has to be cleaned up by hand.
fn is_needed(hub: &FlickrHub) -> bool {
    hub.spec.vault.managed.is_some()
}

/// Writes the finalizer where it is needed and missing.
///
/// # Errors
/// When the API server fails, or somebody else changed the hub meanwhile.
pub async fn ensure(client: &Client, hub: &FlickrHub) -> Result<(), FinalizerError> {
    let present = hub.finalizers().iter().any(|name| name == FINALIZER);
    if present || !is_needed(hub) {
        return Ok(());
    }
    let mut finalizers = hub.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    write(client, hub, &finalizers).await
}

/// Cleans up and lets the hub go.
///
/// # Errors
/// When something cannot be deleted; the hub stays until it can.
pub async fn clean_up(client: &Client, hub: &FlickrHub, cluster_domain: &str) -> Result<(), FinalizerError> {
    if !hub.finalizers().iter().any(|name| name == FINALIZER) {
        return Ok(());
    }
    let namespace = hub.namespace().unwrap_or_default();
    let names = HubNames::new(hub.name_any(), namespace.clone(), cluster_domain);
    apply::delete(
        client,
        Kind::ClusterRoleBinding,
        &namespace,
        &names.vault_token_review(),
    )
    .await?;
    if hub.spec.deletion_policy == DeletionPolicy::Delete {
        delete_keys(client, &namespace, &names.vault_keys()).await?;
    }
    let others: Vec<String> = hub
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned()
        .collect();
    write(client, hub, &others).await
}

async fn delete_keys(client: &Client, namespace: &str, name: &str) -> Result<(), FinalizerError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(FinalizerError::Keys(error)),
    }
}

/// Writes the finalizers, unless the hub changed since it was read.
async fn write(client: &Client, hub: &FlickrHub, finalizers: &[String]) -> Result<(), FinalizerError> {
    let api: Api<FlickrHub> = Api::namespaced(client.clone(), &hub.namespace().unwrap_or_default());
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": hub.resource_version(),
    }});
    match api
        .patch(&hub.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(FinalizerError::Write(error)),
    }
}

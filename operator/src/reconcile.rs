//! One reconciliation of one hub: read → validate → build → apply → engines → status.
//!
//! Nothing is remembered from one reconciliation to the next but a count of failures, so a process that dies anywhere
//! is continued by the next one from what it reads.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join, try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::bring_on::bring_on;
use crate::brought::{APPLY_FAILED, sentence};
use crate::consent::BuildReport;
use crate::context::{Context, FIELD_MANAGER};
use crate::crd::{DeletionPolicy, FlickrHub, FlickrHubStatus};
use crate::credentials;
use crate::engine::vault::rotation::RotationReport;
use crate::finalizer::{self, FinalizerError, Leaving};
use crate::flickr_reachable::{Reachability, reachability};
use crate::pki::{CertificatesReport, PkiError};
use crate::secrets::{Listed, SecretError};
use crate::status::{self, Outcome};
use crate::validate::{References, SecretDigest, referenced_secrets, validate};
use crate::{autoscaling, backoff, event, plan};

/// How long a hub at rest is left alone when nothing changes.
const REST: Duration = Duration::from_mins(5);
/// When to look again at a hub of which only the status may have changed, which triggers nothing.
const SOON: Duration = Duration::from_secs(1);

/// A reconciliation failed in a way that another try may mend.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The hub, or a Secret that it refers to, cannot be read.
    #[error("cannot read {name}: {source}")]
    Read {
        /// What cannot be read.
        name: String,
        /// What the client says.
        source: kube::Error,
    },
    /// The status cannot be written.
    #[error("cannot write the status: {0}")]
    Status(#[source] kube::Error),
    /// A made-up Secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates of the hub cannot be had.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Some objects cannot be brought to what they should be; everything else was.
    #[error("{message}")]
    Partly {
        /// What failed, in sentences.
        message: String,
        /// When to look again at the parts whatever becomes of these objects.
        look_again: Option<Duration>,
    },
    /// The pods of a hub that is to sleep cannot be counted.
    #[error("cannot list the pods of the hub: {0}")]
    Pods(#[source] kube::Error),
    /// The finalizer cannot be written, or its clean-up fails.
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
}

impl ReconcileError {
    /// When to look again at the latest, although it failed: a data tier is cared for whatever else is wrong.
    pub const fn look_again(&self) -> Option<Duration> {
        match self {
            Self::Partly { look_again, .. } => *look_again,
            Self::Secret(_)
            | Self::Pki(_)
            | Self::Read { .. }
            | Self::Status(_)
            | Self::Pods(_)
            | Self::Finalizer(_) => None,
        }
    }
}

/// Brings one hub a step on. Returns when to look again; `None` if the hub is gone.
///
/// # Errors
/// When something failed that another try may mend.
pub async fn reconcile(
    ctx: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Duration>, ReconcileError> {
    let api: Api<FlickrHub> = Api::namespaced(ctx.client.clone(), namespace);
    // What triggered this may be older than what was written since.
    let found = api.get_opt(name).await.map_err(|source| ReconcileError::Read {
        name: name.to_owned(),
        source,
    })?;
    let Some(hub) = found else {
        ctx.scaled.remove(namespace, name);
        ctx.certificates.forget(namespace, name);
        return Ok(None);
    };
    if hub.metadata.deletion_timestamp.is_some() {
        ctx.scaled.remove(namespace, name);
        ctx.certificates.forget(namespace, name);
        let policy = hub.spec.deletion_policy;
        let leaving = Leaving::new(&hub.metadata, policy, &ctx.settings.surroundings.cluster_domain);
        return Ok(finalizer::clean_up(&ctx.client, &leaving).await?);
    }
    if hub.spec.paused {
        ctx.scaled.remove(namespace, name);
        report(ctx, &hub, None, &Outcome::Paused, Findings::default()).await?;
        return Ok(Some(REST));
    }
    let (references, listed) = join(
        read_references(ctx, &hub),
        Listed::read(&ctx.client, namespace, name),
    )
    .await;
    let mut validated = match validate(&hub, &references?, &ctx.settings.surroundings) {
        Ok(validated) => validated,
        Err(error) => {
            ctx.scaled.remove(namespace, name);
            let outcome = Outcome::Stalled {
                reason: error.reason(),
                message: error.to_string(),
                parts: BTreeMap::new(),
            };
            report(ctx, &hub, None, &outcome, Findings::default()).await?;
            return Ok(Some(REST));
        }
    };
    match ctx.cluster.facts(&ctx.client).await {
        Ok(facts) => validated.autoscaling = validated.autoscaling.within(&facts),
        Err(error) => tracing::warn!(%error, "it is not known what can scale the workers"),
    }
    let url = Some(validated.api.public_url.as_str().trim_end_matches('/').to_owned());
    match Box::pin(bring_on(ctx, &hub, &validated, listed)).await {
        Ok(mut brought) => {
            brought.calm_down(hub.status.as_ref(), Timestamp::now());
            let wait = brought.look_again();
            let error = brought.error();
            let flickr = brought.circuits.take();
            let findings = Findings {
                flickr: flickr.map(|open| reachability(&open, Timestamp::now())),
                keys: brought.keys.take(),
                credentials: brought.credentials.take(),
                build: Some(brought.build.clone()),
                autoscaling: Some(&validated.autoscaling.finding),
                certificates: brought.certified.take(),
            };
            report(ctx, &hub, url, &brought.outcome(), findings).await?;
            error.map_or_else(|| Ok(Some(wait.unwrap_or_else(|| backoff::jittered(REST)))), Err)
        }
        Err(error) => {
            let outcome = Outcome::Failed {
                reason: APPLY_FAILED,
                message: sentence(&error.to_string()),
                parts: BTreeMap::new(),
            };
            report(ctx, &hub, url, &outcome, Findings::default()).await?;
            Err(error)
        }
    }
}

/// Reads the Secrets that the hub refers to; those that do not exist are left out.
pub(crate) async fn read_references(ctx: &Context, hub: &FlickrHub) -> Result<References, ReconcileError> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &hub.namespace().unwrap_or_default());
    let reads = referenced_secrets(&hub.spec).into_iter().map(async |name| {
        let found = api.get_opt(&name).await.map_err(|source| ReconcileError::Read {
            name: format!("Secret {name}"),
            source,
        })?;
        Ok::<_, ReconcileError>((name, found))
    });
    let mut references = References::default();
    for (name, found) in try_join_all(reads).await? {
        if let Some(secret) = found {
            references.insert(name, SecretDigest::from(&secret));
        }
    }
    Ok(references)
}

/// What was found that is no part of `Ready`.
#[derive(Default)]
struct Findings<'a> {
    flickr: Option<Reachability>,
    keys: Option<RotationReport>,
    credentials: Option<credentials::Report>,
    build: Option<BuildReport>,
    autoscaling: Option<&'a autoscaling::plan::Finding>,
    certificates: Option<CertificatesReport>,
}

/// Writes the status, if it changed, and tells what is worth an event.
async fn report(
    ctx: &Context,
    hub: &FlickrHub,
    api_url: Option<String>,
    outcome: &Outcome,
    findings: Findings<'_>,
) -> Result<(), ReconcileError> {
    let generation = hub.metadata.generation.unwrap_or_default();
    let before = hub.status.as_ref();
    let after = status::status(before, generation, api_url, outcome, Timestamp::now());
    let after = status::with_flickr(after, before, findings.flickr.as_ref(), Timestamp::now());
    let after = status::with_keys(after, before, findings.keys.as_ref(), Timestamp::now());
    let after = status::with_credentials(after, before, findings.credentials.as_ref(), Timestamp::now());
    let after = status::with_build(after, before, findings.build.as_ref(), Timestamp::now());
    let after = status::with_autoscaling(after, before, findings.autoscaling, Timestamp::now());
    let after = status::with_certificates(after, before, findings.certificates.as_ref(), Timestamp::now());
    let after = FlickrHubStatus {
        plan: plan::annotation::answer(ctx, hub).await,
        ..after
    };
    for key in findings.keys.iter().flat_map(|keys| &keys.rotated) {
        event::publish(ctx, &hub.object_ref(&()), &event::key_rotated(key)).await;
    }
    if let Some(found) = &findings.credentials {
        for event in found
            .began
            .map(event::credentials_rotation_began)
            .into_iter()
            .chain(found.ended.map(event::credentials_rotated))
        {
            event::publish(ctx, &hub.object_ref(&()), &event).await;
        }
    }
    if before == Some(&after) {
        return Ok(());
    }
    write_status(ctx, &hub.namespace().unwrap_or_default(), &hub.name_any(), &after).await?;
    if let Some(event) = event::of_change(before, &after) {
        event::publish(ctx, &hub.object_ref(&()), &event).await;
    }
    Ok(())
}

/// Tells the author of a hub that it cannot be read at all; one that is to go is let go nonetheless. Returns when to
/// look again.
///
/// # Errors
/// When the hub cannot be read anew, cleaned up, or its status be written.
pub async fn report_unreadable(
    ctx: &Context,
    hub: &InvalidObject,
) -> Result<Option<Duration>, ReconcileError> {
    let namespace = hub.metadata.namespace.clone().unwrap_or_default();
    let name = hub.metadata.name.clone().unwrap_or_default();
    // What it is to be is not known any more, so nobody scales its workers by what it was.
    ctx.scaled.remove(&namespace, &name);
    let found = untyped(ctx, &namespace).get_opt(&name).await;
    let Some(found) = found.map_err(|source| ReconcileError::Read {
        name: name.clone(),
        source,
    })?
    else {
        return Ok(None);
    };
    if found.metadata.deletion_timestamp.is_some() {
        let policy = policy_of(&found.data);
        let leaving = Leaving::new(&found.metadata, policy, &ctx.settings.surroundings.cluster_domain);
        return Ok(finalizer::clean_up(&ctx.client, &leaving).await?);
    }
    let before = status_of(&found.data);
    let outcome = Outcome::Stalled {
        reason: "InvalidSpec",
        message: format!(
            "The operator cannot read this resource: {}. Correct it, or update the CustomResourceDefinition to the operator's version.",
            hub.error
        ),
        parts: BTreeMap::new(),
    };
    let generation = found.metadata.generation.unwrap_or_default();
    let after = status::status(before.as_ref(), generation, None, &outcome, Timestamp::now());
    if before.as_ref() == Some(&after) {
        return Ok(Some(REST));
    }
    merge_status(ctx, &namespace, &name, &after).await?;
    // It may have been the status that could not be read.
    Ok(Some(SOON))
}

/// The deletion policy of a hub that cannot be read otherwise. What is not understood loses no data.
fn policy_of(hub: &Value) -> DeletionPolicy {
    let policy = hub.pointer("/spec/deletionPolicy").cloned().unwrap_or_default();
    serde_json::from_value(policy).unwrap_or_default()
}

/// The status of a hub that cannot be read otherwise. Which parts have ever been ready must not be forgotten even where
/// the rest of the status is what cannot be read: their data would be taken for none.
fn status_of(hub: &Value) -> Option<FlickrHubStatus> {
    let status = hub.get("status")?;
    serde_json::from_value(status.clone()).ok().or_else(|| {
        let ready = status.get("readyGenerations").cloned().unwrap_or_default();
        Some(FlickrHubStatus {
            api_url: status.get("apiUrl").and_then(Value::as_str).map(str::to_owned),
            ready_generations: serde_json::from_value(ready).unwrap_or_default(),
            ..FlickrHubStatus::default()
        })
    })
}

/// The hubs of a namespace, without reading more of them than their metadata.
fn untyped(ctx: &Context, namespace: &str) -> Api<DynamicObject> {
    let resource = kube::api::ApiResource::erase::<FlickrHub>(&());
    Api::namespaced_with(ctx.client.clone(), namespace, &resource)
}

/// Writes the status, without reading the rest of the hub.
async fn write_status(
    ctx: &Context,
    namespace: &str,
    name: &str,
    status: &FlickrHubStatus,
) -> Result<(), ReconcileError> {
    let patch = json!({
        "apiVersion": FlickrHub::api_version(&()),
        "kind": FlickrHub::kind(&()),
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    patch_status(ctx, namespace, name, &params, &Patch::Apply(patch)).await
}

/// Writes the status of a hub that does not fit its schema: the API server cannot take the fields of such an object apart, and
/// so refuses every apply to it.
async fn merge_status(
    ctx: &Context,
    namespace: &str,
    name: &str,
    status: &FlickrHubStatus,
) -> Result<(), ReconcileError> {
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"status": status}));
    patch_status(ctx, namespace, name, &params, &patch).await
}

/// That the hub is gone is no error.
async fn patch_status(
    ctx: &Context,
    namespace: &str,
    name: &str,
    params: &PatchParams,
    patch: &Patch<Value>,
) -> Result<(), ReconcileError> {
    match untyped(ctx, namespace).patch_status(name, params, patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ReconcileError::Status(error)),
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_job::config::Login;
    use std::sync::Arc;

    use flickrhub_job::queue::Queue;
    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use kube::runtime::events::{Recorder, Reporter};

    use super::*;
    use crate::autoscaling::scaled::ScaledHub;
    use crate::context::Settings;
    use crate::fixtures;
    use crate::validate::Surroundings;

    /// An API server that answers everything with this object.
    fn server_with(object: &Value) -> Client {
        let body = object.to_string().into_bytes();
        let answer = move |_: Request<Body>| {
            std::future::ready(Ok::<_, kube::Error>(Response::new(Body::from(body.clone()))))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    fn context(client: &Client) -> Context {
        let settings = Settings {
            surroundings: Surroundings {
                cluster_domain: "cluster.local".to_owned(),
                operator_namespace: "flickrhub-system".to_owned(),
                version: "1.0.0".to_owned(),
            },
            namespace: None,
            concurrency: 1,
            external_metrics: None,
        };
        let reporter = Reporter {
            controller: "flickrhub-operator".to_owned(),
            instance: None,
        };
        Context::new(
            client.clone(),
            client.clone(),
            Recorder::new(client.clone(), reporter),
            settings,
        )
    }

    #[tokio::test]
    async fn the_workers_of_a_hub_that_cannot_be_read_are_left_alone() -> Result<(), ReconcileError> {
        let hub = json!({
            "apiVersion": "flickrhub.dev/v1alpha1", "kind": "FlickrHub",
            "metadata": {"name": "gallery", "namespace": "photos", "generation": 2},
            "spec": {"queues": 5},
        });
        let ctx = context(&server_with(&hub));
        let mut validated = fixtures::validated(&fixtures::minimal());
        for plan in validated.queues.values_mut() {
            plan.min_replicas = 0;
        }
        ctx.scaled.insert(ScaledHub {
            hub: Arc::new(validated),
            replicas: [(Queue::Rest, 1)].into(),
            mongodb: Login {
                username: "app".to_owned(),
                password: "password".to_owned().into(),
            },
        });
        assert_eq!(ctx.scaled.of_concern().len(), 1);
        let invalid = InvalidObject {
            error: "spec.queues: invalid type".to_owned(),
            metadata: serde_json::from_value(hub["metadata"].clone()).unwrap_or_default(),
        };
        report_unreadable(&ctx, &invalid).await?;
        assert!(ctx.scaled.of_concern().is_empty());
        assert!(ctx.backlogs.of("photos", "gallery").await.is_err());
        Ok(())
    }

    #[test]
    fn what_is_known_of_a_hub_that_cannot_be_read_is_kept() {
        let conditions = json!([{"type": 7}]);
        let hub = json!({
            "spec": {"deletionPolicy": "Delete"},
            "status": {"apiUrl": "http://api", "readyGenerations": {"VaultReady": 3}, "conditions": conditions},
        });
        let status = status_of(&hub).unwrap_or_default();
        assert_eq!(status.api_url.as_deref(), Some("http://api"));
        assert_eq!(status.ready_generations.get("VaultReady"), Some(&3));
        assert_eq!(policy_of(&hub), DeletionPolicy::Delete);
        assert_eq!(
            policy_of(&json!({"spec": {"deletionPolicy": 5}})),
            DeletionPolicy::Retain
        );
        assert_eq!(status_of(&json!({})), None);
    }
}

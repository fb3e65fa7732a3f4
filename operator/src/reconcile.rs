//! One reconciliation of one hub: read → validate → build → apply → engines → status.
//!
//! Nothing is remembered from one reconciliation to the next but a count of failures, so a process that dies anywhere
//! is continued by the next one from what it reads.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::apply::{self, ApplyError};
use crate::build::{Kind, Object, build};
use crate::context::{Context, FIELD_MANAGER};
use crate::crd::{FlickrHub, FlickrHubStatus};
use crate::finalizer::{self, FinalizerError, Leaving};
use crate::part::{Part, PartStatus};
use crate::secrets::{self, SecretError, Secrets};
use crate::status::{self, Outcome};
use crate::validate::{References, SecretDigest, ValidatedHub, referenced_secrets, validate};
use crate::{backoff, engine, event, parts};

/// How long a hub at rest is left alone when nothing changes.
const REST: Duration = Duration::from_secs(300);

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
    /// An object cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The finalizer cannot be written, or its clean-up fails.
    #[error(transparent)]
    Finalizer(#[from] FinalizerError),
}

impl ReconcileError {
    /// The reason of a condition where somebody has to act, because no other try will mend it.
    fn stalls(&self) -> Option<&'static str> {
        match self {
            Self::Secret(SecretError::Incomplete { .. }) => Some("SecretIncomplete"),
            Self::Secret(SecretError::Metadata(error)) | Self::Apply(error) => match error {
                ApplyError::NameTaken { .. } => Some("NameTaken"),
                ApplyError::Volume { .. } => Some("VolumeCannotGrow"),
                ApplyError::Api { .. } | ApplyError::StillThere { .. } | ApplyError::Encoding { .. } => None,
            },
            Self::Secret(SecretError::Api { .. })
            | Self::Read { .. }
            | Self::Status(_)
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
        return Ok(None);
    };
    if hub.metadata.deletion_timestamp.is_some() {
        let policy = hub.spec.deletion_policy;
        let leaving = Leaving::new(&hub.metadata, policy, &ctx.settings.cluster_domain);
        return Ok(finalizer::clean_up(&ctx.client, &leaving).await?);
    }
    if hub.spec.paused {
        report(ctx, &hub, None, &Outcome::Paused).await?;
        return Ok(Some(REST));
    }
    let references = read_references(ctx, &hub).await?;
    let validated = match validate(&hub, &references, &ctx.settings.cluster_domain) {
        Ok(validated) => validated,
        Err(error) => {
            let outcome = Outcome::Stalled {
                reason: error.reason(),
                message: error.to_string(),
            };
            report(ctx, &hub, None, &outcome).await?;
            return Ok(Some(REST));
        }
    };
    let url = Some(validated.api.public_url.as_str().trim_end_matches('/').to_owned());
    match bring_on(ctx, &hub, &validated).await {
        Ok(parts) => {
            let wait = parts.values().filter_map(|status| status.requeue_after).min();
            report(ctx, &hub, url, &Outcome::Applied(parts)).await?;
            Ok(Some(wait.unwrap_or_else(|| backoff::jittered(REST))))
        }
        Err(error) => match error.stalls() {
            Some(reason) => {
                let message = sentence(&error.to_string());
                report(ctx, &hub, url, &Outcome::Stalled { reason, message }).await?;
                Ok(Some(REST))
            }
            None => {
                let outcome = Outcome::Failed {
                    reason: "ApplyFailed",
                    message: sentence(&error.to_string()),
                };
                report(ctx, &hub, url, &outcome).await?;
                Err(error)
            }
        },
    }
}

/// An error's text as a sentence.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// Applies the hub and brings its engines a step on.
async fn bring_on(
    ctx: &Context,
    hub: &FlickrHub,
    validated: &ValidatedHub,
) -> Result<BTreeMap<Part, PartStatus>, ReconcileError> {
    finalizer::ensure(&ctx.client, hub).await?;
    let ensured = secrets::ensure(ctx, validated).await?;
    if !ensured.created.is_empty() {
        event::publish(
            ctx,
            &hub.object_ref(&()),
            &event::secrets_created(&ensured.created),
        )
        .await;
    }
    let secrets = ensured.secrets;
    let objects = build(validated, secrets.checksums());
    let mut live = apply::read(ctx, validated).await?;

    // Processes that never ran wait for the data tier: they could do nothing but fail until it works.
    let (held, at_once): (Vec<&Object>, Vec<&Object>) = objects
        .iter()
        .partition(|object| is_process(object.kind()) && live.get(object.kind(), &object.name()).is_none());
    apply::apply(ctx, validated, at_once, &mut live).await?;
    apply::prune(ctx, validated, &objects, &mut live).await?;

    let mut all = parts::data(ctx, validated, &secrets, &live).await;
    if parts::all_ready(&all) {
        apply::apply(ctx, validated, held, &mut live).await?;
    }
    for (queue, plan) in &validated.queues {
        let name = validated.names.queue_worker(*queue);
        apply::raise_replicas(ctx, validated, &name, plan.min_replicas, &live).await?;
    }
    let mut processes = parts::processes(validated, &live, &all);
    add_client(ctx, validated, &secrets, &all, &mut processes).await;
    all.extend(processes);
    Ok(all)
}

/// Whether objects of this kind only make sense once the data tier works.
const fn is_process(kind: Kind) -> bool {
    matches!(kind, Kind::Deployment | Kind::HorizontalPodAutoscaler)
}

/// Registers the client that every hub starts with, which the API is not ready without.
async fn add_client(
    ctx: &Context,
    hub: &ValidatedHub,
    secrets: &Secrets,
    data: &BTreeMap<Part, PartStatus>,
    processes: &mut BTreeMap<Part, PartStatus>,
) {
    let works = |part| data.get(&part).is_some_and(|status: &PartStatus| status.ready);
    if works(Part::MongoDb) && works(Part::Vault) {
        let client = engine::client::reconcile(ctx, hub, secrets).await;
        if let Some(api) = processes.remove(&Part::Api) {
            processes.insert(Part::Api, parts::with_client(api, client));
        }
    }
}

/// Reads the Secrets that the hub refers to; those that do not exist are left out.
async fn read_references(ctx: &Context, hub: &FlickrHub) -> Result<References, ReconcileError> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &hub.namespace().unwrap_or_default());
    let mut references = References::default();
    for name in referenced_secrets(&hub.spec) {
        let found = api.get_opt(&name).await.map_err(|source| ReconcileError::Read {
            name: format!("Secret {name}"),
            source,
        })?;
        if let Some(secret) = found {
            references.insert(name, SecretDigest::from(&secret));
        }
    }
    Ok(references)
}

/// Writes the status, if it changed, and tells what is worth an event.
async fn report(
    ctx: &Context,
    hub: &FlickrHub,
    api_url: Option<String>,
    outcome: &Outcome,
) -> Result<(), ReconcileError> {
    let generation = hub.metadata.generation.unwrap_or_default();
    let before = hub.status.as_ref();
    let after = status::status(before, generation, api_url, outcome, Timestamp::now());
    if before == Some(&after) {
        return Ok(());
    }
    write_status(ctx, &hub.namespace().unwrap_or_default(), &hub.name_any(), &after).await?;
    if let Some(event) = event::of_change(before, &after) {
        event::publish(ctx, &hub.object_ref(&()), &event).await;
    }
    Ok(())
}

/// Tells the author of a hub that it cannot be read at all.
///
/// # Errors
/// When the status cannot be written.
pub async fn report_unreadable(ctx: &Context, hub: &InvalidObject) -> Result<(), ReconcileError> {
    let meta = &hub.metadata;
    let outcome = Outcome::Stalled {
        reason: "InvalidSpec",
        message: format!(
            "The operator cannot read this resource: {}. Correct it, or update the CustomResourceDefinition to the operator's version.",
            hub.error
        ),
    };
    let status = status::status(
        None,
        meta.generation.unwrap_or_default(),
        None,
        &outcome,
        Timestamp::now(),
    );
    let namespace = meta.namespace.clone().unwrap_or_default();
    write_status(ctx, &namespace, &meta.name.clone().unwrap_or_default(), &status).await
}

/// Writes the status, without reading the rest of the hub.
async fn write_status(
    ctx: &Context,
    namespace: &str,
    name: &str,
    status: &FlickrHubStatus,
) -> Result<(), ReconcileError> {
    let resource = kube::api::ApiResource::erase::<FlickrHub>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource);
    let patch = json!({
        "apiVersion": FlickrHub::api_version(&()),
        "kind": FlickrHub::kind(&()),
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(name, &params, &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(ReconcileError::Status(error)),
    }
}

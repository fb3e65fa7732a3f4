//! What a change of a hub would do, without doing any of it: which objects change and how, and which pods restart, in which
//! order.
//!
//! Everything is asked of the API server as a dry run, so defaults, rules and admission webhooks have their say, and the
//! objects are built by the same code that builds them when the change is made. Nothing is written, so nothing can be left
//! half done.

pub(crate) mod annotation;
mod diff;
mod restart;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

pub use diff::{Change, changes};
pub use restart::{Restart, restarts};

use crate::apply::{self, ApplyError};
use crate::build::labels::{COMPONENT, of_hub};
use crate::build::{Kind, build};
use crate::consent;
use crate::context::Context;
use crate::crd::FlickrHub;
use crate::hibernation::{Stage, put_to_rest};
use crate::pki::{self, PkiError};
use crate::reconcile::{ReconcileError, read_references};
use crate::secrets::{self, SecretError};
use crate::validate::{ValidatedHub, ValidationError, validate};

/// The field manager of dry runs that stand for the author of a hub.
const AUTHOR: &str = "flickrhub-plan";

/// A plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file is no hub.
    #[error("the file holds no FlickrHub: {0}")]
    File(#[from] serde_yaml_ng::Error),
    /// The annotation holds no change of a spec.
    #[error(
        "the annotation flickrhub.dev/plan holds no fields of a spec, such as `redis: {{replicas: 5}}`: {0}"
    )]
    Annotation(String),
    /// The API server refuses the hub, or does not answer.
    #[error("the API server refuses the FlickrHub: {}", said(.0))]
    Hub(#[source] kube::Error),
    /// The certificate authorities of the hub cannot be read.
    #[error(transparent)]
    Trust(#[from] PkiError),
    /// Something that the hub refers to cannot be read.
    #[error(transparent)]
    Read(#[from] ReconcileError),
    /// The operator would refuse the hub.
    #[error("the operator would refuse it: {0}")]
    Invalid(#[from] ValidationError),
    /// A Secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// An object cannot be read, or the API server refuses what would be written.
    #[error(transparent)]
    Object(#[from] ApplyError),
    /// The pods cannot be listed.
    #[error("cannot list the pods of the hub: {0}")]
    Pods(#[source] kube::Error),
}

impl PlanError {
    /// Whether the same question may be answered another time.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::File(_) | Self::Annotation(_) | Self::Invalid(_) => false,
            Self::Hub(kube::Error::Api(status)) => !matches!(status.code, 400 | 422),
            Self::Object(error) => !matches!(error, ApplyError::Refused { .. } | ApplyError::Smaller { .. }),
            Self::Hub(_) | Self::Trust(_) | Self::Read(_) | Self::Secret(_) | Self::Pods(_) => true,
        }
    }
}

/// What the API server says, which names the field.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// What happens to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is made.
    Created,
    /// It changes.
    Changed(Vec<Change>),
    /// It is deleted.
    Deleted,
    /// Its volumes grow: the claims first, then it is made anew around its pods.
    VolumesGrow(Vec<Change>),
}

/// What happens to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub fate: Fate,
}

/// What a change of a hub would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The name of the hub.
    pub hub: String,
    /// What happens to objects, in the order in which it does.
    pub steps: Vec<Step>,
    /// Which pods restart, in the order in which workloads are changed.
    pub restarts: Vec<Restart>,
    /// What else is to be said, in sentences.
    pub notes: Vec<String>,
}

/// Reads a hub out of a YAML document. A hub without namespace is taken to be in `namespace`.
///
/// # Errors
/// When it is none.
pub fn read_file(text: &str, namespace: &str) -> Result<FlickrHub, PlanError> {
    let mut hub: FlickrHub = serde_yaml_ng::from_str(text)?;
    hub.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
    Ok(hub)
}

/// Plans the change to `wanted`, which is the whole of the new spec.
///
/// # Errors
/// When somebody would refuse it, or something that it takes cannot be read.
pub async fn plan(ctx: &Context, wanted: FlickrHub) -> Result<Plan, PlanError> {
    let (before, after) = admitted(&ctx.client, wanted).await?;
    Box::pin(between(ctx, before.as_ref(), &after)).await
}

/// Plans the change from the hub as it is to `after`, as the API server would store it.
async fn between(ctx: &Context, before: Option<&FlickrHub>, after: &FlickrHub) -> Result<Plan, PlanError> {
    let references = read_references(ctx, after).await?;
    let mut hub = validate(after, &references, &ctx.settings.surroundings)?;
    hub.trust = pki::trust(ctx, &hub).await?;
    if let Ok(facts) = ctx.cluster.facts(&ctx.client).await {
        hub.autoscaling = hub.autoscaling.within(&facts);
    }
    let secrets = secrets::existing(ctx, &hub).await?;
    let version = &ctx.settings.surroundings.version;
    let inputs = consent::inputs(&hub, &after.spec, secrets.checksums(), version);
    let last = after.status.as_ref().and_then(|status| status.build.as_ref());
    hub.keeps_templates = consent::keeps_templates(after.spec.operator_upgrades, last, &inputs);
    let stage = if hub.hibernated {
        Stage::Asleep
    } else {
        Stage::Awake
    };
    let objects = put_to_rest(build(&hub, secrets.checksums()), &hub.names, stage);

    let (live, unread) = apply::read(ctx, &hub, &objects).await;
    if let Some(error) = unread.into_iter().next() {
        return Err(error.into());
    }
    let mut steps = Vec::new();
    let mut templates = Vec::new();
    for object in &objects {
        let would = apply::would(ctx, &hub, object, &live).await?;
        let (kind, name) = (object.kind(), object.name());
        let fate = match (live.get(kind, &name), would) {
            (_, apply::Would::Stay) => continue,
            (None, _) => Fate::Created,
            (Some(current), apply::Would::Become(next)) => {
                let found = changes(current, &next);
                if found.is_empty() {
                    continue;
                }
                if restart::restarts_pods(kind, current, &next) {
                    templates.push((kind, name.clone(), object.clone()));
                }
                Fate::Changed(found)
            }
            (Some(current), apply::Would::Grow(next)) => Fate::VolumesGrow(changes(current, &next)),
        };
        steps.push(Step { kind, name, fate });
    }
    let deleted = live.unwanted(&objects);
    steps.extend(deleted.into_iter().map(|(kind, name)| Step {
        kind,
        name,
        fate: Fate::Deleted,
    }));
    let mut rosters = BTreeMap::new();
    for (_, name, _) in templates.iter().filter(|(kind, ..)| *kind == Kind::StatefulSet) {
        let roster = ctx.data_tier.roster(ctx, &hub, &secrets, &live, name).await;
        rosters.extend(roster.map(|roster| (name.clone(), roster)));
    }
    let restarts = restarts(&templates, &pods(ctx, &hub).await?, &rosters);
    Ok(Plan {
        hub: hub.names.hub().to_owned(),
        steps,
        restarts,
        notes: notes(
            before,
            after,
            &hub,
            last.map(|last| last.operator_version.as_str()),
            version,
        ),
    })
}

/// The hub as it is, and as the API server would store the wanted one.
async fn admitted(client: &Client, wanted: FlickrHub) -> Result<(Option<FlickrHub>, FlickrHub), PlanError> {
    let api: Api<FlickrHub> = Api::namespaced(client.clone(), &wanted.namespace().unwrap_or_default());
    let name = wanted.name_any();
    let params = PostParams {
        dry_run: true,
        field_manager: Some(AUTHOR.to_owned()),
    };
    let before = api.get_opt(&name).await.map_err(PlanError::Hub)?;
    let after = match &before {
        // The file is the whole of the new spec: what it leaves out goes back to its default.
        Some(before) => {
            let next = FlickrHub {
                spec: wanted.spec,
                ..before.clone()
            };
            api.replace(&name, &params, &next).await
        }
        None => api.create(&params, &wanted).await,
    };
    Ok((before, after.map_err(PlanError::Hub)?))
}

/// The names of the pods that there are, by component.
async fn pods(ctx: &Context, hub: &ValidatedHub) -> Result<Vec<(String, String)>, PlanError> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let params = ListParams::default().labels(&of_hub(hub.names.hub()));
    let pods = api.list_metadata(&params).await.map_err(PlanError::Pods)?;
    let component = |pod: &PartialObjectMeta<Pod>| pod.labels().get(COMPONENT).cloned();
    let found = pods.items.iter();
    Ok(found
        .map(|pod| (component(pod).unwrap_or_default(), pod.name_any()))
        .collect())
}

/// What is to be said that no object shows.
fn notes(
    before: Option<&FlickrHub>,
    after: &FlickrHub,
    hub: &ValidatedHub,
    last: Option<&str>,
    version: &str,
) -> Vec<String> {
    let mut notes = Vec::new();
    if after.spec.paused {
        notes.push("The hub is paused: nothing of this is done before spec.paused is false.".to_owned());
    }
    let slept = before.is_some_and(|before| before.spec.hibernated);
    match (slept, hub.hibernated) {
        (false, true) => notes.push(
            "It goes to sleep: the API first, then dispatcher, workers and callbacks when they have finished what they hold, then the data tier.".to_owned(),
        ),
        (true, false) => notes.push(
            "It wakes: the data tier first, then dispatcher, workers and callbacks, then the API.".to_owned(),
        ),
        _ => {}
    }
    if hub.keeps_templates {
        notes.push(format!(
            "Pods stay as version {} of the operator built them; spec.operatorUpgrades: Automatic brings them to version {version}.",
            last.unwrap_or("another"),
        ));
    }
    notes.extend(hub.lacks.iter().map(|lack| {
        format!(
            "What mounts Secret {} waits for it: {}",
            lack.secret, lack.message
        )
    }));
    notes
}

impl Plan {
    /// Whether nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan as JSON: `hub`, `steps` (`kind`, `name`, `action`, `changes`), `restarts` and `notes`.
    pub fn json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            let changes: &[Change] = match &step.fate {
                Fate::Changed(changes) | Fate::VolumesGrow(changes) => changes,
                Fate::Created | Fate::Deleted => &[],
            };
            json!({
                "kind": step.kind.resource().kind, "name": step.name, "action": step.fate.word(),
                "changes": changes.iter().map(Change::json).collect::<Vec<_>>(),
            })
        });
        json!({
            "hub": self.hub,
            "steps": steps.collect::<Vec<_>>(),
            "restarts": self.restarts.iter().map(Restart::json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

impl Fate {
    const fn word(&self) -> &'static str {
        match self {
            Self::Created => "create",
            Self::Changed(_) => "change",
            Self::Deleted => "delete",
            Self::VolumesGrow(_) => "grow",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            writeln!(f, "FlickrHub {}: no object changes.", self.hub)?;
        } else {
            writeln!(
                f,
                "FlickrHub {}: {} objects change.\n",
                self.hub,
                self.steps.len()
            )?;
        }
        for step in &self.steps {
            writeln!(
                f,
                "{} {} {}",
                step.fate.word(),
                step.kind.resource().kind,
                step.name
            )?;
            if let Fate::Changed(changes) | Fate::VolumesGrow(changes) = &step.fate {
                for change in changes {
                    write!(f, "{change}")?;
                }
            }
        }
        if self.restarts.is_empty() {
            writeln!(f, "\nNo pod restarts.")?;
        } else {
            writeln!(f, "\nPods that restart:")?;
            for restart in &self.restarts {
                writeln!(f, "  {restart}")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}

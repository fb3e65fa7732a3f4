//! The middle of a reconciliation: Secrets and certificates → build → apply → engines → processes, and what was found of each.
//!
//! Every step reads what the one before left, so a process that dies between two is continued by the next reconciliation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flickrhub_job::connection::trust::Trust;
use flickrhub_job::queue::Queue;
use kube::{Resource, ResourceExt};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::apply::{self, ApplyError, Live};
use crate::autoscaling::scaled::ScaledHub;
use crate::brought::Brought;
use crate::build::{Kind, Object, build};
use crate::consent;
use crate::context::Context;
use crate::crd::FlickrHub;
use crate::credentials::{self, Scene};
use crate::engine::vault::rotation::RotationReport;
use crate::finalizer;
use crate::hibernation::{self, Stage, put_to_rest};
use crate::lack::{Withheld, withheld};
use crate::part::{Part, PartStatus};
use crate::passed::{Against, Check};
use crate::pki;
use crate::reconcile::ReconcileError;
use crate::secrets::{self, Listed, SecretError, Secrets};
use crate::validate::ValidatedHub;
use crate::{engine, event, parts, pods};

/// Applies the hub and brings its engines a step on. An object that cannot be applied, or that waits for a Secret, keeps
/// neither the others from being applied nor a running data tier from being cared for. `listed` are the Secrets of the hub.
pub(crate) async fn bring_on(
    ctx: &Context,
    hub: &FlickrHub,
    validated: &ValidatedHub,
    listed: Result<Listed, SecretError>,
) -> Result<Brought, ReconcileError> {
    finalizer::ensure(&ctx.client, hub).await?;
    let listed = listed?;
    let ensured = secrets::ensure(ctx, validated, &listed).await?;
    let secrets = ensured.secrets;
    let last = hub.status.as_ref().and_then(|status| status.build.as_ref());
    let trusting = |trust: Option<Trust>| {
        let mut trusting = ValidatedHub {
            trust,
            ..validated.clone()
        };
        let version = &ctx.settings.surroundings.version;
        let inputs = consent::inputs(&trusting, &hub.spec, secrets.checksums(), version);
        trusting.keeps_templates = consent::keeps_templates(hub.spec.operator_upgrades, last, &inputs);
        (trusting, inputs)
    };
    let present = pki::read(ctx, validated, &listed).await?;
    let (mut validated, mut inputs) = trusting(present.trust(validated)?);
    let mut built = build(&validated, secrets.checksums());
    // What was built last is most likely built again, and then need not be read.
    let likely = Stage::likely(validated.hibernated, hub.status.as_ref());
    let objects = put_to_rest(built.clone(), &validated.names, likely);
    let (mut live, unread) = apply::read(ctx, &validated, &objects).await;

    let wish = hub.annotations().get(pki::ROTATE).map(String::as_str);
    let certificates = pki::ensure(ctx, &validated, present, &live, wish).await?;
    let created = [ensured.created, certificates.created.clone()].concat();
    if !created.is_empty() {
        event::publish(ctx, &hub.object_ref(&()), &event::secrets_created(&created)).await;
    }
    if validated.trust != certificates.trust {
        // Other authorities have to reach the pods, whatever version of the operator built them.
        (validated, inputs) = trusting(certificates.trust.clone());
        built = build(&validated, secrets.checksums());
    }
    let validated = &validated;
    let mut failures = ensured.failures;
    failures.extend(unread);
    let (stage, left) = if validated.hibernated {
        let left = pods::count(ctx, validated).await?;
        (Stage::to_sleep(&left), Some(left))
    } else {
        (Stage::Awake, None)
    };
    let objects = put_to_rest(built, &validated.names, stage);

    ctx.certificates.note(
        validated.names.namespace(),
        validated.names.hub(),
        certificates.ends.clone(),
    );
    let lacks = [
        validated.lacks.clone(),
        secrets.lacks(),
        certificates.lacks.clone(),
    ]
    .concat();
    let withheld = withheld(&objects, &lacks, &validated.names.config(), &live);
    let wanted = objects
        .iter()
        .filter(|object| !withheld.contains_key(&(object.kind(), object.name())));
    let (held, at_once): (Vec<&Object>, Vec<&Object>) =
        wanted.partition(|object| parts::is_held(validated, &live, object.kind(), &object.name()));
    failures.extend(apply::apply(ctx, validated, at_once, &mut live).await);
    failures.extend(apply::prune(ctx, validated, &objects, &mut live).await);

    // The steps of four engines are large, and this function waits for others, too.
    let mut all = Box::pin(parts::data(ctx, validated, &secrets, &live, stage)).await;
    if !parts::all_ready(&all) {
        ctx.passed.forget(validated);
    }
    if parts::all_ready(&all) {
        let (last, first): (Vec<&Object>, Vec<&Object>) = held.into_iter().partition(|object| {
            object.name() == validated.names.api() && hibernation::api_waits(validated, &live)
        });
        failures.extend(apply::apply(ctx, validated, first, &mut live).await);
        if !hibernation::api_waits(validated, &live) {
            failures.extend(apply::apply(ctx, validated, last, &mut live).await);
        }
    }
    failures.extend(raise_workers(ctx, validated, &withheld, &live).await);
    if stage == Stage::Awake {
        note_scaled(ctx, validated, &secrets, &live);
    } else {
        ctx.scaled
            .remove(validated.names.namespace(), validated.names.hub());
    }
    let mut processes = parts::processes(validated, &live, &all, &withheld, stage);
    add_client(ctx, validated, &secrets, &all, &mut processes).await;
    all.extend(processes);
    pods::explain(ctx, validated, &mut all).await;
    let circuits = match &secrets.redis {
        Ok(redis) if all.get(&Part::Redis).is_some_and(|status| status.ready) => {
            ctx.data_tier.open_circuits(validated, redis).await
        }
        _ => None,
    };
    let is_well = parts::all_ready(&all) && failures.is_empty() && withheld.is_empty() && lacks.is_empty();
    let credentials = if stage == Stage::Awake {
        let scene = Scene {
            ctx,
            hub: validated,
            secrets: &secrets,
            found: &ensured.found,
            objects: &objects,
            live: &live,
            may_begin: is_well && !validated.keeps_templates && !certificates.rotating,
            wish: hub.annotations().get(credentials::ROTATE).map(String::as_str),
        };
        Some(Box::pin(credentials::advance(&scene)).await)
    } else {
        None
    };
    let keys = rotate_keys(ctx, hub, validated, &secrets, &all).await;
    let is_complete = failures.is_empty() && withheld.is_empty() && stage == Stage::Awake;
    let look_again = renew_certificates(ctx, validated, &secrets, &certificates, &all).await;
    Ok(Brought {
        keys,
        credentials,
        certificates: look_again,
        certified: Some(certificates.report),
        parts: all,
        lacks,
        failures,
        circuits,
        sleep: left.as_ref().map(hibernation::report),
        build: consent::report(last, &inputs, validated.keeps_templates, is_complete),
    })
}

/// Raises the workers of each queue that runs to as many as there are to be at least.
async fn raise_workers(
    ctx: &Context,
    validated: &ValidatedHub,
    withheld: &Withheld,
    live: &Live,
) -> Vec<ApplyError> {
    let mut failures = Vec::new();
    for (queue, plan) in &validated.queues {
        let name = validated.names.queue_worker(*queue);
        if withheld.contains_key(&(Kind::Deployment, name.clone()))
            || hibernation::is_at_rest(live, Kind::Deployment, &name)
        {
            continue;
        }
        let raised = apply::raise_replicas(ctx, validated, &name, plan.min_replicas, live).await;
        failures.extend(raised.err());
    }
    failures
}

/// Has the servers that do not look by themselves take up their certificates. Returns when to look again.
async fn renew_certificates(
    ctx: &Context,
    hub: &ValidatedHub,
    secrets: &Secrets,
    certificates: &pki::Ensured,
    parts: &BTreeMap<Part, PartStatus>,
) -> Option<Duration> {
    let works = parts.get(&Part::MongoDb).is_some_and(|status| status.ready);
    let leaf = certificates.leaves.get(&pki::Server::MongoDb).filter(|_| works);
    let told = match (&secrets.mongodb, leaf, &certificates.trust) {
        (Ok(secrets), Some(leaf), Some(trust)) => {
            let check = Against::new(hub, Check::MongoDbCertificate, [leaf.certificate.as_str()]);
            if ctx.passed.holds(&check) {
                None
            } else {
                let renewal = engine::certificates::renew_mongodb(hub, secrets, leaf, trust).await;
                if renewal.is_complete {
                    ctx.passed.note(check);
                }
                renewal.look_again
            }
        }
        _ => None,
    };
    // What an authority waits for is not told by Kubernetes.
    told.or_else(|| certificates.rotating.then_some(engine::LATER))
}

/// Tells those who scale workers what there is to scale.
fn note_scaled(ctx: &Context, validated: &ValidatedHub, secrets: &Secrets, live: &Live) {
    let Ok(mongodb) = &secrets.mongodb else {
        return ctx
            .scaled
            .remove(validated.names.namespace(), validated.names.hub());
    };
    let replicas = |queue: &Queue| {
        let deployment = live.get(Kind::Deployment, &validated.names.queue_worker(*queue))?;
        let replicas = deployment
            .pointer("/spec/replicas")
            .and_then(Value::as_u64)
            .unwrap_or(1);
        Some((*queue, u32::try_from(replicas).ok()?))
    };
    ctx.scaled.insert(ScaledHub {
        hub: Arc::new(validated.clone()),
        replicas: validated.queues.keys().filter_map(replicas).collect(),
        mongodb: mongodb.app.clone(),
    });
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
        let client = ctx.data_tier.default_client(ctx, hub, secrets).await;
        if let Some(api) = processes.remove(&Part::Api) {
            processes.insert(Part::Api, parts::with_client(api, client));
        }
    }
}

/// Brings the rotation of the transit keys a step on, where everything that this takes works.
async fn rotate_keys(
    ctx: &Context,
    hub: &FlickrHub,
    validated: &ValidatedHub,
    secrets: &Secrets,
    parts: &BTreeMap<Part, PartStatus>,
) -> Option<RotationReport> {
    let works = |part| parts.get(&part).is_some_and(|status: &PartStatus| status.ready);
    if !(works(Part::MongoDb) && works(Part::Vault)) {
        return None;
    }
    let mongodb = secrets.mongodb.as_ref().ok()?;
    let before = hub.status.as_ref();
    let interval = validated.key_rotation_days.to_string();
    let app = &mongodb.app;
    let inputs = [
        interval.as_str(),
        app.username.as_str(),
        app.password.expose_secret(),
    ];
    let check = Against::new(validated, Check::TransitKeys, inputs);
    if ctx.passed.holds(&check) {
        return before.and_then(RotationReport::of_last_look);
    }
    let report = ctx.data_tier.rotate_keys(ctx, validated, mongodb, before).await;
    if report.holds && report.rotated.is_empty() && report.look_again.is_none() {
        ctx.passed.note(check);
    }
    Some(report)
}

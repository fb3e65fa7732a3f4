//! Watches hubs, everything they own and the Secrets they refer to, and reconciles what changed.
//!
//! Only the metadata of children is watched and none of it is kept, so memory does not grow with objects that are not
//! ours. A hub that cannot be read is reported and stops no other.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};

use crate::backoff;
use crate::build::labels::{HUB_NAMESPACE, INSTANCE, MANAGED_BY};
use crate::context::Context;
use crate::crd::FlickrHub;
use crate::metrics::Metrics;
use crate::reconcile::{ReconcileError, reconcile, report_unreadable};
use crate::validate::referenced_secrets;

type Hub = DeserializeGuard<FlickrHub>;

/// What a reconciliation is given.
struct Shared {
    ctx: Context,
    metrics: Metrics,
}

/// Runs until `shutdown` ends, and then until the reconciliations under way have ended.
pub async fn run(ctx: Context, metrics: Metrics, shutdown: impl Future<Output = ()> + Send + Sync + 'static) {
    let hubs: Api<Hub> = scoped(&ctx);
    let ours = watcher::Config::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let config = Config::default().concurrency(ctx.settings.concurrency);
    let controller = Controller::new(hubs, watcher::Config::default());
    let store = controller.store();
    controller
        .with_config(config)
        .owns(scoped::<ConfigMap>(&ctx), ours.clone())
        .owns(scoped::<Service>(&ctx), ours.clone())
        .owns(scoped::<ServiceAccount>(&ctx), ours.clone())
        .owns(scoped::<StatefulSet>(&ctx), ours.clone())
        .owns(scoped::<Deployment>(&ctx), ours.clone())
        .owns(scoped::<PodDisruptionBudget>(&ctx), ours.clone())
        .owns(scoped::<HorizontalPodAutoscaler>(&ctx), ours.clone())
        .owns(scoped::<Ingress>(&ctx), ours.clone())
        .watches(
            Api::<PartialObjectMeta<ClusterRoleBinding>>::all(ctx.watch_client.clone()),
            ours,
            |binding| hub_of_binding(&binding),
        )
        .watches(
            scoped::<PartialObjectMeta<Secret>>(&ctx),
            watcher::Config::default(),
            move |secret| hubs_of_secret(&store, &secret),
        )
        .graceful_shutdown_on(shutdown)
        .run(step, on_error, Arc::new(Shared { ctx, metrics }))
        .for_each(|_| std::future::ready(()))
        .await;
}

/// The API of a kind to watch, in the namespace that the operator looks at, or in all.
fn scoped<K>(ctx: &Context) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match &ctx.settings.namespace {
        Some(namespace) => Api::namespaced(ctx.watch_client.clone(), namespace),
        None => Api::all(ctx.watch_client.clone()),
    }
}

/// The hub that a ClusterRoleBinding was made for.
fn hub_of_binding(binding: &PartialObjectMeta<ClusterRoleBinding>) -> Option<ObjectRef<Hub>> {
    let name = binding.labels().get(INSTANCE)?;
    let namespace = binding.annotations().get(HUB_NAMESPACE)?;
    Some(ObjectRef::new(name).within(namespace))
}

/// The hubs that refer to a Secret, and the hub that it was made for.
fn hubs_of_secret(store: &Store<Hub>, secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<Hub>> {
    let (name, namespace) = (secret.name_any(), secret.namespace());
    let maker = secret.labels().get(INSTANCE).filter(|_| {
        secret
            .labels()
            .get(MANAGED_BY.0)
            .is_some_and(|by| by == MANAGED_BY.1)
    });
    let concerns = |hub: &Hub| match &hub.0 {
        Ok(hub) => {
            maker.is_some_and(|maker| *maker == hub.name_any())
                || referenced_secrets(&hub.spec).contains(&name)
        }
        Err(_) => false,
    };
    store
        .state()
        .iter()
        .filter(|hub| hub.namespace() == namespace && concerns(hub))
        .map(|hub| ObjectRef::from_obj(hub.as_ref()))
        .collect()
}

async fn step(hub: Arc<Hub>, shared: Arc<Shared>) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    let result = match &hub.0 {
        Ok(hub) => {
            let (namespace, name) = (hub.namespace().unwrap_or_default(), hub.name_any());
            reconcile(&shared.ctx, &namespace, &name).await
        }
        Err(invalid) => report_unreadable(&shared.ctx, invalid).await,
    };
    shared.metrics.reconciled(result.is_ok(), started.elapsed());
    let wait = result?;
    shared.ctx.succeeded(&hub.uid().unwrap_or_default());
    Ok(wait.map_or_else(Action::await_change, Action::requeue))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
fn on_error(hub: Arc<Hub>, error: &ReconcileError, shared: Arc<Shared>) -> Action {
    let failures = shared.ctx.failed(&hub.uid().unwrap_or_default());
    let wait = backoff::after(failures);
    let wait = error.look_again().map_or(wait, |soonest| wait.min(soonest));
    tracing::warn!(
        hub = hub.name_any(),
        namespace = hub.namespace(),
        %error,
        failures,
        retry_seconds = wait.as_secs_f32(),
        "the reconciliation failed"
    );
    Action::requeue(wait)
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectMeta, PartialObjectMetaExt};
    use kube::runtime::reflector;

    use super::*;
    use crate::fixtures;

    fn store_with_the_sample() -> Store<Hub> {
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&watcher::Event::Apply(DeserializeGuard(Ok(fixtures::minimal()))));
        store
    }

    fn secret(name: &str, namespace: &str, labels: &[(&str, &str)]) -> PartialObjectMeta<Secret> {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.collect()),
            ..ObjectMeta::default()
        }
        .into_response_partial()
    }

    fn triggered(secret: &PartialObjectMeta<Secret>) -> usize {
        hubs_of_secret(&store_with_the_sample(), secret).len()
    }

    #[test]
    fn a_secret_that_a_hub_refers_to_triggers_it() {
        assert_eq!(triggered(&secret("flickr-app", "photos", &[])), 1);
        assert_eq!(triggered(&secret("flickr-app", "another", &[])), 0);
        assert_eq!(triggered(&secret("another", "photos", &[])), 0);
    }

    #[test]
    fn a_secret_that_was_made_up_for_a_hub_triggers_it() {
        let labels = [(INSTANCE, "gallery"), MANAGED_BY];
        assert_eq!(triggered(&secret("gallery-redis-auth", "photos", &labels)), 1);
        assert_eq!(
            triggered(&secret("gallery-redis-auth", "photos", &labels[..1])),
            0
        );
    }
}

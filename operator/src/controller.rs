//! Watches hubs (and clients, see [`crate::client_controller`]), everything they own and the Secrets they refer to, and reconciles what changed.
//!
//! Only the metadata of children is watched, and by their label, and of that only versions are kept (see
//! [`crate::apply::children`]); of Secrets, which may be anybody's, nothing. So memory does not grow with objects that are
//! not ours. A hub that cannot be read is reported and stops no other.
//!
//! What changes only the status of a hub does not trigger it: the operator would answer each of its own writes with another
//! reconciliation. Every reconciliation says when the next one comes at the latest, and that one mends a status that
//! somebody else has edited.
//!
//! A watch that fails is begun anew after a growing pause, by itself: the others go on. Kinds that a cluster may not know are
//! watched while it does ([`optional`]).

mod optional;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join3;
use futures::{FutureExt, Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::apply::children::{HubId, Seen};
use crate::autoscaling::scaler;
use crate::backoff;
use crate::build::Kind;
use crate::build::keda::{ScaledObject, TriggerAuthentication};
use crate::build::labels::{INSTANCE, MANAGED_BY};
use crate::client_controller;
use crate::context::Context;
use crate::crd::FlickrHub;
use crate::metrics::Metrics;
use crate::names::HubNames;
use crate::reconcile::{ReconcileError, reconcile, report_unreadable};
use crate::secrets;
use crate::validate::referenced_secrets;

type Hub = DeserializeGuard<FlickrHub>;

/// As many objects are asked for at once when a watch begins. Every watch begins at the same time, and what a page takes in
/// memory, of which nothing is kept, is what the process keeps from the system from then on.
const PAGE: u32 = 50;

/// What a reconciliation is given.
pub(crate) struct Shared {
    pub(crate) ctx: Context,
    pub(crate) metrics: Metrics,
}

/// Runs until `shutdown` ends, and then until the reconciliations under way have ended.
pub async fn run(ctx: Context, metrics: Metrics, shutdown: impl Future<Output = ()> + Send + Sync + 'static) {
    let ours = watcher::Config::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let config = Config::default().concurrency(ctx.settings.concurrency);
    let shared = Arc::new(Shared { ctx, metrics });
    let (reader, writer) = reflector::store();
    let hubs = watched::<Hub>(&shared, scoped(&shared.ctx), watcher::Config::default())
        // Nobody asks for it, and it is longer than the rest.
        .modify(|hub| hub.meta_mut().managed_fields = None)
        .reflect(writer)
        .applied_objects()
        .predicate_filter(but_for_status::<Hub>(), PredicateConfig::default());
    let bindings = Api::all(shared.ctx.watch_client.clone());
    let secrets = watched(
        &shared,
        scoped::<PartialObjectMeta<Secret>>(&shared.ctx),
        watcher::Config::default(),
    );
    let store = reader.clone();
    let shutdown = shutdown.shared();
    let clients = client_controller::run(Arc::clone(&shared), shutdown.clone());
    let scaling = Arc::clone(&shared);
    let scaling = scaler::run(&scaling.ctx, shutdown.clone());
    let hubs = Controller::for_stream(hubs, reader)
        .with_config(config)
        .reconcile_on(of_hubs::<ConfigMap>(&shared, Kind::ConfigMap, &ours))
        .reconcile_on(of_hubs::<Service>(&shared, Kind::Service, &ours))
        .reconcile_on(of_hubs::<ServiceAccount>(&shared, Kind::ServiceAccount, &ours))
        .reconcile_on(of_hubs::<StatefulSet>(&shared, Kind::StatefulSet, &ours))
        .reconcile_on(of_hubs::<Deployment>(&shared, Kind::Deployment, &ours))
        .reconcile_on(of_hubs::<PodDisruptionBudget>(
            &shared,
            Kind::PodDisruptionBudget,
            &ours,
        ))
        .reconcile_on(of_hubs::<HorizontalPodAutoscaler>(
            &shared,
            Kind::HorizontalPodAutoscaler,
            &ours,
        ))
        .reconcile_on(optional::of_hubs::<ScaledObject>(
            &shared,
            Kind::ScaledObject,
            &ours,
        ))
        .reconcile_on(optional::of_hubs::<TriggerAuthentication>(
            &shared,
            Kind::TriggerAuthentication,
            &ours,
        ))
        .reconcile_on(of_hubs::<Ingress>(&shared, Kind::Ingress, &ours))
        .reconcile_on(of_hubs::<NetworkPolicy>(&shared, Kind::NetworkPolicy, &ours))
        .reconcile_on(seen_of::<ClusterRoleBinding>(
            &shared,
            Kind::ClusterRoleBinding,
            bindings,
            &ours,
        ))
        .watches_stream(secrets.touched_objects(), move |secret| {
            hubs_of_secret(&store, &secret)
        })
        .graceful_shutdown_on(shutdown)
        .run(step, on_error, shared)
        // Failures were logged and counted where they happened.
        .for_each(|_| std::future::ready(()));
    join3(hubs, clients, scaling).await;
}

/// What of a resource triggers it: its spec (the generation), what is written into its metadata, and that it is to go.
pub(crate) fn but_for_status<K: Resource>() -> impl Predicate<K> {
    let deletion = |resource: &K| Some(u64::from(resource.meta().deletion_timestamp.is_some()));
    predicates::generation
        .combine(predicates::labels)
        .combine(predicates::annotations)
        .combine(predicates::finalizers)
        .combine(deletion)
}

/// The events of a kind. A watch that fails is begun anew after a pause.
pub(crate) fn watched<K>(
    shared: &Shared,
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::kind(&()).into_owned();
    reported(
        kind,
        shared.metrics.clone(),
        watcher(api, config.page_size(PAGE)).default_backoff(),
    )
}

/// The metadata of a kind of object that hubs own.
pub(crate) fn children<K>(
    shared: &Shared,
    ours: &watcher::Config,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<K>>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    let api = scoped::<PartialObjectMeta<K>>(&shared.ctx);
    watched(shared, api, ours.clone()).touched_objects()
}

/// Logs and counts the errors of a watch and leaves them out: the controller would halt the watches of every kind for one.
fn reported<T: Send + 'static>(
    kind: String,
    metrics: Metrics,
    events: impl Stream<Item = watcher::Result<T>> + Send + 'static,
) -> impl Stream<Item = watcher::Result<T>> + Send + 'static {
    events.filter_map(move |event| {
        let event = match event {
            Ok(event) => Some(Ok(event)),
            Err(error) => {
                tracing::warn!(kind, %error, "a watch failed and is begun anew");
                metrics.watch_failed(&kind);
                None
            }
        };
        std::future::ready(event)
    })
}

/// The API of a kind to watch, in the namespace that the operator looks at, or in all.
pub(crate) fn scoped<K>(ctx: &Context) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match &ctx.settings.namespace {
        Some(namespace) => Api::namespaced(ctx.watch_client.clone(), namespace),
        None => Api::all(ctx.watch_client.clone()),
    }
}

/// The hubs that are concerned by what happens to children of a kind, which is taken into what is known of these.
fn of_hubs<K>(
    shared: &Arc<Shared>,
    kind: Kind,
    ours: &watcher::Config,
) -> impl Stream<Item = ObjectRef<Hub>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    seen_of(shared, kind, scoped::<PartialObjectMeta<K>>(&shared.ctx), ours)
}

/// The same for a kind that may be without namespaces.
fn seen_of<K>(
    shared: &Arc<Shared>,
    kind: Kind,
    api: Api<PartialObjectMeta<K>>,
    ours: &watcher::Config,
) -> impl Stream<Item = ObjectRef<Hub>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    taken(shared, kind, watched(shared, api, ours.clone()))
}

/// The hubs that are concerned by the events of a watch, which are taken into what is known of children.
fn taken<K, S>(
    shared: &Arc<Shared>,
    kind: Kind,
    events: S,
) -> impl Stream<Item = ObjectRef<Hub>> + Send + 'static + use<K, S>
where
    K: Resource<DynamicType = ()> + Send + 'static,
    S: Stream<Item = watcher::Result<watcher::Event<PartialObjectMeta<K>>>> + Send + 'static,
{
    let taker = Arc::clone(shared);
    events.flat_map(move |event| {
        let concerned = event.map_or_else(
            |_| Vec::new(),
            |event| {
                let seen = match &event {
                    watcher::Event::Init => Seen::Begin,
                    watcher::Event::InitApply(object) => Seen::Listed(object.meta()),
                    watcher::Event::InitDone => Seen::Complete,
                    watcher::Event::Apply(object) => Seen::Changed(object.meta()),
                    watcher::Event::Delete(object) => Seen::Gone(object.meta()),
                };
                taker.ctx.children.see(kind, seen)
            },
        );
        stream::iter(concerned.into_iter().map(|hub| reference(&hub)))
    })
}

fn reference(hub: &HubId) -> ObjectRef<Hub> {
    ObjectRef::new(&hub.name).within(&hub.namespace)
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
    // By its name too: labels that somebody takes away are put back.
    let is_made_up =
        |hub: &str| name.starts_with(hub) && secrets::names(&HubNames::new(hub, "", "")).contains(&name);
    let concerns = |hub: &Hub| match &hub.0 {
        Ok(hub) => {
            maker.is_some_and(|maker| *maker == hub.name_any())
                || is_made_up(&hub.name_any())
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
            Box::pin(reconcile(&shared.ctx, &namespace, &name)).await
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
    use futures::stream;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::core::{ObjectMeta, PartialObjectMetaExt};
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::crd::FlickrHubStatus;
    use crate::fixtures;

    /// Whether a change of the sample triggers it.
    async fn triggers(change: impl FnOnce(&mut FlickrHub)) -> bool {
        let mut changed = fixtures::minimal();
        change(&mut changed);
        let seen = [fixtures::minimal(), changed].map(|hub| Ok(DeserializeGuard(Ok(hub))));
        let passed = stream::iter(seen).predicate_filter(but_for_status::<Hub>(), PredicateConfig::default());
        passed.count().await == 2
    }

    #[tokio::test]
    async fn a_change_of_the_status_alone_triggers_nothing() {
        let status = FlickrHubStatus {
            api_url: Some("http://api".to_owned()),
            ..FlickrHubStatus::default()
        };
        assert!(
            !triggers(|hub| {
                hub.status = Some(status);
                hub.metadata.resource_version = Some("8".to_owned());
                hub.metadata.managed_fields = Some(Vec::new());
            })
            .await
        );
    }

    #[tokio::test]
    async fn a_change_of_the_spec_or_the_metadata_triggers() {
        let entry = || Some([("key".to_owned(), "value".to_owned())].into());
        assert!(triggers(|hub| hub.metadata.generation = Some(2)).await);
        assert!(triggers(|hub| hub.metadata.labels = entry()).await);
        assert!(triggers(|hub| hub.metadata.annotations = entry()).await);
        assert!(triggers(|hub| hub.metadata.finalizers = Some(vec!["a".to_owned()])).await);
        assert!(
            triggers(|hub| hub.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH))).await
        );
        assert!(triggers(|hub| hub.metadata.uid = Some("of-another".to_owned())).await);
    }

    #[tokio::test]
    async fn errors_of_a_watch_are_counted_and_do_not_end_it() -> Result<(), prometheus::Error> {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry)?;
        let events = stream::iter([Err(watcher::Error::NoResourceVersion), Ok(1)]);
        let passed: Vec<_> = reported("Service".to_owned(), metrics, events).collect().await;
        assert!(matches!(passed.as_slice(), [Ok(1)]));
        let text = TextEncoder::new().encode_to_string(&registry.gather())?;
        assert!(
            text.contains("flickrhub_operator_watch_errors_total{kind=\"Service\"} 1\n"),
            "{text}"
        );
        Ok(())
    }

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
        // One that lost its label is found by its name.
        assert_eq!(
            triggered(&secret("gallery-redis-auth", "photos", &labels[..1])),
            1
        );
        assert_eq!(triggered(&secret("gallery-redis-auth", "another", &labels)), 0);
    }
}

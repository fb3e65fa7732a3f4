//! Watches clients and their Secrets, and reconciles what changed, as [`crate::controller`] does with hubs.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector;
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};

use crate::api_client::reconcile::{ClientError, reconcile};
use crate::backoff;
use crate::build::labels::MANAGED_BY;
use crate::controller::{Shared, but_for_status, children, scoped, watched};
use crate::crd::FlickrHubClient;

type Guarded = DeserializeGuard<FlickrHubClient>;

/// Runs until `shutdown` ends, and then until the reconciliations under way have ended.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: impl Future<Output = ()> + Send + Sync + 'static) {
    let ours = watcher::Config::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let config = Config::default().concurrency(shared.ctx.settings.concurrency);
    let (reader, writer) = reflector::store();
    let clients = watched::<Guarded>(&shared, scoped(&shared.ctx), watcher::Config::default())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(but_for_status::<Guarded>(), PredicateConfig::default());
    Controller::for_stream(clients, reader)
        .with_config(config)
        .owns_stream(children::<Secret>(&shared, &ours))
        .graceful_shutdown_on(shutdown)
        .run(step, on_error, shared)
        // Failures were logged and counted where they happened.
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn step(client: Arc<Guarded>, shared: Arc<Shared>) -> Result<Action, ClientError> {
    let started = Instant::now();
    let meta = client.meta();
    let (namespace, name) = (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    );
    if let Err(invalid) = &client.0 {
        tracing::warn!(name, namespace, error = %invalid.error, "a FlickrHubClient cannot be read");
        return Ok(Action::await_change());
    }
    let result = reconcile(&shared.ctx, &namespace, &name).await;
    shared.metrics.reconciled(result.is_ok(), started.elapsed());
    let wait = result?;
    shared.ctx.succeeded(&client.uid().unwrap_or_default());
    Ok(wait.map_or_else(Action::await_change, Action::requeue))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
fn on_error(client: Arc<Guarded>, error: &ClientError, shared: Arc<Shared>) -> Action {
    let failures = shared.ctx.failed(&client.uid().unwrap_or_default());
    let wait = backoff::after(failures);
    tracing::warn!(
        client = client.name_any(),
        namespace = client.namespace(),
        %error,
        failures,
        retry_seconds = wait.as_secs_f32(),
        "the reconciliation of a client failed"
    );
    Action::requeue(wait)
}

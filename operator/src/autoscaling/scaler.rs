//! What no autoscaler does: a queue without jobs gives up its last worker and gets one back, and the workers that run jobs are
//! marked so that the idle ones go first.
//!
//! Only the leader does it, and only for hubs of which there may be something to do ([`ScaledHub::concerns_us`]). For how long
//! a queue has been idle is remembered in this process alone: after a change of the leader the last worker stays for another
//! delay.
//!
//! If the process dies after any step, the next leader looks anew: a number of workers that was written is what it finds, and
//! marks that are old are written again while there are workers too many. A mark is a hint for which worker goes: whichever
//! does, it finishes what it holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flickrhub_job::queue::Queue;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Scaling;
use super::decide::{Seen, Step, Worker, costs, step, wanted};
use super::running::{RunningError, running};
use super::scaled::{HubKey, ScaledHub};
use crate::backlogs::{BacklogError, HubBacklog};
use crate::backoff;
use crate::build::{labels, worker_component};
use crate::context::{Context, SCALE_MANAGER};

/// How often the hubs are looked at: a queue without workers waits for its first one about so long.
const PERIOD: Duration = Duration::from_secs(5);
/// Hubs that are looked at at the same time.
const AT_A_TIME: usize = 8;
/// By which Kubernetes tells which pod of a set goes first: the one with the least.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

#[derive(Debug, thiserror::Error)]
enum ScaleError {
    #[error("{0}")]
    Backlog(#[from] BacklogError),
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("what the workers run is not known: {0}")]
    Running(#[from] RunningError),
}

/// Since when queues have had no job.
#[derive(Default)]
struct Idle {
    since: Mutex<HashMap<(HubKey, Queue), Instant>>,
}

impl Idle {
    /// Takes note of the jobs of a queue; `None` where nobody knows. For how long there has been none.
    fn note(&self, hub: &HubKey, queue: Queue, jobs: Option<u64>, now: Instant) -> Duration {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (hub.clone(), queue);
        if jobs == Some(0) {
            now.duration_since(*since.entry(key).or_insert(now))
        } else {
            since.remove(&key);
            Duration::ZERO
        }
    }

    fn keep_only(&self, hubs: &BTreeMap<HubKey, ScaledHub>) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|(hub, _), _| hubs.contains_key(hub));
    }
}

/// Looks after the hubs of `ctx` until `stop` ends.
pub async fn run(ctx: &Context, stop: impl Future<Output = ()> + Clone) {
    let idle = Idle::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(backoff::jittered(PERIOD)) => {}
            () = stop.clone() => return,
        }
        let hubs = ctx.scaled.of_concern();
        idle.keep_only(&hubs);
        stream::iter(&hubs)
            .for_each_concurrent(AT_A_TIME, |(key, hub)| look_after(ctx, &idle, key, hub))
            .await;
    }
}

async fn look_after(ctx: &Context, idle: &Idle, key: &HubKey, scaled: &ScaledHub) {
    let (namespace, name) = key;
    let backlog = match ctx.backlogs.of(namespace, name).await {
        Ok(backlog) => backlog,
        Err(error) => {
            for queue in Queue::ALL {
                idle.note(key, queue, None, Instant::now());
            }
            tracing::warn!(hub = name, namespace, %error, "the backlog is not known: the workers stay as they are");
            return;
        }
    };
    if scaled.hub.autoscaling.scaling != Scaling::Keda {
        for queue in scaled.replicas.keys() {
            let idle = idle.note(key, *queue, Some(backlog.of(*queue)), Instant::now());
            if let Err(error) = from_and_to_none(ctx, scaled, *queue, backlog.of(*queue), idle).await {
                tracing::warn!(hub = name, namespace, queue = queue.name(), %error, "cannot scale the workers");
            }
        }
    }
    if let Err(error) = mark_busy_workers(ctx, scaled, &backlog).await {
        tracing::warn!(hub = name, namespace, %error, "busy workers cannot be told from idle ones");
    }
}

/// Brings a queue from none to one worker, or to none.
async fn from_and_to_none(
    ctx: &Context,
    scaled: &ScaledHub,
    queue: Queue,
    jobs: u64,
    idle: Duration,
) -> Result<(), ScaleError> {
    let hub = &scaled.hub;
    let (Some(plan), Some(replicas)) = (hub.queues.get(&queue), scaled.replicas.get(&queue)) else {
        return Ok(());
    };
    let delay = Duration::from_secs(hub.autoscaling.scale_in_delay_seconds.into());
    let decide = |replicas| step(plan.min_replicas, delay, Seen { replicas, jobs, idle });
    if decide(*replicas) == Step::Stay {
        return Ok(());
    }
    // What was seen last may be old: an autoscaler may have acted since.
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let name = hub.names.queue_worker(queue);
    let Some(deployment) = api.get_opt(&name).await? else {
        return Ok(());
    };
    let current = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let wanted = match decide(u32::try_from(current).unwrap_or_default()) {
        Step::Stay => return Ok(()),
        Step::Wake => 1,
        Step::Sleep => 0,
    };
    tracing::info!(deployment = name, jobs, from = current, to = wanted, "scale");
    // Refused if the Deployment has changed meanwhile; then the next look decides.
    let patch = json!({
        "metadata": {"resourceVersion": deployment.resource_version()},
        "spec": {"replicas": wanted},
    });
    match api.patch_scale(&name, &scaling(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the workers dear that run jobs, of the queues that have more workers than their jobs are enough for.
async fn mark_busy_workers(
    ctx: &Context,
    scaled: &ScaledHub,
    backlog: &HubBacklog,
) -> Result<(), ScaleError> {
    let with_surplus: Vec<Queue> = scaled
        .replicas
        .iter()
        .filter(|(queue, replicas)| has_surplus(scaled, **queue, **replicas, backlog.of(**queue)))
        .map(|(queue, _)| *queue)
        .collect();
    if with_surplus.is_empty() {
        return Ok(());
    }
    let running = running(&scaled.hub, &scaled.mongodb).await?;
    for queue in with_surplus {
        mark(ctx, scaled, queue, &running).await?;
    }
    Ok(())
}

/// Whether an autoscaler may be about to take workers away.
fn has_surplus(scaled: &ScaledHub, queue: Queue, replicas: u32, jobs: u64) -> bool {
    scaled.hub.queues.get(&queue).is_some_and(|plan| {
        replicas > wanted(jobs, plan.jobs_per_replica, plan.min_replicas, plan.max_replicas)
    })
}

async fn mark(
    ctx: &Context,
    scaled: &ScaledHub,
    queue: Queue,
    running: &BTreeMap<String, u64>,
) -> Result<(), ScaleError> {
    let hub = &scaled.hub;
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let selector: Vec<String> = labels::selector_labels(hub, worker_component(queue))
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    // What the API server has in memory is new enough, and costs it next to nothing.
    let params = ListParams::default().labels(&selector.join(",")).match_any();
    let pods = api.list_metadata(&params).await?;
    let workers: Vec<Worker> = pods.items.iter().filter_map(worker).collect();
    mark_pods(ctx, hub.names.namespace(), &costs(&workers, running)).await?;
    Ok(())
}

/// Writes the costs of pods into their annotations.
///
/// # Errors
/// When the API server does not answer; pods that are gone are no error.
pub async fn mark_pods(
    ctx: &Context,
    namespace: &str,
    costs: &BTreeMap<String, i32>,
) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    for (pod, cost) in costs {
        let patch = json!({"metadata": {"annotations": {DELETION_COST: cost.to_string()}}});
        match api.patch_metadata(pod, &scaling(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Who writes numbers of workers and marks.
fn scaling() -> PatchParams {
    PatchParams {
        field_manager: Some(SCALE_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// A pod that may be chosen to go; `None` if it goes already.
fn worker(pod: &PartialObjectMeta<Pod>) -> Option<Worker> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let cost = pod.annotations().get(DELETION_COST);
    Some(Worker {
        pod: pod.name_any(),
        cost: cost.and_then(|cost| cost.parse().ok()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key() -> HubKey {
        ("photos".to_owned(), "gallery".to_owned())
    }

    #[test]
    fn a_queue_is_idle_for_as_long_as_it_is_known_to_have_no_job() {
        let (idle, mut now) = (Idle::default(), Instant::now());
        let mut note = |queue, jobs, later| {
            now += later;
            idle.note(&key(), queue, jobs, now)
        };
        assert_eq!(note(Queue::Rest, Some(0), SECOND), Duration::ZERO);
        assert_eq!(note(Queue::Rest, Some(0), SECOND), SECOND);
        assert_eq!(note(Queue::Upload, Some(0), SECOND), Duration::ZERO);
        for interruption in [Some(1), None] {
            assert_eq!(note(Queue::Rest, interruption, SECOND), Duration::ZERO);
            assert_eq!(note(Queue::Rest, Some(0), SECOND), Duration::ZERO);
        }
    }

    #[test]
    fn what_is_known_of_hubs_that_are_gone_is_forgotten() {
        let (idle, now) = (Idle::default(), Instant::now());
        idle.note(&key(), Queue::Rest, Some(0), now);
        idle.keep_only(&BTreeMap::new());
        let later = idle.note(&key(), Queue::Rest, Some(0), now + SECOND);
        assert_eq!(later, Duration::ZERO);
    }
}

//! A change of a data engine's pods goes member by member, and no step is taken that the engine does not permit. So does
//! a change to fewer of them.
//!
//! The StatefulSets of the engines leave the replacement of pods to the operator (`updateStrategy: OnDelete`). Each
//! reconciliation takes at most one step for each engine: [`decide`] says which, by the pods and by what the engine says
//! of its members at that moment ([`Roster`](crate::engine::roster::Roster)). What the engine does not permit stops the
//! change, and the condition of the part says why.
//!
//! Nothing is remembered between two steps. If the process dies …
//!
//! * after a leader was asked to hand over: the next one asks the engine who leads, and goes on from there;
//! * after a pod was taken away: Kubernetes makes it anew, and the next step waits until it serves;
//! * after a set was asked for a pod fewer: Kubernetes stops it, and the next step waits until it is gone.

mod decide;
mod evict;
mod order;
mod pods;
#[cfg(test)]
mod simulation;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

pub use decide::{Step, decide};
pub use evict::EvictError;
pub use order::restart_order;
pub use pods::{Pod, Set};

use crate::apply::Live;
use crate::build::Kind;
use crate::build::labels::of_hub;
use crate::context::{Context, FIELD_MANAGER};
use crate::engine::Size;
use crate::engine::roster::Members;
use crate::validate::ValidatedHub;

/// How far the change of a set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing to change.
    Idle,
    /// It goes on, or waits for something that is under way; what, as the end of a sentence.
    Working(String),
    /// It has stopped; why, as the end of a sentence.
    Blocked(String),
}

/// Takes the next step of the change of a set, if it needs one and its engine permits it.
pub async fn advance<M: Members + Sync>(
    ctx: &Context,
    hub: &ValidatedHub,
    live: &Live,
    name: &str,
    size: Size,
    engine: &M,
) -> Progress {
    let Some(object) = live.get(Kind::StatefulSet, name) else {
        return Progress::Idle;
    };
    let set = Set::of(name, object, size.wanted);
    if set.is_rolled_out {
        return Progress::Idle;
    }
    let pods = match read(ctx, hub, name).await {
        Ok(pods) => pods,
        Err(error) => return Progress::Blocked(format!("the pods of {name} cannot be read ({error})")),
    };
    let step = decide(&set, &pods, &engine.roster().await);
    let pod_name = |ordinal: u32| format!("{name}-{ordinal}");
    match step {
        Step::Done => Progress::Idle,
        Step::Wait(what) => Progress::Working(what),
        Step::Blocked(why) => Progress::Blocked(why),
        Step::HandOver(ordinal) => {
            let member = pod_name(ordinal);
            tracing::info!(member, "the leader is to hand over before it is restarted");
            match engine.hand_over(ordinal).await {
                Ok(()) => Progress::Working(format!("{member} has handed over")),
                Err(error) => Progress::Blocked(format!("{member} does not hand over: {error}")),
            }
        }
        Step::Replace(ordinal) => match pods.iter().find(|pod| pod.ordinal == ordinal) {
            Some(pod) => replace(ctx, hub, name, pod).await,
            None => Progress::Working(format!("{} is made anew", pod_name(ordinal))),
        },
        Step::Shrink(size) => shrink(ctx, hub, name, object, size).await,
    }
}

async fn replace(ctx: &Context, hub: &ValidatedHub, set: &str, pod: &Pod) -> Progress {
    let member = format!("{set}-{}", pod.ordinal);
    tracing::info!(member, "restart with the new template");
    match evict::evict(&ctx.client, hub.names.namespace(), set, pod).await {
        Ok(()) | Err(EvictError::Changed) => Progress::Working(format!("{member} is restarted")),
        Err(error) => Progress::Blocked(format!("{member} is not restarted now: {error}")),
    }
}

/// Asks for fewer pods, unless somebody changed the set since it was read.
async fn shrink(ctx: &Context, hub: &ValidatedHub, name: &str, set: &Value, size: u32) -> Progress {
    tracing::info!(set = name, size, "ask for a pod fewer");
    let api: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let version = set.pointer("/metadata/resourceVersion");
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": size}});
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(name, &params, &Patch::Merge(patch)).await {
        Ok(_) => Progress::Working(format!("{name}-{size} stops")),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Progress::Working(format!("{name}-{size} is to stop"))
        }
        Err(error) => Progress::Blocked(format!("{name}-{size} is not taken away ({error})")),
    }
}

/// The pods of a set as they are now, not as they were in a cache.
async fn read(ctx: &Context, hub: &ValidatedHub, set: &str) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<v1::Pod> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let params = ListParams::default().labels(&of_hub(hub.names.hub()));
    let found = api.list(&params).await?;
    let mut pods: Vec<Pod> = found.items.iter().filter_map(|pod| Pod::of(set, pod)).collect();
    pods.sort_by_key(|pod| pod.ordinal);
    Ok(pods)
}

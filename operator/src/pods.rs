//! Why pods do not run, added to what is said of the part that waits for them. The judgement of one pod is pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::build::labels::{COMPONENT, of_hub};
use crate::context::Context;
use crate::part::{Part, PartStatus};
use crate::reconcile::ReconcileError;
use crate::validate::ValidatedHub;

/// Pods that are named for one part; the others mostly have the same trouble.
const MAX_PODS: usize = 3;
/// Characters of a scheduler's message: it can name every reason of every node.
const MAX_MESSAGE: usize = 240;
/// Reasons of a waiting container that do not pass with starting.
const TROUBLES: [&str; 7] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Adds to every part that waits what keeps its pods from running. Reads the pods of the hub once, and only where a part
/// waits; that they cannot be read leaves the parts as they are.
pub async fn explain(ctx: &Context, hub: &ValidatedHub, parts: &mut BTreeMap<Part, PartStatus>) {
    if !parts.values().any(waits) {
        return;
    }
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    // What the API server has in memory is new enough, and costs it next to nothing.
    let params = ListParams::default().labels(&of_hub(hub.names.hub())).match_any();
    match api.list(&params).await {
        Ok(pods) => add_troubles(parts, &pods.items),
        Err(error) => {
            tracing::warn!(%error, "cannot list the pods of the hub, so it is not said why they wait");
        }
    }
}

/// How many pods there are of each part, those that are about to end included.
///
/// # Errors
/// When the API server fails.
pub async fn count(ctx: &Context, hub: &ValidatedHub) -> Result<BTreeMap<Part, usize>, ReconcileError> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let params = ListParams::default().labels(&of_hub(hub.names.hub()));
    let pods = api.list_metadata(&params).await.map_err(ReconcileError::Pods)?;
    let mut counts = BTreeMap::new();
    for part in pods.items.iter().filter_map(|pod| part_of(&pod.metadata)) {
        *counts.entry(part).or_default() += 1;
    }
    Ok(counts)
}

/// Whether pods may be what a part waits for. What asks for no other look waits for something else.
const fn waits(status: &PartStatus) -> bool {
    !status.ready && !status.stalled && status.requeue_after.is_some()
}

fn add_troubles(parts: &mut BTreeMap<Part, PartStatus>, pods: &[Pod]) {
    for (part, status) in parts.iter_mut().filter(|(_, status)| waits(status)) {
        let mut troubles: Vec<String> = pods
            .iter()
            .filter(|pod| part_of(&pod.metadata) == Some(*part))
            .filter_map(|pod| Some(format!("{} {}", pod.name_any(), trouble(pod)?)))
            .collect();
        // The same order every time, so that the status does not change.
        troubles.sort();
        troubles.truncate(MAX_PODS);
        if !troubles.is_empty() {
            status.message = format!("{} {}.", status.message, troubles.join("; "));
        }
    }
}

/// The part that a pod belongs to.
fn part_of(meta: &ObjectMeta) -> Option<Part> {
    match meta.labels.as_ref()?.get(COMPONENT)?.as_str() {
        "redis" => Some(Part::Redis),
        "mongodb" => Some(Part::MongoDb),
        "rabbitmq" => Some(Part::RabbitMq),
        "vault" => Some(Part::Vault),
        "api" => Some(Part::Api),
        "dispatcher" | "callbacks" => Some(Part::Dispatcher),
        component => component.starts_with("worker").then_some(Part::Workers),
    }
}

/// What keeps a pod from running, as the end of a sentence; `None` if nothing does that would not pass by itself.
fn trouble(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?;
    unscheduled(status).or_else(|| {
        let init = status.init_container_statuses.iter().flatten();
        let containers = status.container_statuses.iter().flatten();
        init.chain(containers).find_map(waiting)
    })
}

fn unscheduled(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let scheduled = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let why = scheduled.message.as_ref().or(scheduled.reason.as_ref())?;
    let end = why.floor_char_boundary(MAX_MESSAGE);
    let (why, more) = (
        why[..end].trim_end_matches('.'),
        if end < why.len() { " …" } else { "" },
    );
    Some(format!("cannot be scheduled: {why}{more}"))
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let reason = container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?;
    TROUBLES
        .contains(&reason)
        .then(|| format!("has container {} in {reason}", container.name))
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "what `json!` makes is handed on")]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, component: &str, status: Value) -> Pod {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app.kubernetes.io/component": component}},
            "status": status,
        });
        serde_json::from_value(pod).unwrap_or_default()
    }

    fn unschedulable(message: &str) -> Value {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        json!({"phase": "Pending", "conditions": [condition]})
    }

    fn container(state: Value) -> Value {
        let status = json!({
            "name": "api", "state": state, "ready": false, "restartCount": 3, "image": "api:1", "imageID": "",
        });
        json!({"containerStatuses": [status]})
    }

    fn found(status: Value) -> Option<String> {
        trouble(&pod("gallery-api-1", "api", status))
    }

    #[test]
    fn what_does_not_pass_by_itself_is_said() {
        assert_eq!(
            found(unschedulable("0/3 nodes are available: 3 Insufficient memory.")).as_deref(),
            Some("cannot be scheduled: 0/3 nodes are available: 3 Insufficient memory")
        );
        for reason in [
            "ImagePullBackOff",
            "CrashLoopBackOff",
            "CreateContainerConfigError",
        ] {
            assert_eq!(
                found(container(json!({"waiting": {"reason": reason}}))),
                Some(format!("has container api in {reason}"))
            );
        }
    }

    #[test]
    fn what_passes_or_runs_is_not() {
        for status in [
            json!({}),
            json!({"conditions": [{"type": "PodScheduled", "status": "True"}]}),
            container(json!({"waiting": {"reason": "ContainerCreating"}})),
            container(json!({"running": {}})),
        ] {
            assert_eq!(found(status.clone()), None, "{status}");
        }
        let mut leaving = pod("gallery-api-1", "api", unschedulable("No node."));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert_eq!(trouble(&leaving), None);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = found(unschedulable(&"ä".repeat(500))).unwrap_or_default();
        assert!(message.ends_with("ä …"), "{message}");
        assert!(message.len() < 300, "{message}");
    }

    #[test]
    fn only_parts_that_wait_name_their_pods_and_few_of_them() {
        let waiting = || PartStatus::waiting("RollingOut", "Waits for pods: 0 of 4.", Duration::ZERO);
        let mut parts = BTreeMap::from([
            (Part::Workers, waiting()),
            (Part::Dispatcher, waiting()),
            (Part::Redis, PartStatus::ready("It runs.")),
            (
                Part::Api,
                PartStatus::stalled("Missing", "Create it.", Duration::ZERO),
            ),
        ]);
        let broken = |name, component| {
            let state = json!({"waiting": {"reason": "ImagePullBackOff"}});
            pod(name, component, container(state))
        };
        let pods = [
            broken("d", "worker-rest"),
            broken("c", "worker-rest"),
            broken("b", "worker-upload"),
            broken("a", "worker-rest"),
            broken("redis-0", "redis"),
            broken("api-0", "api"),
        ];
        let before = parts.clone();
        add_troubles(&mut parts, &pods);
        assert_eq!(
            parts
                .remove(&Part::Workers)
                .map(|status| status.message)
                .as_deref(),
            Some(
                "Waits for pods: 0 of 4. a has container api in ImagePullBackOff; b has container api in \
                 ImagePullBackOff; c has container api in ImagePullBackOff."
            )
        );
        assert!(
            parts
                .iter()
                .all(|(part, status)| before.get(part) == Some(status))
        );
    }

    #[test]
    fn every_pod_that_is_built_belongs_to_a_part() {
        let hub = crate::fixtures::validated(&crate::fixtures::full());
        let objects = crate::build::build(&hub, &crate::fixtures::checksums());
        let templates = objects
            .iter()
            .filter_map(|object| Some(json!(object).pointer("/spec/template")?.clone()));
        let mut count = 0;
        for template in templates {
            let pod: Pod = serde_json::from_value(template).unwrap_or_default();
            assert!(part_of(&pod.metadata).is_some(), "{:?}", pod.metadata.labels);
            count += 1;
        }
        assert!(count > 5, "{count}");
    }
}

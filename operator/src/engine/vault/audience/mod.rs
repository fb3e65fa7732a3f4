//! Whether every process logs in to a managed OpenBao by a token that is for it alone.
//!
//! The token of a pod has the audience [`VAULT_AUDIENCE`], so the Kubernetes API refuses it. A role in OpenBao takes tokens for
//! anybody until it is told an audience, and then no others. A pod keeps what it was made with, and pods that an older version
//! of the operator made, whose tokens are for the Kubernetes API, may run on for long (see [`crate::consent`]). So roles
//! demand the audience only when nothing is left that would log in without it: no pod, also none that is about to end, and
//! no template that pods are made from. (Kubernetes takes an old `ReplicaSet` away as soon as enough new pods are ready. A
//! pod that it makes of it in that very moment ends at once, whether it can log in or not.)
//!
//! What a role demands is never taken back: not when nobody can tell how pods are, and not while templates are kept. So if
//! the process dies …
//!
//! * before a role is written, or between two: each role is written by itself and takes what every pod shows; the next
//!   look sees the rest;
//! * after the last: the next look finds nothing to write.

#[cfg(test)]
mod simulation;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::Value;

use crate::apply::Live;
use crate::build::labels::of_hub;
use crate::build::{Kind, TOKEN_FILE};
use crate::context::Context;
use crate::names::VAULT_AUDIENCE;
use crate::passed::{Against, Check};
use crate::rollout::Rollout;
use crate::validate::ValidatedHub;

/// Whether every login shows the audience. Pods are asked for only where all templates have it, and not at each look.
pub(super) async fn is_shown_by_all(context: &Context, hub: &ValidatedHub, live: &Live) -> bool {
    if !templates_show_it(hub, live) {
        return false;
    }
    let check = Against::new(hub, Check::VaultAudience, [VAULT_AUDIENCE]);
    if context.passed.holds(&check) {
        return true;
    }
    let pods: Api<DynamicObject> = Api::namespaced_with(
        context.client.clone(),
        hub.names.namespace(),
        &ApiResource::erase::<Pod>(&()),
    );
    let params = ListParams::default().labels(&of_hub(hub.names.hub()));
    match pods.list(&params).await {
        Ok(pods) => {
            let all_show_it = pods.items.iter().all(|pod| pod_shows_it(&pod.data));
            if all_show_it {
                context.passed.note(check);
            }
            all_show_it
        }
        Err(error) => {
            tracing::warn!(%error, "cannot list the pods of the hub, so roles in OpenBao demand what they did");
            false
        }
    }
}

/// Whether the pods that are made from now on show it, and none of an older template is made again.
fn templates_show_it(hub: &ValidatedHub, live: &Live) -> bool {
    // What is known of a template that is kept is what would have been built.
    if hub.keeps_templates || live.is_unread(Kind::Deployment) {
        return false;
    }
    live.of_kind(Kind::Deployment).all(|(name, deployment)| {
        let spec = deployment.pointer("/spec/template/spec");
        spec.is_some_and(shows_it) && Rollout::of(live, Kind::Deployment, name) == Rollout::Complete
    })
}

/// Whether a pod shows it when it logs in. One that has ended does not log in.
fn pod_shows_it(pod: &Value) -> bool {
    let has_ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    has_ended || shows_it(&pod["spec"])
}

/// Whether the token for OpenBao in the spec of a pod, if it has one, is for nobody else.
fn shows_it(spec: &Value) -> bool {
    let volumes = items(&spec["volumes"]);
    let sources = volumes.flat_map(|volume| items(&volume["projected"]["sources"]));
    sources
        .map(|source| &source["serviceAccountToken"])
        .filter(|token| token["path"] == TOKEN_FILE)
        .all(|token| token["audience"] == VAULT_AUDIENCE)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::build::build;
    use crate::fixtures;

    /// The Deployments that are built, rolled out, after a change of the spec of their pods.
    fn live(change: impl Fn(&str, &mut Value)) -> Live {
        let objects = build(&fixtures::validated(&fixtures::minimal()), &fixtures::checksums());
        let deployments = objects.iter().filter(|object| object.kind() == Kind::Deployment);
        Live::of(deployments.map(|object| {
            let mut deployment = json!(object);
            deployment["spec"]["replicas"] = 1.into();
            deployment["status"] = json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
            change(&object.name(), &mut deployment);
            (Kind::Deployment, object.name(), deployment)
        }))
    }

    /// Takes the audience of every token away, as an older version of the operator built it.
    fn age(spec: &mut Value) {
        let volumes = spec["volumes"].as_array_mut().into_iter().flatten();
        let sources = volumes.filter_map(|volume| volume.pointer_mut("/projected/sources")?.as_array_mut());
        for source in sources.flatten() {
            if let Some(token) = source["serviceAccountToken"].as_object_mut() {
                token.remove("audience");
            }
        }
    }

    #[test]
    fn what_is_built_shows_the_audience_and_each_process_that_logs_in_counts() {
        let hub = fixtures::validated(&fixtures::minimal());
        assert!(templates_show_it(&hub, &live(|_, _| ())));
        assert!(templates_show_it(&hub, &Live::default()), "nothing is made yet");
        let names = [
            ("gallery-api", false),
            ("gallery-callbacks", false),
            ("gallery-worker-rest", false),
            ("gallery-worker-upload", false),
            ("gallery-worker-replace", false),
            ("gallery-dispatcher", true),
        ];
        for (aged, expected) in names {
            let live = live(|name, deployment| {
                if name == aged {
                    age(&mut deployment["spec"]["template"]["spec"]);
                }
            });
            assert_eq!(templates_show_it(&hub, &live), expected, "{aged}");
        }
    }

    #[test]
    fn nobody_tells_of_templates_that_are_kept_or_on_their_way() {
        let mut hub = fixtures::validated(&fixtures::minimal());
        let on_its_way = live(|name, deployment| {
            if name == "gallery-api" {
                deployment["status"]["updatedReplicas"] = 0.into();
            }
        });
        assert!(!templates_show_it(&hub, &on_its_way));
        hub.keeps_templates = true;
        assert!(!templates_show_it(&hub, &live(|_, _| ())));
    }

    #[test]
    fn a_pod_counts_until_it_has_ended() {
        let mut spec = json!({"volumes": [
            {"name": "config", "configMap": {"name": "gallery-config"}},
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"path": TOKEN_FILE, "audience": VAULT_AUDIENCE}},
            ]}},
            // Of a service mesh, for itself.
            {"name": "mesh", "projected": {"sources": [{"serviceAccountToken": {"path": "mesh-token"}}]}},
        ]});
        let pod = |spec: &Value, phase: &str| json!({"spec": spec, "status": {"phase": phase}});
        assert!(pod_shows_it(&pod(&spec, "Running")));
        age(&mut spec);
        assert!(!pod_shows_it(&pod(&spec, "Running")));
        assert!(!pod_shows_it(&pod(&spec, "Pending")));
        assert!(pod_shows_it(&pod(&spec, "Failed")));
        assert!(pod_shows_it(&pod(&json!({"containers": []}), "Running")));
    }
}

//! Whether every process runs with what its Secrets hold now. Pure, but for reading the pods.
//!
//! A pod carries the checksum of what it was started with. One that is about to end still counts: a worker that finishes what
//! it holds opens connections to the end.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::apply::Live;
use crate::build::labels::{COMPONENT, of_hub};
use crate::build::{Kind, Object, checksum};
use crate::context::Context;
use crate::validate::ValidatedHub;

/// The first that does not run with what is there now, as a clause; `None` if none is left.
///
/// # Errors
/// When the pods cannot be listed.
pub(super) async fn lagging(
    ctx: &Context,
    hub: &ValidatedHub,
    objects: &[Object],
    live: &Live,
) -> Result<Option<String>, kube::Error> {
    let (wanted, late) = deployments(objects, live, hub.keeps_templates);
    if late.is_some() {
        return Ok(late);
    }
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let params = ListParams::default().labels(&of_hub(hub.names.hub()));
    let pods = api.list(&params).await?;
    Ok(pods.items.iter().find_map(|pod| old_pod(&wanted, pod)))
}

/// The checksum that the pods of each component are to have, and the first Deployment that is not as it was built. Templates
/// that are kept as an earlier version of the operator built them were built from the same Secrets.
fn deployments(
    objects: &[Object],
    live: &Live,
    keeps_templates: bool,
) -> (BTreeMap<String, String>, Option<String>) {
    let mut wanted = BTreeMap::new();
    let mut late = None;
    for object in objects {
        let Object::Deployment(deployment) = object else {
            continue;
        };
        let Some((component, sum)) = deployment.spec.as_ref().and_then(|spec| mark(&spec.template)) else {
            continue;
        };
        let name = object.name();
        let path = "/spec/template/metadata/annotations";
        let found = live
            .get(Kind::Deployment, &name)
            .and_then(|object| object.pointer(path)?.get(checksum::ANNOTATION))
            .and_then(Value::as_str);
        let sum = found.filter(|_| keeps_templates).map_or(sum, str::to_owned);
        if found != Some(sum.as_str()) {
            late.get_or_insert_with(|| format!("{name} is not changed yet"));
        }
        wanted.insert(component, sum);
    }
    (wanted, late)
}

/// The component of a template, and the checksum that it carries.
fn mark(template: &PodTemplateSpec) -> Option<(String, String)> {
    let meta = template.metadata.as_ref()?;
    let component = meta.labels.as_ref()?.get(COMPONENT)?;
    let sum = meta.annotations.as_ref()?.get(checksum::ANNOTATION)?;
    Some((component.clone(), sum.clone()))
}

/// That a pod of a process was started with something else; `None` if it was not, or has ended.
fn old_pod(wanted: &BTreeMap<String, String>, pod: &Pod) -> Option<String> {
    let wanted = wanted.get(pod.labels().get(COMPONENT)?)?;
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
    let is_new = pod.annotations().get(checksum::ANNOTATION) == Some(wanted);
    (!has_ended && !is_new).then(|| format!("pod {} still runs with the one before", pod.name_any()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::build::build;
    use crate::fixtures;
    use crate::secrets::SecretsChecksums;

    fn pod(component: &str, sum: &str, phase: &str) -> Pod {
        let pod = json!({
            "metadata": {
                "name": "p", "labels": {COMPONENT: component}, "annotations": {checksum::ANNOTATION: sum},
            },
            "status": {"phase": phase},
        });
        serde_json::from_value(pod).unwrap_or_default()
    }

    #[test]
    fn a_pod_lags_until_it_has_ended_or_was_started_anew() {
        let wanted = BTreeMap::from([("api".to_owned(), "new".to_owned())]);
        assert!(old_pod(&wanted, &pod("api", "old", "Running")).is_some());
        assert!(old_pod(&wanted, &pod("api", "old", "Pending")).is_some());
        assert!(old_pod(&wanted, &pod("api", "old", "Failed")).is_none());
        assert!(old_pod(&wanted, &pod("api", "new", "Running")).is_none());
        assert!(old_pod(&wanted, &pod("redis", "old", "Running")).is_none());
    }

    #[test]
    fn every_process_counts_and_waits_for_its_deployment() {
        let hub = fixtures::validated(&fixtures::minimal());
        let objects = build(&hub, &fixtures::checksums());
        let (wanted, late) = deployments(&objects, &Live::default(), false);
        assert!(late.is_some());
        for component in ["api", "dispatcher", "callbacks", "worker-rest"] {
            assert!(wanted.contains_key(component), "{component}");
        }
        let all = objects
            .iter()
            .map(|object| (object.kind(), object.name(), json!(object)));
        let live = Live::of(all);
        assert_eq!(deployments(&objects, &live, false).1, None);
        let another = SecretsChecksums {
            mongodb_app: "6666666666666666".to_owned(),
            ..fixtures::checksums()
        };
        let others = build(&hub, &another);
        assert!(deployments(&others, &live, false).1.is_some());
        let (kept, late) = deployments(&others, &live, true);
        assert_eq!((kept, late), deployments(&objects, &live, false));
    }
}

//! Volumes that grow. A StatefulSet's templates are immutable, so growing one takes three steps, each of which is found
//! done or undone by the next reconciliation: the claims are grown, the StatefulSet is deleted without its pods, and it
//! is applied anew and adopts them.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::ApplyError;
use crate::crd::Quantity;

const CLAIM: &str = "PersistentVolumeClaim";
const TEMPLATES: &str = "/spec/volumeClaimTemplates";
const SIZE: &str = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";

fn size(stateful_set: &Value) -> Option<Quantity> {
    stateful_set
        .pointer(SIZE)
        .and_then(Value::as_str)
        .map(Quantity::new)
}

fn is_more(one: &Quantity, other: &Quantity) -> bool {
    matches!((one.nanos(), other.nanos()), (Ok(one), Ok(other)) if one > other)
}

/// Whether the volumes should be larger than the live StatefulSet makes them.
pub(super) fn grew(desired: &Value, live: &Value) -> bool {
    match (size(desired), size(live)) {
        (Some(desired), Some(live)) => is_more(&desired, &live),
        _ => false,
    }
}

/// Refuses volumes that should be smaller than the live StatefulSet makes them.
///
/// # Errors
/// When they should be; the set is then left as it is.
pub(super) fn refuse_less(name: &str, desired: &Value, live: &Value) -> Result<(), ApplyError> {
    match (size(desired), size(live)) {
        (Some(desired), Some(made)) if is_more(&made, &desired) => Err(ApplyError::Smaller {
            name: name.to_owned(),
            made: made.to_string(),
            size: desired.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Takes over the templates of the live StatefulSet: a write that changed them would be refused.
pub(super) fn keep_templates(desired: &mut Value, live: &Value) {
    if let (Some(desired), Some(live)) = (desired.pointer_mut(TEMPLATES), live.pointer(TEMPLATES)) {
        *desired = live.clone();
    }
}

/// Grows every claim of the StatefulSet that is smaller than it should be.
///
/// # Errors
/// When the API server fails, or the storage class does not allow it.
pub(super) async fn grow(client: &Client, namespace: &str, desired: &Value) -> Result<(), ApplyError> {
    let Some(wanted) = size(desired) else {
        return Ok(());
    };
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let labels = desired
        .pointer("/spec/selector/matchLabels")
        .and_then(Value::as_object);
    let pairs = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let params = ListParams::default().labels(&pairs.collect::<Vec<_>>().join(","));
    let claims = api.list(&params).await.map_err(|source| {
        let set = desired.pointer("/metadata/name").and_then(Value::as_str);
        ApplyError::of(CLAIM.to_owned(), set.unwrap_or_default().to_owned(), source)
    })?;
    for claim in claims
        .items
        .iter()
        .filter(|claim| claimed(claim).is_none_or(|size| is_more(&wanted, &size)))
    {
        let patch = json!({"spec": {"resources": {"requests": {"storage": wanted.as_str()}}}});
        api.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map_err(|source| failed(claim.name_any(), &wanted, source))?;
    }
    Ok(())
}

/// Only a refusal says that the volume cannot grow; anything else passes.
fn failed(name: String, size: &Quantity, source: kube::Error) -> ApplyError {
    match source {
        kube::Error::Api(ref status) if matches!(status.code, 403 | 422) => ApplyError::Volume {
            name,
            size: size.to_string(),
            source,
        },
        source => ApplyError::of(CLAIM.to_owned(), name, source),
    }
}

/// The size that a claim asks for.
fn claimed(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| Quantity::new(size.0.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stateful_set(size: &str) -> Value {
        json!({"spec": {"volumeClaimTemplates": [
            {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}},
        ]}})
    }

    #[test]
    fn only_a_larger_size_grows() {
        assert!(grew(&stateful_set("4Gi"), &stateful_set("2Gi")));
        assert!(!grew(&stateful_set("2Gi"), &stateful_set("2048Mi")));
        assert!(!grew(&stateful_set("1Gi"), &stateful_set("2Gi")));
    }

    #[test]
    fn a_smaller_size_is_refused_and_both_are_named() {
        let refused = |size| refuse_less("gallery-redis", &stateful_set(size), &stateful_set("2Gi"));
        assert!(refused("2048Mi").is_ok() && refused("3Gi").is_ok());
        let message = refused("1Gi")
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(message.contains("gallery-redis are made with 2Gi"), "{message}");
        assert!(message.contains("shrink to 1Gi"), "{message}");
    }

    #[test]
    fn only_a_refusal_says_that_a_volume_cannot_grow() {
        let judge = |code| {
            let status = kube::core::Status::failure("no", "No").with_code(code);
            let error = kube::Error::Api(Box::new(status));
            failed("data-0".to_owned(), &Quantity::new("4Gi"), error)
        };
        for code in [403, 422] {
            assert!(matches!(judge(code), ApplyError::Volume { .. }), "{code}");
        }
        for code in [404, 409, 429, 500] {
            assert!(matches!(judge(code), ApplyError::Api { .. }), "{code}");
        }
    }

    #[test]
    fn templates_are_kept_as_they_are() {
        let mut desired = stateful_set("1Gi");
        keep_templates(&mut desired, &stateful_set("2Gi"));
        assert_eq!(desired, stateful_set("2Gi"));
    }
}

//! A StatefulSet and its pods, as far as the order of restarts depends on them.

use k8s_openapi::api::core::v1;
use kube::ResourceExt;
use serde_json::Value;

/// The label by which Kubernetes says from which revision of the template a pod was made.
const REVISION: &str = "controller-revision-hash";

/// A StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The revision that its template is now.
    pub revision: String,
    /// The pods that it asks for.
    pub size: u32,
    /// The members that are wanted of the engine. Fewer than its pods while it gets smaller.
    pub wanted: u32,
    /// Whether its status is about the spec as it stands.
    pub is_observed: bool,
    /// Whether it has the wanted pods and every one runs the current revision, by its status.
    pub is_rolled_out: bool,
}

impl Set {
    /// Reads a StatefulSet of which so many members are wanted.
    pub fn of(name: &str, object: &Value, wanted: u32) -> Self {
        let number = |path: &str| object.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let size = number("/spec/replicas");
        let is_observed = number("/status/observedGeneration") >= number("/metadata/generation");
        Self {
            name: name.to_owned(),
            revision: object
                .pointer("/status/updateRevision")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            size: u32::try_from(size).unwrap_or_default(),
            wanted,
            is_observed,
            is_rolled_out: is_observed
                && u64::from(wanted) == size
                && number("/status/replicas") == size
                && number("/status/updatedReplicas") == size,
        }
    }
}

/// A pod of a StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its number in the set.
    pub ordinal: u32,
    /// Its UID: its successor has the same name.
    pub uid: String,
    /// The revision of the template that it was made from.
    pub revision: String,
    /// Whether Kubernetes says that it is ready.
    pub is_ready: bool,
    /// Whether it is about to go.
    pub is_leaving: bool,
}

impl Pod {
    /// Reads a pod; `None` if it is none of this set.
    pub fn of(set: &str, pod: &v1::Pod) -> Option<Self> {
        let name = pod.name_any();
        let ordinal = name.strip_prefix(set)?.strip_prefix('-')?.parse().ok()?;
        let conditions = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref());
        let is_ready = conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Some(Self {
            ordinal,
            uid: pod.uid().unwrap_or_default(),
            revision: pod.labels().get(REVISION).cloned().unwrap_or_default(),
            is_ready,
            is_leaving: pod.metadata.deletion_timestamp.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(replicas: u64, updated: u64, observed: u64) -> Set {
        let object = json!({
            "metadata": {"generation": 2},
            "spec": {"replicas": 3},
            "status": {
                "observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated,
                "updateRevision": "redis-b", "currentRevision": "redis-b",
            },
        });
        Set::of("redis", &object, 3)
    }

    #[test]
    fn a_set_is_rolled_out_when_every_pod_has_the_current_revision() {
        assert!(set(3, 3, 2).is_rolled_out);
        // Set back to a template that some pods still run: Kubernetes takes it for the current one at once.
        assert!(!set(3, 2, 2).is_rolled_out);
        assert!(!set(2, 2, 2).is_rolled_out);
        assert!(!set(3, 3, 1).is_rolled_out);
        assert_eq!(set(3, 3, 2).revision, "redis-b");
    }

    #[test]
    fn a_pod_tells_its_number_and_its_revision() {
        let pod = |name: &str| {
            let pod = json!({
                "metadata": {"name": name, "uid": "u", "labels": {"controller-revision-hash": "redis-a"}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            });
            Pod::of("redis", &serde_json::from_value(pod).unwrap_or_default())
        };
        let expected = Pod {
            ordinal: 2,
            uid: "u".to_owned(),
            revision: "redis-a".to_owned(),
            is_ready: true,
            is_leaving: false,
        };
        assert_eq!(pod("redis-2"), Some(expected));
        for other in ["redis-nodes-2", "redis", "other-2"] {
            assert_eq!(pod(other), None, "{other}");
        }
    }
}

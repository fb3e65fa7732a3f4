//! Whether the pods of a workload all run what its template says. Pure: judged by the object alone.

use serde_json::Value;

use crate::apply::Live;
use crate::build::Kind;

/// Where the pods of a workload stand, from the best to the worst. A clause tells what is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rollout {
    /// Every pod runs the template of this generation and is ready.
    Complete,
    /// No pod runs an old template and some are ready, but not all.
    Serving(String),
    /// Pods run an old template, or none is ready.
    Incomplete(String),
}

impl Rollout {
    /// The rollout of a workload of the hub. One that does not exist yet is incomplete.
    pub fn of(live: &Live, kind: Kind, name: &str) -> Self {
        let Some(object) = live.get(kind, name) else {
            return Self::Incomplete(format!("{name} is not created yet"));
        };
        judge(name, object)
    }
}

/// Judges a Deployment or StatefulSet.
fn judge(name: &str, object: &Value) -> Rollout {
    let number = |path: &str| object.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Rollout::Incomplete(format!("Kubernetes has not looked at {name} yet"));
    }
    let wanted = object
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let present = number("/status/replicas");
    let ready = number("/status/readyReplicas");
    let old = present.saturating_sub(number("/status/updatedReplicas"));
    if old > 0 {
        return Rollout::Incomplete(format!("{old} of {present} pods of {name} run old settings"));
    }
    if ready < wanted {
        let clause = format!("{ready} of {wanted} pods of {name} are ready");
        return if ready == 0 {
            Rollout::Incomplete(clause)
        } else {
            Rollout::Serving(clause)
        };
    }
    if present > wanted {
        return Rollout::Serving(format!("{} pods of {name} are still to go", present - wanted));
    }
    Rollout::Complete
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(observed: u64, replicas: u64, updated: u64, ready: u64) -> Value {
        json!({
            "metadata": {"generation": 2},
            "spec": {"replicas": 2},
            "status": {
                "observedGeneration": observed, "replicas": replicas,
                "updatedReplicas": updated, "readyReplicas": ready,
            },
        })
    }

    fn incomplete(clause: &str) -> Rollout {
        Rollout::Incomplete(clause.to_owned())
    }

    #[test]
    fn a_deployment_is_complete_when_every_pod_is_updated_and_ready() {
        assert_eq!(judge("api", &deployment(2, 2, 2, 2)), Rollout::Complete);
    }

    #[test]
    fn a_deployment_is_incomplete_until_its_generation_was_observed() {
        assert_eq!(
            judge("api", &deployment(1, 2, 2, 2)),
            incomplete("Kubernetes has not looked at api yet")
        );
    }

    #[test]
    fn a_deployment_is_incomplete_while_pods_run_old_settings_or_none_is_ready() {
        assert_eq!(
            judge("api", &deployment(2, 3, 1, 2)),
            incomplete("2 of 3 pods of api run old settings")
        );
        assert_eq!(
            judge("api", &deployment(2, 2, 2, 0)),
            incomplete("0 of 2 pods of api are ready")
        );
    }

    #[test]
    fn a_deployment_serves_while_some_pods_are_ready_and_none_is_old() {
        assert_eq!(
            judge("api", &deployment(2, 2, 2, 1)),
            Rollout::Serving("1 of 2 pods of api are ready".to_owned())
        );
        assert_eq!(
            judge("api", &deployment(2, 3, 3, 3)),
            Rollout::Serving("1 pods of api are still to go".to_owned())
        );
    }

    #[test]
    fn a_set_that_was_changed_back_is_incomplete_while_a_pod_runs_what_was_in_between() {
        let mut set = deployment(2, 2, 1, 2);
        set["status"]["currentRevision"] = json!("a");
        set["status"]["updateRevision"] = json!("a");
        assert_eq!(
            judge("redis", &set),
            incomplete("1 of 2 pods of redis run old settings")
        );
    }

    #[test]
    fn a_workload_without_status_is_incomplete() {
        let object = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}});
        assert!(matches!(judge("api", &object), Rollout::Incomplete(_)));
    }

    #[test]
    fn a_workload_that_does_not_exist_is_incomplete() {
        assert_eq!(
            Rollout::of(&Live::default(), Kind::Deployment, "api"),
            incomplete("api is not created yet")
        );
    }
}

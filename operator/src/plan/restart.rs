//! Which pods restart, and in which order. Pure.

use std::fmt;

use serde_json::{Value, json};

use crate::build::labels::COMPONENT;
use crate::build::{Kind, Object};

/// How the pods of a workload are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// One at a time, each only when the one before is ready (StatefulSet).
    OneByOne,
    /// A new one first, then an old one goes (Deployment with a surge).
    NewFirst,
}

/// The pods of a workload that restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The workload.
    pub workload: String,
    /// How they are replaced.
    pub manner: Manner,
    /// Their names, in the order in which they are, where there is one.
    pub pods: Vec<String>,
}

/// Whether a change of a workload replaces its pods: Kubernetes does so for a change of the template, and for nothing else.
pub(super) fn restarts_pods(kind: Kind, before: &Value, after: &Value) -> bool {
    matches!(kind, Kind::StatefulSet | Kind::Deployment)
        && before.pointer("/spec/template") != after.pointer("/spec/template")
}

/// The restarts of workloads whose templates change, given the pods that there are, each with its component.
pub fn restarts(changed: &[(Kind, String, Object)], pods: &[(String, String)]) -> Vec<Restart> {
    changed
        .iter()
        .map(|(kind, name, object)| {
            let component = component(object);
            let mut pods: Vec<String> = pods
                .iter()
                .filter(|(of, _)| *of == component)
                .map(|(_, pod)| pod.clone())
                .collect();
            let manner = if *kind == Kind::StatefulSet {
                Manner::OneByOne
            } else {
                Manner::NewFirst
            };
            match manner {
                // A StatefulSet begins with the highest ordinal.
                Manner::OneByOne => pods.sort_by_key(|pod| std::cmp::Reverse(ordinal(pod))),
                Manner::NewFirst => pods.sort(),
            }
            Restart {
                workload: name.clone(),
                manner,
                pods,
            }
        })
        .collect()
}

fn component(object: &Object) -> String {
    let labels = json!(object);
    let labels = labels.pointer("/metadata/labels").and_then(Value::as_object);
    let component = labels.and_then(|labels| labels.get(COMPONENT)?.as_str());
    component.unwrap_or_default().to_owned()
}

fn ordinal(pod: &str) -> Option<u32> {
    pod.rsplit_once('-')?.1.parse().ok()
}

impl Restart {
    /// The restart as JSON: `workload`, `manner` and `pods`.
    pub fn json(&self) -> Value {
        let manner = match self.manner {
            Manner::OneByOne => "OneByOne",
            Manner::NewFirst => "NewFirst",
        };
        json!({"workload": self.workload, "manner": manner, "pods": self.pods})
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pods.is_empty() {
            return write!(f, "{}: it has none now", self.workload);
        }
        match self.manner {
            Manner::OneByOne => write!(
                f,
                "{}, one at a time, each when the one before is ready: {}",
                self.workload,
                self.pods.join(", then ")
            ),
            Manner::NewFirst => write!(
                f,
                "{}, each when a new one is ready, in any order: {}",
                self.workload,
                self.pods.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::build;
    use crate::fixtures;

    fn object(name: &str) -> (Kind, String, Object) {
        let hub = fixtures::validated(&fixtures::minimal());
        let objects = build(&hub, &fixtures::checksums());
        let found = objects.into_iter().find(|object| {
            object.name() == name && matches!(object.kind(), Kind::StatefulSet | Kind::Deployment)
        });
        let Some(object) = found else {
            panic!("there is no {name}")
        };
        (object.kind(), name.to_owned(), object)
    }

    #[test]
    fn members_restart_from_the_highest_ordinal_down() {
        let pods: Vec<(String, String)> = [2, 10, 0]
            .map(|ordinal| ("redis".to_owned(), format!("gallery-redis-{ordinal}")))
            .into();
        let [restart] = &restarts(&[object("gallery-redis")], &pods)[..] else {
            panic!("one workload restarts")
        };
        assert_eq!(
            restart.pods,
            ["gallery-redis-10", "gallery-redis-2", "gallery-redis-0"]
        );
    }

    #[test]
    fn only_pods_of_the_workload_restart_and_only_for_its_template() {
        let pods = [("api", "gallery-api-x"), ("redis", "gallery-redis-0")]
            .map(|(component, pod)| (component.to_owned(), pod.to_owned()));
        let found = restarts(&[object("gallery-api")], &pods);
        assert_eq!(found[0].pods, ["gallery-api-x"]);
        let deployment =
            |image: &str, replicas: u32| json!({"spec": {"replicas": replicas, "template": image}});
        let restarts = |after: &Value| restarts_pods(Kind::Deployment, &deployment("a", 1), after);
        assert!(restarts(&deployment("b", 1)) && !restarts(&deployment("a", 2)));
    }
}

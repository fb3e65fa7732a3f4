//! Which pods restart, and in which order. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::build::labels::COMPONENT;
use crate::build::{Kind, Object};
use crate::engine::roster::Roster;
use crate::rolling::restart_order;

/// How the pods of a workload are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// One at a time, each only when the one before is ready and the engine permits it (StatefulSet).
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
    /// Those of them that lead now. Members of which none leads were not asked, or nobody could tell.
    pub leaders: Vec<String>,
}

/// Whether a change of a workload replaces its pods: Kubernetes does so for a change of the template, and for nothing else.
pub(super) fn restarts_pods(kind: Kind, before: &Value, after: &Value) -> bool {
    matches!(kind, Kind::StatefulSet | Kind::Deployment)
        && before.pointer("/spec/template") != after.pointer("/spec/template")
}

/// The restarts of workloads whose templates change, given the pods that there are, each with its component, and what the
/// engines say of the members of their sets. The order is that of [`crate::rolling`], as the engines are now.
pub fn restarts(
    changed: &[(Kind, String, Object)],
    pods: &[(String, String)],
    rosters: &BTreeMap<String, Roster>,
) -> Vec<Restart> {
    let nobody_knows = Roster::default();
    changed
        .iter()
        .map(|(kind, name, object)| {
            let component = component(object);
            let pods = pods.iter().filter(|(of, _)| *of == component);
            let pods = pods.map(|(_, pod)| pod.as_str());
            if *kind == Kind::StatefulSet {
                let roster = rosters.get(name).unwrap_or(&nobody_knows);
                let order = restart_order(pods.filter_map(ordinal), roster);
                let member = |ordinal: &u32| format!("{name}-{ordinal}");
                let leads = order.iter().filter(|ordinal| roster.leads(**ordinal) > 0);
                Restart {
                    workload: name.clone(),
                    manner: Manner::OneByOne,
                    leaders: leads.map(member).collect(),
                    pods: order.iter().map(member).collect(),
                }
            } else {
                let mut pods: Vec<String> = pods.map(str::to_owned).collect();
                pods.sort();
                Restart {
                    workload: name.clone(),
                    manner: Manner::NewFirst,
                    pods,
                    leaders: Vec::new(),
                }
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
    /// The restart as JSON: `workload`, `manner`, `pods` and `leaders`.
    pub fn json(&self) -> Value {
        let manner = match self.manner {
            Manner::OneByOne => "OneByOne",
            Manner::NewFirst => "NewFirst",
        };
        json!({"workload": self.workload, "manner": manner, "pods": self.pods, "leaders": self.leaders})
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pods.is_empty() {
            return write!(f, "{}: it has none now", self.workload);
        }
        match self.manner {
            Manner::OneByOne => {
                let told = self.pods.iter().map(|pod| {
                    let leads = self.leaders.contains(pod);
                    format!("{pod}{}", if leads { " (leads)" } else { "" })
                });
                let told: Vec<String> = told.collect();
                write!(
                    f,
                    "{}, one at a time, each when the one before is ready: {}",
                    self.workload,
                    told.join(", then ")
                )?;
                if self.leaders.is_empty() && self.pods.len() > 1 {
                    f.write_str("; which of them leads cannot be seen from here: that one is last")?;
                }
                Ok(())
            }
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
    use crate::engine::roster::Standing;
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

    fn of_redis(rosters: &BTreeMap<String, Roster>) -> Restart {
        let pods: Vec<(String, String)> = [2, 10, 0]
            .map(|ordinal| ("redis".to_owned(), format!("gallery-redis-{ordinal}")))
            .into();
        let mut found = restarts(&[object("gallery-redis")], &pods, rosters);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn members_restart_from_the_highest_ordinal_down_where_nobody_says_who_leads() {
        let restart = of_redis(&BTreeMap::new());
        let expected = ["gallery-redis-10", "gallery-redis-2", "gallery-redis-0"];
        assert_eq!(restart.pods, expected);
        assert!(restart.to_string().ends_with("that one is last"), "{restart}");
    }

    #[test]
    fn who_leads_restarts_last_as_in_the_change_itself() {
        let member = |leads| Standing {
            serves: true,
            leads,
            ..Standing::default()
        };
        let roster = Roster {
            members: [(0, member(0)), (2, member(0)), (10, member(1))].into(),
            ..Roster::default()
        };
        let restart = of_redis(&BTreeMap::from([("gallery-redis".to_owned(), roster)]));
        let expected = ["gallery-redis-2", "gallery-redis-0", "gallery-redis-10"];
        assert_eq!(restart.pods, expected);
        assert!(
            restart.to_string().ends_with("then gallery-redis-10 (leads)"),
            "{restart}"
        );
        assert_eq!(restart.json()["leaders"], json!(["gallery-redis-10"]));
    }

    #[test]
    fn only_pods_of_the_workload_restart_and_only_for_its_template() {
        let pods = [("api", "gallery-api-x"), ("redis", "gallery-redis-0")]
            .map(|(component, pod)| (component.to_owned(), pod.to_owned()));
        let found = restarts(&[object("gallery-api")], &pods, &BTreeMap::new());
        assert_eq!(found[0].pods, ["gallery-api-x"]);
        let deployment =
            |image: &str, replicas: u32| json!({"spec": {"replicas": replicas, "template": image}});
        let restarts = |after: &Value| restarts_pods(Kind::Deployment, &deployment("a", 1), after);
        assert!(restarts(&deployment("b", 1)) && !restarts(&deployment("a", 2)));
    }
}

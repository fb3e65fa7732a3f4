//! Hibernation: a hub that is scaled to zero and back without loss. Pure.
//!
//! Down goes first what brings work in, then what does it, and last what keeps it; up the other way round:
//!
//! | stage | runs | goes down when | comes up when |
//! | --- | --- | --- | --- |
//! | [`Stage::Awake`] | everything | `spec.hibernated` is true | dispatcher, workers and callbacks run |
//! | [`Stage::Work`] | all but the API | no pod of the API is left, those that finish their requests included | the data tier works |
//! | [`Stage::Data`] | the data tier | no pod of dispatcher, workers and callbacks is left: each has finished or given back what it held | `spec.hibernated` is false |
//! | [`Stage::Asleep`] | nothing | | |
//!
//! What rests has no pods and carries an annotation; volumes, Secrets, Services and the rest stay. Nothing but live objects
//! and pods says how far it went, so a process that dies anywhere is continued by the next one.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::apply::Live;
use crate::build::{Kind, Object};
use crate::crd::FlickrHubStatus;
use crate::names::HubNames;
use crate::part::{Part, PartStatus};
use crate::status::{READY, condition};
use crate::validate::ValidatedHub;

/// The annotation of a workload that rests.
pub const ANNOTATION: &str = "flickrhub.dev/hibernated";
/// The reason of conditions while a hub goes to sleep.
pub const HIBERNATING: &str = "Hibernating";
/// The reason of conditions while it sleeps.
pub const HIBERNATED: &str = "Hibernated";

/// How much of a hub may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing.
    Asleep,
    /// The data tier.
    Data,
    /// All but the API.
    Work,
    /// Everything.
    Awake,
}

impl Stage {
    /// The stage that a hub is most likely in, by its status: nothing is decided by it.
    pub fn likely(hibernated: bool, status: Option<&FlickrHubStatus>) -> Self {
        let sleeps = condition(status, READY).is_some_and(|ready| ready.reason == HIBERNATED);
        if hibernated && sleeps {
            Self::Asleep
        } else {
            Self::Awake
        }
    }

    /// How much of a hub may run that is to sleep, by the pods that are left of its parts.
    pub fn to_sleep(pods: &BTreeMap<Part, usize>) -> Self {
        let any = |parts: &[Part]| {
            parts
                .iter()
                .any(|part| pods.get(part).is_some_and(|pods| *pods > 0))
        };
        if any(&[Part::Api]) {
            Self::Work
        } else if any(&[Part::Dispatcher, Part::Workers]) {
            Self::Data
        } else {
            Self::Asleep
        }
    }

    /// Whether a part has to rest in this stage.
    pub fn rests(self, part: Part) -> bool {
        self < match part {
            Part::Api => Self::Awake,
            Part::Dispatcher | Part::Workers => Self::Work,
            Part::Redis | Part::MongoDb | Part::RabbitMq | Part::Vault => Self::Data,
        }
    }
}

/// Puts to rest what has to in a stage. Autoscalers of what rests go: one could start it again.
pub fn put_to_rest(objects: Vec<Object>, names: &HubNames, stage: Stage) -> Vec<Object> {
    let rests = |kind, name: &str| part_of(names, kind, name).is_some_and(|part| stage.rests(part));
    objects
        .into_iter()
        .filter(|object| !object.kind().is_autoscaler() || !rests(Kind::Deployment, &object.name()))
        .map(|mut object| {
            if rests(object.kind(), &object.name()) {
                object.rest(ANNOTATION);
            }
            object
        })
        .collect()
}

/// The part that a workload is.
fn part_of(names: &HubNames, kind: Kind, name: &str) -> Option<Part> {
    let data = [
        (names.redis(), Part::Redis),
        (names.mongodb(), Part::MongoDb),
        (names.rabbitmq(), Part::RabbitMq),
        (names.vault(), Part::Vault),
    ];
    match kind {
        Kind::StatefulSet => data
            .into_iter()
            .find(|(set, _)| set == name)
            .map(|(_, part)| part),
        Kind::Deployment if name == names.api() => Some(Part::Api),
        Kind::Deployment if name == names.dispatcher() || name == names.callbacks() => Some(Part::Dispatcher),
        Kind::Deployment => Some(Part::Workers),
        _ => None,
    }
}

/// Whether a workload rests.
pub fn is_at_rest(live: &Live, kind: Kind, name: &str) -> bool {
    let kind = match kind {
        kind if kind.is_autoscaler() => Kind::Deployment,
        kind => kind,
    };
    let annotations = live
        .get(kind, name)
        .and_then(|object| object.pointer("/metadata/annotations")?.as_object());
    annotations.is_some_and(|annotations| annotations.contains_key(ANNOTATION))
}

/// What goes on while a hub is to sleep: the reason of its conditions, and a sentence.
pub fn report(pods: &BTreeMap<Part, usize>) -> (&'static str, String) {
    let left: Vec<String> = pods
        .iter()
        .filter(|(_, pods)| **pods > 0)
        .map(|(part, pods)| format!("{pods} of {part:?}"))
        .collect();
    if left.is_empty() {
        let message =
            "spec.hibernated is true, so no pod runs; all data is kept. Set it to false to wake the hub.";
        (HIBERNATED, message.to_owned())
    } else {
        (
            HIBERNATING,
            format!("Goes to sleep; pods that are left: {}.", left.join(", ")),
        )
    }
}

/// Where a part stands that rests because the hub is to sleep.
pub fn resting() -> PartStatus {
    PartStatus {
        requeue_after: None,
        ..PartStatus::waiting(
            HIBERNATED,
            "It rests: spec.hibernated is true.",
            super::engine::LATER,
        )
    }
}

/// Whether the API of a hub that wakes has to wait: it rests, and what does the work that it takes in does not run yet.
pub fn api_waits(hub: &ValidatedHub, live: &Live) -> bool {
    let queues = hub.queues.iter().filter(|(_, plan)| plan.min_replicas > 0);
    let workers = queues.map(|(queue, _)| hub.names.queue_worker(*queue));
    let names = [hub.names.dispatcher(), hub.names.callbacks()]
        .into_iter()
        .chain(workers);
    let runs = |name: &String| {
        let ready = live.get(Kind::Deployment, name);
        let ready = ready.and_then(|object| object.pointer("/status/readyReplicas").and_then(Value::as_u64));
        !is_at_rest(live, Kind::Deployment, name) && ready.is_some_and(|ready| ready > 0)
    };
    is_at_rest(live, Kind::Deployment, &hub.names.api()) && !names.collect::<Vec<_>>().iter().all(runs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::build::build;
    use crate::fixtures;

    const STAGES: [Stage; 4] = [Stage::Asleep, Stage::Data, Stage::Work, Stage::Awake];

    fn objects(stage: Stage) -> Vec<Object> {
        let hub = fixtures::validated(&fixtures::full());
        put_to_rest(build(&hub, &fixtures::checksums()), &hub.names, stage)
    }

    /// The names of workloads that may have pods.
    fn running(stage: Stage) -> Vec<String> {
        let workloads = objects(stage)
            .into_iter()
            .filter(|object| matches!(object.kind(), Kind::Deployment | Kind::StatefulSet));
        workloads
            .filter(|object| json!(object)["spec"]["replicas"] != json!(0))
            .map(|object| object.name())
            .collect()
    }

    #[test]
    fn each_stage_runs_what_it_says() {
        assert_eq!(running(Stage::Asleep), Vec::<String>::new());
        assert!(running(Stage::Data).iter().all(|name| !name.contains("worker")));
        assert!(running(Stage::Work).contains(&"gallery-dispatcher".to_owned()));
        assert!(!running(Stage::Work).contains(&"gallery-api".to_owned()));
        assert!(running(Stage::Awake).contains(&"gallery-api".to_owned()));
    }

    #[test]
    fn an_awake_hub_is_as_built_and_no_autoscaler_is_left_of_what_rests() {
        let hub = fixtures::validated(&fixtures::full());
        assert_eq!(objects(Stage::Awake), build(&hub, &fixtures::checksums()));
        let autoscalers = |stage| {
            let objects = objects(stage).into_iter();
            objects
                .filter(|object| object.kind() == Kind::HorizontalPodAutoscaler)
                .count()
        };
        assert_eq!((autoscalers(Stage::Work), autoscalers(Stage::Data)), (3, 0));
    }

    #[test]
    fn the_api_of_a_waking_hub_waits_for_those_who_do_its_work() {
        let hub = fixtures::validated(&fixtures::minimal());
        let workload = |name: String, rests: bool, ready: u64| {
            let annotations = if rests {
                json!({ANNOTATION: "true"})
            } else {
                json!({})
            };
            let object =
                json!({"metadata": {"annotations": annotations}, "status": {"readyReplicas": ready}});
            (Kind::Deployment, name, object)
        };
        let live = |api_rests, ready| {
            let names = &hub.names;
            let work = [names.dispatcher(), names.callbacks()];
            let work = work
                .into_iter()
                .chain(hub.queues.keys().map(|queue| names.queue_worker(*queue)));
            let work = work.map(|name| workload(name, false, ready));
            Live::of(work.chain([workload(names.api(), api_rests, 0)]))
        };
        assert!(api_waits(&hub, &live(true, 0)));
        assert!(!api_waits(&hub, &live(true, 1)));
        assert!(!api_waits(&hub, &live(false, 0)), "one that runs is not stopped");
    }

    proptest! {
        /// Whatever pods are left: nobody is put to rest while somebody needs it.
        #[test]
        fn what_is_needed_by_pods_that_are_left_goes_on(counts in prop::collection::vec(0_usize..3, 7)) {
            let pods: BTreeMap<Part, usize> = Part::ALL.into_iter().zip(counts).collect();
            let stage = Stage::to_sleep(&pods);
            prop_assert!(stage.rests(Part::Api));
            if pods[&Part::Api] > 0 {
                prop_assert!(!stage.rests(Part::Workers) && !stage.rests(Part::Dispatcher));
            }
            let process = [Part::Api, Part::Workers, Part::Dispatcher];
            if process.iter().any(|part| pods[part] > 0) {
                prop_assert!(Part::DATA.iter().all(|part| !stage.rests(*part)));
            }
        }
    }

    #[test]
    fn a_part_that_rests_in_a_stage_rests_in_every_lower_one() {
        for part in Part::ALL {
            for pair in STAGES.windows(2) {
                assert!(pair[0].rests(part) || !pair[1].rests(part), "{part:?} {pair:?}");
            }
        }
    }
}

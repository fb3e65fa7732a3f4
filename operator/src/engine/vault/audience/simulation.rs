//! An upgrade of the operator under a simulated hub: pods with tokens for the Kubernetes API give way to pods with tokens for
//! OpenBao, while the operator dies between any two of its writes, pods are lost, and the hub sleeps and wakes. At no time
//! runs a pod that could not log in.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::Desired;
use super::super::settings::{Setting, SettingState, wanted_settings};
use super::super::simulation::desired;
use super::{pod_shows_it, templates_show_it};
use crate::apply::Live;
use crate::build::{Kind, TOKEN_FILE};
use crate::engine::Standard;
use crate::fixtures;
use crate::names::VAULT_AUDIENCE;

/// Each Deployment with the role of its pods.
const PROCESSES: [(&str, &str); 3] = [
    ("gallery-api", "gallery-api"),
    ("gallery-callbacks", "gallery-callbacks"),
    ("gallery-worker-rest", "gallery-worker"),
];
/// Pods of each while the hub is awake.
const PODS: usize = 2;

/// The spec of a pod of this version of the operator, or of an older one.
fn spec(is_new: bool) -> Value {
    let mut token = json!({"path": TOKEN_FILE});
    if is_new {
        token["audience"] = VAULT_AUDIENCE.into();
    }
    json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": token}]}}]})
}

#[derive(Clone, Copy, Debug)]
struct Pod {
    is_new: bool,
    is_ending: bool,
}

/// A Deployment with the `ReplicaSets` of both templates, as Kubernetes replaces one by the other: one pod more, none less.
#[derive(Clone, Debug)]
struct Process {
    is_new: bool,
    wanted: usize,
    /// What each `ReplicaSet` is to have, the older one first.
    sets: [usize; 2],
    pods: Vec<Pod>,
}

impl Process {
    fn old() -> Self {
        Self {
            is_new: false,
            wanted: PODS,
            sets: [PODS, 0],
            pods: vec![
                Pod {
                    is_new: false,
                    is_ending: false
                };
                PODS
            ],
        }
    }

    fn running(&self, is_new: bool) -> usize {
        let running = |pod: &&Pod| pod.is_new == is_new && !pod.is_ending;
        self.pods.iter().filter(running).count()
    }

    fn end_one(&mut self, is_new: bool) {
        let found = self
            .pods
            .iter_mut()
            .find(|pod| pod.is_new == is_new && !pod.is_ending);
        if let Some(pod) = found {
            pod.is_ending = true;
        }
    }

    /// One step of the Deployment controller.
    fn roll_out(&mut self) {
        if !self.is_new {
            return;
        }
        let [old, new] = self.sets;
        if new < self.wanted && old + new <= self.wanted {
            self.sets[1] += 1;
        } else if old > 0 && self.running(true) == new {
            self.sets[0] -= 1;
            self.end_one(false);
        }
    }

    /// One step of the `ReplicaSet` controller.
    fn replicate(&mut self) {
        for (is_new, wanted) in [false, true].into_iter().zip(self.sets) {
            if self.running(is_new) < wanted {
                self.pods.push(Pod {
                    is_new,
                    is_ending: false,
                });
            }
        }
    }

    /// As soon as enough new pods run, Kubernetes makes none of the older template any more.
    fn settle(&mut self) {
        if self.is_new && self.sets[1] == self.wanted && self.running(true) == self.wanted {
            self.sets[0] = 0;
            while self.running(false) > 0 {
                self.end_one(false);
            }
        }
    }

    fn scale(&mut self, wanted: usize) {
        self.wanted = wanted;
        self.sets = [0, 0];
        self.sets[usize::from(self.is_new)] = wanted;
        for is_new in [false, true] {
            while self.running(is_new) > self.sets[usize::from(is_new)] {
                self.end_one(is_new);
            }
        }
    }

    /// As the operator knows it: of a template that it keeps, what it would have built.
    fn deployment(&self, keeps: bool) -> Value {
        let (old, new) = (self.running(false), self.running(true));
        json!({
            "spec": {"replicas": self.wanted, "template": {"spec": spec(self.is_new || keeps)}},
            "status": {
                "replicas": old + new,
                "readyReplicas": old + new,
                "updatedReplicas": if self.is_new { new } else { old },
            },
        })
    }
}

/// What happens in the cluster, to one process.
#[derive(Clone, Copy, Debug)]
enum Event {
    RollOut(usize),
    Replicate(usize),
    /// A pod that ends is gone.
    Gone(usize),
    /// A pod is lost with its node.
    Lost(usize),
    Sleep,
    Wake,
}

/// A turn of the operator: whether it keeps templates, after how many writes it dies, and what happens after each write
/// and after each look.
#[derive(Clone, Debug)]
struct Turn {
    keeps: bool,
    writes: usize,
    meanwhile: Vec<Event>,
}

struct World {
    processes: [Process; 3],
    roles: BTreeMap<String, Value>,
}

impl World {
    /// As an older version of the operator left it: its roles demand no audience.
    fn old() -> Self {
        let mut world = Self {
            processes: std::array::from_fn(|_| Process::old()),
            roles: BTreeMap::new(),
        };
        for setting in roles(false) {
            world.write(&setting);
        }
        world
    }

    fn write(
        &mut self,
        Setting {
            read_path, wanted, ..
        }: &Setting,
    ) {
        let role = self.roles.entry(read_path.clone()).or_insert_with(|| json!({}));
        for (field, value) in wanted.as_object().into_iter().flatten() {
            role[field] = value.clone();
        }
    }

    fn demands(&self, role: &str) -> bool {
        let role = self.roles.get(&format!("auth/kubernetes/role/{role}"));
        role.is_some_and(|role| role["audience"] == VAULT_AUDIENCE)
    }

    /// The pods that could not log in.
    fn locked_out(&self) -> Vec<&str> {
        let processes = PROCESSES.iter().zip(&self.processes);
        processes
            .filter(|((_, role), process)| self.demands(role) && process.pods.iter().any(|pod| !pod.is_new))
            .map(|((name, _), _)| *name)
            .collect()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::RollOut(process) => self.processes[process].roll_out(),
            Event::Replicate(process) => self.processes[process].replicate(),
            Event::Gone(process) => {
                let pods = &mut self.processes[process].pods;
                if let Some(index) = pods.iter().position(|pod| pod.is_ending) {
                    pods.remove(index);
                }
            }
            Event::Lost(process) => {
                self.processes[process].pods.pop();
            }
            Event::Sleep => self.processes.iter_mut().for_each(|process| process.scale(0)),
            Event::Wake => self.processes.iter_mut().for_each(|process| {
                if process.wanted == 0 {
                    process.scale(PODS);
                }
            }),
        }
        self.processes.iter_mut().for_each(Process::settle);
    }

    /// What the operator does, with what it sees by the code under test. Returns whether it had something to write.
    fn turn(&mut self, turn: &Turn) -> Result<bool, TestCaseError> {
        let (mut left, mut wrote) = (turn.writes, false);
        let mut meanwhile = turn.meanwhile.iter();
        let mut go_on = |world: &mut Self| {
            meanwhile.by_ref().take(2).for_each(|event| world.happen(*event));
            prop_assert_eq!(world.locked_out(), Vec::<&str>::new());
            Ok(())
        };
        for process in 0..PROCESSES.len() {
            if turn.keeps || self.processes[process].is_new {
                continue;
            }
            if left == 0 {
                return Ok(wrote);
            }
            (left, wrote) = (left - 1, true);
            self.processes[process].is_new = true;
            go_on(self)?;
        }
        let mut hub = fixtures::validated(&fixtures::minimal());
        hub.keeps_templates = turn.keeps;
        let live = Live::of(PROCESSES.iter().zip(&self.processes).map(|((name, _), process)| {
            (
                Kind::Deployment,
                (*name).to_owned(),
                process.deployment(turn.keeps),
            )
        }));
        go_on(self)?;
        let pods = self.processes.iter().flat_map(|process| &process.pods);
        let mut pods = pods.map(|pod| json!({"spec": spec(pod.is_new), "status": {"phase": "Running"}}));
        let binds = templates_show_it(&hub, &live) && pods.all(|pod| pod_shows_it(&pod));
        for setting in roles(binds) {
            go_on(self)?;
            if setting.state(self.roles.get(&setting.read_path)) != SettingState::Unmet {
                continue;
            }
            if left == 0 {
                return Ok(wrote);
            }
            (left, wrote) = (left - 1, true);
            self.write(&setting);
            go_on(self)?;
        }
        Ok(wrote)
    }
}

fn roles(binds_audience: bool) -> Vec<Setting> {
    let desired = Desired {
        binds_audience,
        ..desired(Standard::Complete)
    };
    let mut settings = wanted_settings(&desired);
    settings.retain(|setting| setting.read_path.starts_with("auth/kubernetes/role/"));
    settings
}

fn event() -> impl Strategy<Value = Event> {
    let process = 0..PROCESSES.len();
    prop_oneof![
        4 => process.clone().prop_map(Event::RollOut),
        4 => process.clone().prop_map(Event::Replicate),
        4 => process.clone().prop_map(Event::Gone),
        1 => process.prop_map(Event::Lost),
        1 => Just(Event::Sleep),
        1 => Just(Event::Wake),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    (any::<bool>(), 0..8_usize, prop::collection::vec(event(), 0..24)).prop_map(
        |(keeps, writes, meanwhile)| Turn {
            keeps,
            writes,
            meanwhile,
        },
    )
}

const WHOLE: Turn = Turn {
    keeps: false,
    writes: usize::MAX,
    meanwhile: Vec::new(),
};

proptest! {
    #[test]
    fn no_pod_is_ever_locked_out_and_in_the_end_every_role_demands_the_audience(
        schedule in prop::collection::vec((turn(), prop::collection::vec(event(), 0..12)), 0..20),
    ) {
        let mut world = World::old();
        for (turn, events) in schedule {
            world.turn(&turn)?;
            for event in events {
                world.happen(event);
                prop_assert_eq!(world.locked_out(), Vec::<&str>::new());
            }
        }
        world.happen(Event::Wake);
        world.turn(&WHOLE)?;
        for process in (0..PROCESSES.len()).cycle().take(8 * PROCESSES.len()) {
            for event in [Event::RollOut(process), Event::Replicate(process)] {
                world.happen(event);
                prop_assert_eq!(world.locked_out(), Vec::<&str>::new());
            }
        }
        world.processes.iter_mut().for_each(|process| process.pods.retain(|pod| !pod.is_ending));
        world.turn(&WHOLE)?;
        prop_assert!(PROCESSES.iter().all(|(_, role)| world.demands(role)));
        prop_assert!(!world.turn(&WHOLE)?, "there is something left to write");
    }
}

#[test]
fn while_templates_are_kept_roles_take_what_pods_show() {
    let mut world = World::old();
    let keeps = Turn { keeps: true, ..WHOLE };
    assert!(!world.turn(&keeps).unwrap_or(true), "something is written");
    // Asleep, no pod tells what its template is like.
    world.happen(Event::Sleep);
    for process in 0..PROCESSES.len() {
        for _ in 0..PODS {
            world.happen(Event::Gone(process));
        }
    }
    assert!(!world.turn(&keeps).unwrap_or(true), "something is written");
}

#[test]
fn the_roles_of_a_new_hub_demand_it_from_the_start() {
    let mut world = World::old();
    world.roles.clear();
    world.processes.iter_mut().for_each(|process| {
        *process = Process {
            is_new: true,
            wanted: 0,
            sets: [0, 0],
            pods: Vec::new(),
        };
    });
    assert!(world.turn(&WHOLE).unwrap_or(false));
    assert!(PROCESSES.iter().all(|(_, role)| world.demands(role)));
}

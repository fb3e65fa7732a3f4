//! An engine whose credentials are replaced, in every order of events: whoever runs must be let in by every member, and in the
//! end nobody is let in by what was there before.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::decide::{Observed, Phase, Step, decide};

const MEMBERS: usize = 3;
const PODS: usize = 3;

/// A Secret: credentials by number. Each step is one write of it, so a process that dies leaves one of these.
#[derive(Clone, Copy, Debug)]
struct Stored {
    phase: Phase,
    current: u32,
    /// The next, the previous or the retired one.
    other: Option<u32>,
}

impl Stored {
    /// What a member that follows these files accepts.
    fn accepted(self) -> BTreeSet<u32> {
        let other = self.other.filter(|_| self.phase != Phase::Retiring);
        [Some(self.current), other].into_iter().flatten().collect()
    }
}

/// How an engine gets to know what to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each member from files, which the kubelet brings in its time; members log in to each other.
    Files,
    /// From the operator, who tells one member; the others follow in their time.
    Users,
}

#[derive(Clone, Debug)]
struct Member {
    accepts: BTreeSet<u32>,
    uses: u32,
}

#[derive(Clone, Copy, Debug)]
struct Pod {
    uses: u32,
    /// The credential that its template is told apart by.
    mark: u32,
}

#[derive(Clone, Debug)]
struct Hub {
    way: Way,
    secret: Stored,
    before: Stored,
    asked: bool,
    made: u32,
    /// What the operator has told the engine.
    told: BTreeSet<u32>,
    members: Vec<Member>,
    /// The mark in the template of the processes.
    template: u32,
    pods: Vec<Pod>,
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The operator reconciles.
    Reconcile,
    /// It dies after it told the engine and before it wrote the Secret.
    ReconcileHalf,
    /// It reads the Secret as it was before the last write, and cannot write it.
    ReconcileStale,
    /// The kubelet brings the files into the pod of a member, or a member follows the others.
    Follow(usize),
    /// A member starts anew in its pod, or in another one.
    RestartMember(usize),
    /// The kubelet brings the files into a pod that reads them for each connection.
    Refresh(usize),
    /// A pod starts anew, by a rollout or by itself.
    Replace(usize),
    /// A person asks for other credentials.
    Ask,
}

impl Hub {
    fn new(way: Way) -> Self {
        let secret = Stored {
            phase: Phase::Rest,
            current: 1,
            other: None,
        };
        let member = Member {
            accepts: BTreeSet::from([1]),
            uses: 1,
        };
        Self {
            way,
            secret,
            before: secret,
            asked: false,
            made: 1,
            told: BTreeSet::from([1]),
            members: vec![member; MEMBERS],
            template: 1,
            pods: vec![Pod { uses: 1, mark: 1 }; PODS],
        }
    }

    /// Applies the templates, tells the engine, and looks.
    fn observe(&mut self, stored: Stored) -> Observed {
        self.template = stored.current;
        match (stored.phase, stored.other) {
            (Phase::Prepared, Some(next)) => {
                self.told.insert(next);
            }
            (Phase::Retiring, Some(retired)) => {
                self.told.remove(&retired);
            }
            _ => {}
        }
        let (way, current) = (self.way, stored.current);
        let all = |accepted: bool| {
            let accepts = |member: &Member| stored.other.is_some_and(|other| member.accepts.contains(&other));
            stored.other.is_some() && self.members.iter().all(|member| accepts(member) == accepted)
        };
        Observed {
            phase: stored.phase,
            wanted: self.asked,
            may_begin: true,
            next_accepted: all(true),
            current_used: self.pods.iter().all(|pod| pod.mark == current)
                && (way == Way::Users || self.members.iter().all(|member| member.uses == current)),
            retired_refused: all(false),
        }
    }

    fn write(&mut self, step: Step) {
        if step != Step::Rest {
            self.before = self.secret;
        }
        let Stored { current, other, .. } = self.secret;
        self.secret = match (step, other) {
            (Step::Prepare, _) => {
                self.made += 1;
                self.asked = false;
                Stored {
                    phase: Phase::Prepared,
                    current,
                    other: Some(self.made),
                }
            }
            (Step::Promote, Some(next)) => Stored {
                phase: Phase::Promoted,
                current: next,
                other: Some(current),
            },
            (Step::Retire, _) => Stored {
                phase: Phase::Retiring,
                current,
                other,
            },
            (Step::Finish, _) => Stored {
                phase: Phase::Rest,
                current,
                other: None,
            },
            _ => self.secret,
        };
    }

    fn happen(&mut self, happening: Happening) {
        let secret = self.secret;
        match happening {
            Happening::Reconcile => {
                let step = decide(&self.observe(secret));
                self.write(step);
            }
            Happening::ReconcileHalf => {
                self.observe(secret);
            }
            Happening::ReconcileStale => {
                self.observe(self.before);
            }
            Happening::Follow(member) | Happening::RestartMember(member) => {
                self.members[member] = Member {
                    accepts: match self.way {
                        Way::Files => secret.accepted(),
                        Way::Users => self.told.clone(),
                    },
                    uses: secret.current,
                };
            }
            Happening::Refresh(pod) => self.pods[pod].uses = secret.current,
            Happening::Replace(pod) => {
                self.pods[pod] = Pod {
                    uses: secret.current,
                    mark: self.template,
                };
            }
            Happening::Ask => self.asked = true,
        }
    }

    /// A credential that somebody comes with and some member does not accept.
    fn locked_out(&self) -> Option<u32> {
        let pods = self.pods.iter().map(|pod| pod.uses);
        let members = self.members.iter().map(|member| member.uses);
        let members = members.filter(|_| self.way == Way::Files);
        let mut all = pods.chain(members).chain([self.secret.current]);
        all.find(|used| !self.members.iter().all(|member| member.accepts.contains(used)))
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Reconcile),
        1 => Just(Happening::ReconcileHalf),
        1 => Just(Happening::ReconcileStale),
        6 => (0..MEMBERS).prop_map(Happening::Follow),
        1 => (0..MEMBERS).prop_map(Happening::RestartMember),
        3 => (0..PODS).prop_map(Happening::Refresh),
        6 => (0..PODS).prop_map(Happening::Replace),
        1 => Just(Happening::Ask),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Files), Just(Way::Users)]
}

proptest! {
    #[test]
    fn nobody_who_runs_is_ever_locked_out(
        way in way(),
        happenings in prop::collection::vec(happening(), 0..300),
    ) {
        let mut hub = Hub::new(way);
        for (index, happening) in happenings.into_iter().enumerate() {
            hub.happen(happening);
            prop_assert_eq!(hub.locked_out(), None, "after {} ({:?}): {:?}", index, happening, hub);
        }
    }

    #[test]
    fn a_replacement_ends_and_only_the_new_one_holds(
        way in way(),
        happenings in prop::collection::vec(happening(), 0..100),
    ) {
        let mut hub = Hub::new(way);
        for happening in happenings {
            hub.happen(happening);
        }
        let before = hub.made;
        hub.happen(Happening::Ask);
        // The one that was under way, and another one.
        for _ in 0..20 {
            hub.happen(Happening::Reconcile);
            (0..MEMBERS).for_each(|member| hub.happen(Happening::Follow(member)));
            (0..PODS).for_each(|pod| hub.happen(Happening::Replace(pod)));
            prop_assert_eq!(hub.locked_out(), None);
        }
        prop_assert!(hub.made > before);
        prop_assert_eq!((hub.secret.phase, hub.secret.current), (Phase::Rest, hub.made));
        let only = BTreeSet::from([hub.made]);
        prop_assert!(hub.members.iter().all(|member| member.accepts == only), "{:?}", hub);
        prop_assert!(!hub.asked);
    }
}

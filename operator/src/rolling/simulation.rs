//! A simulated engine whose members fail and come back while the operator replaces its pods, and dies itself between any
//! two steps, against [`decide`].

use proptest::prelude::*;

use super::*;
use crate::engine::roster::{Roster, Standing};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It serves.
    Up,
    /// It answers, and has to catch up with the others.
    CatchingUp,
    /// Its process runs, and does not answer yet.
    Starting,
    /// Its process is away, for no reason of the operator's.
    Failed,
    /// It was taken away, and there is no new one yet.
    Absent,
}

#[derive(Clone, Debug)]
struct Member {
    phase: Phase,
    is_new: bool,
}

/// An engine that takes writes while a majority serves, and has one leader then.
#[derive(Clone, Debug)]
struct Engine {
    members: Vec<Member>,
    leader: Option<usize>,
    /// How often the operator made another one lead.
    hand_overs: usize,
}

impl Engine {
    fn new(size: usize) -> Self {
        let member = Member {
            phase: Phase::Up,
            is_new: false,
        };
        Self {
            members: vec![member; size],
            leader: Some(0),
            hand_overs: 0,
        }
    }

    fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    fn serving(&self) -> usize {
        self.members
            .iter()
            .filter(|member| member.phase == Phase::Up)
            .count()
    }

    fn roster(&self) -> Roster {
        Roster::of(self.members.iter().enumerate().map(|(index, member)| {
            let serves = member.phase == Phase::Up;
            let others = self.serving() - usize::from(serves);
            let suffices = self.members.len() == 1 || others >= self.majority();
            Standing {
                serves,
                leads: usize::from(self.leader == Some(index)),
                is_member: true,
                needed: (!suffices).then(|| "the others have no majority".to_owned()),
            }
        }))
    }

    fn pods(&self) -> Vec<Pod> {
        let present = (0..)
            .zip(&self.members)
            .filter(|(_, member)| member.phase != Phase::Absent);
        present
            .map(|(ordinal, member)| Pod {
                ordinal,
                uid: ordinal.to_string(),
                revision: if member.is_new { "new" } else { "old" }.to_owned(),
                is_ready: matches!(member.phase, Phase::Up | Phase::CatchingUp),
                is_leaving: false,
            })
            .collect()
    }

    fn set(&self) -> Set {
        Set {
            name: "engine".to_owned(),
            revision: "new".to_owned(),
            size: u32::try_from(self.members.len()).unwrap_or_default(),
            wanted: u32::try_from(self.members.len()).unwrap_or_default(),
            is_observed: true,
            is_rolled_out: false,
        }
    }

    /// The members elect a leader where they can, and keep one that they have.
    fn elect(&mut self) {
        let is_up = |index: &usize| self.members[*index].phase == Phase::Up;
        let keeps = self.leader.filter(is_up);
        let elected = keeps.or_else(|| (0..self.members.len()).find(is_up));
        self.leader = elected.filter(|_| self.serving() >= self.majority());
    }

    /// Time passes: what was on its way is a step further.
    fn settle(&mut self) {
        for member in &mut self.members {
            member.phase = match member.phase {
                Phase::Absent => {
                    member.is_new = true;
                    Phase::Starting
                }
                Phase::Failed => Phase::Starting,
                Phase::Starting => Phase::CatchingUp,
                Phase::CatchingUp | Phase::Up => Phase::Up,
            };
        }
        self.elect();
    }

    /// One step of the operator; it dies before it acts if `acts` is false.
    fn step(&mut self, acts: bool) -> Result<Step, TestCaseError> {
        let roster = self.roster();
        let step = decide(&self.set(), &self.pods(), &roster);
        match &step {
            Step::Replace(ordinal) if acts => {
                let index = usize::try_from(*ordinal).unwrap_or_default();
                prop_assert!(!self.members[index].is_new, "a new pod is replaced");
                if self.members[index].phase == Phase::Up && self.members.len() > 1 {
                    prop_assert!(self.leader != Some(index), "the leader is stopped while it leads");
                    prop_assert!(self.serving() > self.majority(), "the majority is lost");
                    let underway = self.members.iter().any(|member| {
                        member.phase == Phase::Absent || (member.is_new && member.phase != Phase::Up)
                    });
                    prop_assert!(!underway, "two are away at a time");
                }
                self.members[index].phase = Phase::Absent;
                self.elect();
            }
            Step::HandOver(ordinal) if acts => {
                let leader = usize::try_from(*ordinal).unwrap_or_default();
                prop_assert_eq!(self.leader, Some(leader));
                let old = self.members.iter().filter(|member| !member.is_new).count();
                prop_assert_eq!(old, 1, "the leader goes before others");
                let successor = (0..self.members.len())
                    .find(|&other| other != leader && self.members[other].phase == Phase::Up);
                prop_assert!(successor.is_some(), "nobody can take over");
                self.leader = successor;
                self.hand_overs += 1;
            }
            _ => {}
        }
        Ok(step)
    }
}

/// What happens between two steps.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Time passes.
    Settle,
    /// The member of this number, counted around, fails.
    Fail(usize),
    /// Nothing: the operator looks again at once.
    Nothing,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Settle),
        1 => (0..7_usize).prop_map(Event::Fail),
        2 => Just(Event::Nothing),
    ]
}

proptest! {
    #[test]
    fn whatever_fails_the_operator_never_takes_the_majority_and_ends_with_every_pod_new(
        size in prop::sample::select(vec![1_usize, 3, 5, 7]),
        schedule in prop::collection::vec((event(), any::<bool>()), 0..60),
    ) {
        let mut engine = Engine::new(size);
        for (event, acts) in schedule {
            match event {
                Event::Settle => engine.settle(),
                Event::Fail(member) => {
                    let member = member % size;
                    if engine.members[member].phase != Phase::Absent {
                        engine.members[member].phase = Phase::Failed;
                    }
                    engine.elect();
                }
                Event::Nothing => {}
            }
            engine.step(acts)?;
        }
        for _ in 0..8 * size {
            engine.settle();
            engine.step(true)?;
        }
        prop_assert_eq!(engine.step(true)?, Step::Done);
        prop_assert!(engine.members.iter().all(|member| member.is_new));
    }

    #[test]
    fn an_engine_that_stays_well_changes_its_leader_once(size in prop::sample::select(vec![3_usize, 5, 7])) {
        let mut engine = Engine::new(size);
        for _ in 0..8 * size {
            engine.step(true)?;
            engine.settle();
            prop_assert!(engine.serving() + 1 >= size, "two are away at a time");
        }
        prop_assert_eq!(engine.step(true)?, Step::Done);
        prop_assert_eq!(engine.hand_overs, 1);
    }
}

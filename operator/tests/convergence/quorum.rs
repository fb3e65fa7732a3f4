//! The members of an engine in memory: who runs, who leads, and whom the engine counts in. What a real one would suffer from is
//! noted as a loss: two members that are away at once, a leader that stops before another one leads, a member that stops while
//! the engine counts on it.

use std::collections::BTreeSet;
use std::convert::Infallible;

use flickrhub_operator::engine::Size;
use flickrhub_operator::engine::roster::{Members, Roster, Standing};

use crate::tier::Tier;

/// The members of one engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quorum {
    /// The ordinals of the pods that run.
    running: BTreeSet<usize>,
    /// Those that the engine counts in.
    members: BTreeSet<usize>,
    leader: usize,
}

impl Quorum {
    /// How many members run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether a member runs.
    pub(crate) fn runs(&self, member: usize) -> bool {
        self.running.contains(&member)
    }

    /// The set is gone with its pods.
    pub(crate) fn rest(&mut self) {
        self.running.clear();
    }

    /// A pod runs.
    pub(crate) fn starts(&mut self, member: usize) {
        self.running.insert(member);
        self.elect();
    }

    /// These pods are away that ran until now, of a set that should have `wanted`. Returns what a real engine would suffer.
    pub(crate) fn stop(&mut self, away: &BTreeSet<usize>, wanted: usize) -> Vec<String> {
        let mut harm = Vec::new();
        // One that has to sleep, or is alone, has nobody to hand over to.
        if wanted > 1 && !away.is_empty() {
            if away.len() > 1 {
                harm.push(format!("members {away:?} are away at once"));
            }
            if away.contains(&self.leader) {
                harm.push(format!("member {} stopped while it led", self.leader));
            }
            let still_in = away
                .iter()
                .find(|member| **member >= wanted && self.members.contains(member));
            harm.extend(still_in.map(|member| format!("member {member} stopped before it was taken out")));
        }
        self.running.retain(|member| !away.contains(member));
        self.elect();
        harm
    }

    /// What an engine, and the operator's step in it, do about the members: those that run come in, and the last one that is
    /// too many is taken out.
    pub(crate) fn care(&mut self, size: Size) {
        let [present, wanted] =
            [size.present, size.wanted].map(|number| usize::try_from(number).unwrap_or_default());
        self.members
            .extend(self.running.iter().filter(|member| **member < wanted));
        if present > wanted {
            self.members.remove(&(present - 1));
        }
    }

    fn elect(&mut self) {
        if !self.running.contains(&self.leader) {
            self.leader = self.running.first().copied().unwrap_or_default();
        }
    }

    /// Another member leads, none that is to go.
    fn hand_over(&mut self, member: usize, wanted: usize) {
        let others = self
            .running
            .iter()
            .filter(|other| **other != member && **other < wanted);
        if let Some(other) = others.copied().next() {
            self.leader = other;
        }
    }
}

/// An engine, as the change of its pods asks it.
pub(crate) struct Engine {
    tier: Tier,
    set: String,
    size: Size,
}

impl Engine {
    /// The engine of a set.
    pub(crate) fn new(tier: Tier, set: &str, size: Size) -> Self {
        Self {
            tier,
            set: set.to_owned(),
            size,
        }
    }
}

impl Members for Engine {
    type Error = Infallible;

    async fn roster(&self) -> Roster {
        let data = self.tier.data();
        let quorum = data.quorums.get(&self.set).cloned().unwrap_or_default();
        let all = usize::try_from(self.size.all()).unwrap_or_default();
        let is_sealed = |member| self.set.ends_with("-vault") && !data.bao.is_unsealed(member);
        let serves = |member| quorum.runs(member) && !is_sealed(member);
        let counts_in = self.set.ends_with("-mongodb") || self.set.ends_with("-rabbitmq");
        Roster::of((0..all).map(|member| {
            let others = (0..all)
                .filter(|other| *other != member && serves(*other))
                .count();
            Standing {
                serves: serves(member),
                leads: usize::from(serves(member) && quorum.leader == member),
                is_member: counts_in && quorum.members.contains(&member),
                needed: (all > 1 && (others <= all / 2 || data.every_member_is_needed))
                    .then(|| "the others are no majority".to_owned()),
            }
        }))
    }

    async fn hand_over(&self, ordinal: u32) -> Result<(), Infallible> {
        let [member, wanted] =
            [ordinal, self.size.wanted].map(|number| usize::try_from(number).unwrap_or_default());
        let mut data = self.tier.data();
        let quorum = data.quorums.entry(self.set.clone()).or_default();
        quorum.hand_over(member, wanted);
        Ok(())
    }
}

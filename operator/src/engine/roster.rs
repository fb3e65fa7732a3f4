//! What an engine says of its members before one of them is taken away: who leads, who serves, and whom the others need.

use std::collections::BTreeMap;
use std::error::Error;

/// What an engine says of one of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it does its work: it answers, has its data and is in step with the others.
    pub serves: bool,
    /// How much it leads: 1 for a master, a primary or an active member, for a broker the number of its queue leaders.
    pub leads: usize,
    /// Whether the engine counts it in: it has to be taken out of the engine before its pod goes for good.
    pub is_member: bool,
    /// Why it must not stop now, as the end of a sentence; `None` if the others have their quorum without it.
    pub needed: Option<String>,
}

/// How a member that leads lets go of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandOver {
    /// It is asked to, and stops only when another one leads.
    #[default]
    Asked,
    /// By itself, while it stops.
    Stopping,
}

/// What an engine says of its members, by the ordinals of their pods. It says nothing of a member that is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The members.
    pub members: BTreeMap<u32, Standing>,
    /// How they hand over.
    pub hand_over: HandOver,
}

impl Roster {
    /// These members, in the order of their pods.
    pub fn of(members: impl IntoIterator<Item = Standing>) -> Self {
        Self {
            members: (0..).zip(members).collect(),
            hand_over: HandOver::Asked,
        }
    }

    /// Whether a member does its work.
    pub fn serves(&self, ordinal: u32) -> bool {
        self.members.get(&ordinal).is_some_and(|member| member.serves)
    }

    /// How much a member leads.
    pub fn leads(&self, ordinal: u32) -> usize {
        self.members.get(&ordinal).map_or(0, |member| member.leads)
    }

    /// Whether the engine counts a member in. It is taken for one as long as the engine says nothing of it.
    pub fn is_member(&self, ordinal: u32) -> bool {
        self.members.get(&ordinal).is_none_or(|member| member.is_member)
    }

    /// Why a member must not stop now. One that the engine says nothing of is as good as needed.
    pub fn needed(&self, ordinal: u32) -> Option<&str> {
        match self.members.get(&ordinal) {
            Some(member) => member.needed.as_deref(),
            None => Some("it is not known whether the others can do without it"),
        }
    }
}

/// An engine whose members can be taken away one after the other.
pub trait Members {
    /// Why a member does not hand over.
    type Error: Error + Send;

    /// Asks the engine. What cannot be learnt makes every member needed.
    fn roster(&self) -> impl Future<Output = Roster> + Send;

    /// Lets another member lead than the one whose pod has this ordinal. Does nothing where [`HandOver::Stopping`] is
    /// how they do it.
    fn hand_over(&self, ordinal: u32) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

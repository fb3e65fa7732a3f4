//! How many members an engine has pods for, and how many it should have.

use serde_json::Value;

use crate::apply::Live;
use crate::build::Kind;

/// The members of an engine. The pods of one that is to be smaller are taken away one at a time, from the highest ordinal
/// down, each when the engine does without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The pods that its set asks for.
    pub present: u32,
    /// The members that are wanted.
    pub wanted: u32,
}

impl Size {
    /// An engine that has what it should.
    pub const fn settled(members: u32) -> Self {
        Self {
            present: members,
            wanted: members,
        }
    }

    /// The members of the set of this name, of which so many are wanted.
    pub fn of(live: &Live, set: &str, wanted: u32) -> Self {
        let replicas = live
            .get(Kind::StatefulSet, set)
            .and_then(|object| object.pointer("/spec/replicas").and_then(Value::as_u64));
        Self {
            present: replicas
                .and_then(|replicas| u32::try_from(replicas).ok())
                .unwrap_or(wanted),
            wanted,
        }
    }

    /// The members that are there or wanted.
    pub fn all(self) -> u32 {
        self.present.max(self.wanted)
    }

    /// The number of those that are wanted, for a list of all.
    pub fn kept(self) -> usize {
        usize::try_from(self.wanted).unwrap_or(usize::MAX)
    }
}

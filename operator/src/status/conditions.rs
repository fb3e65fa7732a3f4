//! Conditions under construction.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::RECONCILING;
use crate::part::{Part, PartStatus};

/// What a condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl Truth {
    /// As the API has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Most characters of a condition's message that Kubernetes takes.
const MAX_MESSAGE: usize = 32_768;

/// Conditions under construction.
pub(super) struct Conditions<'a> {
    /// Those of the status before.
    pub(super) known: &'a [Condition],
    /// The generation that was reconciled.
    pub(super) generation: i64,
    /// The time of it.
    pub(super) now: Timestamp,
    /// Those of the status after.
    pub(super) list: Vec<Condition>,
}

/// What is said of a part that was not looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unseen<'a> {
    /// What was said before.
    Kept,
    /// That nobody knows, for this reason and with this sentence.
    Unknown(&'static str, &'a str),
}

impl Conditions<'_> {
    /// Adds one; it keeps its time if its truth stays.
    pub(super) fn add(&mut self, type_: &str, truth: Truth, reason: &str, mut message: String) {
        let known = self.known.iter().find(|condition| condition.type_ == type_);
        let unchanged = known.filter(|condition| condition.status == truth.as_str());
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        self.list.push(Condition {
            type_: type_.to_owned(),
            status: truth.as_str().to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: Some(self.generation),
            last_transition_time: unchanged
                .map_or(Time(self.now), |condition| condition.last_transition_time.clone()),
        });
    }

    /// A condition as it was, if it is about this generation.
    pub(super) fn last(&self, type_: &str) -> Option<&Condition> {
        let known = self.known.iter().find(|condition| condition.type_ == type_);
        known.filter(|condition| condition.observed_generation == Some(self.generation))
    }

    /// Leaves a condition as it was, if it is about this generation.
    pub(super) fn keep(&mut self, type_: &str) {
        let current = self.last(type_).cloned();
        self.list.extend(current);
    }

    /// Whether the operator has been on its way for so long. A hub that was ready is on its way since it first failed.
    pub(super) fn is_failing_for(&self, patience: Duration) -> bool {
        self.last(RECONCILING)
            .is_some_and(|known| self.lasts_for(known, patience))
    }

    /// Whether the operator has been on its way for so long, and already failed for this reason before, be it with an older
    /// generation.
    pub(super) fn failed_for(&self, reason: &str, patience: Duration) -> bool {
        let mut known = self.known.iter();
        known.any(|known| {
            known.type_ == RECONCILING && known.reason == reason && self.lasts_for(known, patience)
        })
    }

    fn lasts_for(&self, condition: &Condition, patience: Duration) -> bool {
        let since = self.now.duration_since(condition.last_transition_time.0);
        condition.status == Truth::True.as_str()
            && Duration::try_from(since).is_ok_and(|since| since >= patience)
    }

    /// The conditions of the parts. Of one that was never looked at nothing is said.
    pub(super) fn add_parts(&mut self, parts: &BTreeMap<Part, PartStatus>, unseen: Unseen<'_>) {
        for part in Part::ALL {
            let type_ = part.condition();
            if let Some(status) = parts.get(&part) {
                let truth = if status.ready { Truth::True } else { Truth::False };
                self.add(type_, truth, status.reason, status.message.clone());
                continue;
            }
            let Some(known) = self.known.iter().find(|condition| condition.type_ == type_) else {
                continue;
            };
            match unseen {
                Unseen::Kept => self.list.push(known.clone()),
                Unseen::Unknown(reason, message) => {
                    self.add(type_, Truth::Unknown, reason, message.to_owned());
                }
            }
        }
    }
}

//! Which promises a history breaks. `docs/guarantees.md` is the same in prose.
//!
//! | module | checks |
//! | --- | --- |
//! | `jobs` | no accepted job is lost, each is in one final state and stays there, no key makes two |
//! | `effects` | what Flickr did for each job, how often, and for whom |
//! | `budget` | no sliding hour has more requests to Flickr than it allows |
//! | `windows` | no sliding hour has more accepted jobs than users may have, and nobody is refused before that |
//! | `reached` | how near to the limits a history came |
//! | `views` | lists agree with single reads, callbacks with the jobs, nobody sees another's |

mod budget;
mod effects;
mod index;
mod jobs;
#[cfg(test)]
mod limit_tests;
mod reached;
#[cfg(test)]
mod tests;
mod views;
mod windows;

use std::fmt;

use self::index::Index;
pub use self::reached::{Reached, reached};
use crate::history::History;

/// A promise that was broken, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// The job, marker, user or application that it is about.
    pub subject: String,
    /// What shows it.
    pub evidence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.promise.name(), self.subject, self.evidence)
    }
}

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// An accepted job is there.
    NoJobLost,
    /// It comes to a final state.
    EveryJobEnds,
    /// It has one final state, and stays in it.
    OneFinalState,
    /// One idempotency key makes one job.
    OneJobPerKey,
    /// Every job was asked for.
    NoJobFromNowhere,
    /// What succeeded happened.
    SuccessHappened,
    /// What happens once at most does.
    NoDoubleEffect,
    /// What failed, other than with an unknown outcome, did not happen.
    FailureDidNothing,
    /// What was refused did not happen.
    RefusedDidNothing,
    /// What happened belongs to a job.
    NoEffectFromNowhere,
    /// A job's calls are made with its own user's token and its own arguments.
    OwnCallsOnly,
    /// A job's result is the answer to its own call.
    OwnResult,
    /// No window has more requests to Flickr than allowed.
    WithinBudget,
    /// No window has more accepted jobs than allowed.
    WithinWindow,
    /// No window refuses that has room.
    NotRefusedEarly,
    /// The list says what single reads say.
    ListAgrees,
    /// A callback that counts as delivered came, and tells the truth.
    CallbackTrue,
    /// Nobody sees another client's jobs.
    Private,
}

impl Promise {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoJobLost => "no_job_lost",
            Self::EveryJobEnds => "every_job_ends",
            Self::OneFinalState => "one_final_state",
            Self::OneJobPerKey => "one_job_per_key",
            Self::NoJobFromNowhere => "no_job_from_nowhere",
            Self::SuccessHappened => "success_happened",
            Self::NoDoubleEffect => "no_double_effect",
            Self::FailureDidNothing => "failure_did_nothing",
            Self::RefusedDidNothing => "refused_did_nothing",
            Self::NoEffectFromNowhere => "no_effect_from_nowhere",
            Self::OwnCallsOnly => "own_calls_only",
            Self::OwnResult => "own_result",
            Self::WithinBudget => "within_budget",
            Self::WithinWindow => "within_window",
            Self::NotRefusedEarly => "not_refused_early",
            Self::ListAgrees => "list_agrees",
            Self::CallbackTrue => "callback_true",
            Self::Private => "private",
        }
    }
}

/// Every violation in `history`; none when every promise was kept.
pub fn check(history: &History) -> Vec<Violation> {
    let index = Index::of(history);
    let mut violations = Vec::new();
    jobs::check(history, &index, &mut violations);
    effects::check(history, &index, &mut violations);
    budget::check(history, &mut violations);
    windows::check(history, &mut violations);
    views::check(history, &index, &mut violations);
    violations
}

fn violation(promise: Promise, subject: impl Into<String>, evidence: impl Into<String>) -> Violation {
    Violation {
        promise,
        subject: subject.into(),
        evidence: evidence.into(),
    }
}

//! What follows from the state of OpenBao, of the Secret with its keys, and of its settings.

use std::fmt;

use super::Desired;
use super::finding::Finding;
use super::settings::SettingState;
use crate::engine::{Decision, Standard, count};

/// OpenBao as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Every wanted member, in the order of [`Desired::members`].
    pub members: Vec<Member>,
    /// The Secret.
    pub keys: KeyState,
    /// The settings.
    pub settings: SettingsState,
}

/// A wanted member as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its host.
    pub host: String,
    /// What it says.
    pub state: MemberState,
}

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// No answer; why.
    Unreachable(String),
    /// It has no data and has not joined a cluster.
    Uninitialised,
    /// It cannot read its data until it is unsealed.
    Sealed,
    /// It is unsealed and not the active one.
    Standby,
    /// It serves.
    Active,
}

/// What is known of the Secret with the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It cannot be read; why.
    Unknown(String),
    /// It is there and holds neither keys nor an intent; what to do.
    Incomplete(String),
    /// It does not exist.
    Absent,
    /// It marks that an initialisation was intended.
    Intended,
    /// It holds the keys.
    Stored,
}

/// What is known of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsState {
    /// Nobody could be asked, or the answer failed; why.
    Unknown(String),
    /// The root token is refused.
    TokenRefused,
    /// Each, by its name.
    Read(Vec<(String, SettingState)>),
}

/// A change of OpenBao or of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create the Secret without keys.
    RecordIntent,
    /// Initialise the member of this index and store its keys.
    Initialise(usize),
    /// Unseal the members of these indices.
    Unseal(Vec<usize>),
    /// Write settings.
    Configure {
        /// The index of the active member.
        active: usize,
        /// The names of the settings, in the order in which they are written.
        settings: Vec<String>,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordIntent => f.write_str("create the Secret for the keys of OpenBao"),
            Self::Initialise(member) => write!(f, "initialise OpenBao at member {member}"),
            Self::Unseal(members) => write!(f, "unseal {}", count(members.len(), "member")),
            Self::Configure { settings, .. } => write!(f, "configure {}", settings.join(", ")),
        }
    }
}

/// What to do about a managed OpenBao.
///
/// It is initialised only if every wanted member answers and none has ever been initialised, if no keys are known, and
/// never for a hub that was ready before.
pub fn decide(observed: &Observed, desired: &Desired) -> Decision<Action, Finding> {
    match &observed.keys {
        KeyState::Unknown(why) => Decision::Report(Finding::KeysUnreadable(why.clone())),
        KeyState::Incomplete(what) => Decision::Report(Finding::KeysIncomplete(what.clone())),
        KeyState::Absent | KeyState::Intended => without_keys(observed, desired),
        KeyState::Stored => with_keys(observed, desired),
    }
}

fn without_keys(observed: &Observed, desired: &Desired) -> Decision<Action, Finding> {
    let initialised: Vec<String> = observed
        .members
        .iter()
        .filter(|member| {
            matches!(
                member.state,
                MemberState::Sealed | MemberState::Standby | MemberState::Active
            )
        })
        .map(|member| member.host.clone())
        .collect();
    let intended = observed.keys == KeyState::Intended;
    if !initialised.is_empty() {
        return Decision::Report(if intended {
            Finding::InitialisationInterrupted(initialised)
        } else {
            Finding::KeysLost {
                secret: desired.keys_secret.clone(),
                members: initialised,
            }
        });
    }
    let missing = unhealthy(observed, false);
    if !missing.is_empty() || observed.members.is_empty() {
        return Decision::Report(Finding::WaitForMembers(missing));
    }
    match (desired.standard, intended) {
        (Standard::Serving, _) => Decision::Report(Finding::DataLost),
        (Standard::Complete, false) => Decision::Act(Action::RecordIntent),
        (Standard::Complete, true) => Decision::Act(Action::Initialise(0)),
    }
}

fn with_keys(observed: &Observed, desired: &Desired) -> Decision<Action, Finding> {
    if observed
        .members
        .iter()
        .all(|member| member.state == MemberState::Uninitialised)
    {
        return Decision::Report(Finding::DataLost);
    }
    let sealed = indices(observed, &MemberState::Sealed);
    match unsealed(observed, desired) {
        decision if sealed.is_empty() => decision,
        Decision::Report(standing @ Finding::Degraded(_)) => Decision::Heal(Action::Unseal(sealed), standing),
        _ => Decision::Act(Action::Unseal(sealed)),
    }
}

/// What to do when the members that are sealed are left aside.
fn unsealed(observed: &Observed, desired: &Desired) -> Decision<Action, Finding> {
    let unhealthy = unhealthy(observed, true);
    let Some(&active) = indices(observed, &MemberState::Active).first() else {
        return Decision::Report(Finding::WaitForActive(unhealthy));
    };
    let settings = match &observed.settings {
        SettingsState::Unknown(why) => return Decision::Report(Finding::SettingsUnreadable(why.clone())),
        SettingsState::TokenRefused => return Decision::Report(Finding::TokenRefused),
        SettingsState::Read(settings) => settings,
    };
    let in_state = |wanted: SettingState| -> Vec<String> {
        settings
            .iter()
            .filter(|(_, state)| *state == wanted)
            .map(|(name, _)| name.clone())
            .collect()
    };
    let conflicts = in_state(SettingState::Conflict);
    if !conflicts.is_empty() {
        return Decision::Report(Finding::SettingConflict(conflicts));
    }
    let unmet = in_state(SettingState::Unmet);
    if !unmet.is_empty() {
        return Decision::Act(Action::Configure {
            active,
            settings: unmet,
        });
    }
    let wanted = desired.members.len();
    let healthy = wanted.saturating_sub(unhealthy.len());
    Decision::Report(if unhealthy.is_empty() {
        Finding::Healthy(healthy)
    } else if desired.standard == Standard::Serving && healthy > wanted / 2 {
        Finding::Degraded(unhealthy)
    } else {
        Finding::WaitForMembers(unhealthy)
    })
}

fn indices(observed: &Observed, state: &MemberState) -> Vec<usize> {
    (0..)
        .zip(&observed.members)
        .filter(|(_, member)| member.state == *state)
        .map(|(index, _)| index)
        .collect()
}

/// The members that do not work, each with why; one that has no data is to join only `after_initialisation`.
fn unhealthy(observed: &Observed, after_initialisation: bool) -> Vec<String> {
    observed
        .members
        .iter()
        .filter_map(|Member { host, state }| match state {
            MemberState::Unreachable(why) => Some(format!("{host} does not answer ({why})")),
            MemberState::Uninitialised if after_initialisation => Some(format!("{host} has not joined yet")),
            MemberState::Sealed => Some(format!("{host} is sealed")),
            MemberState::Uninitialised | MemberState::Standby | MemberState::Active => None,
        })
        .collect()
}

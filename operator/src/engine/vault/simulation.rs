//! Every state that OpenBao can be found in, and a simulated one whose operator dies between any two steps, against
//! [`decide`].

use proptest::prelude::*;

use super::*;
use crate::engine::Decision;

pub(super) fn desired(standard: Standard) -> Desired {
    let hosts = ["http://v-0:8200", "http://v-1:8200", "http://v-2:8200"];
    Desired {
        members: hosts.iter().filter_map(|host| host.parse().ok()).collect(),
        trust: None,
        hub: "gallery".to_owned(),
        namespace: "photos".to_owned(),
        kubernetes_host: "https://kubernetes.default.svc".to_owned(),
        keys_secret: "gallery-vault-keys".to_owned(),
        standard,
        binds_audience: true,
    }
}

fn observed(states: [MemberState; 3], keys: KeyState, settings: SettingsState) -> Observed {
    let members = (0..).zip(states);
    Observed {
        members: members
            .map(|(index, state)| Member {
                host: format!("v-{index}"),
                state,
            })
            .collect(),
        keys,
        settings,
    }
}

fn settings(state: SettingState) -> SettingsState {
    SettingsState::Read(vec![("policy".to_owned(), state)])
}

fn unknown() -> SettingsState {
    SettingsState::Unknown("no member is active".to_owned())
}

fn gone() -> MemberState {
    MemberState::Unreachable("no connection".to_owned())
}

#[test]
fn lost_keys_stall_the_hub_and_name_their_secret() {
    let members = [MemberState::Sealed, MemberState::Sealed, MemberState::Sealed];
    let found = observed(members, KeyState::Absent, unknown());
    let Decision::Report(finding) = decide(&found, &desired(Standard::Serving)) else {
        panic!("something is done about it");
    };
    let status = PartStatus::from(finding);
    assert!(status.stalled && !status.ready);
    assert!(
        status.message.contains("\"gallery-vault-keys\""),
        "{}",
        status.message
    );
}

#[test]
fn each_state_has_its_finding() {
    use MemberState::{Active, Sealed, Standby, Uninitialised};
    let met = || settings(SettingState::Met);
    let blank = || [Uninitialised, Uninitialised, Uninitialised];
    let (complete, serving) = (Standard::Complete, Standard::Serving);
    let cases = [
        (
            [Uninitialised, gone(), Uninitialised],
            KeyState::Absent,
            unknown(),
            complete,
            ("WaitForMembers", false),
        ),
        (
            [Uninitialised, Sealed, Uninitialised],
            KeyState::Absent,
            unknown(),
            complete,
            ("SecretLost", false),
        ),
        (
            [Active, Standby, Standby],
            KeyState::Absent,
            unknown(),
            serving,
            ("SecretLost", false),
        ),
        (
            [Sealed, Uninitialised, Uninitialised],
            KeyState::Intended,
            unknown(),
            complete,
            ("InitialisationInterrupted", false),
        ),
        (
            blank(),
            KeyState::Stored,
            unknown(),
            complete,
            ("DataLost", false),
        ),
        (blank(), KeyState::Absent, unknown(), serving, ("DataLost", false)),
        (
            blank(),
            KeyState::Unknown("forbidden".to_owned()),
            unknown(),
            complete,
            ("KeysUnreadable", false),
        ),
        (
            blank(),
            KeyState::Incomplete("Secret x lacks unseal-key".to_owned()),
            unknown(),
            complete,
            ("SecretIncomplete", false),
        ),
        (
            [Standby, Standby, gone()],
            KeyState::Stored,
            unknown(),
            serving,
            ("WaitForActive", false),
        ),
        (
            [Active, Standby, Standby],
            KeyState::Stored,
            SettingsState::TokenRefused,
            serving,
            ("RootTokenRefused", false),
        ),
        (
            [Active, Standby, Standby],
            KeyState::Stored,
            settings(SettingState::Conflict),
            complete,
            ("SettingConflict", false),
        ),
        (
            [Active, Standby, Uninitialised],
            KeyState::Stored,
            met(),
            complete,
            ("WaitForMembers", false),
        ),
        (
            [Active, Standby, gone()],
            KeyState::Stored,
            met(),
            serving,
            ("Degraded", true),
        ),
        (
            [Active, gone(), gone()],
            KeyState::Stored,
            met(),
            serving,
            ("WaitForMembers", false),
        ),
        (
            [Active, Standby, Standby],
            KeyState::Stored,
            met(),
            complete,
            ("Ready", true),
        ),
    ];
    for (states, keys, settings, standard, expected) in cases {
        let observed = observed(states, keys, settings);
        let Decision::Report(finding) = decide(&observed, &desired(standard)) else {
            panic!("acts on {observed:?}");
        };
        let status = PartStatus::from(finding);
        assert_eq!((status.reason, status.ready), expected, "{observed:?}");
    }
}

#[test]
fn the_intent_is_recorded_before_the_initialisation() {
    let blank = |keys| {
        let states = [
            MemberState::Uninitialised,
            MemberState::Uninitialised,
            MemberState::Uninitialised,
        ];
        decide(&observed(states, keys, unknown()), &desired(Standard::Complete))
    };
    assert_eq!(blank(KeyState::Absent), Decision::Act(Action::RecordIntent));
    assert_eq!(blank(KeyState::Intended), Decision::Act(Action::Initialise(0)));
}

#[test]
fn a_restarted_member_is_unsealed_while_the_others_keep_the_part_ready() {
    let states = [MemberState::Active, MemberState::Sealed, MemberState::Standby];
    let observed = observed(states, KeyState::Stored, settings(SettingState::Met));
    assert_eq!(
        decide(&observed, &desired(Standard::Serving)),
        Decision::Heal(
            Action::Unseal(vec![1]),
            Finding::Degraded(vec!["v-1 is sealed".to_owned()])
        )
    );
}

/// Where a step of the operator ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// All of it is done.
    Done,
    /// The operator dies before.
    Lost,
    /// The operator dies in the middle: after the member's answer, before the Secret is written.
    Torn,
}

/// An OpenBao that behaves as the real one does where `decide` relies on it.
#[derive(Clone, Debug)]
struct Simulated {
    initialised: [bool; 3],
    sealed: [bool; 3],
    up: [bool; 3],
    keys: KeyState,
    configured: bool,
    initialisations: usize,
}

impl Simulated {
    fn blank() -> Self {
        Self {
            initialised: [false; 3],
            sealed: [true; 3],
            up: [true; 3],
            keys: KeyState::Absent,
            configured: false,
            initialisations: 0,
        }
    }

    fn unsealed(&self, member: usize) -> bool {
        self.up[member] && self.initialised[member] && !self.sealed[member]
    }

    /// The first unsealed member, if a majority of the members that have joined is unsealed.
    fn active(&self) -> Option<usize> {
        let joined = self.initialised.iter().filter(|&&joined| joined).count();
        let unsealed = (0..3).filter(|&member| self.unsealed(member)).count();
        (0..3)
            .find(|&member| self.unsealed(member))
            .filter(|_| 2 * unsealed > joined)
    }

    fn observe(&self) -> Observed {
        let active = self.active();
        let state = |member: usize| match (self.up[member], self.initialised[member], self.sealed[member]) {
            (false, ..) => gone(),
            (true, false, _) => MemberState::Uninitialised,
            (true, true, true) => MemberState::Sealed,
            (true, true, false) if active == Some(member) => MemberState::Active,
            (true, true, false) => MemberState::Standby,
        };
        let known = match (active, &self.keys) {
            (Some(_), KeyState::Stored) if self.configured => settings(SettingState::Met),
            (Some(_), KeyState::Stored) => settings(SettingState::Unmet),
            _ => unknown(),
        };
        observed([state(0), state(1), state(2)], self.keys.clone(), known)
    }

    fn perform(&mut self, action: &Action, fate: Fate) {
        match action {
            Action::RecordIntent => {
                assert_eq!(self.keys, KeyState::Absent, "an intent never replaces keys");
                self.keys = KeyState::Intended;
            }
            Action::Initialise(member) => {
                assert_eq!(self.initialised, [false; 3], "initialised over data");
                assert_eq!(self.up, [true; 3], "initialised without all members");
                assert_eq!(self.keys, KeyState::Intended, "initialised without the intent");
                self.initialised[*member] = true;
                self.initialisations += 1;
                if fate == Fate::Done {
                    self.keys = KeyState::Stored;
                }
            }
            Action::Unseal(members) => {
                assert_eq!(self.keys, KeyState::Stored);
                for &member in members {
                    self.sealed[member] = !self.up[member];
                }
            }
            Action::Configure { active, .. } => {
                assert_eq!(
                    self.active(),
                    Some(*active),
                    "configured at a member that is not active"
                );
                self.configured = fate == Fate::Done;
            }
        }
    }

    /// Members that are down come back sealed; members without data join the active one.
    fn pass_time(&mut self) {
        let joinable = self.active().is_some();
        for member in 0..3 {
            self.sealed[member] |= !self.up[member];
            self.initialised[member] |= joinable && self.up[member];
        }
    }

    fn tick(&mut self, standard: Standard, fate: Fate) -> Decision<Action, Finding> {
        let decision = decide(&self.observe(), &desired(standard));
        if let (Decision::Act(action) | Decision::Heal(action, _), Fate::Done | Fate::Torn) =
            (&decision, fate)
        {
            self.perform(action, fate);
        }
        self.pass_time();
        decision
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![3 => Just(Fate::Done), 1 => Just(Fate::Lost), 1 => Just(Fate::Torn)]
}

/// Which members are up for one step; mostly all.
fn up() -> impl Strategy<Value = [bool; 3]> {
    prop_oneof![2 => Just([true; 3]), 1 => prop::array::uniform3(any::<bool>())]
}

proptest! {
    #[test]
    fn wherever_the_operator_dies_openbao_is_initialised_at_most_once_and_ends_ready_or_says_why(
        schedule in prop::collection::vec((up(), fate()), 0..25),
    ) {
        let mut vault = Simulated::blank();
        let mut interrupted = false;
        for (up, fate) in schedule {
            vault.up = up;
            let decision = vault.tick(Standard::Complete, fate);
            interrupted |= matches!(decision, Decision::Act(Action::Initialise(_))) && fate == Fate::Torn;
        }
        vault.up = [true; 3];
        for _ in 0..12 {
            vault.tick(Standard::Complete, Fate::Done);
        }
        prop_assert_eq!(vault.initialisations, 1);
        let Decision::Report(finding) = vault.tick(Standard::Complete, Fate::Done) else {
            return Err(TestCaseError::fail("still has something to do"));
        };
        let expected = if interrupted {
            Finding::InitialisationInterrupted(vec!["v-0".to_owned()])
        } else {
            Finding::Healthy(3)
        };
        prop_assert_eq!(finding, expected);
    }

    #[test]
    fn an_openbao_that_is_well_is_left_alone(was_ready in any::<bool>()) {
        let mut vault = Simulated {
            initialised: [true; 3],
            sealed: [false; 3],
            keys: KeyState::Stored,
            configured: true,
            ..Simulated::blank()
        };
        let decision = vault.tick(Standard::of(was_ready), Fate::Done);
        prop_assert_eq!(decision, Decision::Report(Finding::Healthy(3)));
    }
}

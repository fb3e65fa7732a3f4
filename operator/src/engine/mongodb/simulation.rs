//! Every state that a replica set can be found in, and a simulated one that crashes and comes back, against [`decide`].

use proptest::prelude::*;
use secrecy::SecretString;

use super::*;
use crate::engine::Decision;

const HOSTS: [&str; 3] = ["m-0:27017", "m-1:27017", "m-2:27017"];

fn desired(standard: Standard) -> Desired {
    Desired {
        hosts: HOSTS.map(str::to_owned).to_vec(),
        kept: 3,
        replica_set: "rs0".to_owned(),
        database: "flickrhub".to_owned(),
        keyfile: SecretString::from("key"),
        admin_password: SecretString::from("admin"),
        app: Login {
            username: "flickrhub".to_owned(),
            password: SecretString::from("app"),
        },
        rights: Rights::OwnRole,
        timing: Timing::SWIFT,
        trust: None,
        standard,
        users_are_known: false,
    }
}

fn configuration() -> Configuration {
    Configuration {
        id: "set".to_owned(),
        replica_set: "rs0".to_owned(),
        version: 1,
        hosts: HOSTS.map(str::to_owned).to_vec(),
        timing: Timing::SWIFT,
    }
}

fn configured(role: Role) -> MemberState {
    MemberState::Configured(configuration(), role)
}

fn other(role: &str) -> MemberState {
    configured(Role::Other(role.to_owned()))
}

fn observed(states: [MemberState; 3], accounts: Option<Accounts>) -> Observed {
    let members = HOSTS.iter().zip(states);
    Observed {
        members: members
            .map(|(host, state)| Member {
                host: (*host).to_owned(),
                state,
            })
            .collect(),
        accounts,
    }
}

const AS_WANTED: Option<Accounts> = Some(Accounts::AS_WANTED);

fn reason(decision: Decision<Action, Finding>) -> (&'static str, bool) {
    match decision {
        Decision::Act(_) | Decision::Heal(..) => ("Act", false),
        Decision::Report(finding) => {
            let status = PartStatus::from(finding);
            (status.reason, status.ready)
        }
    }
}

#[test]
fn blank_members_are_initiated_at_the_first_of_them() {
    let blank = || MemberState::Blank;
    assert_eq!(
        decide(
            &observed([blank(), blank(), blank()], None),
            &desired(Standard::Complete)
        ),
        Decision::Act(Action::Initiate {
            host: HOSTS[0].to_owned()
        })
    );
}

#[test]
fn each_state_has_its_finding() {
    use MemberState::{Blank, DataOnly, KeyRefused};
    let unreachable = || MemberState::Unreachable("no connection".to_owned());
    let primary = || configured(Role::Primary);
    let secondary = || configured(Role::Secondary);
    let elsewhere = |change: fn(&mut Configuration)| {
        let mut configuration = configuration();
        change(&mut configuration);
        MemberState::Configured(configuration, Role::Primary)
    };
    let (complete, serving) = (Standard::Complete, Standard::Serving);
    let cases = [
        (
            [Blank, Blank, unreachable()],
            None,
            complete,
            ("WaitForMembers", false),
        ),
        ([Blank, Blank, Blank], None, serving, ("DataLost", false)),
        ([Blank, KeyRefused, Blank], None, complete, ("KeyRefused", false)),
        (
            [Blank, DataOnly, Blank],
            None,
            complete,
            ("DataWithoutReplicaSet", false),
        ),
        (
            [secondary(), Blank, Blank],
            None,
            complete,
            ("WaitForPrimary", false),
        ),
        (
            [primary(), primary(), secondary()],
            AS_WANTED,
            serving,
            ("WaitForPrimary", false),
        ),
        (
            [primary(), secondary(), secondary()],
            None,
            serving,
            ("WaitForPrimary", false),
        ),
        (
            [primary(), secondary(), other("STARTUP2")],
            AS_WANTED,
            complete,
            ("WaitForMembers", false),
        ),
        (
            [primary(), secondary(), other("STARTUP2")],
            AS_WANTED,
            serving,
            ("Degraded", true),
        ),
        (
            [primary(), secondary(), Blank],
            AS_WANTED,
            serving,
            ("Degraded", true),
        ),
        (
            [primary(), unreachable(), unreachable()],
            AS_WANTED,
            serving,
            ("WaitForMembers", false),
        ),
        (
            [primary(), secondary(), secondary()],
            AS_WANTED,
            complete,
            ("Ready", true),
        ),
        (
            [elsewhere(|c| c.replica_set = "rs1".to_owned()), Blank, Blank],
            None,
            complete,
            ("OtherReplicaSet", false),
        ),
        (
            [elsewhere(|c| c.id = "another".to_owned()), secondary(), Blank],
            None,
            complete,
            ("SeveralReplicaSets", false),
        ),
        (
            [elsewhere(|c| c.hosts.push("m-9:27017".to_owned())), Blank, Blank],
            AS_WANTED,
            complete,
            ("ForeignMembers", false),
        ),
    ];
    for (states, accounts, standard, expected) in cases {
        let observed = observed(states, accounts);
        assert_eq!(
            reason(decide(&observed, &desired(standard))),
            expected,
            "{observed:?}"
        );
    }
}

#[test]
fn users_are_created_as_soon_as_there_is_a_primary() {
    let accounts = |admin, app| {
        Some(Accounts {
            admin,
            app,
            ..Accounts::AS_WANTED
        })
    };
    let starting = |accounts| {
        let states = [configured(Role::Primary), other("STARTUP2"), other("STARTUP2")];
        decide(&observed(states, accounts), &desired(Standard::Complete))
    };
    let primary = || HOSTS[0].to_owned();
    assert_eq!(
        starting(accounts(AccountState::Absent, AccountState::Absent)),
        Decision::Act(Action::CreateAccount {
            primary: primary(),
            account: Account::Admin
        })
    );
    assert_eq!(
        starting(accounts(AccountState::AsWanted, AccountState::Differs)),
        Decision::Act(Action::UpdateAccount {
            primary: primary(),
            account: Account::App
        })
    );
}

#[test]
fn the_role_comes_before_its_user_and_the_log_of_a_new_hub_before_whoever_writes_it() {
    let starting = |accounts| {
        let states = [configured(Role::Primary), other("STARTUP2"), other("STARTUP2")];
        decide(&observed(states, Some(accounts)), &desired(Standard::Complete))
    };
    let primary = || HOSTS[0].to_owned();
    let new = Accounts {
        admin: AccountState::AsWanted,
        role: AccountState::Absent,
        app: AccountState::Absent,
        audit_log_is_indexed: false,
    };
    assert_eq!(
        starting(new),
        Decision::Act(Action::IndexAuditLog { primary: primary() })
    );
    let new = Accounts {
        audit_log_is_indexed: true,
        ..new
    };
    assert_eq!(
        starting(new),
        Decision::Act(Action::CreateRole { primary: primary() })
    );
    let of_before = Accounts {
        role: AccountState::Differs,
        app: AccountState::Differs,
        ..Accounts::AS_WANTED
    };
    assert_eq!(
        starting(of_before),
        Decision::Act(Action::UpdateRole { primary: primary() })
    );
}

#[test]
fn the_log_of_a_hub_that_works_is_put_in_order_while_it_works() {
    let accounts = Accounts {
        audit_log_is_indexed: false,
        ..Accounts::AS_WANTED
    };
    let states = [
        configured(Role::Primary),
        configured(Role::Secondary),
        MemberState::Unreachable("down".to_owned()),
    ];
    let decision = decide(&observed(states, Some(accounts)), &desired(Standard::Serving));
    assert!(
        matches!(
            decision,
            Decision::Heal(Action::IndexAuditLog { .. }, Finding::Degraded { .. })
        ),
        "{decision:?}"
    );
}

#[test]
fn the_timing_of_an_older_set_is_changed_while_all_members_work() {
    let mut slow = configuration();
    slow.timing.catch_up_ms = -1;
    let state = |role| MemberState::Configured(slow.clone(), role);
    let healthy = [
        state(Role::Primary),
        state(Role::Secondary),
        state(Role::Secondary),
    ];
    let decision = decide(&observed(healthy, AS_WANTED), &desired(Standard::Serving));
    let primary = HOSTS[0].to_owned();
    assert!(
        matches!(&decision, Decision::Heal(Action::SetTiming { primary: asked }, Finding::Healthy { .. }) if *asked == primary),
        "{decision:?}"
    );
    let one_is_away = [
        state(Role::Primary),
        state(Role::Secondary),
        MemberState::Unreachable("down".to_owned()),
    ];
    let decision = decide(&observed(one_is_away, AS_WANTED), &desired(Standard::Serving));
    assert!(
        matches!(decision, Decision::Report(Finding::Degraded { .. })),
        "{decision:?}"
    );
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Blank,
    DataOnly,
    Configured,
}

/// A replica set that behaves as the real one does where `decide` relies on it.
#[derive(Clone, Debug)]
struct Simulated {
    disks: [Disk; 3],
    up: [bool; 3],
    accounts: Accounts,
    initiations: usize,
}

/// What happens to an action.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is done.
    Done,
    /// The operator dies before, or the request is lost.
    Lost,
}

impl Simulated {
    fn majority_is_up(&self) -> bool {
        (0..3)
            .filter(|&i| self.up[i] && self.disks[i] == Disk::Configured)
            .count()
            >= 2
    }

    fn primary(&self) -> Option<usize> {
        let electable = (0..3).find(|&i| self.up[i] && self.disks[i] == Disk::Configured);
        electable.filter(|_| self.majority_is_up())
    }

    fn observe(&self) -> Observed {
        let primary = self.primary();
        let state = |i: usize| match (self.up[i], self.disks[i]) {
            (false, _) => MemberState::Unreachable("down".to_owned()),
            (true, Disk::Blank) => MemberState::Blank,
            (true, Disk::DataOnly) => MemberState::DataOnly,
            (true, Disk::Configured) if primary == Some(i) => configured(Role::Primary),
            (true, Disk::Configured) => configured(Role::Secondary),
        };
        observed([state(0), state(1), state(2)], primary.map(|_| self.accounts))
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Initiate { host } => {
                assert_eq!(host, HOSTS[0], "only the first member is ever initiated");
                assert_eq!(self.up, [true; 3], "initiated without all members");
                assert_eq!(
                    self.disks,
                    [Disk::Blank; 3],
                    "initiated over a configuration or data"
                );
                self.disks[0] = Disk::Configured;
                self.initiations += 1;
            }
            Action::AddMember { .. } | Action::RemoveMember { .. } => {
                panic!("the members of a set of the wanted size are changed");
            }
            Action::SetTiming { .. } => panic!("the wanted timing is set again"),
            Action::CreateAccount { account, .. } | Action::UpdateAccount { account, .. } => {
                assert!(self.primary().is_some(), "users are written on a primary");
                let accounts = &mut self.accounts;
                match account {
                    Account::Admin => accounts.admin = AccountState::AsWanted,
                    Account::App => {
                        assert_eq!(
                            accounts.role,
                            AccountState::AsWanted,
                            "a user is given a role that is not there"
                        );
                        assert!(
                            accounts.app != AccountState::Absent || accounts.audit_log_is_indexed,
                            "a log is written whose entries do not expire"
                        );
                        accounts.app = AccountState::AsWanted;
                    }
                }
            }
            Action::CreateRole { .. } | Action::UpdateRole { .. } => {
                assert!(self.primary().is_some(), "a role is written on a primary");
                self.accounts.role = AccountState::AsWanted;
            }
            Action::IndexAuditLog { .. } => {
                assert!(self.primary().is_some(), "indexes are made on a primary");
                self.accounts.audit_log_is_indexed = true;
            }
        }
    }

    /// The members tell each other their configuration.
    fn heartbeat(&mut self) {
        if (0..3).any(|i| self.up[i] && self.disks[i] == Disk::Configured) {
            for i in 0..3 {
                if self.up[i] && self.disks[i] == Disk::Blank {
                    self.disks[i] = Disk::Configured;
                }
            }
        }
    }

    fn tick(&mut self, standard: Standard, fate: Fate) -> Decision<Action, Finding> {
        let decision = decide(&self.observe(), &desired(standard));
        if let (Decision::Act(action) | Decision::Heal(action, _), Fate::Done) = (&decision, fate) {
            self.perform(action);
        }
        self.heartbeat();
        decision
    }
}

fn disk() -> impl Strategy<Value = Disk> {
    prop_oneof![6 => Just(Disk::Blank), 1 => Just(Disk::DataOnly), 2 => Just(Disk::Configured)]
}

fn account_state() -> impl Strategy<Value = AccountState> {
    prop_oneof![
        Just(AccountState::Absent),
        Just(AccountState::Differs),
        Just(AccountState::AsWanted)
    ]
}

proptest! {
    #[test]
    fn whatever_happens_a_set_is_initiated_at_most_once_and_ends_healthy(
        disks in prop::array::uniform3(disk()),
        accounts in (account_state(), account_state(), account_state(), any::<bool>()),
        schedule in prop::collection::vec((prop::array::uniform3(any::<bool>()), any::<bool>()), 0..30),
        was_ready in any::<bool>(),
    ) {
        let standard = Standard::of(was_ready);
        let mut set = Simulated {
            disks,
            up: [true; 3],
            accounts: Accounts {
                admin: accounts.0,
                role: accounts.1,
                app: accounts.2,
                audit_log_is_indexed: accounts.3,
            },
            initiations: 0,
        };
        for (up, done) in schedule {
            set.up = up;
            set.tick(standard, if done { Fate::Done } else { Fate::Lost });
        }
        set.up = [true; 3];
        for _ in 0..8 {
            set.tick(standard, Fate::Done);
        }
        let fresh = disks == [Disk::Blank; 3];
        prop_assert_eq!(set.initiations, usize::from(fresh && !was_ready));

        let status = match set.tick(standard, Fate::Done) {
            Decision::Report(finding) => PartStatus::from(finding),
            Decision::Act(action) | Decision::Heal(action, _) => {
                return Err(TestCaseError::fail(format!("still wants to {action}")));
            }
        };
        let expected = if fresh && was_ready {
            ("DataLost", false)
        } else if !disks.contains(&Disk::DataOnly) {
            ("Ready", true)
        } else if !disks.contains(&Disk::Configured) {
            ("DataWithoutReplicaSet", false)
        } else if disks.iter().filter(|disk| **disk == Disk::DataOnly).count() > 1 {
            ("WaitForPrimary", false)
        } else if was_ready {
            ("Degraded", true)
        } else {
            ("WaitForMembers", false)
        };
        prop_assert_eq!((status.reason, status.ready), expected);
    }
}

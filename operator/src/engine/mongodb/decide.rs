//! What follows from the state of a replica set.

use std::collections::BTreeSet;
use std::fmt;

use super::finding::Finding;
use super::{Desired, Timing};
use crate::engine::{Decision, Standard};

/// A replica set as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Every wanted member, in the order of [`Desired::hosts`].
    pub members: Vec<Member>,
    /// The users; `None` while no primary tells.
    pub accounts: Option<Accounts>,
}

/// A wanted member as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its `host:port`.
    pub host: String,
    /// What it says.
    pub state: MemberState,
}

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// No answer; why.
    Unreachable(String),
    /// It answers and refuses the key.
    KeyRefused,
    /// It has neither a configuration nor data.
    Blank,
    /// It has data, and belongs to no replica set.
    DataOnly,
    /// It belongs to a replica set.
    Configured(Configuration, Role),
}

/// The configuration that a member has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The identity that the set was given when it was initiated.
    pub id: String,
    /// The name of the set.
    pub replica_set: String,
    /// Its version; the newest counts.
    pub version: i64,
    /// The members, each as `host:port`.
    pub hosts: Vec<String>,
    /// How soon another primary takes over.
    pub timing: Timing,
}

/// What a member does in its set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows.
    Secondary,
    /// Neither: the name of the state, for example `STARTUP2` during its first copy.
    Other(String),
}

/// A user that the hub needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The administrator, for people and for backups.
    Admin,
    /// The user of the API and the workers.
    App,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "the administrator",
            Self::App => "the application's user",
        })
    }
}

/// What the primary says of a user, or of the role of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// It does not exist.
    Absent,
    /// Its password, roles or privileges are not the wanted ones.
    Differs,
    /// As wanted.
    AsWanted,
}

/// What the primary says of the users, and of what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// The administrator.
    pub admin: AccountState,
    /// The role of the user of the API and the workers.
    pub role: AccountState,
    /// The user of the API and the workers.
    pub app: AccountState,
    /// Whether the audit log has the indexes that it should have. That user may create none there.
    pub audit_log_is_indexed: bool,
}

impl Accounts {
    /// Nothing is to be done.
    pub const AS_WANTED: Self = Self {
        admin: AccountState::AsWanted,
        role: AccountState::AsWanted,
        app: AccountState::AsWanted,
        audit_log_is_indexed: true,
    };
}

/// A change of the replica set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make one replica set of all members, asked of this one.
    Initiate {
        /// Always the first member: the server refuses a second initiation of the same member, so that not even two
        /// operators at once could make two sets.
        host: String,
    },
    /// Create a user.
    CreateAccount {
        /// The primary.
        primary: String,
        /// The user.
        account: Account,
    },
    /// Give a user the password of the Secret and the wanted roles.
    UpdateAccount {
        /// The primary.
        primary: String,
        /// The user.
        account: Account,
    },
    /// Create the role of the application's user.
    CreateRole {
        /// The primary.
        primary: String,
    },
    /// Give that role the wanted privileges.
    UpdateRole {
        /// The primary.
        primary: String,
    },
    /// Bring the indexes of the audit log to what they should be.
    IndexAuditLog {
        /// The primary.
        primary: String,
    },
    /// Add a member. It copies the data first, and votes when it has done so.
    AddMember {
        /// The primary.
        primary: String,
        /// The member.
        host: String,
    },
    /// Take a member out.
    RemoveMember {
        /// The primary.
        primary: String,
        /// The member.
        host: String,
    },
    /// Set how soon another primary takes over.
    SetTiming {
        /// The primary.
        primary: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initiate { host } => write!(f, "initiate the replica set at {host}"),
            Self::CreateAccount { account, .. } => write!(f, "create {account}"),
            Self::UpdateAccount { account, .. } => write!(f, "set password and roles of {account}"),
            Self::CreateRole { .. } => f.write_str("create the role of the application's user"),
            Self::UpdateRole { .. } => f.write_str("set the privileges of the application's user"),
            Self::IndexAuditLog { .. } => f.write_str("bring the indexes of the audit log in order"),
            Self::AddMember { host, .. } => write!(f, "add {host} to the replica set"),
            Self::RemoveMember { host, .. } => write!(f, "take {host} out of the replica set"),
            Self::SetTiming { .. } => f.write_str("set how soon another primary takes over"),
        }
    }
}

/// What to do about a replica set.
///
/// A set is initiated only if every wanted member answers and none has a configuration or data, and only for a hub that
/// was not ready before. Members of a running set are added and taken out one at a time, while all others work.
pub fn decide(observed: &Observed, desired: &Desired) -> Decision<Action, Finding> {
    let configurations: Vec<&Configuration> = observed
        .members
        .iter()
        .filter_map(|member| match &member.state {
            MemberState::Configured(configuration, _) => Some(configuration),
            _ => None,
        })
        .collect();
    match configurations
        .iter()
        .max_by_key(|configuration| configuration.version)
    {
        None => without_configuration(observed, desired),
        Some(newest) if newest.replica_set != desired.replica_set => {
            Decision::Report(Finding::OtherReplicaSet(newest.replica_set.clone()))
        }
        Some(newest) if configurations.iter().any(|other| other.id != newest.id) => {
            Decision::Report(Finding::SeveralReplicaSets)
        }
        Some(newest) => with_configuration(observed, newest, desired),
    }
}

fn without_configuration(observed: &Observed, desired: &Desired) -> Decision<Action, Finding> {
    // Members that are to go are none of a set that does not exist.
    let observed = &kept(observed, desired);
    let refused = hosts_in(observed, |state| matches!(state, MemberState::KeyRefused));
    let data = hosts_in(observed, |state| matches!(state, MemberState::DataOnly));
    let blank = hosts_in(observed, |state| matches!(state, MemberState::Blank));
    if !refused.is_empty() {
        return Decision::Report(Finding::KeyRefused(refused));
    }
    if !data.is_empty() {
        return Decision::Report(Finding::DataWithoutReplicaSet(data));
    }
    if blank.len() < desired.wanted().len() {
        return Decision::Report(Finding::WaitForMembers(unhealthy(observed)));
    }
    match (desired.standard, blank.into_iter().next()) {
        (Standard::Complete, Some(host)) => Decision::Act(Action::Initiate { host }),
        (Standard::Serving, _) => Decision::Report(Finding::DataLost),
        (Standard::Complete, None) => Decision::Report(Finding::WaitForMembers(Vec::new())),
    }
}

fn with_configuration(
    observed: &Observed,
    configuration: &Configuration,
    desired: &Desired,
) -> Decision<Action, Finding> {
    let primaries = hosts_in(observed, |state| {
        matches!(state, MemberState::Configured(_, Role::Primary))
    });
    // Two for a moment are an old primary that has not noticed its successor; its writes would be rolled back.
    let (Ok([primary]), Some(accounts)) = (<[String; 1]>::try_from(primaries), observed.accounts) else {
        return Decision::Report(Finding::WaitForPrimary);
    };
    if let Some(action) = of_accounts(accounts, &primary) {
        return Decision::Act(action);
    }
    let has: BTreeSet<&String> = configuration.hosts.iter().collect();
    let foreign: Vec<String> = has
        .iter()
        .filter(|host| !desired.hosts.contains(host))
        .map(|host| (*host).clone())
        .collect();
    if !foreign.is_empty() {
        return Decision::Report(Finding::ForeignMembers(foreign));
    }
    let finding = judge(&kept(observed, desired), &primary, desired);
    let action = match desired.wanted().iter().find(|host| !has.contains(host)) {
        Some(missing) => may_add(observed, &has, missing).then(|| Action::AddMember {
            primary,
            host: missing.clone(),
        }),
        None => match surplus(&has, desired) {
            Some(host) => may_remove(observed, &has, &primary, host).then(|| Action::RemoveMember {
                primary,
                host: host.clone(),
            }),
            None if !accounts.audit_log_is_indexed => Some(Action::IndexAuditLog { primary }),
            None => (configuration.timing != desired.timing && working(observed, &has) == has.len())
                .then_some(Action::SetTiming { primary }),
        },
    };
    match action {
        Some(action) => Decision::Heal(action, finding),
        None => Decision::Report(finding),
    }
}

/// What is to be done about the users before anything else. The role comes before the user that is given it. The audit log of
/// a new hub is in order before there is somebody who writes it; that of another hub is put in order while the hub works.
fn of_accounts(accounts: Accounts, primary: &str) -> Option<Action> {
    let primary = || primary.to_owned();
    let user = |account, state| match state {
        AccountState::Absent => Some(Action::CreateAccount {
            primary: primary(),
            account,
        }),
        AccountState::Differs => Some(Action::UpdateAccount {
            primary: primary(),
            account,
        }),
        AccountState::AsWanted => None,
    };
    let role = match accounts.role {
        AccountState::Absent => Some(Action::CreateRole { primary: primary() }),
        AccountState::Differs => Some(Action::UpdateRole { primary: primary() }),
        AccountState::AsWanted => None,
    };
    let is_new = accounts.app == AccountState::Absent && !accounts.audit_log_is_indexed;
    let log = is_new.then(|| Action::IndexAuditLog { primary: primary() });
    let admin = user(Account::Admin, accounts.admin);
    admin
        .or(log)
        .or(role)
        .or_else(|| user(Account::App, accounts.app))
}

/// What is known of the members that are wanted.
fn kept(observed: &Observed, desired: &Desired) -> Observed {
    let members = observed.members.iter();
    let kept = members.filter(|member| desired.wanted().contains(&member.host));
    Observed {
        members: kept.cloned().collect(),
        accounts: observed.accounts,
    }
}

/// Where a set stands whose wanted members are these.
fn judge(observed: &Observed, primary: &str, desired: &Desired) -> Finding {
    let primary = primary.to_owned();
    let wanted = desired.wanted().len();
    let unhealthy = unhealthy(observed);
    let healthy = wanted.saturating_sub(unhealthy.len());
    if unhealthy.is_empty() {
        Finding::Healthy {
            primary,
            secondaries: healthy.saturating_sub(1),
        }
    } else if desired.standard == Standard::Serving && healthy > wanted / 2 {
        Finding::Degraded { primary, unhealthy }
    } else {
        Finding::WaitForMembers(unhealthy)
    }
}

/// The last member of the set that is to go.
fn surplus<'a>(has: &BTreeSet<&String>, desired: &'a Desired) -> Option<&'a String> {
    let leaving = desired.hosts.get(desired.kept..).unwrap_or_default();
    leaving.iter().rev().find(|host| has.contains(host))
}

/// Whether a member can join: it answers and can take the data of the set, and every member that the set has works.
fn may_add(observed: &Observed, has: &BTreeSet<&String>, host: &str) -> bool {
    let can_join = observed.members.iter().any(|member| {
        member.host == host
            && matches!(
                member.state,
                MemberState::Blank | MemberState::Configured(_, Role::Other(_))
            )
    });
    can_join && working(observed, has) == has.len()
}

/// Whether a member can be taken out: it is not the primary, and most of those that remain work.
fn may_remove(observed: &Observed, has: &BTreeSet<&String>, primary: &str, host: &String) -> bool {
    let remaining: BTreeSet<&String> = has.iter().copied().filter(|other| *other != host).collect();
    host != primary && working(observed, &remaining) > remaining.len() / 2
}

/// How many of these members lead or follow.
fn working(observed: &Observed, hosts: &BTreeSet<&String>) -> usize {
    let works = |member: &&Member| {
        let state = &member.state;
        matches!(state, MemberState::Configured(_, Role::Primary | Role::Secondary))
    };
    let members = observed
        .members
        .iter()
        .filter(|member| hosts.contains(&member.host));
    members.filter(works).count()
}

fn hosts_in(observed: &Observed, is: impl Fn(&MemberState) -> bool) -> Vec<String> {
    observed
        .members
        .iter()
        .filter(|member| is(&member.state))
        .map(|member| member.host.clone())
        .collect()
}

/// The members that neither lead nor follow, each with why.
fn unhealthy(observed: &Observed) -> Vec<String> {
    observed
        .members
        .iter()
        .filter_map(|Member { host, state }| match state {
            MemberState::Configured(_, Role::Primary | Role::Secondary) => None,
            MemberState::Configured(_, Role::Other(role)) => Some(format!("{host} is in state {role}")),
            MemberState::Unreachable(why) => Some(format!("{host} does not answer ({why})")),
            MemberState::KeyRefused => Some(format!("{host} refuses the key")),
            MemberState::Blank => Some(format!("{host} has not joined yet")),
            MemberState::DataOnly => Some(format!("{host} has data of no replica set")),
        })
        .collect()
}

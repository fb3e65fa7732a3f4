//! MongoDB: a replica set that is initiated once, its users with their role, the indexes of the audit log, and its members when
//! they become more or fewer.
//!
//! The operator logs in to each member as the internal user `__system` with the key file, the only login that works on
//! a member without users, and speaks to each member directly, because a replica set that is not initiated has no
//! address of its own.
//!
//! If the process dies …
//!
//! * after initiating: the members have a configuration, so nothing is initiated again;
//! * after creating a user: the user exists with the password of the Secret, so it is left alone;
//! * after creating the role, or the indexes of the audit log: both are as they should be, and the user that needs them follows;
//! * after adding a member or taking one out: the configuration that the primary has is what counts, and the next member
//!   follows when the set is whole again.

mod accounts;
mod answers;
mod decide;
mod finding;
mod logins;
mod members;
mod rights;
mod roster;
#[cfg(test)]
mod scaling;
#[cfg(test)]
mod simulation;

pub use decide::{
    Account, AccountState, Accounts, Action, Configuration, Member, MemberState, Observed, Role, decide,
};
pub use finding::Finding;
use flickrhub_job::config::Login;
use flickrhub_job::connection::trust::Trust;
pub use members::{ActionError, Members};
pub use rights::Rights;
use secrecy::SecretString;

use super::roster::Roster;
use super::{Decision, Engine, Size, Standard, drive};
use crate::names;
use crate::part::{Part, PartStatus};
use crate::secrets::MongoDbSecrets;
use crate::validate::ValidatedHub;

/// How soon another primary takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a member waits for the primary before it calls an election, in milliseconds.
    pub election_ms: i64,
    /// How long a new primary waits, before it takes writes, for what only others may have, in milliseconds. Beyond that
    /// it would wait for a former primary that hangs until it gives that one up. It has everything that the majority has,
    /// and so whatever was acknowledged to us (`w: majority`).
    pub catch_up_ms: i64,
    /// How long a member may be silent before others take it for down and copy from another one, in seconds.
    pub heartbeat_s: i64,
}

impl Timing {
    /// Failover in about 4 s, whether the primary died or hangs.
    pub const SWIFT: Self = Self {
        election_ms: 3000,
        catch_up_ms: 500,
        heartbeat_s: 3,
    };
}

/// The replica set that is wanted.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The members that are there or wanted, each as `host:port` with a name that stays when the pod is replaced.
    pub hosts: Vec<String>,
    /// How many of them are wanted; those after them are to go.
    pub kept: usize,
    /// The name of the replica set.
    pub replica_set: String,
    /// The database of the application.
    pub database: String,
    /// The content of the key file.
    pub keyfile: SecretString,
    /// The password of the administrator.
    pub admin_password: SecretString,
    /// The application's user.
    pub app: Login,
    /// What it may do.
    pub rights: Rights,
    /// The authorities by which the members are known; without any, there is no TLS.
    pub trust: Option<Trust>,
    /// How soon another primary takes over.
    pub timing: Timing,
    /// What it takes to be ready.
    pub standard: Standard,
    /// Whether the users, their role and the audit log's indexes were found as they should be a short time ago, and need
    /// not be looked at.
    pub users_are_known: bool,
}

impl Desired {
    /// What a hub wants.
    pub fn of(hub: &ValidatedHub, secrets: &MongoDbSecrets, size: Size, rights: Rights) -> Self {
        Self {
            hosts: hub
                .names
                .mongodb_hosts(size.all())
                .into_iter()
                .map(|host| format!("{host}:{}", names::MONGODB_PORT))
                .collect(),
            kept: size.kept(),
            replica_set: names::MONGODB_REPLICA_SET.to_owned(),
            database: names::MONGODB_DATABASE.to_owned(),
            keyfile: secrets.keyfile.clone(),
            admin_password: secrets.admin_password.clone(),
            app: secrets.app.clone(),
            rights,
            trust: hub.trust.clone(),
            timing: Timing::SWIFT,
            standard: Standard::of(hub.was_ready(Part::MongoDb)),
            users_are_known: false,
        }
    }
}

impl Desired {
    /// The hosts of the wanted members.
    fn wanted(&self) -> &[String] {
        self.hosts.get(..self.kept).unwrap_or(&self.hosts)
    }
}

/// The replica set, as [`decide`] needs it.
pub trait ReplicaSet {
    /// Looks at every member, and at the users where there is a primary.
    fn observe(&self) -> impl Future<Output = Observed> + Send;

    /// Does what was decided.
    fn perform(&self, action: &Action) -> impl Future<Output = Result<(), ActionError>> + Send;
}

struct Step<'a, R> {
    replica_set: R,
    desired: &'a Desired,
}

impl<R: ReplicaSet + Sync> Engine for Step<'_, R> {
    type Action = Action;
    type Finding = Finding;
    type Error = ActionError;

    async fn next(&self) -> Decision<Action, Finding> {
        decide(&self.replica_set.observe().await, self.desired)
    }

    async fn perform(&self, action: &Action) -> Result<(), ActionError> {
        self.replica_set.perform(action).await
    }
}

/// Brings a replica set closer to what is wanted and tells where it stands.
pub async fn reconcile_desired(desired: &Desired) -> PartStatus {
    let step = Step {
        replica_set: Members::new(desired),
        desired,
    };
    drive(&step).await
}

impl super::roster::Members for Desired {
    type Error = ActionError;

    async fn roster(&self) -> Roster {
        let view = Members::new(self).look_at_set().await;
        roster::roster(view.as_ref(), &self.hosts)
    }

    async fn hand_over(&self, ordinal: u32) -> Result<(), ActionError> {
        let index = usize::try_from(ordinal).unwrap_or(usize::MAX);
        let host = self.hosts.get(index).ok_or(ActionError::Unknown)?;
        Members::new(self).step_down(host).await
    }
}

//! The members over the wire.

use std::time::Duration;

use futures::future::join_all;
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{AuthMechanism, ClientOptions, Credential, ServerAddress};
use secrecy::{ExposeSecret, SecretString};

use super::answers::{first_document, integer, read_configuration, state_name, write_timing};
use super::decide::{Accounts, Action, Member, MemberState, Observed, Role};
use super::roster::{SetView, read_status};
use super::{Desired, ReplicaSet};
use crate::engine::trust_file::tls_of;
use crate::engine::{ACTION_TIMEOUT, OBSERVE_TIMEOUT};

/// How long a connection to a member may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a primary waits for a successor that has all of its writes, in seconds.
const CATCH_UP_SECONDS: i32 = 10;
/// How long a primary that stepped down does not stand for election, in seconds: as long as its restart takes.
const STEP_DOWN_SECONDS: i32 = 60;
/// How long a change of the members may take, in milliseconds.
const RECONFIGURE_TIMEOUT_MS: i32 = 4000;
/// How long a primary may take to step down.
const STEP_DOWN_TIMEOUT: Duration = Duration::from_secs(15);

// Error codes of the server, `src/mongo/base/error_codes.yml`.
const AUTHENTICATION_FAILED: i32 = 18;
const ALREADY_INITIALIZED: i32 = 23;
const INVALID_REPLICA_SET_CONFIG: i32 = 93;
const NOT_YET_INITIALIZED: i32 = 94;
pub(super) const ROLE_ALREADY_EXISTS: i32 = 51002;
pub(super) const USER_ALREADY_EXISTS: i32 = 51003;
pub(super) const USER_NOT_FOUND: i32 = 11;

/// An action failed; observing again tells whether it had an effect.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The configured address of a member is none.
    #[error("{0:?} is no address of a member; it must be host:port")]
    Address(String),
    /// The member refused, or the connection was lost.
    // The driver's text can hold the whole answer of the server, its kind alone says enough.
    #[error("the member said: {}", .0.kind)]
    Member(#[from] Error),
    /// The authorities cannot be handed to the driver.
    #[error("the file with the certificate authorities cannot be written: {0}")]
    Trust(#[source] std::io::Error),
    /// No answer in time; it may yet have an effect.
    #[error("the member did not answer in time")]
    TimedOut,
    /// There is no such member.
    #[error("there is no such member")]
    Unknown,
    /// Nobody, or more than one, says that it is the primary.
    #[error("no member is the primary at the moment")]
    NoPrimary,
}

/// The members, each spoken to directly.
pub struct Members<'a> {
    pub(super) desired: &'a Desired,
}

impl<'a> Members<'a> {
    /// The members of the wanted replica set.
    pub const fn new(desired: &'a Desired) -> Self {
        Self { desired }
    }

    async fn observe_member(&self, host: &str) -> MemberState {
        match tokio::time::timeout(OBSERVE_TIMEOUT, self.look_at(host)).await {
            Ok(Ok(state)) => state,
            Ok(Err(ActionError::Member(error))) if is_refused(&error) => MemberState::KeyRefused,
            Ok(Err(ActionError::Member(error))) => MemberState::Unreachable(short(&error)),
            Ok(Err(error)) => MemberState::Unreachable(error.to_string()),
            Err(_) => MemberState::Unreachable("no answer in time".to_owned()),
        }
    }

    /// The stored configuration is read from its collection, not asked of the running set: a member that has just
    /// started has not loaded it yet and would say that it has none.
    async fn look_at(&self, host: &str) -> Result<MemberState, ActionError> {
        let client = self.connect(host, self.system())?;
        let stored = client
            .database("local")
            .run_command(doc! { "find": "system.replset", "limit": 1, "singleBatch": true })
            .await?;
        let state = match first_document(&stored) {
            Some(configuration) => {
                MemberState::Configured(read_configuration(configuration), role(&client).await?)
            }
            None if has_collections(&client).await? => MemberState::DataOnly,
            None => MemberState::Blank,
        };
        client.shutdown().immediate(true).await;
        Ok(state)
    }

    async fn initiate(&self, host: &str) -> Result<(), ActionError> {
        let members: Vec<Bson> = (0_i32..)
            .zip(self.desired.wanted())
            .map(|(id, host)| Bson::Document(doc! { "_id": id, "host": host }))
            .collect();
        let mut settings = Document::new();
        write_timing(&mut settings, self.desired.timing);
        let configuration = doc! {
            "_id": &self.desired.replica_set,
            "version": 1,
            "members": members,
            "settings": settings,
        };
        let client = self.connect(host, self.system())?;
        let outcome = client
            .database("admin")
            .run_command(doc! { "replSetInitiate": configuration })
            .await;
        client.shutdown().immediate(true).await;
        ignore(outcome, ALREADY_INITIALIZED)
    }

    /// Changes the configuration of the set. The server takes one change at a time, and none before most of the members have
    /// the one before.
    async fn reconfigure(
        &self,
        primary: &str,
        change: impl FnOnce(&mut Document) + Send,
    ) -> Result<(), ActionError> {
        let client = self.connect(primary, self.system())?;
        let admin = client.database("admin");
        let mut answer = admin.run_command(doc! { "replSetGetConfig": 1 }).await?;
        if let Ok(configuration) = answer.get_document_mut("config") {
            change(configuration);
            let version = integer(configuration.get("version")).unwrap_or_default() + 1;
            configuration.insert("version", version);
            let command = doc! {
                "replSetReconfig": configuration.clone(),
                "maxTimeMS": RECONFIGURE_TIMEOUT_MS,
            };
            admin.run_command(command).await?;
        }
        client.shutdown().immediate(true).await;
        Ok(())
    }

    /// The set as its primary sees it; `None` if no member says that it is the primary.
    pub(super) async fn look_at_set(&self) -> Option<SetView> {
        let asked = join_all(self.desired.hosts.iter().map(|host| async move {
            let look = tokio::time::timeout(OBSERVE_TIMEOUT, self.ask_status(host)).await;
            match look {
                Ok(Ok(status)) => read_status(&status),
                Ok(Err(error)) => {
                    tracing::debug!(%error, host, "the member tells nothing of its set");
                    None
                }
                Err(_) => None,
            }
        }));
        let mut views = asked.await.into_iter().flatten();
        // Two for a moment are an old primary that has not noticed its successor.
        views.next().filter(|_| views.next().is_none())
    }

    async fn ask_status(&self, host: &str) -> Result<Document, ActionError> {
        let client = self.connect(host, self.system())?;
        let status = client
            .database("admin")
            .run_command(doc! { "replSetGetStatus": 1 })
            .await;
        client.shutdown().immediate(true).await;
        Ok(status?)
    }

    /// Makes the primary on `host` step down as soon as another member has all of its writes; it goes on as primary if
    /// none has in time.
    pub(super) async fn step_down(&self, host: &str) -> Result<(), ActionError> {
        let client = self.connect(host, self.system())?;
        let command = doc! {
            "replSetStepDown": STEP_DOWN_SECONDS,
            "secondaryCatchUpPeriodSecs": CATCH_UP_SECONDS,
        };
        let outcome =
            tokio::time::timeout(STEP_DOWN_TIMEOUT, client.database("admin").run_command(command)).await;
        client.shutdown().immediate(true).await;
        outcome.map_err(|_| ActionError::TimedOut)??;
        Ok(())
    }

    /// Has a member read its certificate again. Connections that are open stay so.
    ///
    /// # Errors
    /// When it refuses, for example since the certificate has ended, or does not answer in time.
    pub async fn rotate_certificate(&self, host: &str) -> Result<(), ActionError> {
        let rotate = async {
            let client = self.connect(host, self.system())?;
            let outcome = client
                .database("admin")
                .run_command(doc! { "rotateCertificates": 1 })
                .await;
            client.shutdown().immediate(true).await;
            Ok(outcome.map(drop)?)
        };
        tokio::time::timeout(ACTION_TIMEOUT, rotate)
            .await
            .map_err(|_| ActionError::TimedOut)?
    }

    pub(super) fn connect(&self, host: &str, credential: Credential) -> Result<Client, ActionError> {
        let address = ServerAddress::parse(host).map_err(|_| ActionError::Address(host.to_owned()))?;
        let options = ClientOptions::builder()
            .hosts(vec![address])
            .direct_connection(true)
            .credential(credential)
            .tls(tls_of(self.desired.trust.as_ref()).map_err(ActionError::Trust)?)
            .app_name("flickrhub-operator".to_owned())
            .connect_timeout(CONNECT_TIMEOUT)
            .server_selection_timeout(CONNECT_TIMEOUT)
            .max_pool_size(1_u32)
            .build();
        Ok(Client::with_options(options)?)
    }

    /// The login of the members among themselves; its password is the key file without its white space.
    pub(super) fn system(&self) -> Credential {
        let key: String = self.desired.keyfile.expose_secret().split_whitespace().collect();
        credential("__system", "local", &SecretString::from(key))
    }
}

impl ReplicaSet for Members<'_> {
    async fn observe(&self) -> Observed {
        let members: Vec<Member> = join_all(self.desired.hosts.iter().map(|host| async move {
            Member {
                host: host.clone(),
                state: self.observe_member(host).await,
            }
        }))
        .await;
        let primary = members
            .iter()
            .find(|member| matches!(member.state, MemberState::Configured(_, Role::Primary)));
        let accounts = match primary {
            Some(_) if self.desired.users_are_known => Some(Accounts::AS_WANTED),
            Some(primary) => self.observe_accounts(&primary.host).await,
            None => None,
        };
        Observed { members, accounts }
    }

    async fn perform(&self, action: &Action) -> Result<(), ActionError> {
        let work = async {
            match action {
                Action::Initiate { host } => self.initiate(host).await,
                Action::CreateAccount { primary, account } => {
                    self.write_account("createUser", primary, *account).await
                }
                Action::UpdateAccount { primary, account } => {
                    self.write_account("updateUser", primary, *account).await
                }
                Action::CreateRole { primary } => self.write_role("createRole", primary).await,
                Action::UpdateRole { primary } => self.write_role("updateRole", primary).await,
                Action::IndexAuditLog { primary } => self.index_audit_log(primary).await,
                Action::AddMember { primary, host } => {
                    self.reconfigure(primary, |configuration| add(configuration, host))
                        .await
                }
                Action::RemoveMember { primary, host } => {
                    self.reconfigure(primary, |configuration| remove(configuration, host))
                        .await
                }
                Action::SetTiming { primary } => {
                    let timing = self.desired.timing;
                    self.reconfigure(primary, |configuration| {
                        if let Ok(settings) = configuration.get_document_mut("settings") {
                            write_timing(settings, timing);
                        }
                    })
                    .await
                }
            }
        };
        tokio::time::timeout(ACTION_TIMEOUT, work)
            .await
            .map_err(|_| ActionError::TimedOut)?
    }
}

/// Adds a member under an id that no other has.
fn add(configuration: &mut Document, host: &str) {
    let Ok(members) = configuration.get_array_mut("members") else {
        return;
    };
    let known = |member: &Bson| {
        let member = member.as_document()?;
        Some((integer(member.get("_id"))?, member.get_str("host").ok()? == host))
    };
    if members.iter().filter_map(known).any(|(_, is_it)| is_it) {
        return;
    }
    let id = members.iter().filter_map(known).map(|(id, _)| id + 1).max();
    members.push(Bson::Document(
        doc! { "_id": id.unwrap_or_default(), "host": host },
    ));
}

/// Takes a member out.
fn remove(configuration: &mut Document, host: &str) {
    let Ok(members) = configuration.get_array_mut("members") else {
        return;
    };
    members.retain(|member| {
        let other = member
            .as_document()
            .and_then(|member| member.get_str("host").ok());
        other != Some(host)
    });
}

pub(super) fn credential(user: &str, database: &str, password: &SecretString) -> Credential {
    Credential::builder()
        .username(user.to_owned())
        .source(database.to_owned())
        .password(password.expose_secret().to_owned())
        .mechanism(AuthMechanism::ScramSha256)
        .build()
}

/// What the member does at present. One that has not loaded its configuration yet has no status.
async fn role(client: &Client) -> Result<Role, ActionError> {
    let status = client
        .database("admin")
        .run_command(doc! { "replSetGetStatus": 1 })
        .await;
    let status = match status {
        Ok(status) => status,
        Err(error) if code(&error) == Some(NOT_YET_INITIALIZED) => {
            return Ok(Role::Other("STARTUP".to_owned()));
        }
        // A member that was taken out knows it, and has no status any more.
        Err(error) if code(&error) == Some(INVALID_REPLICA_SET_CONFIG) => {
            return Ok(Role::Other("REMOVED".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    let state = status.get_i32("myState").unwrap_or_default();
    Ok(match state {
        1 => Role::Primary,
        2 => Role::Secondary,
        other => Role::Other(state_name(other).to_owned()),
    })
}

/// Whether collections exist that are not the server's own. `listDatabases` would refuse to answer before the
/// initiation, `serverStatus` never does.
async fn has_collections(client: &Client) -> Result<bool, ActionError> {
    let status = client
        .database("admin")
        .run_command(doc! { "serverStatus": 1 })
        .await?;
    let collections = status
        .get_document("catalogStats")
        .ok()
        .and_then(|stats| integer(stats.get("collections")));
    Ok(collections.unwrap_or_default() > 0)
}

pub(super) fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

pub(super) fn is_refused(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Authentication { .. })
        || code(error) == Some(AUTHENTICATION_FAILED)
}

pub(super) fn short(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) => "no connection".to_owned(),
        ErrorKind::Command(command) => command.code_name.clone(),
        _ => "unexpected answer".to_owned(),
    }
}

pub(super) fn ignore(outcome: Result<Document, Error>, expected: i32) -> Result<(), ActionError> {
    match outcome {
        Err(error) if code(&error) != Some(expected) => Err(error.into()),
        _ => Ok(()),
    }
}

//! Logins of the application in MongoDB. Two users of different names hold at the same time, since a user has one password.

use flickrhub_job::config::Login;
use futures::future::join_all;
use mongodb::bson::doc;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::ReplicaSet;
use super::decide::{Account, MemberState, Role};
use super::members::{
    ActionError, Members, USER_ALREADY_EXISTS, USER_NOT_FOUND, code, credential, ignore, is_refused, short,
};
use crate::engine::logins::{Answer, Verdict};
use crate::engine::{ACTION_TIMEOUT, OBSERVE_TIMEOUT};

impl Members<'_> {
    /// What every member says to a login.
    pub async fn try_login(&self, login: &Login) -> Vec<Answer> {
        join_all(self.desired.hosts.iter().map(|host| async move {
            let verdict = match timeout(OBSERVE_TIMEOUT, self.log_in(host, login)).await {
                Ok(Ok(())) => Verdict::Accepted,
                Ok(Err(ActionError::Member(error))) if is_refused(&error) => Verdict::Refused,
                Ok(Err(ActionError::Member(error))) => Verdict::Unknown(short(&error)),
                Ok(Err(error)) => Verdict::Unknown(error.to_string()),
                Err(_) => Verdict::Unknown("no answer in time".to_owned()),
            };
            Answer {
                member: host.clone(),
                verdict,
            }
        }))
        .await
    }

    async fn log_in(&self, host: &str, login: &Login) -> Result<(), ActionError> {
        let client = self.connect(host, credential(&login.username, "admin", &login.password))?;
        let outcome = client.database("admin").run_command(doc! { "ping": 1 }).await;
        client.shutdown().immediate(true).await;
        Ok(outcome.map(drop)?)
    }

    /// Makes a user of the application with this password, or gives it to the one that is there.
    ///
    /// # Errors
    /// When there is no primary, or it refuses.
    pub async fn admit(&self, login: &Login) -> Result<(), ActionError> {
        let primary = self.primary().await?;
        let write = async {
            let client = self.connect(&primary, self.system())?;
            let command = |name: &str| {
                doc! {
                    name: &login.username,
                    "pwd": login.password.expose_secret(),
                    "roles": self.roles(Account::App),
                    "mechanisms": ["SCRAM-SHA-256"],
                    "writeConcern": { "w": "majority", "wtimeout": 4000 },
                }
            };
            let admin = client.database("admin");
            let mut outcome = admin.run_command(command("createUser")).await;
            if outcome.as_ref().err().and_then(code) == Some(USER_ALREADY_EXISTS) {
                outcome = admin.run_command(command("updateUser")).await;
            }
            client.shutdown().immediate(true).await;
            Ok(outcome.map(drop)?)
        };
        timeout(ACTION_TIMEOUT, write)
            .await
            .map_err(|_| ActionError::TimedOut)?
    }

    /// Drops a user of the application, unless it is the one in use. The administrator stays; another password was given to it.
    ///
    /// # Errors
    /// When there is no primary, or it refuses.
    pub async fn expel(&self, login: &Login) -> Result<(), ActionError> {
        if [self.account_name(Account::App), self.account_name(Account::Admin)]
            .contains(&login.username.as_str())
        {
            return Ok(());
        }
        let primary = self.primary().await?;
        let drop_user = async {
            let client = self.connect(&primary, self.system())?;
            let command = doc! {
                "dropUser": &login.username,
                "writeConcern": { "w": "majority", "wtimeout": 4000 },
            };
            let outcome = client.database("admin").run_command(command).await;
            client.shutdown().immediate(true).await;
            ignore(outcome, USER_NOT_FOUND)
        };
        timeout(ACTION_TIMEOUT, drop_user)
            .await
            .map_err(|_| ActionError::TimedOut)?
    }

    /// The one member that says that it is the primary.
    async fn primary(&self) -> Result<String, ActionError> {
        let observed = self.observe().await;
        let mut primaries = observed.members.into_iter().filter_map(|member| {
            let is_primary = matches!(member.state, MemberState::Configured(_, Role::Primary));
            is_primary.then_some(member.host)
        });
        match (primaries.next(), primaries.next()) {
            (Some(primary), None) => Ok(primary),
            _ => Err(ActionError::NoPrimary),
        }
    }
}

//! The users, the role of the application's, and the audit log that it may only add to, over the wire.

use flickrhub_job::store::AuditIndexes;
use mongodb::Client;
use mongodb::bson::{Bson, doc};
use secrecy::{ExposeSecret, SecretString};

use super::answers::same_roles;
use super::decide::{Account, AccountState, Accounts};
use super::members::{
    ActionError, Members, ROLE_ALREADY_EXISTS, USER_ALREADY_EXISTS, credential, ignore, is_refused,
};
use super::rights::{is_own_role, privileges};
use crate::engine::OBSERVE_TIMEOUT;
use crate::names;

impl Members<'_> {
    /// What the primary says of the users, their role and the audit log; `None` if it does not say.
    pub(super) async fn observe_accounts(&self, primary: &str) -> Option<Accounts> {
        let look = async {
            let client = self.connect(primary, self.system())?;
            let admin = self.look_at_account(&client, primary, Account::Admin).await?;
            let role = self.look_at_role(&client).await?;
            let app = self.look_at_account(&client, primary, Account::App).await?;
            let indexes = AuditIndexes::read(&client.database(&self.desired.database)).await?;
            client.shutdown().immediate(true).await;
            Ok::<_, ActionError>(Accounts {
                admin,
                role,
                app,
                audit_log_is_indexed: indexes.are_as_wanted(),
            })
        };
        match tokio::time::timeout(OBSERVE_TIMEOUT, look).await {
            Ok(Ok(accounts)) => Some(accounts),
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot look at the users of MongoDB");
                None
            }
            Err(_) => None,
        }
    }

    async fn look_at_account(
        &self,
        system: &Client,
        primary: &str,
        account: Account,
    ) -> Result<AccountState, ActionError> {
        let answer = system
            .database("admin")
            .run_command(doc! { "usersInfo": { "user": self.account_name(account), "db": "admin" } })
            .await?;
        let Some(user) = answer
            .get_array("users")
            .ok()
            .and_then(|users| users.first()?.as_document())
        else {
            return Ok(AccountState::Absent);
        };
        let has_its_roles = match account {
            Account::Admin => same_roles(user, &self.roles(account)),
            Account::App => self.desired.rights.suit(user, &self.desired.database),
        };
        if !has_its_roles {
            return Ok(AccountState::Differs);
        }
        let login = self.connect(
            primary,
            credential(self.account_name(account), "admin", self.password(account)),
        )?;
        let outcome = login.database("admin").run_command(doc! { "ping": 1 }).await;
        login.shutdown().immediate(true).await;
        match outcome {
            Ok(_) => Ok(AccountState::AsWanted),
            Err(error) if is_refused(&error) => Ok(AccountState::Differs),
            Err(error) => Err(error.into()),
        }
    }

    async fn look_at_role(&self, system: &Client) -> Result<AccountState, ActionError> {
        let database = self.desired.database.as_str();
        let command = doc! {
            "rolesInfo": { "role": names::MONGODB_ROLE, "db": database },
            "showPrivileges": true,
        };
        let answer = system.database("admin").run_command(command).await?;
        let role = answer
            .get_array("roles")
            .ok()
            .and_then(|roles| roles.first()?.as_document());
        Ok(match role {
            None => AccountState::Absent,
            Some(role) if is_own_role(role, database) => AccountState::AsWanted,
            Some(_) => AccountState::Differs,
        })
    }

    pub(super) async fn write_account(
        &self,
        command: &str,
        primary: &str,
        account: Account,
    ) -> Result<(), ActionError> {
        let command = doc! {
            command: self.account_name(account),
            "pwd": self.password(account).expose_secret(),
            "roles": self.roles(account),
            "mechanisms": ["SCRAM-SHA-256"],
            "writeConcern": { "w": "majority", "wtimeout": 4000 },
        };
        let client = self.connect(primary, self.system())?;
        let outcome = client.database("admin").run_command(command).await;
        client.shutdown().immediate(true).await;
        ignore(outcome, USER_ALREADY_EXISTS)
    }

    pub(super) async fn write_role(&self, command: &str, primary: &str) -> Result<(), ActionError> {
        let database = self.desired.database.as_str();
        let command = doc! {
            command: names::MONGODB_ROLE,
            "privileges": privileges(database),
            "roles": [],
            "writeConcern": { "w": "majority", "wtimeout": 4000 },
        };
        let client = self.connect(primary, self.system())?;
        let outcome = client.database(database).run_command(command).await;
        client.shutdown().immediate(true).await;
        ignore(outcome, ROLE_ALREADY_EXISTS)
    }

    pub(super) async fn index_audit_log(&self, primary: &str) -> Result<(), ActionError> {
        let client = self.connect(primary, self.system())?;
        let database = client.database(&self.desired.database);
        let outcome = match AuditIndexes::read(&database).await {
            Ok(indexes) => indexes.correct(&database).await,
            Err(error) => Err(error),
        };
        client.shutdown().immediate(true).await;
        Ok(outcome?)
    }

    const fn password(&self, account: Account) -> &SecretString {
        match account {
            Account::Admin => &self.desired.admin_password,
            Account::App => &self.desired.app.password,
        }
    }

    pub(super) fn account_name(&self, account: Account) -> &str {
        match account {
            Account::Admin => names::MONGODB_ADMIN,
            Account::App => &self.desired.app.username,
        }
    }

    pub(super) fn roles(&self, account: Account) -> Vec<Bson> {
        match account {
            Account::Admin => vec![Bson::Document(doc! { "role": "root", "db": "admin" })],
            Account::App => self.desired.rights.roles(&self.desired.database),
        }
    }
}

//! Logins in RabbitMQ, by the management API. Two users of different names hold at the same time, since a user has one
//! password.

use flickrhub_job::config::Login;
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::json;

use super::nodes::{ActionError, Nodes};
use crate::engine::logins::{Answer, Verdict};
use crate::engine::{OBSERVE_TIMEOUT, http};

impl Nodes<'_> {
    /// What every node says to a login.
    pub async fn try_login(&self, login: &Login) -> Vec<Answer> {
        join_all(self.desired.management.iter().map(|address| async move {
            let request = self.request_as(login, Method::GET, address, &["api", "whoami"]);
            let verdict = match request.timeout(OBSERVE_TIMEOUT).send().await {
                Ok(answer) if answer.status().is_success() => Verdict::Accepted,
                Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => Verdict::Refused,
                Ok(answer) => Verdict::Unknown(format!("HTTP {}", answer.status().as_u16())),
                Err(error) => Verdict::Unknown(http::short(&error).to_owned()),
            };
            Answer {
                member: address.host_str().unwrap_or_default().to_owned(),
                verdict,
            }
        }))
        .await
    }

    /// Makes a user with this password, who may do what the one in use may, or gives it to the one that is there.
    ///
    /// # Errors
    /// When no node does it.
    pub async fn admit(&self, login: &Login) -> Result<(), ActionError> {
        let user = ["api", "users", login.username.as_str()];
        let body = json!({"password": login.password.expose_secret(), "tags": "administrator"});
        self.change(&Method::PUT, &user, &body).await?;
        let rights: [&str; 4] = ["api", "permissions", &self.desired.vhost, &login.username];
        let body = json!({"configure": ".*", "write": ".*", "read": ".*"});
        self.change(&Method::PUT, &rights, &body).await
    }

    /// Drops a user, unless it is the one in use.
    ///
    /// # Errors
    /// When no node does it.
    pub async fn expel(&self, login: &Login) -> Result<(), ActionError> {
        if login.username == self.desired.login.username {
            return Ok(());
        }
        let user = ["api", "users", login.username.as_str()];
        match self.change(&Method::DELETE, &user, &json!({})).await {
            // It is gone already.
            Err(ActionError::Status(404)) => Ok(()),
            outcome => outcome,
        }
    }
}

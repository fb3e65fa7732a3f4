//! Which passwords Redis and its Sentinels accept, and which they use themselves.

use std::collections::HashMap;

use futures::future::join_all;
use redis::RedisError;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::Desired;
use super::servers::{connect, connect_as, is_refused, short};
use crate::engine::OBSERVE_TIMEOUT;
use crate::engine::logins::{Answer, Verdict};

impl Desired {
    /// What every server and Sentinel says to a password.
    pub async fn try_password(&self, password: &SecretString) -> Vec<Answer> {
        let all = self.servers.iter().chain(&self.sentinels);
        join_all(all.map(|address| async move {
            let log_in = async {
                let mut connection = connect_as(address, password, self.trust.as_ref()).await?;
                redis::cmd("PING").query_async::<()>(&mut connection).await
            };
            let verdict = async {
                match log_in.await {
                    Ok(()) => Ok(Verdict::Accepted),
                    Err(error) if is_refused(&error) => Ok(Verdict::Refused),
                    Err(error) => Err(error),
                }
            };
            answer(address, verdict).await
        }))
        .await
    }

    /// Whether every server uses the password that is in use to log in to its master, and every Sentinel to log in to others.
    /// They set that after everything else.
    pub async fn members_use_password(&self) -> Vec<Answer> {
        let servers = self.servers.iter().map(|address| (address, Setting::MasterAuth));
        let sentinels = self
            .sentinels
            .iter()
            .map(|address| (address, Setting::SentinelPass));
        join_all(servers.chain(sentinels).map(|(address, setting)| async move {
            let verdict = async {
                let found = self.look_at(address, setting).await?;
                Ok(if found == self.password.expose_secret() {
                    Verdict::Accepted
                } else {
                    Verdict::Refused
                })
            };
            answer(address, verdict).await
        }))
        .await
    }

    async fn look_at(&self, address: &str, setting: Setting) -> Result<String, RedisError> {
        let mut connection = connect(address, self).await?;
        let (mut command, name) = match setting {
            Setting::MasterAuth => (redis::cmd("CONFIG"), "masterauth"),
            Setting::SentinelPass => {
                let mut command = redis::cmd("SENTINEL");
                command.arg("CONFIG");
                (command, "sentinel-pass")
            }
        };
        command.arg("GET").arg(name);
        let mut answer: HashMap<String, String> = command.query_async(&mut connection).await?;
        Ok(answer.remove(name).unwrap_or_default())
    }
}

/// What a member says, or why nobody knows.
async fn answer(member: &str, verdict: impl Future<Output = Result<Verdict, RedisError>>) -> Answer {
    let verdict = match timeout(OBSERVE_TIMEOUT, verdict).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => Verdict::Unknown(short(&error)),
        Err(_) => Verdict::Unknown("no answer in time".to_owned()),
    };
    Answer {
        member: member.to_owned(),
        verdict,
    }
}

/// Where a member keeps the password that it uses itself.
#[derive(Clone, Copy)]
enum Setting {
    MasterAuth,
    SentinelPass,
}

//! Redis and its Sentinels over the wire.

use std::collections::HashMap;
use std::time::Duration;

use flickrhub_job::connection::redis::client;
use flickrhub_job::connection::trust::Trust;
use futures::future::{join, join_all};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError};
use secrecy::{ExposeSecret, SecretString};

use super::Desired;
use super::decide::{Action, Observed, Sentinel, SentinelState, Server, ServerState};
use crate::engine::{ACTION_TIMEOUT, OBSERVE_TIMEOUT};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// An action failed; observing again tells whether it had an effect.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The Sentinel refused, or the connection was lost.
    #[error("the Sentinel said: {}", short(.0))]
    Sentinel(#[from] RedisError),
    /// No answer in time.
    #[error("the Sentinel did not answer in {} s", ACTION_TIMEOUT.as_secs())]
    TimedOut,
}

/// Does what was decided.
pub(super) async fn perform(desired: &Desired, action: &Action) -> Result<(), ActionError> {
    match action {
        Action::Forget { sentinel: address } => {
            let forget = async {
                let mut connection = connect(address, desired).await?;
                sentinel("RESET", &desired.master_name)
                    .query_async::<redis::Value>(&mut connection)
                    .await
            };
            tokio::time::timeout(ACTION_TIMEOUT, forget)
                .await
                .map_err(|_| ActionError::TimedOut)??;
            Ok(())
        }
    }
}

/// Asks every Redis and every Sentinel at the same time.
pub async fn observe(desired: &Desired) -> Observed {
    let servers = join_all(desired.servers.iter().map(|address| async move {
        Server {
            address: address.clone(),
            state: observe_server(address, desired).await,
        }
    }));
    let sentinels = join_all(desired.sentinels.iter().map(|address| async move {
        Sentinel {
            address: address.clone(),
            state: observe_sentinel(address, desired).await,
        }
    }));
    let (servers, sentinels) = join(servers, sentinels).await;
    Observed { servers, sentinels }
}

async fn observe_server(address: &str, desired: &Desired) -> ServerState {
    let ask = async {
        let mut connection = connect(address, desired).await?;
        redis::cmd("INFO")
            .arg("replication")
            .query_async::<String>(&mut connection)
            .await
    };
    match tokio::time::timeout(OBSERVE_TIMEOUT, ask).await {
        Ok(Ok(answer)) => {
            read_replication(&answer).unwrap_or_else(|| ServerState::Unreachable("unknown role".to_owned()))
        }
        Ok(Err(error)) if is_refused(&error) => ServerState::PasswordRefused,
        Ok(Err(error)) => ServerState::Unreachable(short(&error)),
        Err(_) => ServerState::Unreachable("no answer in time".to_owned()),
    }
}

async fn observe_sentinel(address: &str, desired: &Desired) -> SentinelState {
    let ask = async {
        let mut connection = connect(address, desired).await?;
        let master = sentinel("MASTER", &desired.master_name)
            .query_async::<HashMap<String, String>>(&mut connection)
            .await?;
        // An error is the answer that there is no quorum.
        let quorum = sentinel("CKQUORUM", &desired.master_name)
            .query_async::<String>(&mut connection)
            .await
            .is_ok();
        Ok::<_, RedisError>(read_master(&master, quorum))
    };
    match tokio::time::timeout(OBSERVE_TIMEOUT, ask).await {
        Ok(Ok(state)) => state,
        Ok(Err(error)) if is_refused(&error) => SentinelState::PasswordRefused,
        Ok(Err(error)) if is_unknown_master(&error) => SentinelState::Unaware,
        Ok(Err(error)) => SentinelState::Unreachable(short(&error)),
        Err(_) => SentinelState::Unreachable("no answer in time".to_owned()),
    }
}

pub(super) fn sentinel(command: &str, master_name: &str) -> redis::Cmd {
    let mut invocation = redis::cmd("SENTINEL");
    invocation.arg(command).arg(master_name);
    invocation
}

pub(super) async fn connect(address: &str, desired: &Desired) -> Result<MultiplexedConnection, RedisError> {
    connect_as(address, &desired.password, desired.trust.as_ref()).await
}

/// Connects to the server or Sentinel at `host:port`.
pub(super) async fn connect_as(
    address: &str,
    password: &SecretString,
    trust: Option<&Trust>,
) -> Result<MultiplexedConnection, RedisError> {
    let invalid = || RedisError::from((ErrorKind::InvalidClientConfig, "the address is not host:port"));
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let settings = RedisConnectionInfo::default()
        .set_password(password.expose_secret())
        .set_skip_set_lib_name();
    let client = client((host.to_owned(), port), settings, trust)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CONNECT_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Reads the answer of `INFO replication`: lines of `name:value`.
fn read_replication(answer: &str) -> Option<ServerState> {
    let fields: HashMap<&str, &str> = answer
        .lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .collect();
    match *fields.get("role")? {
        "master" => Some(ServerState::Master),
        "slave" => Some(ServerState::Replica {
            master: format!("{}:{}", fields.get("master_host")?, fields.get("master_port")?),
            linked: fields.get("master_link_status") == Some(&"up"),
        }),
        _ => None,
    }
}

/// Reads the answer of `SENTINEL MASTER`.
fn read_master(fields: &HashMap<String, String>, quorum: bool) -> SentinelState {
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    SentinelState::Monitors {
        master: format!("{}:{}", field("ip"), field("port")),
        down: field("flags")
            .split(',')
            .any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected")),
        quorum,
        replicas: field("num-slaves").parse().unwrap_or(0),
        others: field("num-other-sentinels").parse().unwrap_or(0),
    }
}

pub(super) fn is_refused(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
}

fn is_unknown_master(error: &RedisError) -> bool {
    error
        .detail()
        .is_some_and(|detail| detail.contains("No such master"))
}

/// Redis answers with a code that says enough; the rest of an error may hold an address or an argument.
pub(super) fn short(error: &RedisError) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else if let Some(code) = error.code() {
        code.to_owned()
    } else {
        "no connection".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_read_from_the_answer() {
        let replica = "# Replication\r\nrole:slave\r\nmaster_host:r-0.ns\r\nmaster_port:6379\r\n\
                       master_link_status:up\r\n";
        assert_eq!(
            read_replication(replica),
            Some(ServerState::Replica {
                master: "r-0.ns:6379".to_owned(),
                linked: true
            })
        );
        assert_eq!(
            read_replication("# Replication\r\nrole:master\r\nconnected_slaves:2\r\n"),
            Some(ServerState::Master)
        );
        assert_eq!(read_replication("# Replication\r\n"), None);
    }

    #[test]
    fn a_master_that_a_sentinel_does_not_reach_is_down() {
        let fields = |flags: &str| {
            HashMap::from(
                [
                    ("ip", "r-0.ns"),
                    ("port", "6379"),
                    ("flags", flags),
                    ("num-slaves", "2"),
                    ("num-other-sentinels", "2"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            )
        };
        let monitors = |down| SentinelState::Monitors {
            master: "r-0.ns:6379".to_owned(),
            down,
            quorum: true,
            replicas: 2,
            others: 2,
        };
        assert_eq!(read_master(&fields("master"), true), monitors(false));
        assert_eq!(read_master(&fields("master,s_down,o_down"), true), monitors(true));
    }
}

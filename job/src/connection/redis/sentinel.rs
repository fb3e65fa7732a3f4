//! Finding the master.
//!
//! Every Sentinel is asked at once, and whatever it names is believed only when it says itself that it is a master:
//! a Sentinel that was cut off still names the old one. The first to lead to a master wins.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion, PushInfo,
    RedisConnectionInfo, RedisResult, TlsCertificates, Value,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout_at};

use super::{ConnectError, RESPONSE_TIMEOUT};
use crate::config::{RedisConfig, read_secret};
use crate::connection::address::host_and_port;
use crate::connection::trust::Trust;

/// How long a connection may take to be established, per server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How much longer than the first failure the other ways to the master may take.
const BEHIND: Duration = Duration::from_millis(500);

/// A new connection to the master; `response_timeout` bounds every answer on it.
pub(super) async fn connect_to_master(
    config: &RedisConfig,
    response_timeout: Option<Duration>,
) -> Result<MultiplexedConnection, ConnectError> {
    let timeouts = AsyncConnectionConfig::new().set_response_timeout(response_timeout);
    lead_to_master(config, ProtocolVersion::RESP2, &timeouts).await
}

/// A new connection to the master for a subscription (RESP3): what is published goes to `messages`, the loss of the
/// connection too.
pub(super) async fn subscriber_of_master(
    config: &RedisConfig,
    messages: UnboundedSender<PushInfo>,
) -> Result<MultiplexedConnection, ConnectError> {
    let settings = AsyncConnectionConfig::new()
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_push_sender(messages);
    lead_to_master(config, ProtocolVersion::RESP3, &settings).await
}

/// Whether the server at the other end says that it is a master.
pub(super) async fn is_led_by(connection: &mut MultiplexedConnection) -> Result<bool, ConnectError> {
    let ask_role = redis::cmd("ROLE");
    let role = tokio::time::timeout(RESPONSE_TIMEOUT, ask_role.query_async(connection))
        .await
        .map_err(|_| ConnectError::Timeout("Redis"))??;
    Ok(is_master(&role))
}

async fn lead_to_master(
    config: &RedisConfig,
    protocol: ProtocolVersion,
    settings: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ConnectError> {
    let password = read_secret(&config.password_file)?;
    let trust = Trust::read(config.ca_file.as_deref())?;
    let sentinels = config
        .sentinels
        .iter()
        .map(|text| host_and_port("Redis Sentinel", text))
        .collect::<Result<Vec<_>, _>>()?;
    let access = Access {
        password: &password,
        trust: trust.as_ref(),
    };
    let ways = sentinels
        .into_iter()
        .map(|sentinel| by_way_of(sentinel, &config.master_name, access, protocol, settings));
    let nobody =
        || redis::RedisError::from((ErrorKind::EmptySentinelList, "no Sentinel is configured")).into();
    first_success(ways.collect(), nobody).await
}

/// The first success. Once one has failed, the others have [`BEHIND`] left: the word of a server that hangs, or whose pod is
/// gone, is not waited for, because those that answer may lead to a master at the next try. Without a way, the error is
/// that of `nobody`.
async fn first_success<T, E>(
    mut ways: FuturesUnordered<impl Future<Output = Result<T, E>>>,
    nobody: impl FnOnce() -> E,
) -> Result<T, E> {
    let mut failure = None;
    let mut deadline = None;
    loop {
        let next = match deadline {
            None => ways.next().await,
            Some(deadline) => timeout_at(deadline, ways.next()).await.unwrap_or_default(),
        };
        match next {
            Some(Ok(success)) => return Ok(success),
            Some(Err(error)) => {
                deadline = deadline.or_else(|| Some(Instant::now() + BEHIND));
                failure = Some(error);
            }
            None => return Err(failure.unwrap_or_else(nobody)),
        }
    }
}

/// What every connection takes.
#[derive(Clone, Copy)]
struct Access<'a> {
    password: &'a SecretString,
    trust: Option<&'a Trust>,
}

async fn by_way_of(
    sentinel: (String, u16),
    master_name: &str,
    access: Access<'_>,
    protocol: ProtocolVersion,
    settings: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ConnectError> {
    let brief = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
    let mut sentinel = open(sentinel, access, ProtocolVersion::RESP2, &brief).await?;
    let master: Option<(String, u16)> = redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(master_name)
        .query_async(&mut sentinel)
        .await?;
    let Some(master) = master else {
        return Err(no_master("the Sentinel does not know the master's name").into());
    };
    let mut connection = open(master, access, protocol, settings).await?;
    if is_led_by(&mut connection).await? {
        Ok(connection)
    } else {
        Err(no_master("the Sentinel names a server that is not a master").into())
    }
}

async fn open(
    address: (String, u16),
    access: Access<'_>,
    protocol: ProtocolVersion,
    settings: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ConnectError> {
    let login = RedisConnectionInfo::default()
        .set_password(access.password.expose_secret())
        .set_protocol(protocol)
        .set_skip_set_lib_name();
    let settings = settings.clone().set_connection_timeout(Some(CONNECT_TIMEOUT));
    Ok(client(address, login, access.trust)?
        .get_multiplexed_async_connection_with_config(&settings)
        .await?)
}

/// A client of one server, a Redis or a Sentinel; over TLS where authorities are given, which then have to have signed the
/// certificate of this very name. Nothing is connected yet.
///
/// # Errors
/// When the client cannot be set up.
pub fn client(
    (host, port): (String, u16),
    login: RedisConnectionInfo,
    trust: Option<&Trust>,
) -> RedisResult<Client> {
    let address = match trust {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
    };
    let info = address
        .into_connection_info()?
        .set_tcp_settings(TcpSettings::default().set_nodelay(true))
        .set_redis_settings(login);
    match trust {
        None => Client::open(info),
        Some(trust) => {
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(trust.pem().as_bytes().to_vec()),
            };
            Client::build_with_tls(info, certificates)
        }
    }
}

pub(super) fn no_master(why: &'static str) -> redis::RedisError {
    redis::RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, why))
}

/// Reads the answer of `ROLE`, a list that begins with the role.
fn is_master(role: &Value) -> bool {
    let Value::Array(parts) = role else {
        return false;
    };
    match parts.first() {
        Some(Value::BulkString(name)) => name == b"master",
        Some(Value::SimpleString(name)) => name == "master",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn only_the_role_of_a_master_is_believed() {
        let role = |name: &str| Value::Array(vec![Value::BulkString(name.into()), Value::Int(0)]);
        assert!(is_master(&role("master")));
        assert!(!is_master(&role("slave")));
        assert!(!is_master(&role("sentinel")));
        assert!(!is_master(&Value::Nil));
    }

    async fn after(milliseconds: u64, is_good: bool) -> Result<u64, ()> {
        sleep(Duration::from_millis(milliseconds)).await;
        if is_good { Ok(milliseconds) } else { Err(()) }
    }

    #[tokio::test]
    async fn who_hangs_is_not_waited_for_once_somebody_has_failed() {
        let first = |ways: Vec<BoxFuture<'static, Result<u64, ()>>>| {
            first_success(ways.into_iter().collect::<FuturesUnordered<_>>(), || ())
        };
        let hangs = || std::future::pending().boxed();
        assert_eq!(first(vec![after(1, false).boxed(), hangs()]).await, Err(()));
        assert_eq!(
            first(vec![after(1, false).boxed(), hangs(), after(20, true).boxed()]).await,
            Ok(20)
        );
        assert_eq!(first(vec![hangs(), after(1, true).boxed()]).await, Ok(1));
        assert_eq!(first(Vec::new()).await, Err(()));
    }
}

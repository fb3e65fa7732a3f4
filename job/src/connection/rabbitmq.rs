//! RabbitMQ: one connection to any node of the cluster, opened again on another node when it is lost.
//!
//! A channel dies with its connection; whoever holds one asks for a new one when an operation on it fails. Deliveries
//! that were not acknowledged on the lost channel are delivered again by the broker.

mod tls;

use std::sync::Arc;
use std::time::Duration;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::ConnectError;
use super::address::host_and_port;
use super::trust::Trust;
use crate::config::{RabbitConfig, read_login};

/// Seconds between two signs of life; a node that is silent for twice as long is left.
const HEARTBEAT_SECONDS: u16 = 10;
/// How long one node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a channel may take to open; a node that takes longer is left.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const SERVICE: &str = "RabbitMQ";

/// A handle on one connection; clones share it.
#[derive(Clone)]
pub struct Rabbit {
    shared: Arc<Shared>,
}

struct Shared {
    config: RabbitConfig,
    slot: Mutex<Slot>,
}

struct Slot {
    connection: Option<Connection>,
    /// The node of the connection, or of the last one: its place in the configuration.
    node: usize,
}

impl Rabbit {
    /// Connects to the first node that accepts.
    ///
    /// # Errors
    /// When the password cannot be read, an address is not `host:port`, or no node accepts; then the error is that of
    /// the last node asked.
    pub async fn connect(config: &RabbitConfig) -> Result<Self, ConnectError> {
        let (node, connection) = open(config, None).await?;
        let slot = Slot {
            connection: Some(connection),
            node,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                config: config.clone(),
                slot: Mutex::new(slot),
            }),
        })
    }

    /// Opens a channel, on a new connection if the present one is lost. One task reconnects for all.
    ///
    /// # Errors
    /// When no node accepts a connection, or the node refuses the channel.
    pub async fn channel(&self) -> Result<Channel, ConnectError> {
        let mut slot = self.shared.slot.lock().await;
        // The connection stays in its slot while it is asked: a caller that stops waiting must not take it, and every
        // consumer on it, down.
        if let Some(connection) = &slot.connection
            && let Some(channel) = channel_of(connection).await?
        {
            return Ok(channel);
        }
        let (node, connection) = open(&self.shared.config, Some(slot.node)).await?;
        let channel = timeout(CHANNEL_TIMEOUT, connection.create_channel())
            .await
            .map_err(|_| ConnectError::Timeout(SERVICE))??;
        *slot = Slot {
            connection: Some(connection),
            node,
        };
        Ok(channel)
    }

    /// Whether the node at the other end answers, within 2 s. If it does not, its connection is given up, and the next
    /// channel is opened on another node.
    pub async fn answers(&self) -> bool {
        let mut slot = self.shared.slot.lock().await;
        let Some(connection) = &slot.connection else {
            return false;
        };
        let answers = !matches!(channel_of(connection).await, Ok(None));
        if !answers {
            slot.connection = None;
        }
        answers
    }

    /// Whether a channel can be opened.
    ///
    /// # Errors
    /// As [`Rabbit::channel`].
    pub async fn ping(&self) -> Result<(), ConnectError> {
        let channel = self.channel().await?;
        // 200 is the reply code of a close without an error (AMQP 0-9-1 section 1.1).
        channel.close(200, "".into()).await?;
        Ok(())
    }
}

/// A channel; `None` when the connection is lost or its node hangs.
async fn channel_of(connection: &Connection) -> Result<Option<Channel>, ConnectError> {
    let is_alive = || connection.status().connected();
    if !is_alive() {
        return Ok(None);
    }
    match timeout(CHANNEL_TIMEOUT, connection.create_channel()).await {
        Ok(Ok(channel)) => Ok(Some(channel)),
        Ok(Err(error)) if is_alive() => Err(error.into()),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// Tries the nodes in turn, beginning with any of them so that the processes spread over the nodes, and the one that
/// was left last of all. Answers the node's place and the connection.
async fn open(config: &RabbitConfig, left: Option<usize>) -> Result<(usize, Connection), ConnectError> {
    let uris = uris(config)?;
    let trust = Trust::read(config.ca_file.as_deref())?;
    let mut last = ConnectError::Address {
        service: SERVICE,
        address: String::new(),
    };
    let first = rand::random_range(0..uris.len().max(1));
    for node in order(uris.len(), first, left) {
        let Some(uri) = uris.get(node) else { continue };
        let properties = ConnectionProperties::default().with_connection_name("flickrhub".into());
        match timeout(CONNECT_TIMEOUT, dial(uri.clone(), properties, trust.as_ref())).await {
            Ok(Ok(connection)) => return Ok((node, connection)),
            Ok(Err(error)) => last = error.into(),
            Err(_) => last = ConnectError::Timeout(SERVICE),
        }
    }
    Err(last)
}

/// The order in which so many nodes are tried.
fn order(nodes: usize, first: usize, left: Option<usize>) -> impl Iterator<Item = usize> {
    let others = (0..nodes).cycle().skip(first).take(nodes);
    let others = others.filter(move |node| Some(*node) != left);
    others.chain(left.filter(|node| *node < nodes))
}

/// Opens one connection; over TLS where authorities are given, which then have to have signed the certificate of this very
/// name. The caller bounds the time.
///
/// # Errors
/// When the node cannot be reached, is not who it should be, or refuses.
pub async fn dial(
    uri: AMQPUri,
    properties: ConnectionProperties,
    trust: Option<&Trust>,
) -> lapin::Result<Connection> {
    match trust {
        None => Connection::connect_uri(uri, properties).await,
        Some(trust) => {
            let runtime = tls::runtime(&uri.authority.host, trust)?;
            Connection::connect_uri_with_runtime(uri, properties, runtime).await
        }
    }
}

fn uris(config: &RabbitConfig) -> Result<Vec<AMQPUri>, ConnectError> {
    let login = read_login(
        &config.username,
        config.username_file.as_deref(),
        &config.password_file,
    )?;
    let milliseconds = u64::try_from(CONNECT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    config
        .hosts
        .iter()
        .map(|text| {
            let (host, port) = host_and_port(SERVICE, text)?;
            Ok(AMQPUri {
                // Of the library's own TLS, which is not used.
                scheme: AMQPScheme::AMQP,
                authority: AMQPAuthority {
                    userinfo: AMQPUserInfo {
                        username: login.username.clone(),
                        password: login.password.expose_secret().to_owned(),
                    },
                    host,
                    port,
                },
                vhost: config.vhost.clone(),
                query: AMQPQueryString {
                    heartbeat: Some(HEARTBEAT_SECONDS),
                    connection_timeout: Some(milliseconds),
                    ..AMQPQueryString::default()
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_tried_once_and_the_one_that_was_left_last() {
        let tried = |first, left| order(3, first, left).collect::<Vec<_>>();
        assert_eq!(tried(1, None), [1, 2, 0]);
        assert_eq!(tried(1, Some(1)), [2, 0, 1]);
        assert_eq!(tried(0, Some(2)), [0, 1, 2]);
        assert_eq!(tried(2, Some(7)), [2, 0, 1], "fewer nodes than before");
        assert_eq!(order(0, 0, Some(0)).count(), 0);
    }

    #[tokio::test]
    async fn without_a_node_the_configuration_is_at_fault() {
        let directory = std::env::temp_dir().join(format!("flickrhub-{}", uuid::Uuid::now_v7()));
        assert!(std::fs::write(&directory, "secret").is_ok());
        let config = RabbitConfig {
            hosts: Vec::new(),
            vhost: "/".to_owned(),
            username: "flickrhub".to_owned(),
            username_file: None,
            password_file: directory.clone(),
            ca_file: None,
            quorum_group_size: 3,
        };
        let outcome = Rabbit::connect(&config).await;
        assert!(matches!(outcome, Err(ConnectError::Address { .. })));
        assert!(std::fs::remove_file(&directory).is_ok());
    }
}

//! The nodes over the wire: the management API (HTTP) to look, AMQP to declare.

use std::collections::BTreeSet;

use flickrhub_job::connection::rabbitmq::dial;
use flickrhub_job::topology::declare_missing;
use futures::future::join_all;
use lapin::ConnectionProperties;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::decide::{Action, Node, Observed, Peer, View};
use super::{Cluster, Desired};
use crate::engine::{ACTION_TIMEOUT, OBSERVE_TIMEOUT, http};

/// An action failed; observing again tells whether it had an effect.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// No node of the cluster accepts a connection.
    #[error("no node accepts an AMQP connection")]
    NoNode,
    /// The node refused, or the connection was lost.
    #[error("RabbitMQ said: {0}")]
    Refused(#[from] lapin::Error),
    /// No answer in time.
    #[error("RabbitMQ did not answer in {} s", ACTION_TIMEOUT.as_secs())]
    TimedOut,
}

/// Why a node gave no view.
enum LookError {
    Refused,
    Other(String),
}

impl From<reqwest::Error> for LookError {
    fn from(error: reqwest::Error) -> Self {
        Self::Other(http::short(&error).to_owned())
    }
}

/// A member in the answer of `GET /api/nodes`.
#[derive(Debug, Deserialize)]
struct NodeAnswer {
    name: String,
    #[serde(default)]
    running: bool,
    #[serde(default)]
    mem_alarm: bool,
    #[serde(default)]
    disk_free_alarm: bool,
    /// The nodes it lost sight of; versions without partitions leave it out.
    #[serde(default)]
    partitions: Vec<String>,
}

/// A queue in the answer of `GET /api/queues/{vhost}`.
#[derive(Debug, Deserialize)]
struct QueueAnswer {
    name: String,
}

/// The nodes of the wanted cluster.
pub struct Nodes<'a> {
    client: reqwest::Client,
    desired: &'a Desired,
}

impl<'a> Nodes<'a> {
    /// The nodes of the wanted cluster.
    pub const fn new(client: reqwest::Client, desired: &'a Desired) -> Self {
        Self { client, desired }
    }

    async fn observe_node(&self, address: &Url) -> Node {
        let name = address.host_str().unwrap_or_default();
        match self.look_at(address).await {
            Ok(view) => Node::Answers(view),
            Err(LookError::Refused) => Node::PasswordRefused(name.to_owned()),
            Err(LookError::Other(why)) => Node::Unreachable(format!("{name} does not answer ({why})")),
        }
    }

    async fn look_at(&self, address: &Url) -> Result<View, LookError> {
        // Alarms and partitions belong to the statistics of a node; of a queue only its name matters.
        let nodes: Vec<NodeAnswer> = self.get(address, &["api", "nodes"], &[]).await?;
        let queues: Vec<QueueAnswer> = self
            .get(
                address,
                &["api", "queues", &self.desired.vhost],
                &[("disable_stats", "true")],
            )
            .await?;
        Ok(View {
            peers: nodes.into_iter().map(Peer::from).collect(),
            queues: queues
                .into_iter()
                .map(|queue| queue.name)
                .collect::<BTreeSet<_>>(),
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        address: &Url,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, LookError> {
        let mut url = address.clone();
        // Segment by segment, because the name of the default virtual host is a slash.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        let answer = self
            .client
            .get(url)
            .query(query)
            .basic_auth(
                &self.desired.username,
                Some(self.desired.password.expose_secret()),
            )
            .timeout(OBSERVE_TIMEOUT)
            .send()
            .await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(LookError::Refused),
            status if status.is_success() => Ok(answer.json().await?),
            status => Err(LookError::Other(format!("HTTP {}", status.as_u16()))),
        }
    }

    /// Declares what is missing, through the first node that accepts a connection.
    async fn declare(&self) -> Result<(), ActionError> {
        for address in &self.desired.amqp {
            let Some(uri) = self.uri(address) else { continue };
            let connection =
                match dial(uri, ConnectionProperties::default(), self.desired.trust.as_ref()).await {
                    Ok(connection) => connection,
                    Err(error) => {
                        tracing::debug!(%address, %error, "no AMQP connection");
                        continue;
                    }
                };
            let declared = declare_missing(|| connection.create_channel(), self.desired.group_size).await;
            // What was declared stays; the connection is of no use any more, however its end goes.
            let _ = connection.close(200, "OK".into()).await;
            return Ok(declared?);
        }
        Err(ActionError::NoNode)
    }

    fn uri(&self, address: &str) -> Option<AMQPUri> {
        let (host, port) = address.rsplit_once(':')?;
        Some(AMQPUri {
            // Of the library's own TLS, which is not used.
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.desired.username.clone(),
                    password: self.desired.password.expose_secret().to_owned(),
                },
                host: host.to_owned(),
                port: port.parse().ok()?,
            },
            vhost: self.desired.vhost.clone(),
            query: AMQPQueryString::default(),
        })
    }
}

impl Cluster for Nodes<'_> {
    async fn observe(&self) -> Observed {
        let nodes = self
            .desired
            .management
            .iter()
            .map(|address| self.observe_node(address));
        Observed {
            nodes: join_all(nodes).await,
        }
    }

    async fn perform(&self, action: &Action) -> Result<(), ActionError> {
        match action {
            Action::DeclareQueues => tokio::time::timeout(ACTION_TIMEOUT, self.declare())
                .await
                .map_err(|_| ActionError::TimedOut)?,
        }
    }
}

impl From<NodeAnswer> for Peer {
    fn from(answer: NodeAnswer) -> Self {
        Self {
            name: answer.name,
            running: answer.running,
            alarm: answer.mem_alarm || answer.disk_free_alarm,
            partitioned: !answer.partitions.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_does_not_run_has_only_a_name() {
        let answer = serde_json::from_str::<Vec<NodeAnswer>>(
            r#"[{"name": "rabbit@a", "running": true, "mem_alarm": false, "disk_free_alarm": true, "uptime": 5},
                {"name": "rabbit@b", "running": false}]"#,
        );
        let peers: Vec<Peer> = answer.unwrap_or_default().into_iter().map(Peer::from).collect();
        let expected = [
            Peer {
                name: "rabbit@a".to_owned(),
                running: true,
                alarm: true,
                ..Peer::default()
            },
            Peer {
                name: "rabbit@b".to_owned(),
                ..Peer::default()
            },
        ];
        assert_eq!(peers, expected);
    }
}

//! The nodes over the wire: the management API (HTTP) to look, AMQP to declare.

use std::collections::BTreeSet;
use std::time::Duration;

use flickrhub_job::config::Login;
use flickrhub_job::connection::rabbitmq::dial;
use flickrhub_job::topology::declare_missing;
use futures::future::{join, join_all};
use lapin::ConnectionProperties;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::decide::{Action, Node, Observed, Peer, Queued, View};
use super::roster::Sight;
use super::{Cluster, Desired};
use crate::engine::{ACTION_TIMEOUT, OBSERVE_TIMEOUT, http};

/// The global parameter with the nodes that leave the cluster when they stop; `build/scripts/rabbitmq-hand-over.sh` reads
/// it.
const MARKS: &str = "flickrhub_leaving";
/// How long a change may take: a replica is added or taken away for every queue.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// An action failed; observing again tells whether it had an effect.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// No node of the cluster accepts a connection.
    #[error("no node accepts an AMQP connection")]
    NoNode,
    /// The node refused, or the connection was lost.
    #[error("RabbitMQ said: {0}")]
    Refused(#[from] lapin::Error),
    /// No node takes the change.
    #[error("no node takes a request of the management API")]
    NoManagement,
    /// The management API refused.
    #[error("RabbitMQ said: HTTP {0}")]
    Status(u16),
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
    /// None while the queue has no leader, or where it is of a kind that has none.
    leader: Option<String>,
    /// None for a queue that is not replicated.
    members: Option<BTreeSet<String>>,
}

/// The answer of `GET /api/global-parameters/{name}`.
#[derive(Debug, Default, Deserialize)]
struct MarksAnswer {
    value: BTreeSet<String>,
}

/// The answer of a health check that failed.
#[derive(Debug, Default, Deserialize)]
struct CheckAnswer {
    #[serde(default)]
    queues: Vec<CriticalAnswer>,
}

/// What would lose its quorum: a queue, or a component of the broker.
#[derive(Debug, Deserialize)]
struct CriticalAnswer {
    name: String,
    /// Of a queue.
    virtual_host: Option<String>,
}

impl CriticalAnswer {
    /// Its name, and where it is to be found when that is not where the hub has its own.
    fn said(self) -> String {
        match self.virtual_host {
            Some(host) if host != "/" => format!("{} in the virtual host {host}", self.name),
            _ => self.name,
        }
    }
}

/// The nodes of the wanted cluster.
pub struct Nodes<'a> {
    client: reqwest::Client,
    pub(super) desired: &'a Desired,
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
        // Alarms and partitions belong to the statistics of a node; those of a queue do not matter.
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
                .map(|queue| {
                    let queued = Queued {
                        leader: queue.leader.unwrap_or_default(),
                        replicas: queue.members.unwrap_or_default(),
                    };
                    (queue.name, queued)
                })
                .collect(),
            leaving: self.marks(address).await?,
        })
    }

    /// The nodes that are marked to leave when they stop.
    async fn marks(&self, address: &Url) -> Result<BTreeSet<String>, LookError> {
        let answer = self
            .ask(address, &["api", "global-parameters", MARKS], &[])
            .await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(BTreeSet::new()),
            status if status.is_success() => Ok(answer.json::<MarksAnswer>().await?.value),
            status => Err(LookError::Other(format!("HTTP {}", status.as_u16()))),
        }
    }

    /// Changes something by the management API of the first node that does it.
    pub(super) async fn change(
        &self,
        method: &Method,
        path: &[&str],
        body: &Value,
    ) -> Result<(), ActionError> {
        let mut refusal = ActionError::NoManagement;
        for address in &self.desired.management {
            let request = self.request(method.clone(), address, path);
            match request.json(body).timeout(CHANGE_TIMEOUT).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => refusal = ActionError::Status(answer.status().as_u16()),
                Err(error) => tracing::debug!(%address, error = http::short(&error), "no answer to a change"),
            }
        }
        Err(refusal)
    }

    /// Asks every node for its view, and whether something would lose its quorum without it.
    pub(super) async fn sights(&self) -> Vec<Sight> {
        join_all(self.desired.management.iter().map(|address| async move {
            let (node, critical) = join(self.observe_node(address), self.critical(address)).await;
            Sight {
                host: address.host_str().unwrap_or_default().to_owned(),
                node,
                critical,
            }
        }))
        .await
    }

    /// What would lose its quorum if this node stopped.
    async fn critical(&self, address: &Url) -> Result<Vec<String>, String> {
        let path = ["api", "health", "checks", "node-is-quorum-critical"];
        let answer = self.ask(address, &path, &[]).await;
        let answer = answer.map_err(|error| http::short(&error).to_owned())?;
        match answer.status() {
            status if status.is_success() => Ok(Vec::new()),
            StatusCode::SERVICE_UNAVAILABLE => {
                let check: CheckAnswer = answer.json().await.unwrap_or_default();
                let names: Vec<String> = check.queues.into_iter().map(CriticalAnswer::said).collect();
                Ok(if names.is_empty() {
                    vec!["something".to_owned()]
                } else {
                    names
                })
            }
            status => Err(format!("HTTP {}", status.as_u16())),
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        address: &Url,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, LookError> {
        let answer = self.ask(address, path, query).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(LookError::Refused),
            status if status.is_success() => Ok(answer.json().await?),
            status => Err(LookError::Other(format!("HTTP {}", status.as_u16()))),
        }
    }

    async fn ask(
        &self,
        address: &Url,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.request(Method::GET, address, path).query(query);
        request.timeout(OBSERVE_TIMEOUT).send().await
    }

    fn request(&self, method: Method, address: &Url, path: &[&str]) -> RequestBuilder {
        self.request_as(&self.desired.login, method, address, path)
    }

    pub(super) fn request_as(
        &self,
        login: &Login,
        method: Method,
        address: &Url,
        path: &[&str],
    ) -> RequestBuilder {
        let mut url = address.clone();
        // Segment by segment, because the name of the default virtual host is a slash.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        let request = self.client.request(method, url);
        request.basic_auth(&login.username, Some(login.password.expose_secret()))
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
                    username: self.desired.login.username.clone(),
                    password: self.desired.login.password.expose_secret().to_owned(),
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
            Action::Mark(nodes) => {
                let body = json!({"name": MARKS, "value": nodes});
                self.change(&Method::PUT, &["api", "global-parameters", MARKS], &body)
                    .await
            }
            Action::TakeReplicas(node) => {
                let path = [
                    "api",
                    "queues",
                    "quorum",
                    "replicas",
                    "on",
                    node.as_str(),
                    "shrink",
                ];
                self.change(&Method::DELETE, &path, &json!({})).await
            }
            Action::AddReplicas(node) => {
                let path = ["api", "queues", "quorum", "replicas", "on", node.as_str(), "grow"];
                let body = json!({"vhost_pattern": ".*", "queue_pattern": ".*", "strategy": "all"});
                self.change(&Method::POST, &path, &body).await
            }
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

//! The engines, and which member of each leads.

use std::path::Path;

use clap::ValueEnum;
use flickrhub_job::config::Config;
use flickrhub_job::connection;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::queue::Queue;
use mongodb::bson::doc;
use serde_json::Value;

use crate::Failure;
use crate::writer::Writer;

/// The port of RabbitMQ's management API, over TLS.
const MANAGEMENT: u16 = 15671;

/// An engine of the data tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    Redis,
    Mongodb,
    Rabbitmq,
    Openbao,
}

impl Engine {
    /// Every engine.
    pub(crate) const ALL: [Self; 4] = [Self::Redis, Self::Mongodb, Self::Rabbitmq, Self::Openbao];

    /// The name in figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
            Self::Rabbitmq => "rabbitmq",
            Self::Openbao => "openbao",
        }
    }

    /// The component in the labels of pods.
    pub(crate) const fn component(self) -> &'static str {
        match self {
            Self::Redis | Self::Mongodb | Self::Rabbitmq => self.name(),
            Self::Openbao => "vault",
        }
    }

    /// The part of the resource's `spec` that is about it, as a JSON pointer.
    pub(crate) const fn settings(self) -> &'static str {
        match self {
            Self::Redis => "/redis",
            Self::Mongodb => "/mongodb",
            Self::Rabbitmq => "/rabbitmq",
            Self::Openbao => "/vault/managed",
        }
    }

    /// The container in which it runs.
    pub(crate) const fn container(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Mongodb => "mongod",
            Self::Rabbitmq => "rabbitmq",
            Self::Openbao => "openbao",
        }
    }

    /// A writer with an empty place of its own.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn writer(self, config: &Config) -> Result<Writer, Failure> {
        match self {
            Self::Redis => Writer::redis(config).await,
            Self::Mongodb => Writer::mongodb(config).await,
            Self::Rabbitmq => Writer::rabbitmq(config).await,
            Self::Openbao => Writer::openbao(config).await,
        }
    }

    /// The name of the pod that leads: the master, the primary, the leader of the queue that is written to, the active
    /// member.
    ///
    /// # Errors
    /// When the engine does not answer, or names none.
    pub(crate) async fn leader(self, config: &Config) -> Result<String, Failure> {
        let address = match self {
            Self::Redis => {
                let redis = Redis::connect(&config.redis).await?;
                let mut ask = redis::cmd("CONFIG");
                ask.arg("GET").arg("replica-announce-ip");
                let answer: Vec<String> = redis.run(&ask).await?;
                answer.into_iter().nth(1)
            }
            Self::Mongodb => {
                let database = connection::mongodb::connect(&config.mongodb).await?;
                let hello = database.run_command(doc! { "hello": 1 }).await?;
                hello.get_str("primary").ok().map(str::to_owned)
            }
            Self::Rabbitmq => leader_of_the_queue(config).await?,
            Self::Openbao => active_member(config).await?,
        };
        let address = address.ok_or("the engine names no leader")?;
        // `gallery-redis-0.gallery-redis.…`: a pod of a StatefulSet is the first label of its DNS name.
        let pod = address.split('.').next().unwrap_or_default();
        Ok(pod.to_owned())
    }
}

/// A client that knows servers by the certificates in this file.
fn client_of(ca_file: Option<&Path>) -> Result<reqwest::Client, Failure> {
    let mut client = reqwest::Client::builder();
    if let Some(file) = ca_file {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(&std::fs::read(file)?)?);
    }
    Ok(client.build()?)
}

/// The DNS name of the member that answers for all; any member tells it.
async fn active_member(config: &Config) -> Result<Option<String>, Failure> {
    let url = config.vault.address.join("/v1/sys/leader")?;
    let client = client_of(config.vault.ca_file.as_deref())?;
    let answer = client.get(url).send().await?;
    let leader: Value = answer.error_for_status()?.json().await?;
    // `https://gallery-vault-1.gallery-vault-nodes.…:8200`
    let address = leader["leader_address"].as_str();
    let host = address.and_then(|address| Some(address.split_once("://")?.1));
    Ok(host.filter(|host| !host.is_empty()).map(str::to_owned))
}

/// The DNS name of the node that leads the queue.
async fn leader_of_the_queue(config: &Config) -> Result<Option<String>, Failure> {
    let rabbitmq = &config.rabbitmq;
    let host = rabbitmq.hosts.first().and_then(|host| host.split(':').next());
    let host = host.ok_or("the configuration names no host of RabbitMQ")?;
    let client = client_of(rabbitmq.ca_file.as_deref())?;
    let password = std::fs::read_to_string(&rabbitmq.password_file)?;
    let queue = Queue::Rest.name();
    let url = format!(
        "https://{host}:{MANAGEMENT}/api/queues/{}/{queue}",
        rabbitmq.vhost
    );
    let answer = client
        .get(url)
        .basic_auth(&rabbitmq.username, Some(password.trim()))
        .send()
        .await?;
    let queue: Value = answer.error_for_status()?.json().await?;
    let node = queue["leader"].as_str().and_then(|node| node.split_once('@'));
    Ok(node.map(|(_, host)| host.to_owned()))
}

//! The file that configures the API, the workers and the dispatcher: `/etc/flickrhub/config.yaml`.
//!
//! The operator writes it into a ConfigMap from the `FlickrHub` resource, with these very types, so that writer and
//! readers cannot drift apart. What may change while processes run stands in a file of its own beside it
//! ([`crate::limits`]); a change of this one starts new processes. It holds no secret: secrets are files of their own that this file names, mounted from
//! Secrets. Those of Redis, RabbitMQ and Vault are read whenever a connection is opened or a session begins; those of
//! Flickr's applications at every authorisation in the API and every half minute in the workers. The MongoDB client
//! keeps the user and the password that it was made with, so changed ones take a new process; the operator starts one,
//! because pods carry a checksum of what they mount.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::cache::CacheConfig;
use crate::queue::Queue;

/// Where the file is mounted in every pod.
pub const CONFIG_PATH: &str = "/etc/flickrhub/config.yaml";

/// The configuration of every process of one hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The name of the `FlickrHub` resource, a label of logs and metrics.
    pub hub: String,
    /// Redis behind Sentinel.
    pub redis: RedisConfig,
    /// The MongoDB replica set.
    pub mongodb: MongoConfig,
    /// The RabbitMQ cluster.
    pub rabbitmq: RabbitConfig,
    /// Vault or OpenBao.
    pub vault: VaultConfig,
    /// Flickr and our applications there.
    pub flickr: FlickrConfig,
    /// Settings of each queue.
    pub queues: BTreeMap<Queue, QueueConfig>,
    /// The HTTP API.
    pub api: ApiConfig,
    /// Callbacks to clients.
    pub callbacks: CallbackConfig,
    /// The port for metrics and health.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// Answers that are kept.
    #[serde(default)]
    pub cache: CacheConfig,
    /// Days after which a finished job is deleted.
    pub retention_days: u32,
}

/// How to reach Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisConfig {
    /// The Sentinels, each as `host:port`.
    pub sentinels: Vec<String>,
    /// The name under which the Sentinels monitor the master.
    pub master_name: String,
    /// File with the password of Redis and of its Sentinels.
    pub password_file: PathBuf,
    /// File with the authorities (PEM) that sign the servers' certificates; every connection is TLS with it. Without it none
    /// is: only tests on loopback do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What precedes every key, so that several hubs (or tests beside one) can share a Redis.
    pub key_prefix: String,
}

/// How to reach MongoDB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MongoConfig {
    /// The members, each as `host:port`.
    pub hosts: Vec<String>,
    /// The name of the replica set.
    pub replica_set: String,
    /// The database of the hub.
    pub database: String,
    /// The user, created in `admin`; a name in `username_file` takes its place.
    pub username: String,
    /// File with the user's name, on the same volume as the password: a rotation changes both in one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// File with its password.
    pub password_file: PathBuf,
    /// File with the authorities (PEM) that sign the servers' certificates; every connection is TLS with it. Without it none
    /// is: only tests on loopback do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Most connections that one process keeps to one member.
    pub max_pool_size: u32,
}

/// How to reach RabbitMQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RabbitConfig {
    /// The nodes (or a Service before them), each as `host:port`, tried in turn.
    pub hosts: Vec<String>,
    /// The virtual host.
    pub vhost: String,
    /// The user; a name in `username_file` takes its place.
    pub username: String,
    /// File with the user's name, on the same volume as the password: a rotation changes both in one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// File with its password.
    pub password_file: PathBuf,
    /// File with the authorities (PEM) that sign the servers' certificates; every connection is TLS with it. Without it none
    /// is: only tests on loopback do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Members that a quorum queue starts with.
    pub quorum_group_size: u32,
}

/// How to reach Vault or OpenBao, and the names of its transit keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultConfig {
    /// For example `https://gallery-vault.photos.svc.cluster.local:8200`.
    pub address: Url,
    /// The namespace, where the server has namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// File with the CA certificates (PEM) that sign the server's certificate; the public ones without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How to log in.
    pub auth: VaultAuth,
    /// Where the transit engine is mounted.
    pub transit_mount: String,
    /// The transit key of users' Flickr tokens.
    pub user_tokens_key: String,
    /// The transit key of application credentials and webhook secrets.
    pub app_credentials_key: String,
}

/// How a process logs in to Vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "method")]
pub enum VaultAuth {
    /// The service account's token (the `kubernetes` auth method).
    Kubernetes {
        /// Where the auth method is mounted.
        mount: String,
        /// The role to log in to. The operator writes one role for each component: `<role>-api`, `<role>-worker`,
        /// `<role>-callbacks`.
        role: String,
        /// File with the service account's token.
        token_file: PathBuf,
    },
    /// `AppRole`.
    AppRole {
        /// Where the auth method is mounted.
        mount: String,
        /// File with the role id.
        role_id_file: PathBuf,
        /// File with the secret id.
        secret_id_file: PathBuf,
    },
    /// A token that something else renews.
    Token {
        /// File with the token.
        token_file: PathBuf,
    },
}

/// Flickr and our applications there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlickrConfig {
    /// Where Flickr is.
    pub endpoints: FlickrEndpoints,
    /// The applications registered at Flickr; a user's token belongs to one of them.
    pub apps: Vec<FlickrApp>,
}

/// The addresses of Flickr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlickrEndpoints {
    /// The REST endpoint, `https://api.flickr.com/services/rest`.
    pub rest: Url,
    /// The base of `upload/` and `replace/`, `https://up.flickr.com/services`.
    pub upload: Url,
    /// The base of `request_token`, `authorize` and `access_token`, `https://www.flickr.com/services/oauth`.
    pub oauth: Url,
}

/// One application key of Flickr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlickrApp {
    /// Our name of it.
    pub name: String,
    /// File with the consumer key.
    pub consumer_key_file: PathBuf,
    /// File with the consumer secret.
    pub consumer_secret_file: PathBuf,
    /// Requests that Flickr allows the key in an hour, over all of its users.
    pub requests_per_hour: u32,
}

/// Settings of one queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueConfig {
    /// Jobs that one worker runs at a time.
    pub concurrency: u32,
    /// Messages that RabbitMQ hands to one worker ahead of their acknowledgement; at least `concurrency`.
    pub prefetch: u16,
    /// Jobs released to RabbitMQ and not finished, over all workers. Small, so that order is decided late.
    pub window: u32,
    /// Attempts before a job is dead.
    pub max_attempts: u32,
    /// Seconds until one attempt is given up.
    pub timeout_seconds: u32,
}

/// The HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiConfig {
    /// The address under which browsers reach the API; Flickr sends users back to `<public_url>/api/v1/oauth/callback`.
    pub public_url: Url,
    /// Origins that may call the API from a browser; none by default.
    #[serde(default)]
    pub cors_allowed_origins: Vec<String>,
    /// Networks of the proxies before the API: from these, and only from these, `X-Forwarded-For` is believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<IpNet>,
    /// What the API shows to clients that connect over TLS; without it, it speaks plain HTTP alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Most connections that one process has open to clients.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// Largest upload in bytes.
    pub max_upload_bytes: u64,
    /// Largest other request body in bytes.
    pub max_body_bytes: u64,
}

/// What a hub may have in one process of the API without being told: 10,000 clients at the same time are a load that one of
/// them bears alone while the others restart.
const fn default_max_connections() -> u32 {
    12_000
}

/// A certificate and its key. They are replaced while the process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsFiles {
    /// The certificate, and those between it and its authority (PEM).
    pub certificate_file: PathBuf,
    /// The key (PEM).
    pub key_file: PathBuf,
}

/// The port for metrics and health of every process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsConfig {
    /// What it shows; without it, it speaks plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// Callbacks to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackConfig {
    /// Networks that are allowed although they are private; plain http is allowed only into these.
    #[serde(default)]
    pub allowed_networks: Vec<IpNet>,
}

/// The configuration, or a secret that it names, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or not readable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{path} is not a valid configuration: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_yaml_ng::Error,
    },
    /// The secret file has no content.
    #[error("{0} is empty")]
    EmptySecret(PathBuf),
    /// A queue has no settings.
    #[error("the configuration has no settings for queue {0}")]
    MissingQueue(Queue),
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the file cannot be read, is not YAML of this shape, or lacks a queue.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let config: Self = serde_yaml_ng::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source,
        })?;
        match Queue::ALL
            .into_iter()
            .find(|queue| !config.queues.contains_key(queue))
        {
            Some(queue) => Err(ConfigError::MissingQueue(queue)),
            None => Ok(config),
        }
    }

    /// The settings of a queue.
    ///
    /// # Errors
    /// [`ConfigError::MissingQueue`]; cannot happen after [`Config::load`].
    pub fn queue(&self, queue: Queue) -> Result<&QueueConfig, ConfigError> {
        self.queues.get(&queue).ok_or(ConfigError::MissingQueue(queue))
    }
}

/// Reads a secret from its file, without the white space around it.
///
/// # Errors
/// When the file cannot be read or is empty.
pub fn read_secret(path: &Path) -> Result<SecretString, ConfigError> {
    let text = zeroize::Zeroizing::new(read(path)?);
    let secret = text.trim();
    if secret.is_empty() {
        return Err(ConfigError::EmptySecret(path.to_owned()));
    }
    Ok(SecretString::from(secret))
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user.
    pub username: String,
    /// Its password.
    pub password: SecretString,
}

/// Looks at the name of the user until it is the same before and after the password was read.
const LOGIN_LOOKS: usize = 4;

/// Reads a user and its password. The kubelet exchanges both files in one step, which may fall between the two reads: the
/// name is read again after the password, until it stays.
///
/// # Errors
/// When a file cannot be read or is empty.
pub fn read_login(
    username: &str,
    username_file: Option<&Path>,
    password_file: &Path,
) -> Result<Login, ConfigError> {
    let name = || match username_file {
        Some(file) => read_secret(file).map(|name| name.expose_secret().to_owned()),
        None => Ok(username.to_owned()),
    };
    let mut login = Login {
        username: name()?,
        password: read_secret(password_file)?,
    };
    for _ in 0..LOGIN_LOOKS {
        let again = name()?;
        if again == login.username {
            break;
        }
        login = Login {
            username: again,
            password: read_secret(password_file)?,
        };
    }
    Ok(login)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_file_takes_the_place_of_the_configured_one() {
        let folder = std::env::temp_dir().join(format!("flickrhub-{}", uuid::Uuid::now_v7()));
        let (name, password) = (folder.join("username"), folder.join("password"));
        let written = std::fs::create_dir(&folder)
            .and_then(|()| std::fs::write(&name, "flickrhub-b\n"))
            .and_then(|()| std::fs::write(&password, "secret\n"));
        assert!(written.is_ok());
        let read = |file: Option<&Path>| {
            let login = read_login("flickrhub", file, &password).ok()?;
            Some((login.username, login.password.expose_secret().to_owned()))
        };
        assert_eq!(read(None), Some(("flickrhub".to_owned(), "secret".to_owned())));
        assert_eq!(
            read(Some(&name)),
            Some(("flickrhub-b".to_owned(), "secret".to_owned()))
        );
        assert_eq!(read(Some(&folder.join("nothing"))), None);
        assert!(std::fs::remove_dir_all(&folder).is_ok());
    }
}

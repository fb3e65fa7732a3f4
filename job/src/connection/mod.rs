//! Clients of Redis, MongoDB and RabbitMQ that survive a failover.
//!
//! A password is read from its file, never kept in the configuration: by Redis and RabbitMQ for every connection, by
//! MongoDB once for each client, which opens all of its connections with it. Where the configuration names authorities
//! ([`trust`]), every connection is TLS, and the server's certificate is checked against them with its name.

mod address;
pub mod mongodb;
pub mod rabbitmq;
pub mod redis;
pub mod trust;

use std::path::PathBuf;

use crate::config::ConfigError;

/// A member of the data tier cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file with the password cannot be read.
    #[error(transparent)]
    Secret(#[from] ConfigError),
    /// The configuration names no host, or one that is not `host:port`.
    #[error("{service}: {address:?} is not an address; write host:port")]
    Address {
        /// Which part of the data tier.
        service: &'static str,
        /// What the configuration says.
        address: String,
    },
    /// The file with the authorities holds none that can be used.
    #[error("{path}: {source}")]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: trust::TrustError,
    },
    /// No answer in time; the caller tries again later.
    #[error("{0} did not answer in time")]
    Timeout(&'static str),
    /// MongoDB refuses us or cannot be reached.
    #[error("MongoDB: {}", .0.kind)]
    MongoDb(#[from] ::mongodb::error::Error),
    /// Redis or its Sentinels refuse us or cannot be reached.
    #[error("Redis: {0}")]
    Redis(#[from] ::redis::RedisError),
    /// RabbitMQ refuses us or cannot be reached.
    #[error("RabbitMQ: {0}")]
    RabbitMq(#[from] lapin::Error),
}

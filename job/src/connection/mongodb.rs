//! The MongoDB replica set.
//!
//! The driver follows elections by itself: while there is no primary an operation waits up to
//! [`SERVER_SELECTION_TIMEOUT`], and a write that was cut off is sent once more and applied once (retryable writes).
//! The password and the authorities are read when the client is made and live as long as it does: a rotated password, or
//! another authority, needs a new client.

use std::path::PathBuf;
use std::time::Duration;

use mongodb::bson::doc;
use mongodb::options::{
    Acknowledgment, ClientOptions, Credential, ReadConcern, ReadPreference, SelectionCriteria, ServerAddress,
    Tls, TlsOptions, WriteConcern,
};
use mongodb::{Client, Database};
use secrecy::ExposeSecret;

use super::ConnectError;
use super::trust::Trust;
use crate::config::{MongoConfig, read_login};

/// How long an operation waits for a primary: longer than an election takes.
pub const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take, and how long past a [`HEARTBEAT`] a member may be silent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a member is to give a sign of life. One that hangs is noticed after this and [`CONNECT_TIMEOUT`], as long
/// as the members themselves take; what waits for its answer is then cut off, and sent once more to the next primary.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a write waits for the majority before it reports that it does not know.
const MAJORITY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// A client of the hub's database; the connections are opened when they are first needed.
///
/// Reads go to the primary and see only what the majority has; writes wait for the majority.
///
/// # Errors
/// When the password cannot be read, or a host is no address. An unreachable server is reported by the operations.
#[expect(
    clippy::unused_async,
    reason = "the contract of every connection, and a client may yet ask the server"
)]
pub async fn connect(config: &MongoConfig) -> Result<Database, ConnectError> {
    let client = Client::with_options(options(config)?)?;
    Ok(client.database(&config.database))
}

/// Asks the primary for a sign of life.
///
/// # Errors
/// When there is no primary or it does not answer in 3 s.
pub async fn ping(database: &Database) -> Result<(), ConnectError> {
    tokio::time::timeout(PING_TIMEOUT, database.run_command(doc! { "ping": 1 }))
        .await
        .map_err(|_| ConnectError::Timeout("MongoDB"))??;
    Ok(())
}

fn options(config: &MongoConfig) -> Result<ClientOptions, ConnectError> {
    let hosts = config
        .hosts
        .iter()
        .map(|host| address(host))
        .collect::<Result<Vec<_>, _>>()?;
    if hosts.is_empty() {
        return Err(ConnectError::Address {
            service: "MongoDB",
            address: String::new(),
        });
    }
    let login = read_login(
        &config.username,
        config.username_file.as_deref(),
        &config.password_file,
    )?;
    let credential = Credential::builder()
        .username(login.username)
        .password(login.password.expose_secret().to_owned())
        .source("admin".to_owned())
        .build();
    // The driver would go on without an authority that it cannot read, and then trust nobody: say so before.
    Trust::read(config.ca_file.as_deref())?;
    let majority = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .w_timeout(MAJORITY_TIMEOUT)
        .build();
    Ok(ClientOptions::builder()
        .hosts(hosts)
        .repl_set_name(config.replica_set.clone())
        .credential(credential)
        .tls(tls(config.ca_file.clone()))
        .app_name("flickrhub".to_owned())
        .max_pool_size(config.max_pool_size)
        .connect_timeout(CONNECT_TIMEOUT)
        .heartbeat_freq(HEARTBEAT)
        .server_selection_timeout(SERVER_SELECTION_TIMEOUT)
        .retry_reads(true)
        .retry_writes(true)
        .write_concern(majority)
        .read_concern(ReadConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build())
}

/// TLS whose servers are known by the authorities in this file; none without a file.
#[must_use]
pub fn tls(authorities: Option<PathBuf>) -> Tls {
    authorities.map_or(Tls::Disabled, |file| {
        TlsOptions::builder().ca_file_path(file).build().into()
    })
}

fn address(host: &str) -> Result<ServerAddress, ConnectError> {
    ServerAddress::parse(host).map_err(|_| ConnectError::Address {
        service: "MongoDB",
        address: host.to_owned(),
    })
}

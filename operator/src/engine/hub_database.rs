//! A connection of the operator to the database of a hub, as the user of its processes.

use std::time::Duration;

use flickrhub_job::config::Login;
use mongodb::Client;
use mongodb::options::{ClientOptions, Credential, ServerAddress, WriteConcern};
use secrecy::ExposeSecret;

use super::trust_file::tls_of;
use crate::names;
use crate::validate::ValidatedHub;

/// How long a connection to MongoDB may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// There is no way into the database.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A host of MongoDB is no address.
    #[error("{0:?} is no address of MongoDB; it must be host:port")]
    Address(String),
    /// The authorities cannot be handed to the driver.
    #[error("the file with the certificate authorities cannot be written: {0}")]
    Trust(#[from] std::io::Error),
    /// The client cannot be made.
    // The driver's text can hold the whole answer of the server, its kind alone says enough.
    #[error("MongoDB: {}", .0.kind)]
    MongoDb(#[from] mongodb::error::Error),
}

/// A client of one connection; writes are acknowledged by a majority. Whoever asked for it shuts it down.
///
/// # Errors
/// When a host of the hub is no address.
pub(crate) fn connect(hub: &ValidatedHub, login: &Login) -> Result<Client, ConnectError> {
    let hosts = hub.names.mongodb_hosts(hub.mongodb.members);
    let addresses = hosts.into_iter().map(|host| {
        let address = format!("{host}:{}", names::MONGODB_PORT);
        ServerAddress::parse(&address).map_err(|_| ConnectError::Address(address))
    });
    let credential = Credential::builder()
        .username(login.username.clone())
        .source("admin".to_owned())
        .password(login.password.expose_secret().to_owned())
        .build();
    let options = ClientOptions::builder()
        .hosts(addresses.collect::<Result<Vec<_>, _>>()?)
        .repl_set_name(names::MONGODB_REPLICA_SET.to_owned())
        .credential(credential)
        .tls(tls_of(hub.trust.as_ref())?)
        .app_name("flickrhub-operator".to_owned())
        .connect_timeout(CONNECT_TIMEOUT)
        .server_selection_timeout(CONNECT_TIMEOUT)
        .write_concern(WriteConcern::majority())
        .max_pool_size(1_u32)
        .build();
    Ok(Client::with_options(options)?)
}

//! A MongoDB of one member, with the users of a hub. `FLICKRHUB_TEST_MONGOD` is the path of `mongod`.

use std::os::unix::fs::PermissionsExt as _;

use flickrhub_job::config::Login;
use flickrhub_operator::engine::Standard;
use flickrhub_operator::engine::mongodb::{Desired, Rights, Timing, reconcile_desired};
use mongodb::Database;
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use secrecy::{ExposeSecret as _, SecretString};

use crate::servers::{Folder, Server, free_ports, until_ready};

/// What members prove by that they belong together.
pub(crate) const KEY: &str = "c29tZSBrZXkgb2YgdGhlIHRlc3Q";

/// Writes the key file of the members: `key`, as it is.
pub(crate) fn write_key(folder: &Folder, key: &str) {
    let keyfile = folder.path().join("key");
    std::fs::write(&keyfile, key).expect("the key file can be written");
    std::fs::set_permissions(&keyfile, std::fs::Permissions::from_mode(0o400))
        .expect("it can be made private");
}

/// Starts a member whose key file is written; its data are in the folder `name`.
pub(crate) fn start_member(folder: &Folder, name: &str, port: u16) -> Server {
    start_member_with(folder, name, port, &[])
}

/// The same, with further arguments.
pub(crate) fn start_member_with(folder: &Folder, name: &str, port: u16, further: &[&str]) -> Server {
    let program = std::env::var("FLICKRHUB_TEST_MONGOD").expect("FLICKRHUB_TEST_MONGOD names mongod");
    let keyfile = folder.path().join("key").display().to_string();
    let data = folder.subfolder(name).display().to_string();
    let port = port.to_string();
    let arguments = [
        "--replSet",
        "rs0",
        "--bind_ip",
        "127.0.0.1",
        "--port",
        &port,
        "--dbpath",
        &data,
        "--keyFile",
        &keyfile,
        "--wiredTigerCacheSizeGB",
        "0.25",
    ];
    Server::start(&program, &[&arguments, further].concat(), folder.path(), name)
}

/// The replica set of the members on these ports.
pub(crate) fn desired(ports: &[u16]) -> Desired {
    Desired {
        hosts: ports.iter().map(|port| format!("127.0.0.1:{port}")).collect(),
        kept: ports.len(),
        replica_set: "rs0".to_owned(),
        database: "flickrhub".to_owned(),
        keyfile: SecretString::from(KEY),
        admin_password: SecretString::from("admin's"),
        app: Login {
            username: "flickrhub".to_owned(),
            password: SecretString::from("application's"),
        },
        rights: Rights::OwnRole,
        timing: Timing::SWIFT,
        trust: None,
        standard: Standard::Complete,
        users_are_known: false,
    }
}

/// Starts one; its database, as the processes of the hub see it.
pub(crate) async fn database(folder: &Folder) -> (Server, Database) {
    let [port] = free_ports();
    write_key(folder, KEY);
    let server = start_member(folder, "mongod", port);
    let desired = desired(&[port]);
    until_ready(async || reconcile_desired(&desired).await).await;
    (server, of_login(&desired, &desired.app))
}

/// The database of a set, as this user sees it.
pub(crate) fn of_login(desired: &Desired, login: &Login) -> Database {
    let credential = Credential::builder()
        .username(login.username.clone())
        .source("admin".to_owned())
        .password(login.password.expose_secret().to_owned())
        .build();
    let options = ClientOptions::builder()
        .hosts(vec![ServerAddress::parse(&desired.hosts[0]).expect("an address")])
        .repl_set_name("rs0".to_owned())
        .credential(credential)
        .build();
    let client = mongodb::Client::with_options(options).expect("a client");
    client.database(&desired.database)
}

//! The MongoDB step against a real replica set of three members. `FLICKRHUB_TEST_MONGOD` is the path of `mongod`.

use std::os::unix::fs::PermissionsExt as _;

use crate::servers::{Folder, Server, free_ports, until_ready};
use flickrhub_operator::engine::Standard;
use flickrhub_operator::engine::mongodb::{Desired, ELECTION_TIMEOUT_MS, reconcile_desired};
use secrecy::SecretString;

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn blank_members_become_a_replica_set_with_its_users_that_survives_the_loss_of_one() {
    const KEY: &str = "c29tZSBrZXkgb2YgdGhlIHRlc3Q";
    let program = std::env::var("FLICKRHUB_TEST_MONGOD").expect("FLICKRHUB_TEST_MONGOD names mongod");
    let folder = Folder::new("mongodb");
    let keyfile = folder.path().join("key");
    std::fs::write(&keyfile, format!("{KEY}\n")).expect("the key file can be written");
    std::fs::set_permissions(&keyfile, std::fs::Permissions::from_mode(0o400))
        .expect("it can be made private");
    let keyfile = keyfile.display().to_string();
    let ports = free_ports::<3>();
    let start = |member: usize| {
        let name = format!("member-{member}");
        let data = folder.subfolder(&name).display().to_string();
        let port = ports[member].to_string();
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
        Server::start(&program, &arguments, folder.path(), &name)
    };
    let mut members = [start(0), start(1), start(2)];
    let mut desired = Desired {
        hosts: ports.iter().map(|port| format!("127.0.0.1:{port}")).collect(),
        replica_set: "rs0".to_owned(),
        database: "flickrhub".to_owned(),
        keyfile: SecretString::from(format!("{KEY}\n")),
        admin_password: SecretString::from("admin's"),
        app_password: SecretString::from("application's"),
        election_timeout_ms: ELECTION_TIMEOUT_MS,
        standard: Standard::Complete,
    };
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    desired.app_password = SecretString::from("application's new one");
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    desired.standard = Standard::Serving;
    members[0].kill();
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Degraded", "{}", status.message);

    members[0] = start(0);
    desired.standard = Standard::Complete;
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    desired.keyfile = SecretString::from("another");
    let status = reconcile_desired(&desired).await;
    assert_eq!(status.reason, "KeyRefused", "{}", status.message);
}

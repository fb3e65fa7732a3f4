//! The MongoDB step against a real replica set of three members. `FLICKRHUB_TEST_MONGOD` is the path of `mongod`.

use crate::database::{KEY, start_member, write_key};
use crate::servers::{Folder, free_ports, until_ready};
use flickrhub_operator::engine::Standard;
use flickrhub_operator::engine::mongodb::{Desired, ELECTION_TIMEOUT_MS, reconcile_desired};
use secrecy::SecretString;

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn blank_members_become_a_replica_set_with_its_users_that_survives_the_loss_of_one() {
    let folder = Folder::new("mongodb");
    let key = format!("{KEY}\n");
    write_key(&folder, &key);
    let ports = free_ports::<3>();
    let start = |member: usize| start_member(&folder, &format!("member-{member}"), ports[member]);
    let mut members = [start(0), start(1), start(2)];
    let mut desired = Desired {
        hosts: ports.iter().map(|port| format!("127.0.0.1:{port}")).collect(),
        replica_set: "rs0".to_owned(),
        database: "flickrhub".to_owned(),
        keyfile: SecretString::from(key.as_str()),
        admin_password: SecretString::from("admin's"),
        app_password: SecretString::from("application's"),
        election_timeout_ms: ELECTION_TIMEOUT_MS,
        trust: None,
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

//! The Redis step against real servers and Sentinels. `FLICKRHUB_TEST_REDIS` is the path of `redis-server`.

use std::fmt::Write as _;

use crate::servers::{Folder, Server, free_ports, until_ready};
use flickrhub_operator::engine::Standard;
use flickrhub_operator::engine::redis::{Desired, decide, observe};
use flickrhub_operator::part::PartStatus;
use secrecy::SecretString;

async fn look(desired: &Desired) -> PartStatus {
    decide(&observe(desired).await, desired).into()
}

#[tokio::test]
#[ignore = "needs the redis-server program: FLICKRHUB_TEST_REDIS"]
async fn redis_is_ready_with_its_sentinels_and_stays_ready_through_a_failover() {
    let program = std::env::var("FLICKRHUB_TEST_REDIS").expect("FLICKRHUB_TEST_REDIS names redis-server");
    let folder = Folder::new("redis");
    let ports = free_ports::<6>();
    let (redis, sentinels) = ports.split_at(3);
    let write = |name: &str, text: &str| {
        let file = folder.subfolder(name).join("settings.conf");
        std::fs::write(&file, text).expect("the settings can be written");
        file.display().to_string()
    };
    let mut servers = Vec::new();
    for (index, port) in redis.iter().enumerate() {
        let name = format!("redis-{index}");
        let mut text = format!("port {port}\nbind 127.0.0.1\nrequirepass p\nmasterauth p\nsave \"\"\n");
        if index > 0 {
            let _ = writeln!(text, "replicaof 127.0.0.1 {}", redis[0]);
        }
        servers.push(Server::start(
            &program,
            &[&write(&name, &text)],
            &folder.subfolder(&name),
            &name,
        ));
    }
    for (index, port) in sentinels.iter().enumerate() {
        let name = format!("sentinel-{index}");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass p\nsentinel sentinel-pass p\nsentinel monitor flickrhub \
             127.0.0.1 {} 2\nsentinel auth-pass flickrhub p\nsentinel down-after-milliseconds flickrhub 3000\n",
            redis[0]
        );
        let file = write(&name, &text);
        servers.push(Server::start(
            &program,
            &[&file, "--sentinel"],
            &folder.subfolder(&name),
            &name,
        ));
    }
    let addresses = |ports: &[u16]| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut desired = Desired {
        servers: addresses(redis),
        sentinels: addresses(sentinels),
        master_name: "flickrhub".to_owned(),
        password: SecretString::from("p"),
        trust: None,
        standard: Standard::Complete,
    };
    let status = until_ready(async || look(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    servers[0].kill();
    let status = look(&desired).await;
    assert!(!status.ready, "{}", status.message);
    desired.standard = Standard::Serving;
    let status = until_ready(async || look(&desired).await).await;
    assert_eq!(status.reason, "Degraded", "{}", status.message);

    desired.password = SecretString::from("another");
    let status = look(&desired).await;
    assert_eq!(status.reason, "PasswordRefused", "{}", status.message);
}

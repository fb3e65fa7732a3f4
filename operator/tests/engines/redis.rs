//! The Redis step against real servers and Sentinels. `FLICKRHUB_TEST_REDIS` is the path of `redis-server`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::servers::{Folder, Server, free_ports, until_ready};
use flickrhub_operator::engine::Standard;
use flickrhub_operator::engine::logins::{Answer, Verdict};
use flickrhub_operator::engine::redis::{Desired, reconcile_desired};
use flickrhub_operator::engine::roster::Members as _;
use secrecy::SecretString;

/// Three servers with a Sentinel each, the first one as master.
fn start(folder: &Folder) -> (Vec<Server>, Desired) {
    let program = std::env::var("FLICKRHUB_TEST_REDIS").expect("FLICKRHUB_TEST_REDIS names redis-server");
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
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass p\nmasterauth p\nsave \"\"\nmin-replicas-to-write 1\n\
             min-replicas-max-lag 5\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n"
        );
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
             127.0.0.1 {} 2\nsentinel auth-pass flickrhub p\nsentinel down-after-milliseconds flickrhub 3000\n\
             sentinel failover-timeout flickrhub 10000\n",
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
    let desired = Desired {
        servers: addresses(redis),
        sentinels: addresses(sentinels),
        kept: 3,
        master_name: "flickrhub".to_owned(),
        password: SecretString::from("p"),
        trust: None,
        standard: Standard::Complete,
    };
    (servers, desired)
}

#[tokio::test]
#[ignore = "needs the redis-server program: FLICKRHUB_TEST_REDIS"]
async fn redis_is_ready_with_its_sentinels_and_stays_ready_through_a_failover() {
    let folder = Folder::new("redis");
    let (mut servers, mut desired) = start(&folder);
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    servers[0].kill();
    let status = reconcile_desired(&desired).await;
    assert!(!status.ready, "{}", status.message);
    desired.standard = Standard::Serving;
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Degraded", "{}", status.message);

    desired.password = SecretString::from("another");
    let status = reconcile_desired(&desired).await;
    assert_eq!(status.reason, "PasswordRefused", "{}", status.message);
}

/// What a client saw that wrote one number after the other.
struct Written {
    /// The last one that was acknowledged.
    last: u64,
    /// The longest time between two acknowledgements.
    gap: Duration,
}

/// Writes until `stop`; asks the Sentinel for the master whenever that does not take a write.
async fn write(sentinel: String, stop: Arc<AtomicBool>) -> Written {
    let connect = async |address: &str| {
        let client = redis::Client::open(format!("redis://:p@{address}")).expect("an address");
        client.get_multiplexed_async_connection().await
    };
    let mut written = Written {
        last: 0,
        gap: Duration::ZERO,
    };
    let mut acknowledged = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let master: Result<(String, u16), redis::RedisError> = async {
            let mut sentinel = connect(&sentinel).await?;
            let mut ask = redis::cmd("SENTINEL");
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg("flickrhub");
            ask.query_async(&mut sentinel).await
        }
        .await;
        let Ok((host, port)) = master else { continue };
        let Ok(mut master) = connect(&format!("{host}:{port}")).await else {
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let mut set = redis::cmd("SET");
            set.arg("number").arg(written.last + 1);
            let outcome: Result<(), redis::RedisError> = set.query_async(&mut master).await;
            if outcome.is_err() {
                break;
            }
            written.last += 1;
            written.gap = written.gap.max(acknowledged.elapsed());
            acknowledged = Instant::now();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    written
}

#[tokio::test]
#[ignore = "needs the redis-server program: FLICKRHUB_TEST_REDIS"]
async fn the_master_hands_over_without_a_lost_write() {
    let folder = Folder::new("redis-hand-over");
    let (_servers, desired) = start(&folder);
    until_ready(async || reconcile_desired(&desired).await).await;
    let roster = desired.roster().await;
    assert!(
        (0..3).all(|ordinal| roster.needed(ordinal).is_none()),
        "{roster:?}"
    );
    assert_eq!(roster.leads(0), 1);

    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(desired.sentinels[1].clone(), Arc::clone(&stop)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    desired.hand_over(0).await.expect("another one takes over");
    let roster = desired.roster().await;
    assert_eq!(roster.leads(0), 0, "{roster:?}");
    until_ready(async || reconcile_desired(&desired).await).await;
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("the writer does not panic");
    eprintln!("{} writes, the longest gap {:?}", written.last, written.gap);
    assert!(written.gap < Duration::from_millis(2500), "{:?}", written.gap);

    for address in &desired.servers {
        let client = redis::Client::open(format!("redis://:p@{address}")).expect("an address");
        let mut connection = client.get_multiplexed_async_connection().await.expect("it runs");
        let number: u64 = redis::cmd("GET")
            .arg("number")
            .query_async(&mut connection)
            .await
            .expect("a number");
        assert!(
            number >= written.last,
            "{address} has {number} of {}",
            written.last
        );
    }
}

#[tokio::test]
#[ignore = "needs the redis-server program: FLICKRHUB_TEST_REDIS"]
async fn the_sentinels_forget_a_member_that_was_taken_away_after_it_has_handed_over() {
    let folder = Folder::new("redis-shrinks");
    let (mut servers, mut desired) = start(&folder);
    until_ready(async || reconcile_desired(&desired).await).await;
    // The first of them is the master, and must not be followed by the last one, which is to go.
    desired.kept = 2;
    desired.hand_over(0).await.expect("another one takes over");
    until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(desired.roster().await.leads(1), 1);

    // Each server stands beside its Sentinel.
    servers.remove(5);
    servers.remove(2);
    desired.servers.truncate(2);
    desired.sentinels.truncate(2);
    let forgotten = async || {
        for port in &desired.sentinels {
            let client = redis::Client::open(format!("redis://:p@{port}")).expect("an address");
            let mut sentinel = client.get_multiplexed_async_connection().await.expect("it runs");
            let mut ask = redis::cmd("SENTINEL");
            ask.arg("MASTER").arg("flickrhub");
            let master: std::collections::HashMap<String, String> =
                ask.query_async(&mut sentinel).await.expect("it monitors");
            if [&master["num-slaves"], &master["num-other-sentinels"]] != ["1", "1"] {
                return false;
            }
        }
        true
    };
    for _ in 0..60 {
        let status = reconcile_desired(&desired).await;
        if status.reason == "Ready" && forgotten().await {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("the Sentinels still count on a member that is gone");
}

/// Has a server or a Sentinel do what the script in its pod does with other files.
async fn take_passwords(address: &str, is_sentinel: bool, known: &str, accepted: &[&str], used: &str) {
    let client = redis::Client::open(format!("redis://:{known}@{address}")).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("it runs");
    let mut rules = redis::cmd("ACL");
    rules.arg("SETUSER").arg("default").arg("resetpass");
    for password in accepted {
        rules.arg(format!(">{password}"));
    }
    let mut commands = vec![rules];
    if is_sentinel {
        let mut set = redis::cmd("SENTINEL");
        set.arg("SET").arg("flickrhub").arg("auth-pass").arg(used);
        let mut config = redis::cmd("SENTINEL");
        config.arg("CONFIG").arg("SET").arg("sentinel-pass").arg(used);
        commands.extend([set, config]);
    } else {
        let mut config = redis::cmd("CONFIG");
        config.arg("SET").arg("masterauth").arg(used);
        commands.push(config);
    }
    for command in commands {
        let done: Result<(), redis::RedisError> = command.query_async(&mut connection).await;
        done.expect("it does what it is told");
    }
}

#[tokio::test]
#[ignore = "needs the redis-server program: FLICKRHUB_TEST_REDIS"]
async fn the_password_is_replaced_while_servers_and_sentinels_stay_in_touch() {
    let folder = Folder::new("redis-passwords");
    let (_servers, mut desired) = start(&folder);
    until_ready(async || reconcile_desired(&desired).await).await;
    let (old, new) = (SecretString::from("p"), SecretString::from("q"));
    let say = |answers: Vec<Answer>, wanted: &Verdict| answers.iter().all(|answer| answer.verdict == *wanted);
    assert!(say(desired.try_password(&new).await, &Verdict::Refused));

    let phases: [(&str, &[&str], &str); 3] = [
        ("p", &["p", "q"], "p"),
        ("q", &["q", "p"], "q"),
        ("q", &["q"], "q"),
    ];
    for (known, accepted, used) in phases {
        let sentinels = desired.sentinels.iter().map(|address| (address, true));
        let servers = desired.servers.iter().map(|address| (address, false));
        for (address, is_sentinel) in servers.chain(sentinels) {
            take_passwords(address, is_sentinel, known, accepted, used).await;
        }
        desired.password = SecretString::from(used);
        assert!(say(desired.try_password(&new).await, &Verdict::Accepted));
        assert!(say(desired.members_use_password().await, &Verdict::Accepted));
        let expected = if accepted.contains(&"p") {
            Verdict::Accepted
        } else {
            Verdict::Refused
        };
        assert!(say(desired.try_password(&old).await, &expected));
        until_ready(async || reconcile_desired(&desired).await).await;
    }

    // The others follow a new master by the new password.
    desired.hand_over(0).await.expect("another one takes over");
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);
}

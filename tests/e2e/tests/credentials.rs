//! Other credentials for every engine while clients submit jobs: no request fails, and in the end the old ones are refused.
//!
//! Tests of single crates log in to the engines of the hub, too. What they know of it is brought up to date at the end.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use flickrhub_e2e::cluster::{self, condition, hubs, ready};
use flickrhub_e2e::load::Load;
use flickrhub_e2e::{database, eventually, scene, setting, tls};
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use mongodb::bson::doc;
use reqwest::{Certificate, Method, StatusCode};
use rustls::StreamOwned;
use serde_json::{Value, json};

/// Three engines, each with a rollout of every process.
const REPLACED_WITHIN: Duration = Duration::from_mins(25);
const ENGINES: [&str; 3] = ["Redis", "MongoDB", "RabbitMQ"];
const MEMBERS: usize = 3;

/// The logins of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Logins {
    redis: String,
    /// The user and the password of the processes.
    mongodb: (String, String),
    administrator: String,
    rabbitmq: (String, String),
}

impl Logins {
    async fn of(client: &Client) -> Self {
        let hub = cluster::hub();
        let value = async |engine: &str, key: &str| {
            cluster::secret(client, &format!("{hub}-{engine}-auth"), key).await
        };
        Self {
            redis: value("redis", "password").await,
            mongodb: (
                value("mongodb", "app-username").await,
                value("mongodb", "app-password").await,
            ),
            administrator: value("mongodb", "admin-password").await,
            rabbitmq: (
                value("rabbitmq", "username").await,
                value("rabbitmq", "password").await,
            ),
        }
    }
}

/// When the credentials of each engine were replaced last; `None` while one is being replaced.
fn replaced_at(hub: &DynamicObject) -> Option<Vec<String>> {
    let all = hub.data.pointer("/status/credentials")?.as_array()?;
    ENGINES
        .iter()
        .map(|engine| {
            let found = all.iter().find(|found| found["name"] == **engine)?;
            let at = found["rotatedAt"].as_str()?;
            (found["phase"] == "Rest").then(|| at.to_owned())
        })
        .collect()
}

/// What a Redis or a Sentinel answers to a password.
fn ask_redis(host: &str, port: u16, authorities: &str, password: &str) -> String {
    let socket = TcpStream::connect((host, port)).expect("it listens");
    let mut stream = StreamOwned::new(tls::connection(authorities, host), socket);
    write!(stream, "AUTH {password}\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

/// A client of the management API that trusts the hub's authorities.
fn management(authorities: &str) -> reqwest::Client {
    let authorities = Certificate::from_pem_bundle(authorities.as_bytes()).unwrap();
    let builder = reqwest::Client::builder().tls_certs_only(authorities);
    builder.build().unwrap()
}

/// Whether a member of MongoDB lets somebody in.
async fn mongodb_accepts(client: &Client, user: &str, password: &str) -> bool {
    let login = database::log_in(client, user, password).await;
    login.run_command(doc! {"ping": 1}).await.is_ok()
}

/// Every engine refuses these and accepts the others.
async fn only_the_new_ones_hold(client: &Client, old: &Logins, new: &Logins) {
    let authorities = cluster::authorities(client).await;
    for member in 0..MEMBERS {
        for port in [6379, 26379] {
            let host = cluster::member("redis", "redis", member);
            let (authorities, old, new) = (authorities.clone(), old.redis.clone(), new.redis.clone());
            let answers = tokio::task::spawn_blocking(move || {
                [&old, &new].map(|password| ask_redis(&host, port, &authorities, password))
            });
            let [refused, accepted] = answers.await.unwrap();
            assert!(refused.starts_with("-WRONGPASS"), "{refused}");
            assert!(accepted.starts_with("+OK"), "{accepted}");
        }
        let whoami = format!(
            "https://{}:15671/api/whoami",
            cluster::member("rabbitmq", "rabbitmq-nodes", member)
        );
        for ((user, password), status) in [
            (&old.rabbitmq, StatusCode::UNAUTHORIZED),
            (&new.rabbitmq, StatusCode::OK),
        ] {
            let request = management(&authorities).get(&whoami);
            let answer = request.basic_auth(user, Some(password)).send().await.unwrap();
            assert_eq!(answer.status(), status, "{user}");
        }
    }
    assert!(!mongodb_accepts(client, &old.mongodb.0, &old.mongodb.1).await);
    assert!(!mongodb_accepts(client, "admin", &old.administrator).await);
    assert!(mongodb_accepts(client, &new.mongodb.0, &new.mongodb.1).await);
    assert!(mongodb_accepts(client, "admin", &new.administrator).await);
}

/// Gives the new credentials to the configuration of integration tests, and its virtual host to the new user of RabbitMQ.
async fn tell_the_other_tests(client: &Client, old: &Logins, new: &Logins) {
    let path = setting("FLICKRHUB_TEST_CONFIG");
    let text = std::fs::read_to_string(&path).unwrap();
    let config: Value = serde_yaml_ng::from_str(&text).unwrap();
    for (part, password) in [
        ("redis", &new.redis),
        ("mongodb", &new.administrator),
        ("rabbitmq", &new.rabbitmq.1),
    ] {
        let file = config[part]["passwordFile"].as_str().unwrap();
        std::fs::write(file, password).unwrap();
    }
    let (before, after) = (
        format!("  username: {}\n", old.rabbitmq.0),
        format!("  username: {}\n", new.rabbitmq.0),
    );
    assert!(text.contains(&before), "{path} names another user of RabbitMQ");
    std::fs::write(&path, text.replace(&before, &after)).unwrap();
    let authorities = cluster::authorities(client).await;
    let vhost = config["rabbitmq"]["vhost"].as_str().unwrap();
    let (user, password) = &new.rabbitmq;
    let url = format!(
        "https://{}:15671/api/permissions/{vhost}/{user}",
        cluster::member("rabbitmq", "rabbitmq-nodes", 0)
    );
    let answer = management(&authorities)
        .request(Method::PUT, url)
        .basic_auth(user, Some(password))
        .json(&json!({"configure": ".*", "write": ".*", "read": ".*"}))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn the_credentials_of_every_engine_are_replaced_and_no_request_fails() {
    scene::play(|scene| async move {
        let hubs = hubs(&scene.client, &cluster::namespace());
        let name = cluster::hub();
        let hub = ready(&hubs, &name, Duration::from_mins(5)).await;
        let before = replaced_at(&hub).expect("the status tells of every engine");
        let user = scene.authorise("credentials", "read").await;
        let old = Logins::of(&scene.client).await;

        let load = Load::start(&scene.gateway, &user);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let began = tokio::time::Instant::now();
        let wish = json!({"metadata": {"annotations": {
            "flickrhub.dev/rotate-credentials": scene::unique("wish"),
        }}});
        hubs.patch(&name, &PatchParams::default(), &Patch::Merge(wish))
            .await
            .expect("the wish is noted");
        let said = std::sync::Mutex::new(String::new());
        eventually("every credential is replaced", REPLACED_WITHIN, || async {
            let hub = hubs.get(&name).await.ok()?;
            let state = condition(&hub, "CredentialsRotated")?;
            let mut said = said.lock().unwrap();
            if *said != state.message {
                eprintln!("{:>4} s: {}", began.elapsed().as_secs(), state.message);
                said.clone_from(&state.message);
            }
            let after = replaced_at(&hub)?;
            let all = before.iter().zip(&after).all(|(before, after)| before != after);
            (all && state.status == "True").then_some(())
        })
        .await;
        ready(&hubs, &name, Duration::from_mins(3)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;

        let new = Logins::of(&scene.client).await;
        tell_the_other_tests(&scene.client, &old, &new).await;
        only_the_new_ones_hold(&scene.client, &old, &new).await;
        load.end(&scene.gateway).await;
    })
    .await;
}

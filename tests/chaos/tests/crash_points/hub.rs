//! A hub of processes of its own on the data tier of the test environment: its own database, keys, queues and Flickr.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use flickrhub_chaos::observe;
use flickrhub_e2e::gateway::Gateway;
use flickrhub_e2e::mock::Mock;
use flickrhub_e2e::{eventually, setting};
use flickrhub_flickr_mock::{MockFlickr, MockHandle, Permission};
use flickrhub_job::config::Config;
use flickrhub_job::connection::mongodb as mongo;
use flickrhub_job::model::{Job, JobId, JobState, NewJob, TraceContext};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{Client, ClientKey, ClientStore, JobStore, NewToken, UserStore};
use flickrhub_job::vault::{Component, TransitKey, Vault};
use mongodb::Database;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::child::Child;

const APP: (&str, &str) = ("crash-key", "crash-secret");
const WEBHOOK_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Tries that a job has: more than crashes can use up.
pub(crate) const MAX_ATTEMPTS: u32 = 12;

pub(crate) struct Hub {
    pub(crate) gateway: Gateway,
    pub(crate) mock: Mock,
    pub(crate) user: String,
    pub(crate) jobs: JobStore,
    address: String,
    config: Value,
    folder: PathBuf,
    database: Database,
    name: String,
    flickr: MockHandle,
}

impl Hub {
    /// Everything but the processes.
    pub(crate) async fn prepare(name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let name = format!("crash-{name}-{}", JobId::new());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir(&folder).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let flickr = MockFlickr::builder().app(APP.0, APP.1).serve(listener).unwrap();
        let address = free_address().await;
        let config = config(&name, &folder, &flickr.origin(), &address);
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        vhost(&config, Method::PUT).await;

        let read = Config::load(&folder.join("config.yaml")).unwrap();
        let database = mongo::connect(&read.mongodb).await.unwrap();
        let vault = Vault::connect(&read.vault, Component::Api).await.unwrap();
        let key = add_client(&database, &vault, &name).await;
        let user = add_user(&database, &vault, &flickr, &name).await;
        Self {
            gateway: Gateway::at(&format!("http://{address}"), &key),
            mock: Mock::at(&flickr.origin()),
            user,
            jobs: JobStore::open(&database, read.retention_days).await.unwrap(),
            address,
            config,
            folder,
            database,
            name,
            flickr,
        }
    }

    /// Starts the API; answers when it does.
    pub(crate) async fn api(&self, points: &str) -> Child {
        let arguments = ["--listen", &self.address, "--metrics-listen", "127.0.0.1:0"];
        let api = self.start("flickrhub-api", &arguments, points);
        eventually("the API answers", Duration::from_mins(1), || async {
            let answer = self.gateway.get("/api/v1/jobs").send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        api
    }

    /// Starts a dispatcher.
    pub(crate) fn dispatcher(&self, points: &str) -> Child {
        self.worker(&["dispatch"], points)
    }

    /// Starts a worker of this queue.
    pub(crate) fn runner(&self, queue: &str, points: &str) -> Child {
        self.worker(&["run", "--queue", queue], points)
    }

    /// Starts a deliverer of callbacks.
    pub(crate) fn callbacks(&self, points: &str) -> Child {
        self.worker(&["callbacks"], points)
    }

    fn worker(&self, role: &[&str], points: &str) -> Child {
        let arguments = [role, &["--metrics-address", "127.0.0.1:0"]].concat();
        self.start("flickrhub-worker", &arguments, points)
    }

    fn start(&self, program: &str, arguments: &[&str], points: &str) -> Child {
        let config = self.folder.join("config.yaml");
        let arguments = [&["--config", config.to_str().unwrap()], arguments].concat();
        Child::start(program, &arguments, &self.folder, points)
    }

    /// A job that a worker took and never gave back, an hour ago.
    pub(crate) async fn lose(&self, method: &str, marker: &str, tries: u32) -> Job {
        let now = jiff::Timestamp::now();
        let long_ago = now - jiff::SignedDuration::from_hours(1);
        let job = Job {
            state: JobState::Running,
            attempt: tries,
            tries,
            started_at: Some(long_ago),
            lease_until: Some(long_ago),
            ..NewJob {
                client_id: self.name.clone(),
                user_id: self.user.clone(),
                app: "main".to_owned(),
                queue: Queue::Rest,
                method: method.to_owned(),
                params: [("marker".to_owned(), marker.to_owned())].into(),
                trace: TraceContext::new(),
            }
            .accepted(long_ago, now + jiff::SignedDuration::from_hours(1))
        };
        self.jobs.insert(&job).await.unwrap();
        job
    }

    /// Waits until every job is over, and its callback.
    pub(crate) async fn rest(&self, limit: Duration) {
        eventually("every job is over", limit, || async {
            let jobs = observe::list(&self.gateway, &self.user).await;
            let open: Vec<_> = jobs
                .iter()
                .filter(|job| {
                    let waits = matches!(job.callback.as_deref(), Some("waiting" | "pending"));
                    waits || !flickrhub_chaos::history::is_final(&job.state)
                })
                .collect();
            open.is_empty().then_some(())
        })
        .await;
    }

    /// Takes away what it was on.
    pub(crate) async fn clear(self) {
        self.database.drop().await.unwrap();
        vhost(&self.config, Method::DELETE).await;
        std::fs::remove_dir_all(&self.folder).unwrap();
        self.flickr.stop().await;
    }
}

/// A port that was free a moment ago.
async fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().to_string()
}

fn config(name: &str, folder: &std::path::Path, flickr: &str, address: &str) -> Value {
    let file = std::fs::read_to_string(setting("FLICKRHUB_TEST_CONFIG")).unwrap();
    let mut config: Value = serde_yaml_ng::from_str(&file).unwrap();
    std::fs::write(folder.join("consumerKey"), APP.0).unwrap();
    std::fs::write(folder.join("consumerSecret"), APP.1).unwrap();
    config["redis"]["keyPrefix"] = format!("{name}:").into();
    // MongoDB's names have 63 bytes at most.
    config["mongodb"]["database"] = name.into();
    config["rabbitmq"]["vhost"] = name.into();
    config["flickr"]["endpoints"] = json!({
        "rest": format!("{flickr}/services/rest"),
        "upload": format!("{flickr}/services"),
        "oauth": format!("{flickr}/services/oauth"),
    });
    let app = &mut config["flickr"]["apps"][0];
    app["consumerKeyFile"] = folder.join("consumerKey").to_str().into();
    app["consumerSecretFile"] = folder.join("consumerSecret").to_str().into();
    for queue in ["flickr_rest", "flickr_upload", "flickr_replace"] {
        config["queues"][queue]["maxAttempts"] = MAX_ATTEMPTS.into();
        config["queues"][queue]["timeoutSeconds"] = 20.into();
    }
    config["api"]["publicUrl"] = format!("http://{address}").into();
    config
}

/// Makes or deletes the virtual host, by the management API of the broker.
async fn vhost(config: &Value, method: Method) {
    let rabbitmq = &config["rabbitmq"];
    let host = rabbitmq["hosts"][0].as_str().unwrap().split(':').next().unwrap();
    let (user, vhost) = (
        rabbitmq["username"].as_str().unwrap(),
        rabbitmq["vhost"].as_str().unwrap(),
    );
    let password = std::fs::read_to_string(rabbitmq["passwordFile"].as_str().unwrap()).unwrap();
    let authorities = std::fs::read(rabbitmq["caFile"].as_str().unwrap()).unwrap();
    let authorities = reqwest::Certificate::from_pem_bundle(&authorities).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only(authorities)
        .build()
        .unwrap();
    let send = async |path: String, body: Value| {
        let url = format!("https://{host}:15671/api/{path}");
        let request = client.request(method.clone(), url);
        let answer = request
            .basic_auth(user, Some(password.trim()))
            .json(&body)
            .send()
            .await;
        assert!(
            answer.is_ok_and(|answer| answer.status().is_success()),
            "{method} {path}"
        );
    };
    send(format!("vhosts/{vhost}"), json!({})).await;
    if method == Method::PUT {
        let everything = json!({"configure": ".*", "write": ".*", "read": ".*"});
        send(format!("permissions/{vhost}/{user}"), everything).await;
    }
}

async fn add_client(database: &Database, vault: &Vault, id: &str) -> String {
    let key_id = JobId::new().to_string().replace('-', "");
    let secret = SecretString::from(WEBHOOK_SECRET);
    let client = Client {
        id: id.to_owned(),
        name: "A test".to_owned(),
        keys: vec![ClientKey {
            id: key_id.clone(),
            hash: bcrypt::hash("secret", 4).unwrap(),
            created_at: jiff::Timestamp::now(),
        }],
        webhook_secret: vault
            .encrypt(TransitKey::AppCredentials, id, &secret)
            .await
            .unwrap(),
        scopes: ["jobs:read", "jobs:write", "uploads:write"]
            .map(str::to_owned)
            .to_vec(),
        created_at: jiff::Timestamp::now(),
    };
    let clients = ClientStore::open(database).await.unwrap();
    clients.upsert(&client).await.unwrap();
    format!("fh_{key_id}_secret")
}

async fn add_user(database: &Database, vault: &Vault, flickr: &MockHandle, client_id: &str) -> String {
    let user = flickr.add_user("bees", Permission::Write);
    let encrypt = async |secret: &str| {
        let secret = SecretString::from(secret);
        let encrypted = vault
            .encrypt(TransitKey::UserTokens, &user.user_nsid, &secret)
            .await;
        encrypted.unwrap()
    };
    let token = NewToken {
        user_id: user.user_nsid.clone(),
        username: user.username.clone(),
        full_name: user.fullname.clone(),
        app: "default".to_owned(),
        permission: "write".to_owned(),
        token: encrypt(&user.oauth_token).await,
        token_secret: encrypt(&user.oauth_token_secret).await,
    };
    let users = UserStore::open(database).await.unwrap();
    users.upsert_token(&token, client_id).await.unwrap();
    user.user_nsid
}

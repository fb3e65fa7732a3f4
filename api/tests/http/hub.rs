//! An API in this process, with a client of its own and a stand-in for Flickr.

use std::path::PathBuf;
use std::sync::Arc;

use flickrhub_api::data_tier::DataTier;
use flickrhub_api::patience::Patience;
use flickrhub_api::server::{FLICKR_TIMEOUTS, serve_on};
use flickrhub_api::state::{AppState, DataTierSlot, Parts};
use flickrhub_flickr::{Endpoints, FlickrClient};
use flickrhub_flickr_mock::{MockFlickr, MockHandle};
use flickrhub_job::budget::BudgetSettings;
use flickrhub_job::cache::AnswerCache;
use flickrhub_job::config::Config;
use flickrhub_job::connection;
use flickrhub_job::lane::{LaneEntry, Lanes};
use flickrhub_job::limits::{Limits, LiveLimits};
use flickrhub_job::model::{Job, JobError, JobId};
use flickrhub_job::store::{
    AttemptEnd, Client, ClientKey, ClientStore, Holder, JobFilter, JobStore, NewToken, UserStore,
};
use flickrhub_job::telemetry::Metrics;
use flickrhub_job::vault::{TransitKey, Vault};
use jiff::Timestamp;
use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

/// Every scope a client can have.
pub const ALL_SCOPES: [&str; 5] = [
    "jobs:read",
    "jobs:write",
    "uploads:write",
    "users:write",
    "callbacks:write",
];

/// The secret that signs what the hub tells a client.
pub const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub struct Hub {
    pub base: String,
    pub flickr: MockHandle,
    pub client: reqwest::Client,
    pub api_key: String,
    pub client_id: String,
    pub jobs: JobStore,
    pub users: UserStore,
    pub lanes: Lanes,
    pub limits: LiveLimits,
    pub state: AppState,
    clients: ClientStore,
    vault: Vault,
    pub database: Database,
    cache: AnswerCache,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.json().await.unwrap_or(Value::Null),
        }
    }

    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| error["field"].as_str())
            .collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The id of the job in the body.
    pub fn job_id(&self) -> JobId {
        self.body["job_id"].as_str().unwrap().parse().unwrap()
    }
}

impl Hub {
    /// A hub with the configuration of the test environment, changed by `change`.
    pub async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(Patience::default(), change).await
    }

    /// The same, with so much patience for its clients.
    pub async fn start_with(patience: Patience, change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path =
            std::env::var("FLICKRHUB_TEST_CONFIG").expect("FLICKRHUB_TEST_CONFIG names a configuration");
        let mut config = Config::load(&PathBuf::from(path)).unwrap();

        let flickr = MockFlickr::builder().app("app-key", "app-secret");
        let flickr = flickr
            .serve(TcpListener::bind("127.0.0.1:0").await.unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());

        // Keys of its own: a dispatcher beside it would drop what its database does not know.
        config.redis.key_prefix = format!("api-{}:", Uuid::now_v7().simple());
        config.api.public_url = Url::parse(&base).unwrap();
        let secrets = std::env::temp_dir().join(format!("flickrhub-api-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&secrets).unwrap();
        let app_config = config
            .flickr
            .apps
            .first_mut()
            .expect("the configuration has an application");
        app_config.consumer_key_file = secrets.join("consumerKey");
        app_config.consumer_secret_file = secrets.join("consumerSecret");
        std::fs::write(&app_config.consumer_key_file, "app-key\n").unwrap();
        std::fs::write(&app_config.consumer_secret_file, "app-secret\n").unwrap();
        change(&mut config);

        let endpoints = Endpoints::under(&Url::parse(&flickr.origin()).unwrap()).unwrap();
        let flickr_client = FlickrClient::new(endpoints, FLICKR_TIMEOUTS).unwrap();
        let data = DataTierSlot::default();
        let metrics = Metrics::new().unwrap();
        let tier = DataTier::connect(&config, &metrics).await.unwrap();
        let (vault, cache, lanes) = (tier.vault.clone(), tier.cache.clone(), tier.lanes.clone());
        let limits = LiveLimits::from(Limits::default());
        // As a dispatcher does: until then Flickr is not called.
        let settings = BudgetSettings::of(&config, &limits.get());
        tier.budget.configure(&settings).await.unwrap();
        let (_, rebuild) = tier.budget.begin_rebuild().await.unwrap();
        assert!(tier.budget.end_rebuild(&rebuild).await.unwrap());
        data.fill(tier);
        let database = connection::mongodb::connect(&config.mongodb).await.unwrap();
        let jobs = JobStore::open(&database, config.retention_days).await.unwrap();
        let users = UserStore::open(&database).await.unwrap();
        let clients = ClientStore::open(&database).await.unwrap();
        let state = AppState::of(Parts {
            config,
            limits: limits.clone(),
            flickr: flickr_client,
            metrics,
            keys: Arc::new(data.clone()),
            audit: Arc::new(data.clone()),
            data,
            patience,
        });
        tokio::spawn(serve_on(listener, state.clone(), std::future::pending()));

        let mut hub = Self {
            base,
            flickr,
            client: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            api_key: String::new(),
            client_id: String::new(),
            jobs,
            users,
            lanes,
            limits,
            state,
            clients,
            vault,
            database,
            cache,
        };
        (hub.client_id, hub.api_key) = hub.add_client(&ALL_SCOPES).await;
        hub
    }

    /// Changes the limits while the API runs.
    pub fn limit(&self, change: impl FnOnce(&mut Limits)) {
        let mut limits = Limits::clone(&self.limits.get());
        change(&mut limits);
        self.limits.set(limits);
    }

    /// How many commits have stored jobs, and how many jobs they stored.
    pub fn insertions(&self) -> [u64; 2] {
        let metrics = &self.state.metrics;
        [&metrics.group_commits, &metrics.group_commit_operations]
            .map(|counter| counter.with_label_values(&["insert"]).get())
    }

    /// A new client with these scopes: its id and its API key.
    pub async fn add_client(&self, scopes: &[&str]) -> (String, String) {
        let (id, key_id) = (
            format!("test-{}", Uuid::now_v7()),
            Uuid::now_v7().simple().to_string(),
        );
        let webhook_secret = self
            .vault
            .encrypt(TransitKey::AppCredentials, &id, &WEBHOOK_SECRET.into())
            .await
            .unwrap();
        let client = Client {
            id: id.clone(),
            name: "a test".to_owned(),
            keys: vec![ClientKey {
                id: key_id.clone(),
                hash: bcrypt::hash("secret", 4).unwrap(),
                created_at: Timestamp::now(),
            }],
            webhook_secret,
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            created_at: Timestamp::now(),
        };
        self.clients.upsert(&client).await.unwrap();
        (id, format!("fh_{key_id}_secret"))
    }

    /// A new user that granted `permission` to the client, without the OAuth flow.
    pub async fn add_user(&self, permission: &str) -> String {
        let user_id = format!("{}@N01", Uuid::now_v7().as_u128() % 10_u128.pow(20));
        self.grant(&user_id, permission).await;
        user_id
    }

    /// Lets the client act for the user, without the OAuth flow.
    pub async fn grant(&self, user_id: &str, permission: &str) {
        let token = NewToken {
            user_id: user_id.to_owned(),
            username: "bees".to_owned(),
            full_name: String::new(),
            app: self.state.config.flickr.apps[0].name.clone(),
            permission: permission.to_owned(),
            token: "vault:v1:none".to_owned(),
            token_secret: "vault:v1:none".to_owned(),
        };
        self.users.upsert_token(&token, &self.client_id).await.unwrap();
    }

    /// The cached answers.
    pub fn cache(&self) -> AnswerCache {
        self.cache.clone()
    }

    /// A request with the client's key.
    pub fn request(&self, line: &str) -> reqwest::RequestBuilder {
        let (method, path) = line.split_once(' ').unwrap();
        let url = format!("{}{path}", self.base);
        self.client
            .request(method.parse().unwrap(), url)
            .bearer_auth(&self.api_key)
    }

    /// Sends JSON.
    pub async fn send(&self, line: &str, body: &Value) -> Answer {
        Answer::of(self.request(line).json(body).send().await.unwrap()).await
    }

    /// Sends no body.
    pub async fn ask(&self, line: &str) -> Answer {
        Answer::of(self.request(line).send().await.unwrap()).await
    }

    /// Every job of the client.
    pub async fn stored_jobs(&self) -> Vec<Job> {
        let filter = JobFilter {
            client_id: self.client_id.clone(),
            limit: 1000,
            ..JobFilter::default()
        };
        let list = self.jobs.list(&filter).await.unwrap();
        let mut jobs = Vec::new();
        for listed in list.jobs {
            jobs.extend(self.jobs.get(listed.job_id).await.unwrap());
        }
        jobs
    }

    /// A submitted job that a worker has claimed.
    pub async fn running_job(&self, user_id: &str) -> JobId {
        let body = serde_json::json!({
            "user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5},
        });
        let id = self.send("POST /api/v1/jobs", &body).await.job_id();
        self.begin(id).await;
        id
    }

    /// Brings a queued job to a worker that does nothing.
    pub async fn begin(&self, id: JobId) {
        let lease = jiff::SignedDuration::from_secs(600);
        let dispatched = self.jobs.dispatch(id, Holder::new(), lease).await.unwrap();
        let attempt = dispatched.unwrap().attempt;
        let claimed = self.jobs.claim(id, attempt, Holder::new(), lease).await.unwrap();
        assert!(claimed.is_some());
    }

    /// Tells the lanes, and so whoever waits, that a job is over.
    pub async fn tell_over(&self, job: &Job) {
        let lanes = &self.state.data().unwrap().lanes;
        lanes.done(&LaneEntry::from(job)).await.unwrap();
    }

    /// Ends a running job as dead, as a worker does.
    pub async fn kill(&self, id: JobId) {
        let error = JobError {
            code: "flickr_unavailable".to_owned(),
            message: "Flickr did not answer.".to_owned(),
            flickr_code: None,
        };
        let dead = self.end(id, AttemptEnd::Dead(&error)).await;
        self.tell_over(&dead).await;
    }

    /// Ends the attempt on a running job, as a worker does.
    pub async fn end(&self, id: JobId, how: AttemptEnd<'_>) -> Job {
        let job = self.jobs.get(id).await.unwrap().unwrap();
        self.jobs.end(&job, how, Holder::new()).await.unwrap().unwrap()
    }

    /// How many users granted anything to the client.
    pub async fn users_of_client(&self) -> u64 {
        let users = self.database.collection::<Document>("users");
        users
            .count_documents(doc! { "grants.client_id": &self.client_id })
            .await
            .unwrap()
    }

    /// Waits until the body store holds no piece that this process wrote and that is of no photo: a photo appears in
    /// `uploads.files` only after its last piece. The middle of an `ObjectId` is the process's.
    pub async fn no_piece_is_left(&self) {
        let own = ObjectId::new().bytes();
        let chunks = self.database.collection::<Document>("uploads.chunks");
        let files = self.database.collection::<Document>("uploads.files");
        for _ in 0..50 {
            let ids = chunks.distinct("files_id", doc! {}).await.unwrap();
            let whole = files.distinct("_id", doc! {}).await.unwrap();
            let left = ids
                .iter()
                .filter(|id| !whole.contains(id))
                .filter_map(mongodb::bson::Bson::as_object_id)
                .filter(|id| id.bytes()[4..9] == own[4..9])
                .count();
            if left == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        panic!("pieces of a photo were left behind");
    }

    /// How many files of this name the body store holds.
    pub async fn stored_files(&self, file_name: &str) -> u64 {
        let files = self.database.collection::<Document>("uploads.files");
        files
            .count_documents(doc! { "filename": file_name })
            .await
            .unwrap()
    }
}

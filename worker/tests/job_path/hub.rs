//! The three roles in this process, on a real data tier, with a Flickr of their own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use flickrhub_flickr_mock::{Entry, MockFlickr, MockHandle, Permission};
use flickrhub_job::budget::{BudgetSettings, FlickrBudget};
use flickrhub_job::cache::{AnswerCache, CacheKey, CachePolicy};
use flickrhub_job::callback::{AddressPolicy, CallbackClient};
use flickrhub_job::config::{Config, FlickrApp, FlickrEndpoints, QueueConfig};
use flickrhub_job::connection::mongodb as mongo;
use flickrhub_job::connection::rabbitmq::Rabbit;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::envelope::Envelope;
use flickrhub_job::lane::{LaneEntry, Lanes};
use flickrhub_job::limits::{Limits, LiveLimits};
use flickrhub_job::model::{Body, Job, JobId, NewJob, TraceContext};
use flickrhub_job::progress::{Progress, Topic};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{
    BodyStore, Client, ClientStore, DeliveryStore, EndpointStore, JobStore, NewToken, UserStore,
};
use flickrhub_job::telemetry::Metrics;
use flickrhub_job::topology::Publisher;
use flickrhub_job::vault::{Component, TransitKey, Vault};
use flickrhub_worker::app_credentials::AppCredentials;
use flickrhub_worker::callbacks::Callbacks;
use flickrhub_worker::dispatcher::Dispatcher;
use flickrhub_worker::flickr_call::FlickrCaller;
use flickrhub_worker::open_secrets::OpenSecrets;
use flickrhub_worker::runner::{Runner, Tokens};
use jiff::{Timestamp, ToSpan};
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, QueuePurgeOptions};
use lapin::{BasicProperties, Channel};
use mongodb::Database;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

/// 32 bytes of base64.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Jobs that the worker of a queue runs at a time.
pub(crate) const CONCURRENCY: u32 = 4;

/// How long a test waits for what has to happen; recovery alone begins 45 s after its start.
const PATIENCE: Duration = Duration::from_secs(90);

const KEY: &str = "test-consumer-key";
/// The key of the application that has no jobs unless a test gives it some.
const OTHER_KEY: &str = "other-consumer-key";
const SECRET: &str = "test-consumer-secret";

/// A hub for one test. Its keys in Redis and its database are its own; the queues are the virtual host's.
pub(crate) struct Hub {
    pub(crate) jobs: JobStore,
    pub(crate) bodies: BodyStore,
    pub(crate) users: UserStore,
    pub(crate) clients: ClientStore,
    pub(crate) endpoints: EndpointStore,
    pub(crate) deliveries: DeliveryStore,
    pub(crate) flickr: MockHandle,
    pub(crate) publisher: Publisher,
    pub(crate) user_id: String,
    /// A user of the other application.
    pub(crate) other_user_id: String,
    pub(crate) client_id: String,
    /// The names of both applications.
    pub(crate) apps: [String; 2],
    pub(crate) budget: FlickrBudget,
    redis: Redis,
    /// As the API uses it, which may encrypt.
    vault: Vault,
    pub(crate) progress: Progress,
    lanes: Lanes,
    database: Database,
    channel: Channel,
    stop: CancellationToken,
    roles: JoinSet<()>,
    folder: PathBuf,
}

impl Hub {
    /// Starts every role.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts every role, with budgets that `adjust` changes.
    pub(crate) async fn start_with(adjust: impl FnOnce(&mut BudgetSettings)) -> Self {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path =
            std::env::var("FLICKRHUB_TEST_CONFIG").expect("FLICKRHUB_TEST_CONFIG names a configuration");
        let mut config = Config::load(Path::new(&path)).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let flickr = MockFlickr::builder()
            .app(KEY, SECRET)
            .app(OTHER_KEY, SECRET)
            .serve(listener)
            .unwrap();
        let own = format!("job-path-{}", JobId::new());
        // Dispatchers take on every job that their database has.
        config.mongodb.database.clone_from(&own);
        let folder = std::env::temp_dir().join(&own);
        // Of this test alone, as are the budgets that are rebuilt from its jobs.
        let apps = [own.clone(), format!("{own}-other")];
        point_at(&mut config, &flickr, &folder, &apps);
        let mut budget_settings = BudgetSettings::of(&config, &Limits::default());
        adjust(&mut budget_settings);

        let database = mongo::connect(&config.mongodb).await.unwrap();
        let redis = Redis::connect(&config.redis).await.unwrap();
        let rabbit = Rabbit::connect(&config.rabbitmq).await.unwrap();
        let publisher = Publisher::new(rabbit.clone(), config.rabbitmq.quorum_group_size)
            .await
            .unwrap();
        let channel = rabbit.channel().await.unwrap();
        for queue in Queue::ALL {
            for name in [queue.name(), queue.dead_letter_name()] {
                channel
                    .queue_purge(name.into(), QueuePurgeOptions::default())
                    .await
                    .unwrap();
            }
        }
        let parts = Parts {
            jobs: JobStore::open(&database, config.retention_days).await.unwrap(),
            users: UserStore::open(&database).await.unwrap(),
            clients: ClientStore::open(&database).await.unwrap(),
            endpoints: EndpointStore::open(&database).await.unwrap(),
            deliveries: DeliveryStore::open(&database, config.retention_days)
                .await
                .unwrap(),
            bodies: BodyStore::new(&database),
            key_prefix: format!("{own}:"),
            lanes: Lanes::new(redis.clone(), &format!("{own}:")),
            budget: FlickrBudget::new(redis.clone(), &format!("{own}:")).counted_in(metrics()),
            budget_settings,
            redis,
            rabbit,
            publisher,
            vault: Vault::connect(&config.vault, Component::Worker).await.unwrap(),
            config,
        };
        let vault = Vault::connect(&parts.config.vault, Component::Api).await.unwrap();
        let user_id = parts
            .authorise_user(&flickr, &vault, &own, "bees", &apps[0])
            .await;
        let other_user_id = parts
            .authorise_user(&flickr, &vault, &own, "wasps", &apps[1])
            .await;
        let stop = CancellationToken::new();
        let mut roles = JoinSet::new();
        parts.spawn_roles(&mut roles, &stop);
        Self {
            jobs: parts.jobs,
            bodies: parts.bodies,
            users: parts.users,
            clients: parts.clients,
            endpoints: parts.endpoints,
            deliveries: parts.deliveries,
            flickr,
            publisher: parts.publisher,
            user_id,
            other_user_id,
            client_id: own,
            apps,
            budget: parts.budget,
            progress: Progress::new(parts.redis.clone(), &parts.key_prefix, Topic::Moves),
            redis: parts.redis,
            vault,
            lanes: parts.lanes,
            database,
            channel,
            stop,
            roles,
            folder,
        }
    }

    /// A REST job of the hub's user that calls `method`; not submitted yet.
    pub(crate) fn job(&self, method: &str, params: &[(&str, &str)]) -> Job {
        let now = Timestamp::now();
        NewJob {
            client_id: self.client_id.clone(),
            user_id: self.user_id.clone(),
            app: self.apps[0].clone(),
            queue: Queue::Rest,
            method: method.to_owned(),
            params: params
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            trace: TraceContext::new(),
        }
        .accepted(now, now + 10.minutes())
    }

    /// An upload of `photo`, whose bytes are stored; not submitted yet.
    pub(crate) async fn upload(&self, photo: &[u8]) -> Job {
        let mut writer = self.bodies.create("bee.jpg", "image/jpeg").await.unwrap();
        for piece in photo.chunks(300_000) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let body: Body = writer.finish().await.unwrap();
        Job {
            queue: Queue::Upload,
            body: Some(body),
            ..self.job("upload", &[("title", "A bee")])
        }
    }

    /// Accepts a job as the API does: MongoDB first, then its lane.
    pub(crate) async fn submit(&self, job: &Job) {
        self.jobs.insert(job).await.unwrap();
        self.lanes.push(&LaneEntry::from(job)).await.unwrap();
    }

    /// Submits a job and waits until it is over.
    pub(crate) async fn run(&self, job: &Job) -> Job {
        self.submit(job).await;
        self.once(job.id, |job| job.state.is_final()).await
    }

    /// Waits until a job is as wished.
    pub(crate) async fn once(&self, id: JobId, wished: impl Fn(&Job) -> bool) -> Job {
        eventually(async || self.jobs.get(id).await.unwrap().filter(|job| wished(job))).await
    }

    /// The calls of `method` that Flickr saw.
    pub(crate) fn calls(&self, method: &str) -> Vec<Entry> {
        self.flickr
            .log()
            .into_iter()
            .filter(|entry| entry.method == method)
            .collect()
    }

    /// Publishes anything.
    pub(crate) async fn publish_raw(&self, queue: Queue, body: &[u8]) {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        self.channel
            .basic_publish("".into(), queue.name().into(), options, body, properties)
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// Takes the next dead letter out of its queue.
    pub(crate) async fn raw_dead_letter(&self, queue: Queue) -> Vec<u8> {
        eventually(async || {
            let name = queue.dead_letter_name().into();
            let message = self
                .channel
                .basic_get(name, BasicGetOptions::default())
                .await
                .unwrap()?;
            message.ack(BasicAckOptions::default()).await.unwrap();
            Some(message.data.clone())
        })
        .await
    }

    /// Takes the dead letter of a job out of its queue, and those before it.
    pub(crate) async fn dead_letter(&self, queue: Queue, id: JobId) -> Envelope {
        eventually(async || {
            Envelope::decode(&self.raw_dead_letter(queue).await)
                .ok()
                .filter(|envelope| envelope.job_id == id)
        })
        .await
    }

    /// Deletes keys, as if Redis had lost them.
    pub(crate) async fn forget_in_redis(&self, keys: &[String]) {
        let mut forget = redis::cmd("DEL");
        for key in keys {
            forget.arg(format!("{}:{key}", self.client_id));
        }
        self.redis.run::<()>(&forget).await.unwrap();
    }

    /// Lets the kept answer to the question of a job age: it is fresh no more, and kept for times without Flickr.
    pub(crate) async fn age_answer(&self, job: &Job) {
        let mut age = redis::cmd("HSET");
        age.arg(format!("{}:cache:{}", self.client_id, CacheKey::from(job)));
        self.redis.run::<()>(age.arg("fresh").arg(0)).await.unwrap();
    }

    /// How many looks for an answer came to each of these.
    pub(crate) fn cache_lookups<const N: usize>(outcomes: [&str; N]) -> [u64; N] {
        outcomes.map(|outcome| metrics().cache_lookups.with_label_values(&[outcome]).get())
    }

    /// A webhook secret of the hub's client, as it is stored.
    pub(crate) async fn encrypt_webhook_secret(&self, secret: &SecretString) -> String {
        self.vault
            .encrypt(TransitKey::AppCredentials, &self.client_id, secret)
            .await
            .unwrap()
    }

    /// Stops every role, as SIGTERM does, and waits until all have finished.
    pub(crate) async fn stop_roles(&mut self) {
        self.stop.cancel();
        while let Some(role) = self.roles.join_next().await {
            role.unwrap();
        }
    }

    /// Stops every role and takes the database away.
    pub(crate) async fn stop(mut self) {
        self.stop_roles().await;
        self.database.drop().await.unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// What the roles are made of.
struct Parts {
    config: Config,
    jobs: JobStore,
    users: UserStore,
    clients: ClientStore,
    endpoints: EndpointStore,
    deliveries: DeliveryStore,
    bodies: BodyStore,
    redis: Redis,
    key_prefix: String,
    lanes: Lanes,
    budget: FlickrBudget,
    budget_settings: BudgetSettings,
    rabbit: Rabbit,
    publisher: Publisher,
    vault: Vault,
}

impl Parts {
    /// A client, and a Flickr user who authorised it; the user's id.
    async fn authorise_user(
        &self,
        flickr: &MockHandle,
        api: &Vault,
        client_id: &str,
        name: &str,
        app: &str,
    ) -> String {
        let webhook_secret = SecretString::from(WEBHOOK_SECRET);
        let client = Client {
            id: client_id.to_owned(),
            name: "A test".to_owned(),
            keys: Vec::new(),
            webhook_secret: api
                .encrypt(TransitKey::AppCredentials, client_id, &webhook_secret)
                .await
                .unwrap(),
            scopes: Vec::new(),
            created_at: Timestamp::now(),
        };
        self.clients.upsert(&client).await.unwrap();

        let user = flickr.add_user(name, Permission::Write);
        let encrypt = async |secret: &str| {
            let secret = SecretString::from(secret);
            api.encrypt(TransitKey::UserTokens, &user.user_nsid, &secret)
                .await
                .unwrap()
        };
        let token = NewToken {
            user_id: user.user_nsid.clone(),
            username: user.username.clone(),
            full_name: user.fullname.clone(),
            app: app.to_owned(),
            permission: "write".to_owned(),
            token: encrypt(&user.oauth_token).await,
            token_secret: encrypt(&user.oauth_token_secret).await,
        };
        self.users.upsert_token(&token, client_id).await.unwrap();
        user.user_nsid
    }

    fn spawn_roles(&self, roles: &mut JoinSet<()>, stop: &CancellationToken) {
        let dispatcher = Dispatcher {
            budget: self.budget.clone(),
            budget_settings: self.budget_settings.clone(),
            limits: LiveLimits::from(Limits {
                per_user_per_hour: self.budget_settings.per_user,
                breaker: self.budget_settings.breaker.clone(),
                ..Limits::default()
            }),
            queues: self.config.queues.clone(),
            store: self.jobs.clone(),
            bodies: self.bodies.clone(),
            lanes: self.lanes.clone(),
            redis: self.redis.clone(),
            key_prefix: self.key_prefix.clone(),
            publisher: self.publisher.clone(),
            metrics: metrics(),
        };
        roles.spawn(dispatcher.run(stop.clone()));
        for (&queue, settings) in &self.config.queues {
            let runner = Runner {
                queue,
                settings: settings.clone(),
                store: self.jobs.clone().for_worker("test-worker"),
                users: self.users.clone(),
                bodies: self.bodies.clone(),
                lanes: self.lanes.clone(),
                cache: AnswerCache::new(
                    self.redis.clone(),
                    &self.key_prefix,
                    CachePolicy::from(&self.config.cache),
                ),
                progress: Progress::new(self.redis.clone(), &self.key_prefix, Topic::Cancellations),
                tokens: Tokens::new(self.vault.clone()),
                apps: AppCredentials::new(&self.config.flickr.apps),
                flickr: FlickrCaller::new(&self.config.flickr.endpoints, settings)
                    .unwrap()
                    .within(self.budget.clone()),
                group_size: self.config.rabbitmq.quorum_group_size,
                metrics: metrics(),
            };
            roles.spawn(runner.run(self.rabbit.clone(), stop.clone()));
        }
        let policy = AddressPolicy::new(self.config.callbacks.allowed_networks.clone());
        let callbacks = Callbacks {
            store: self.jobs.clone(),
            clients: self.clients.clone(),
            endpoints: self.endpoints.clone(),
            deliveries: self.deliveries.clone(),
            secrets: OpenSecrets::webhook_secrets(self.vault.clone()),
            sender: CallbackClient::new(policy, Duration::from_secs(5)).unwrap(),
            metrics: metrics(),
        };
        roles.spawn(callbacks.run(stop.clone()));
    }
}

/// Points a configuration at the stand-in for Flickr, with limits that suit a test.
fn point_at(config: &mut Config, flickr: &MockHandle, folder: &Path, apps: &[String; 2]) {
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("consumerKey"), KEY).unwrap();
    std::fs::write(folder.join("otherConsumerKey"), OTHER_KEY).unwrap();
    std::fs::write(folder.join("consumerSecret"), SECRET).unwrap();
    let origin: Url = flickr.origin().parse().unwrap();
    config.flickr.endpoints = FlickrEndpoints {
        rest: origin.join("/services/rest").unwrap(),
        upload: origin.join("/services").unwrap(),
        oauth: origin.join("/services/oauth").unwrap(),
    };
    let keys = apps.iter().zip(["consumerKey", "otherConsumerKey"]);
    config.flickr.apps = keys
        .map(|(name, key_file)| FlickrApp {
            name: name.clone(),
            consumer_key_file: folder.join(key_file),
            consumer_secret_file: folder.join("consumerSecret"),
            requests_per_hour: 3600,
        })
        .collect();
    config
        .callbacks
        .allowed_networks
        .push("127.0.0.0/8".parse().unwrap());
    let settings = QueueConfig {
        concurrency: CONCURRENCY,
        prefetch: 8,
        window: 16,
        max_attempts: 3,
        timeout_seconds: 20,
    };
    config.queues = BTreeMap::from(Queue::ALL.map(|queue| (queue, settings.clone())));
}

fn metrics() -> Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| Metrics::new().unwrap()).clone()
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("what was waited for did not happen in time")
}

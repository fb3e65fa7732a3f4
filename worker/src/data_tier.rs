//! The servers that the roles work with: connecting to them with patience, and asking whether they answer.

use flickrhub_job::config::Config;
use flickrhub_job::connection::rabbitmq::Rabbit;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::connection::{ConnectError, mongodb as mongo};
use flickrhub_job::store::{
    BodyStore, ClientStore, DeliveryStore, EndpointStore, JobStore, StoreError, UserStore,
};
use flickrhub_job::telemetry::Readiness;
use flickrhub_job::topology::Publisher;
use flickrhub_job::vault::{Component, Vault};
use mongodb::Database;
use tokio_util::sync::CancellationToken;

use crate::args::Role;
use crate::connect::{Server, Stopped};

/// Everything in MongoDB that the roles use.
#[derive(Clone)]
pub(crate) struct Stores {
    database: Database,
    pub(crate) jobs: JobStore,
    pub(crate) users: UserStore,
    pub(crate) clients: ClientStore,
    pub(crate) endpoints: EndpointStore,
    pub(crate) deliveries: DeliveryStore,
    pub(crate) bodies: BodyStore,
}

impl Stores {
    async fn open(config: &Config) -> Result<Self, OpenError> {
        let database = mongo::connect(&config.mongodb).await?;
        Ok(Self {
            jobs: JobStore::open(&database, config.retention_days).await?,
            users: UserStore::open(&database).await?,
            clients: ClientStore::open(&database).await?,
            endpoints: EndpointStore::open(&database).await?,
            deliveries: DeliveryStore::open(&database, config.retention_days).await?,
            bodies: BodyStore::new(&database),
            database,
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The servers, each connected when its role asks for it first.
pub(crate) struct DataTier {
    config: Config,
    stop: CancellationToken,
    mongodb: Server<Stores>,
    redis: Server<Redis>,
    rabbitmq: Server<Rabbit>,
    publisher: Server<Publisher>,
    vault: Server<Vault>,
}

impl DataTier {
    /// Nothing is connected yet.
    pub(crate) fn new(config: Config, stop: CancellationToken) -> Self {
        Self {
            config,
            stop,
            mongodb: Server::new("mongodb"),
            redis: Server::new("redis"),
            rabbitmq: Server::new("rabbitmq"),
            publisher: Server::new("rabbitmq queues"),
            vault: Server::new("vault"),
        }
    }

    pub(crate) async fn stores(&self) -> Result<Stores, Stopped> {
        self.mongodb
            .connect(|| Stores::open(&self.config), &self.stop)
            .await
    }

    pub(crate) async fn redis(&self) -> Result<Redis, Stopped> {
        self.redis
            .connect(|| Redis::connect(&self.config.redis), &self.stop)
            .await
    }

    pub(crate) async fn rabbitmq(&self) -> Result<Rabbit, Stopped> {
        self.rabbitmq
            .connect(|| Rabbit::connect(&self.config.rabbitmq), &self.stop)
            .await
    }

    pub(crate) async fn publisher(&self) -> Result<Publisher, Stopped> {
        let rabbit = self.rabbitmq().await?;
        let group_size = self.config.rabbitmq.quorum_group_size;
        self.publisher
            .connect(|| Publisher::new(rabbit.clone(), group_size), &self.stop)
            .await
    }

    /// Logged in as `component`, which is one and the same for the whole process.
    pub(crate) async fn vault(&self, component: Component) -> Result<Vault, Stopped> {
        self.vault
            .connect(|| Vault::connect(&self.config.vault, component), &self.stop)
            .await
    }

    /// Ready when everything answers that the role cannot work without.
    pub(crate) fn readiness(&self, role: Role) -> Readiness {
        let readiness = self.with_mongodb(Readiness::new());
        match role {
            Role::Run { .. } => self.with_vault(self.with_lanes_and_queues(readiness)),
            Role::Dispatch => self.with_lanes_and_queues(readiness),
            Role::Callbacks => self.with_vault(readiness),
        }
    }

    fn with_mongodb(&self, readiness: Readiness) -> Readiness {
        let server = self.mongodb.clone();
        readiness.with("mongodb", move || {
            server
                .clone()
                .check(|stores| async move { mongo::ping(&stores.database).await })
        })
    }

    fn with_lanes_and_queues(&self, readiness: Readiness) -> Readiness {
        let (redis, rabbitmq) = (self.redis.clone(), self.rabbitmq.clone());
        readiness
            .with("redis", move || {
                redis.clone().check(|redis| async move { redis.ping().await })
            })
            .with("rabbitmq", move || {
                rabbitmq
                    .clone()
                    .check(|rabbit| async move { rabbit.ping().await })
            })
    }

    fn with_vault(&self, readiness: Readiness) -> Readiness {
        let server = self.vault.clone();
        readiness.with("vault", move || {
            server.clone().check(|vault| async move { vault.ping().await })
        })
    }
}

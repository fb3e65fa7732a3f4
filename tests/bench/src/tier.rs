//! The data tier of the hub under test, as its administrator reaches it, and the settings of the hub.

use std::path::Path;

use flickrhub_e2e::{cluster, setting};
use flickrhub_job::config::Config;
use flickrhub_job::connection;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::lane::Lanes;
use flickrhub_job::store::UserStore;
use flickrhub_job::vault::{Component, Vault};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use mongodb::Database;
use secrecy::SecretString;

use crate::Failure;

/// Handles on the data tier.
pub(crate) struct Tier {
    /// The configuration that the processes of the hub have.
    pub(crate) hub: Config,
    /// The database of the hub.
    pub(crate) database: Database,
    /// The users of the hub.
    pub(crate) users: UserStore,
    /// The Redis of the hub.
    pub(crate) redis: Redis,
    /// The lanes of the hub.
    pub(crate) lanes: Lanes,
    /// Encrypts tokens.
    pub(crate) vault: Vault,
    /// The password of RabbitMQ's user.
    pub(crate) rabbitmq_password: SecretString,
}

impl Tier {
    /// Connects with what integration tests have (`FLICKRHUB_TEST_CONFIG`), but to the data of the hub itself.
    ///
    /// # Errors
    /// When a part does not answer.
    pub(crate) async fn of_the_hub(client: &Client) -> Result<Self, Failure> {
        let hub = config_of_the_hub(client).await?;
        let mut access = Config::load(Path::new(&setting("FLICKRHUB_TEST_CONFIG")))?;
        access.mongodb.database.clone_from(&hub.mongodb.database);
        let database = connection::mongodb::connect(&access.mongodb).await?;
        let redis = Redis::connect(&access.redis).await?;
        Ok(Self {
            users: UserStore::open(&database).await?,
            database,
            lanes: Lanes::new(redis.clone(), &hub.redis.key_prefix),
            redis,
            vault: Vault::connect(&access.vault, Component::Api).await?,
            rabbitmq_password: cluster::secret(
                client,
                &format!("{}-rabbitmq-auth", cluster::hub()),
                "password",
            )
            .await
            .into(),
            hub,
        })
    }
}

async fn config_of_the_hub(client: &Client) -> Result<Config, Failure> {
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), &cluster::namespace());
    let config = configs.get(&format!("{}-config", cluster::hub())).await?;
    let file = config.data.unwrap_or_default().remove("config.yaml");
    Ok(serde_yaml_ng::from_str(
        &file.ok_or("the hub has no config.yaml")?,
    )?)
}

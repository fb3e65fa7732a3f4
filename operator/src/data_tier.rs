//! The data tier of a hub as reconciliations meet it: one trait before all engines, so that a test can put a simulated tier in
//! the place of the one behind the network and try every request at which the operator can die.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::api_client::registry::{ClientRegistry, Registry};
use crate::context::Context;
use crate::crd::FlickrHubStatus;
use crate::engine::hub_database::{self, ConnectError};
use crate::engine::redis::OpenCircuit;
use crate::engine::vault::rotation::{self, RotationReport};
use crate::engine::vault::{self, AccessError};
use crate::engine::{client, mongodb, rabbitmq, redis};
use crate::names::MONGODB_DATABASE;
use crate::part::PartStatus;
use crate::secrets::{MongoDbSecrets, RabbitMqSecrets, RedisSecrets, Secrets};
use crate::validate::ValidatedHub;

/// What is asked of the engines of a hub. Each is brought a step on and tells where its part stands.
#[async_trait]
pub trait DataTier: Send + Sync {
    /// Redis and its Sentinels.
    async fn redis(&self, ctx: &Context, hub: &ValidatedHub, secrets: &RedisSecrets) -> PartStatus;

    /// The circuits to Flickr that are not closed; `None` if nobody can tell.
    async fn open_circuits(&self, hub: &ValidatedHub, secrets: &RedisSecrets) -> Option<Vec<OpenCircuit>>;

    /// MongoDB.
    async fn mongodb(&self, ctx: &Context, hub: &ValidatedHub, secrets: &MongoDbSecrets) -> PartStatus;

    /// RabbitMQ.
    async fn rabbitmq(&self, ctx: &Context, hub: &ValidatedHub, secrets: &RabbitMqSecrets) -> PartStatus;

    /// Vault or OpenBao.
    async fn vault(&self, ctx: &Context, hub: &ValidatedHub) -> PartStatus;

    /// The API client that every hub starts with. MongoDB and Vault are ready.
    async fn default_client(&self, ctx: &Context, hub: &ValidatedHub, secrets: &Secrets) -> PartStatus;

    /// The rotation of the transit keys. MongoDB and Vault are ready.
    async fn rotate_keys(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &MongoDbSecrets,
        before: Option<&FlickrHubStatus>,
    ) -> RotationReport;

    /// The clients in the database of a hub. Whoever asked for them closes them.
    ///
    /// # Errors
    /// When there is no way into MongoDB.
    fn registry(
        &self,
        hub: &ValidatedHub,
        password: &SecretString,
    ) -> Result<Box<dyn ClientRegistry>, ConnectError>;

    /// See [`vault::transit_identity`].
    ///
    /// # Errors
    /// When Vault does not say.
    async fn transit_identity(&self, ctx: &Context, hub: &ValidatedHub) -> Result<String, AccessError>;

    /// See [`vault::encrypt_app_credential`].
    ///
    /// # Errors
    /// When Vault does not encrypt.
    async fn encrypt_app_credential(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        client: &str,
        secret: &SecretString,
    ) -> Result<String, AccessError>;
}

/// The data tier behind the network: in the pods of the hub, or where its user runs it.
pub struct OverNetwork;

#[async_trait]
impl DataTier for OverNetwork {
    async fn redis(&self, ctx: &Context, hub: &ValidatedHub, secrets: &RedisSecrets) -> PartStatus {
        redis::reconcile(ctx, hub, secrets).await
    }

    async fn open_circuits(&self, hub: &ValidatedHub, secrets: &RedisSecrets) -> Option<Vec<OpenCircuit>> {
        redis::open_circuits(hub, secrets).await
    }

    async fn mongodb(&self, ctx: &Context, hub: &ValidatedHub, secrets: &MongoDbSecrets) -> PartStatus {
        mongodb::reconcile(ctx, hub, secrets).await
    }

    async fn rabbitmq(&self, ctx: &Context, hub: &ValidatedHub, secrets: &RabbitMqSecrets) -> PartStatus {
        rabbitmq::reconcile(ctx, hub, secrets).await
    }

    async fn vault(&self, ctx: &Context, hub: &ValidatedHub) -> PartStatus {
        vault::reconcile(ctx, hub).await
    }

    async fn default_client(&self, ctx: &Context, hub: &ValidatedHub, secrets: &Secrets) -> PartStatus {
        client::reconcile(ctx, hub, secrets).await
    }

    async fn rotate_keys(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &MongoDbSecrets,
        before: Option<&FlickrHubStatus>,
    ) -> RotationReport {
        rotation::reconcile(ctx, hub, secrets, before).await
    }

    fn registry(
        &self,
        hub: &ValidatedHub,
        password: &SecretString,
    ) -> Result<Box<dyn ClientRegistry>, ConnectError> {
        let client = hub_database::connect(hub, password)?;
        Ok(Box::new(Registry::new(&client.database(MONGODB_DATABASE))))
    }

    async fn transit_identity(&self, ctx: &Context, hub: &ValidatedHub) -> Result<String, AccessError> {
        vault::transit_identity(ctx, hub).await
    }

    async fn encrypt_app_credential(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        client: &str,
        secret: &SecretString,
    ) -> Result<String, AccessError> {
        vault::encrypt_app_credential(ctx, hub, client, secret).await
    }
}

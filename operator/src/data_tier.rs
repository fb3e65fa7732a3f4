//! The data tier of a hub as reconciliations meet it: one trait before all engines, so that a test can put a simulated tier in
//! the place of the one behind the network and try every request at which the operator can die.

use async_trait::async_trait;
use flickrhub_job::config::Login;
use secrecy::{ExposeSecret, SecretString};

use crate::api_client::registry::{ClientRegistry, Registry};
use crate::apply::Live;
use crate::context::Context;
use crate::crd::FlickrHubStatus;
use crate::engine::hub_database::{self, ConnectError};
use crate::engine::logins::{self, Answer, LoginError};
use crate::engine::redis::OpenCircuit;
use crate::engine::roster::{Members as _, Roster};
use crate::engine::vault::rotation::{self, RotationReport};
use crate::engine::vault::{self, AccessError};
use crate::engine::{Size, client, mongodb, rabbitmq, redis};
use crate::names::MONGODB_DATABASE;
use crate::part::{Part, PartStatus};
use crate::passed::{Against, Check};
use crate::rolling::{self, Progress};
use crate::secrets::{MongoDbSecrets, RabbitMqSecrets, RedisSecrets, Secrets};
use crate::validate::{ValidatedHub, VaultPlan};

/// What is asked of the engines of a hub. Each is brought a step on and tells where its part stands, and how far
/// the change of its pods is.
#[async_trait]
pub trait DataTier: Send + Sync {
    /// Redis and its Sentinels.
    async fn redis(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &RedisSecrets,
        live: &Live,
    ) -> (PartStatus, Progress);

    /// The circuits to Flickr that are not closed; `None` if nobody can tell.
    async fn open_circuits(&self, hub: &ValidatedHub, secrets: &RedisSecrets) -> Option<Vec<OpenCircuit>>;

    /// MongoDB.
    async fn mongodb(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &MongoDbSecrets,
        live: &Live,
    ) -> (PartStatus, Progress);

    /// RabbitMQ.
    async fn rabbitmq(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &RabbitMqSecrets,
        live: &Live,
    ) -> (PartStatus, Progress);

    /// Vault or OpenBao.
    async fn vault(&self, ctx: &Context, hub: &ValidatedHub, live: &Live) -> (PartStatus, Progress);

    /// What the engine behind a set says of its members now; `None` if there is no such engine, or it cannot be asked.
    async fn roster(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &Secrets,
        live: &Live,
        set: &str,
    ) -> Option<Roster>;

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

    /// See [`logins::try_login`].
    ///
    /// # Errors
    /// When no member can be asked.
    async fn try_login(
        &self,
        hub: &ValidatedHub,
        secrets: &Secrets,
        part: Part,
        login: &Login,
        live: &Live,
    ) -> Result<Vec<Answer>, LoginError>;

    /// See [`logins::members_use`].
    ///
    /// # Errors
    /// When no member can be asked.
    async fn members_use(
        &self,
        hub: &ValidatedHub,
        secrets: &Secrets,
        part: Part,
        live: &Live,
    ) -> Result<Vec<Answer>, LoginError>;

    /// See [`logins::admit`].
    ///
    /// # Errors
    /// When the engine does not.
    async fn admit(
        &self,
        hub: &ValidatedHub,
        secrets: &Secrets,
        part: Part,
        login: &Login,
        live: &Live,
    ) -> Result<(), LoginError>;

    /// See [`logins::expel`].
    ///
    /// # Errors
    /// When the engine does not.
    async fn expel(
        &self,
        hub: &ValidatedHub,
        secrets: &Secrets,
        part: Part,
        login: &Login,
        live: &Live,
    ) -> Result<(), LoginError>;

    /// The clients in the database of a hub. Whoever asked for them closes them.
    ///
    /// # Errors
    /// When there is no way into MongoDB.
    fn registry(&self, hub: &ValidatedHub, login: &Login) -> Result<Box<dyn ClientRegistry>, ConnectError>;

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
    async fn redis(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &RedisSecrets,
        live: &Live,
    ) -> (PartStatus, Progress) {
        let (name, wanted) = (hub.names.redis(), hub.redis.replicas);
        let size = Size::of(live, &name, wanted);
        let desired = redis::Desired::of(hub, secrets, size);
        let status = redis::reconcile_desired(&desired).await;
        let progress = rolling::advance(ctx, hub, live, &name, size, &desired).await;
        (status, progress)
    }

    async fn open_circuits(&self, hub: &ValidatedHub, secrets: &RedisSecrets) -> Option<Vec<OpenCircuit>> {
        redis::open_circuits(hub, secrets).await
    }

    async fn mongodb(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &MongoDbSecrets,
        live: &Live,
    ) -> (PartStatus, Progress) {
        let (name, wanted) = (hub.names.mongodb(), hub.mongodb.members);
        let size = Size::of(live, &name, wanted);
        let passwords = [&secrets.keyfile, &secrets.admin_password, &secrets.app.password];
        let passwords = passwords.map(ExposeSecret::expose_secret);
        let rights = mongodb::Rights::of(live, hub);
        let inputs = passwords
            .into_iter()
            .chain([secrets.app.username.as_str(), rights.name()]);
        let users = Against::new(hub, Check::MongoDbUsers, inputs);
        let desired = mongodb::Desired {
            users_are_known: ctx.passed.holds(&users),
            ..mongodb::Desired::of(hub, secrets, size, rights)
        };
        let status = mongodb::reconcile_desired(&desired).await;
        if status.ready && !desired.users_are_known {
            ctx.passed.note(users);
        }
        let progress = rolling::advance(ctx, hub, live, &name, size, &desired).await;
        (status, progress)
    }

    async fn rabbitmq(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &RabbitMqSecrets,
        live: &Live,
    ) -> (PartStatus, Progress) {
        let (name, wanted) = (hub.names.rabbitmq(), hub.rabbitmq.replicas);
        let size = Size::of(live, &name, wanted);
        match rabbitmq::Desired::of(hub, secrets, size) {
            Ok(desired) => {
                let status = rabbitmq::reconcile_desired(&desired).await;
                let progress = rolling::advance(ctx, hub, live, &name, size, &desired).await;
                (status, progress)
            }
            Err(error) => (rabbitmq::unaddressable(error), Progress::Idle),
        }
    }

    async fn vault(&self, ctx: &Context, hub: &ValidatedHub, live: &Live) -> (PartStatus, Progress) {
        let status = vault::reconcile(ctx, hub, live).await;
        let progress = match &hub.vault {
            VaultPlan::Managed(plan) => vault::advance(ctx, hub, live, plan).await,
            VaultPlan::External(_) => Progress::Idle,
        };
        (status, progress)
    }

    async fn roster(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &Secrets,
        live: &Live,
        set: &str,
    ) -> Option<Roster> {
        let names = &hub.names;
        if set == names.redis() {
            let size = Size::of(live, set, hub.redis.replicas);
            let desired = redis::Desired::of(hub, secrets.redis.as_ref().ok()?, size);
            Some(desired.roster().await)
        } else if set == names.mongodb() {
            let size = Size::of(live, set, hub.mongodb.members);
            let desired = mongodb::Desired::of(
                hub,
                secrets.mongodb.as_ref().ok()?,
                size,
                mongodb::Rights::of(live, hub),
            );
            Some(desired.roster().await)
        } else if set == names.rabbitmq() {
            let size = Size::of(live, set, hub.rabbitmq.replicas);
            let desired = rabbitmq::Desired::of(hub, secrets.rabbitmq.as_ref().ok()?, size).ok()?;
            Some(desired.roster().await)
        } else {
            match &hub.vault {
                VaultPlan::Managed(plan) if set == names.vault() => vault::roster(ctx, hub, plan).await,
                _ => None,
            }
        }
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

    async fn try_login(
        &self,
        hub: &ValidatedHub,
        secrets: &Secrets,
        part: Part,
        login: &Login,
        live: &Live,
    ) -> Result<Vec<Answer>, LoginError> {
        logins::try_login(hub, secrets, part, login, live).await
    }

    async fn members_use(
        &self,
        hub: &ValidatedHub,
        secrets: &Secrets,
        part: Part,
        live: &Live,
    ) -> Result<Vec<Answer>, LoginError> {
        logins::members_use(hub, secrets, part, live).await
    }

    async fn admit(
        &self,
        hub: &ValidatedHub,
        secrets: &Secrets,
        part: Part,
        login: &Login,
        live: &Live,
    ) -> Result<(), LoginError> {
        logins::admit(hub, secrets, part, login, live).await
    }

    async fn expel(
        &self,
        hub: &ValidatedHub,
        secrets: &Secrets,
        part: Part,
        login: &Login,
        live: &Live,
    ) -> Result<(), LoginError> {
        logins::expel(hub, secrets, part, login, live).await
    }

    fn registry(&self, hub: &ValidatedHub, login: &Login) -> Result<Box<dyn ClientRegistry>, ConnectError> {
        let client = hub_database::connect(hub, login)?;
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

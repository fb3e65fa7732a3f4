//! A process in one of its roles: connects what the role needs, serves health and metrics, works until it is stopped.

use std::net::SocketAddr;

use flickrhub_job::budget::{BudgetSettings, FlickrBudget};
use flickrhub_job::cache::{AnswerCache, CachePolicy};
use flickrhub_job::callback::{AddressPolicy, CallbackClient, CallbackClientError};
use flickrhub_job::config::{Config, ConfigError, TlsFiles};
use flickrhub_job::lane::Lanes;
use flickrhub_job::limits::LiveLimits;
use flickrhub_job::progress::{Progress, Topic};
use flickrhub_job::queue::Queue;
use flickrhub_job::telemetry::{self, Metrics, Readiness};
use flickrhub_job::vault::Component;
use tokio_util::sync::CancellationToken;

use crate::app_credentials::AppCredentials;
use crate::args::Role;
use crate::callbacks::{Callbacks, RECEIVER_TIMEOUT};
use crate::connect::Stopped;
use crate::data_tier::DataTier;
use crate::dispatcher::Dispatcher;
use crate::flickr_call::{FlickrCaller, FlickrCallerError};
use crate::open_secrets::OpenSecrets;
use crate::runner::{Runner, Tokens};

/// The process cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The configuration does not fit the role.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The instruments clash.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The client of Flickr cannot be made.
    #[error(transparent)]
    Flickr(#[from] FlickrCallerError),
    /// The client of callbacks cannot be made.
    #[error(transparent)]
    Callbacks(#[from] CallbackClientError),
    /// It was asked to stop before it could begin.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Works in `role` until `stop`, by `limits` as they are at any time. Servers that are away are waited for.
///
/// # Errors
/// When the configuration cannot work.
pub async fn run(
    role: Role,
    config: Config,
    limits: LiveLimits,
    metrics_address: SocketAddr,
    stop: CancellationToken,
) -> Result<(), ProcessError> {
    let metrics = Metrics::new()?;
    let tier = DataTier::new(config.clone(), stop.clone());
    let readiness = tier.readiness(role);
    let tls = config.metrics.tls.clone();
    tokio::spawn(serve(metrics_address, metrics.clone(), readiness.clone(), tls));
    tokio::spawn(drain(readiness, stop.clone()));
    let worked = match role {
        Role::Run { queue } => run_jobs(queue, &config, &tier, metrics, stop).await,
        Role::Dispatch => dispatch(config, limits, &tier, metrics, stop).await,
        Role::Callbacks => deliver_callbacks(&config, &tier, metrics, stop).await,
    };
    match worked {
        Err(ProcessError::Stopped(_)) => Ok(()),
        other => other,
    }
}

/// Without this port the process looks dead to Kubernetes, which then restarts it.
async fn serve(address: SocketAddr, metrics: Metrics, readiness: Readiness, tls: Option<TlsFiles>) {
    let served = telemetry::serve(address, metrics.registry.clone(), readiness, tls.as_ref()).await;
    if let Err(error) = served {
        tracing::error!(%address, %error, "metrics and health cannot be served");
    }
}

async fn drain(readiness: Readiness, stop: CancellationToken) {
    stop.cancelled().await;
    readiness.drain();
}

async fn run_jobs(
    queue: Queue,
    config: &Config,
    tier: &DataTier,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), ProcessError> {
    let settings = config.queue(queue)?.clone();
    let flickr = FlickrCaller::new(&config.flickr.endpoints, &settings)?;
    let stores = tier.stores().await?;
    let redis = tier.redis().await?;
    let key_prefix = &config.redis.key_prefix;
    let budget = FlickrBudget::new(redis.clone(), key_prefix).counted_in(metrics.clone());
    let runner = Runner {
        queue,
        settings,
        store: stores.jobs.for_worker(&own_name()).counted_in(&metrics),
        users: stores.users,
        bodies: stores.bodies,
        lanes: Lanes::new(redis.clone(), key_prefix),
        cache: AnswerCache::new(redis.clone(), key_prefix, CachePolicy::from(&config.cache)),
        progress: Progress::new(redis, key_prefix, Topic::Cancellations),
        tokens: Tokens::new(tier.vault(Component::Worker).await?),
        apps: AppCredentials::new(&config.flickr.apps),
        flickr: flickr.within(budget),
        group_size: config.rabbitmq.quorum_group_size,
        metrics,
    };
    runner.run(tier.rabbitmq().await?, stop).await;
    Ok(())
}

/// The name of the pod, which is its host name; for the record of attempts.
fn own_name() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "worker".to_owned())
}

async fn dispatch(
    config: Config,
    limits: LiveLimits,
    tier: &DataTier,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), ProcessError> {
    let stores = tier.stores().await?;
    let redis = tier.redis().await?;
    let dispatcher = Dispatcher {
        budget: FlickrBudget::new(redis.clone(), &config.redis.key_prefix),
        budget_settings: BudgetSettings::of(&config, &limits.get()),
        limits,
        queues: config.queues,
        store: stores.jobs.counted_in(&metrics),
        bodies: stores.bodies,
        lanes: Lanes::new(redis.clone(), &config.redis.key_prefix),
        redis,
        key_prefix: config.redis.key_prefix,
        publisher: tier.publisher().await?,
        metrics,
    };
    dispatcher.run(stop).await;
    Ok(())
}

async fn deliver_callbacks(
    config: &Config,
    tier: &DataTier,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), ProcessError> {
    let policy = AddressPolicy::new(config.callbacks.allowed_networks.clone());
    let sender = CallbackClient::new(policy, RECEIVER_TIMEOUT)?;
    let stores = tier.stores().await?;
    let callbacks = Callbacks {
        store: stores.jobs,
        clients: stores.clients,
        endpoints: stores.endpoints,
        deliveries: stores.deliveries,
        secrets: OpenSecrets::webhook_secrets(tier.vault(Component::Callbacks).await?),
        sender,
        metrics,
    };
    callbacks.run(stop).await;
    Ok(())
}

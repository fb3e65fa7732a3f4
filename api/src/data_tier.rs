//! The data tier as the API uses it: MongoDB, Redis, Vault. RabbitMQ belongs to the dispatcher and the workers.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use flickrhub_job::budget::{FlickrBudget, PermitError, Reason};
use flickrhub_job::cache::{AnswerCache, CacheError, CachePolicy};
use flickrhub_job::config::Config;
use flickrhub_job::connection::redis::{Redis, RedisError};
use flickrhub_job::connection::{self, ConnectError};
use flickrhub_job::lane::{LaneError, Lanes};
use flickrhub_job::model::{Body, Job};
use flickrhub_job::nonce::Nonces;
use flickrhub_job::progress::{Progress, Topic};
use flickrhub_job::store::{
    AuditStore, BodyStore, ClientStore, DeliveryStore, EndpointStore, JobStore, OauthRequestStore,
    StoreError, UserStore,
};
use flickrhub_job::telemetry::{CheckFailed, Metrics, Readiness};
use flickrhub_job::vault::{Component, Vault, VaultError};
use mongodb::Database;

use crate::circuit::CircuitWatch;
use crate::problem::Problem;
use crate::state::DataTierSlot;

/// The first wait between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest wait between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long a part may take to answer, so that a probe has its report within a second.
const PING: Duration = Duration::from_millis(500);
/// How long the withdrawal of a job may take: what is left of a request's time after its insertion timed out.
const WITHDRAWAL: Duration = Duration::from_secs(4);

/// Handles on every store; each follows failovers by itself.
pub struct DataTier {
    /// The jobs.
    pub jobs: JobStore,
    /// The Flickr users.
    pub users: UserStore,
    /// The API clients.
    pub clients: ClientStore,
    /// The callback addresses that are disabled.
    pub endpoints: EndpointStore,
    /// What became of each try to deliver a callback.
    pub deliveries: DeliveryStore,
    /// The audit log.
    pub audit: AuditStore,
    /// Authorisations under way.
    pub oauth_requests: OauthRequestStore,
    /// Photos on their way.
    pub bodies: BodyStore,
    /// Admission and lanes.
    pub lanes: Lanes,
    /// Cached answers.
    pub cache: AnswerCache,
    /// The budgets of requests to Flickr.
    pub budget: FlickrBudget,
    /// Whether Flickr is left alone.
    pub circuits: CircuitWatch,
    /// The nonces of signed requests.
    pub nonces: Nonces,
    /// Hears of jobs that move.
    pub progress: Progress,
    /// Encryption.
    pub vault: Vault,
    database: Database,
    redis: Redis,
}

/// A part of the data tier cannot be used yet.
#[derive(Debug, thiserror::Error)]
pub enum DataTierError {
    /// MongoDB or Redis.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// MongoDB, while indexes are created.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl DataTier {
    /// Connects to every part and creates what is missing (indexes); counts in `metrics`.
    ///
    /// # Errors
    /// When a part is not there or refuses us.
    pub async fn connect(config: &Config, metrics: &Metrics) -> Result<Self, DataTierError> {
        let database = connection::mongodb::connect(&config.mongodb).await?;
        let redis = Redis::connect(&config.redis).await?;
        let vault = Vault::connect(&config.vault, Component::Api).await?;
        let budget = FlickrBudget::new(redis.clone(), &config.redis.key_prefix);
        Ok(Self {
            circuits: CircuitWatch::new(budget.clone()),
            budget,
            jobs: JobStore::open(&database, config.retention_days)
                .await?
                .counted_in(metrics),
            users: UserStore::open(&database).await?,
            clients: ClientStore::open(&database).await?,
            endpoints: EndpointStore::open(&database).await?,
            deliveries: DeliveryStore::open(&database, config.retention_days).await?,
            audit: AuditStore::open(&database).await?,
            oauth_requests: OauthRequestStore::open(&database).await?,
            bodies: BodyStore::new(&database),
            lanes: Lanes::new(redis.clone(), &config.redis.key_prefix),
            cache: AnswerCache::new(
                redis.clone(),
                &config.redis.key_prefix,
                CachePolicy::from(&config.cache),
            ),
            nonces: Nonces::new(redis.clone(), &config.redis.key_prefix),
            progress: Progress::new(redis.clone(), &config.redis.key_prefix, Topic::Moves),
            vault,
            database,
            redis,
        })
    }

    /// Whether the body store still has this body.
    ///
    /// # Errors
    /// When MongoDB fails.
    pub async fn has_body(&self, body: &Body) -> Result<bool, Problem> {
        Ok(self.bodies.has(body).await?)
    }

    /// [`JobStore::withdraw`], within what is left of a request's time.
    ///
    /// # Errors
    /// When MongoDB fails.
    pub async fn withdraw(&self, job: &Job) -> Result<bool, StoreError> {
        tokio::time::timeout(WITHDRAWAL, self.jobs.withdraw(job.id))
            .await
            .unwrap_or(Err(StoreError::Timeout))
    }

    /// Connects, however long that takes. Each failure is logged: in a new hub the parts come up one after the other.
    pub async fn connect_patiently(config: &Config, metrics: &Metrics) -> Self {
        let mut pause = FIRST_PAUSE;
        loop {
            match Self::connect(config, metrics).await {
                Ok(data) => return data,
                Err(error) => {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "the data tier is not there yet");
                }
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

/// What `/readyz` depends on: the data tier was connected to once. An outage after that is answered request by request,
/// with a problem that says when to come back; if it made this process unready, it would make every one unready at the
/// same time, and clients would have no answer at all.
pub fn readiness(slot: &DataTierSlot) -> Readiness {
    let slot = slot.clone();
    Readiness::new().with("data_tier", move || {
        let slot = slot.clone();
        async move { connected(&slot).map(|_| ()) }
    })
}

/// What `/readyz` only reports: whether every part answers, and soon, because a probe does not wait.
pub fn dependencies(slot: &DataTierSlot) -> Readiness {
    let (mongodb, redis, vault) = (slot.clone(), slot.clone(), slot.clone());
    Readiness::new()
        .with("mongodb", move || {
            let slot = mongodb.clone();
            async move {
                let database = &connected(&slot)?.database;
                soon(connection::mongodb::ping(database)).await
            }
        })
        .with("redis", move || {
            let slot = redis.clone();
            async move { soon(connected(&slot)?.redis.ping()).await }
        })
        .with("vault", move || {
            let slot = vault.clone();
            async move { soon(connected(&slot)?.vault.ping()).await }
        })
}

async fn soon<E: Display>(ping: impl Future<Output = Result<(), E>>) -> Result<(), CheckFailed> {
    match tokio::time::timeout(PING, ping).await {
        Ok(answer) => answer.map_err(CheckFailed::new),
        Err(_) => Err(CheckFailed::new("no answer in time")),
    }
}

fn connected(slot: &DataTierSlot) -> Result<&DataTier, CheckFailed> {
    slot.get().map_err(|_| CheckFailed::new("not connected yet"))
}

/// A failed operation of a store, as the client learns of it; the cause is logged under the request's trace id.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        failed("MongoDB", &error, error.is_transient())
    }
}

/// The same for the lanes. Without Redis nothing can be admitted, so every failure is one to come back after.
impl From<LaneError> for Problem {
    fn from(error: LaneError) -> Self {
        failed("Redis", &error, true)
    }
}

/// The same for cached answers.
impl From<CacheError> for Problem {
    fn from(error: CacheError) -> Self {
        failed("Redis", &error, true)
    }
}

/// The same for Redis itself.
impl From<RedisError> for Problem {
    fn from(error: RedisError) -> Self {
        failed("Redis", &error, true)
    }
}

/// Flickr may not be called now: by budget or circuit, or because nobody knows.
impl From<PermitError> for Problem {
    fn from(error: PermitError) -> Self {
        match error {
            PermitError::Redis(error) => error.into(),
            PermitError::Refused(refused) => {
                tracing::warn!(%refused, "a person has to wait for Flickr");
                match refused.reason {
                    Reason::Rebuilding => Self::Unavailable,
                    _ => Self::FlickrBusy {
                        retry_after: refused.wait,
                    },
                }
            }
        }
    }
}

/// The same for Vault.
impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        failed("Vault", &error, error.is_transient())
    }
}

fn failed(part: &str, error: &dyn std::error::Error, transient: bool) -> Problem {
    if transient {
        tracing::warn!(part, %error, "a part of the data tier is not available");
        Problem::Unavailable
    } else {
        tracing::error!(part, %error, "an operation of the data tier failed");
        Problem::Internal
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flickrhub_job::budget::Refused;

    use super::*;

    #[test]
    fn who_may_not_call_flickr_learns_when_it_may() {
        let wait = Duration::from_secs(36);
        let problem = |reason| Problem::from(PermitError::from(Refused { reason, wait }));
        for reason in [Reason::AppBudget, Reason::CircuitOpen, Reason::ProbeOut] {
            assert_eq!(problem(reason).retry_after(), Some(wait), "{reason:?}");
        }
        assert_eq!(problem(Reason::Rebuilding), Problem::Unavailable);
        // The wait is exact, to the millisecond, and is not cut off to seconds.
        let wait = Duration::from_millis(36_001);
        let busy = Refused {
            reason: Reason::AppBudget,
            wait,
        };
        assert_eq!(
            Problem::from(PermitError::from(busy)).retry_after_seconds(),
            Some(37)
        );
    }
}

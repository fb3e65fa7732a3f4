//! What every handler can reach.

use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use flickrhub_flickr::FlickrClient;
use flickrhub_job::audit::{Head, SealedEntry};
use flickrhub_job::callback::AddressPolicy;
use flickrhub_job::config::Config;
use flickrhub_job::limits::LiveLimits;
use flickrhub_job::store::StoreError;
use flickrhub_job::telemetry::{Metrics, Readiness};
use flickrhub_job::vault::TransitKey;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::audit::{AuditLog, AuditSink};
use crate::auth::{Authenticator, KeyDirectory, StoredKey};
use crate::data_tier::{DataTier, dependencies, readiness};
use crate::patience::Patience;
use crate::problem::Problem;
use crate::seats::Seats;

/// The most photos that are received at the same time: each takes up to 4 MiB of memory.
const MAX_UPLOADS: usize = 32;
/// Of these, the most of one client: a photo may take as long as its sender is slow, and others are to be served meanwhile.
const MAX_UPLOADS_OF_CLIENT: usize = 24;

/// The most requests that wait for a job at the same time. Each costs a connection and some kilobytes, and a look into
/// MongoDB every five seconds; beyond them requests are answered at once.
const MAX_WAITS: usize = 5000;
/// Of these, the most of one client.
const MAX_WAITS_OF_CLIENT: usize = 1000;
/// The most streams of events at the same time; the same cost.
const MAX_STREAMS: usize = 2000;
/// Of these, the most of one client.
const MAX_STREAMS_OF_CLIENT: usize = 200;

/// The state of the API; clones share it.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What clones of [`AppState`] share.
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// What users and clients may ask of the hub, as it is now.
    pub limits: LiveLimits,
    /// Where callbacks may go.
    pub callback_policy: AddressPolicy,
    /// Turns API keys into callers.
    pub authenticator: Authenticator,
    /// The audit log.
    pub audit: AuditLog,
    /// The client of Flickr's OAuth endpoints.
    pub flickr: FlickrClient,
    /// The instruments.
    pub metrics: Metrics,
    /// How long a client is waited for.
    pub patience: Patience,
    /// Whether requests are to be sent here.
    pub readiness: Readiness,
    /// Whether the parts of the data tier answer.
    pub dependencies: Readiness,
    /// One place for each photo that is received at the same time.
    pub uploads: Seats,
    /// One place for each request that waits for a job to end.
    pub waits: Seats,
    /// One place for each stream of events.
    pub streams: Seats,
    /// Cancelled when the process closes its connections: whoever waits answers, streams end.
    pub stopping: CancellationToken,
    data: DataTierSlot,
    tasks: TaskTracker,
}

/// What a state is made of.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// What users and clients may ask of the hub.
    pub limits: LiveLimits,
    /// The client of Flickr's OAuth endpoints.
    pub flickr: FlickrClient,
    /// The instruments.
    pub metrics: Metrics,
    /// The data tier, which may still be connecting.
    pub data: DataTierSlot,
    /// Where API keys are looked up.
    pub keys: Arc<dyn KeyDirectory>,
    /// Where the audit log is written.
    pub audit: Arc<dyn AuditSink>,
    /// How long a client is waited for.
    pub patience: Patience,
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// A state of these parts. Must be called within a Tokio runtime.
    pub fn of(parts: Parts) -> Self {
        let Parts {
            config,
            limits,
            flickr,
            metrics,
            data,
            keys,
            audit,
            patience,
        } = parts;
        Self(Arc::new(Shared {
            callback_policy: AddressPolicy::new(config.callbacks.allowed_networks.clone()),
            authenticator: Authenticator::new(keys),
            audit: AuditLog::new(audit, metrics.audit_entries.clone()),
            config,
            limits,
            flickr,
            metrics,
            patience,
            readiness: readiness(&data),
            dependencies: dependencies(&data),
            uploads: Seats::new(MAX_UPLOADS, MAX_UPLOADS_OF_CLIENT),
            waits: Seats::new(MAX_WAITS, MAX_WAITS_OF_CLIENT),
            streams: Seats::new(MAX_STREAMS, MAX_STREAMS_OF_CLIENT),
            stopping: CancellationToken::new(),
            data,
            tasks: TaskTracker::new(),
        }))
    }

    /// The data tier.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] while it is still being connected to.
    pub fn data(&self) -> Result<&DataTier, Problem> {
        self.data.get()
    }

    /// Runs `work` to its end even if the client goes away meanwhile: for work in several steps, of which the first
    /// must not remain without the last.
    ///
    /// # Errors
    /// Those of `work`; [`Problem::Internal`] when it panicked.
    pub async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.tasks
            .spawn(work.in_current_span())
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, "a request's work broke off");
                Err(Problem::Internal)
            })
    }

    /// Waits until all work begun by [`AppState::to_the_end`] is done and the audit log is written; to be called when no
    /// request comes in any more.
    pub async fn finish_tasks(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.audit.close().await;
    }
}

/// The place of the data tier, empty until it was connected to; clones share it.
#[derive(Clone, Default)]
pub struct DataTierSlot(Arc<OnceLock<DataTier>>);

impl DataTierSlot {
    /// The data tier.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] while there is none.
    pub fn get(&self) -> Result<&DataTier, Problem> {
        self.0.get().ok_or(Problem::Unavailable)
    }

    /// Puts the data tier in its place, once.
    pub fn fill(&self, data: DataTier) {
        if self.0.set(data).is_err() {
            tracing::error!("the data tier was connected to twice; the first connection stays");
        }
    }
}

#[async_trait]
impl KeyDirectory for DataTierSlot {
    async fn key(&self, key_id: &str) -> Result<Option<StoredKey>, Problem> {
        let key = self.get()?.clients.api_key(key_id).await?;
        Ok(key.map(|key| StoredKey {
            client_id: key.client_id,
            scopes: key.scopes,
            hash: key.hash,
            hmac_secret: key.hmac_secret,
            not_after: key.not_after,
            allowed_networks: key.allowed_networks,
            requests_per_minute: key.requests_per_minute,
        }))
    }

    async fn signing_secret(&self, client_id: &str, ciphertext: &str) -> Result<SecretString, Problem> {
        let vault = &self.get()?.vault;
        let secret = vault.decrypt(TransitKey::AppCredentials, client_id, ciphertext);
        Ok(secret.await?)
    }

    async fn is_first_use(&self, key_id: &str, nonce: &str, lifetime: Duration) -> Result<bool, Problem> {
        Ok(self.get()?.nonces.is_first(key_id, nonce, lifetime).await?)
    }
}

#[async_trait]
impl AuditSink for DataTierSlot {
    async fn append(&self, entries: &[SealedEntry]) -> Result<(), Option<StoreError>> {
        let store = &self.get().map_err(|_| None)?.audit;
        store.append(entries).await.map_err(Some)
    }

    async fn heads(&self, now: Timestamp) -> Result<Vec<Head>, Option<StoreError>> {
        let store = &self.get().map_err(|_| None)?.audit;
        store.heads(now).await.map_err(Some)
    }
}

//! Delivers the callbacks of finished jobs.
//!
//! Which callback is due, and when it is tried again, is in the job's document; it is claimed for [`LEASE`]. A try is counted
//! when everything is at hand to make it: an outage of Vault or MongoDB postpones a callback to the end of its lease,
//! however often, and brings it no nearer to its last try. If the process dies, or panics:
//!
//! | after | then |
//! | --- | --- |
//! | the claim | the lease ends and the try is made |
//! | the try was counted | the lease ends and the next try is made; a callback that kills its process each time comes to its last one, like any other |
//! | the delivery, not stored | the lease ends and the callback is delivered again, with the same `webhook-id` (the job's id), by which a receiver tells |
//! | the store | over |

use std::sync::Arc;
use std::time::Duration;

use flickrhub_job::callback::{CallbackClient, DeliveryOutcome, next_try, payload};
use flickrhub_job::fail_point;
use flickrhub_job::model::{Callback, Job};
use flickrhub_job::store::{ClientStore, JobStore, StoreError};
use flickrhub_job::telemetry::Metrics;
use flickrhub_job::vault::{TransitKey, Vault, VaultError};
use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use url::Url;

use crate::backoff::{DATA_TIER, about};
use crate::panics::{Panicked, caught};
use crate::shutdown::{CALLBACKS_LIMIT, pause, unless_stopped};

/// How long a receiver has to answer.
pub const RECEIVER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a claimed try may take in all, with Vault and MongoDB.
const LEASE: SignedDuration = SignedDuration::from_mins(2);

/// Deliveries at a time.
const AT_A_TIME: usize = 16;

/// How long to wait when nothing is due.
const IDLE: Duration = Duration::from_millis(500);

/// What delivering callbacks takes.
pub struct Callbacks {
    /// Jobs, with their callbacks.
    pub store: JobStore,
    /// Clients and their encrypted webhook secrets.
    pub clients: ClientStore,
    /// Decrypts the secrets.
    pub vault: Vault,
    /// Sends.
    pub sender: CallbackClient,
    /// Instruments.
    pub metrics: Metrics,
}

/// What becomes of a callback after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Delivered,
    Again { at: Timestamp },
    GivenUp,
}

impl After {
    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again { .. } => "retried",
            Self::GivenUp => "failed",
        }
    }
}

/// The tries of a callback that is claimed, with the one that is to be made.
const fn tries(callback: &Callback) -> u32 {
    callback.attempts.saturating_add(1)
}

fn after(attempts: u32, outcome: &DeliveryOutcome, now: Timestamp, rng: &mut impl Rng) -> After {
    match outcome {
        DeliveryOutcome::Delivered => After::Delivered,
        DeliveryOutcome::Gone => After::GivenUp,
        DeliveryOutcome::Retry { retry_after, .. } => match next_try(attempts, rng) {
            Some(delay) => {
                let delay = delay.max(retry_after.unwrap_or_default());
                After::Again {
                    at: now.saturating_add(delay).unwrap_or(Timestamp::MAX),
                }
            }
            None => After::GivenUp,
        },
    }
}

/// A try that counts although nothing could be sent.
fn not_sent(error: &TryError) -> DeliveryOutcome {
    tracing::error!(%error, "the callback cannot be sent");
    DeliveryOutcome::Retry {
        reason: "it could not be sent".to_owned(),
        retry_after: None,
    }
}

/// What a try takes could not be had.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl TryError {
    /// Whether it is about this callback alone, so that its tries must come to an end. Anything else is an outage or a
    /// mistake in the installation, and over for every callback once it is.
    const fn is_about_the_callback(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::Unreadable(_)) | Self::Vault(VaultError::Ciphertext) | Self::Panicked(_)
        )
    }
}

/// Where a callback goes, and what it is signed with.
type Receiver = (Url, SecretString);

impl Callbacks {
    /// Delivers until `stop`; tries that have begun are finished.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let permits = Arc::new(Semaphore::new(AT_A_TIME));
        let held = TaskTracker::new();
        let mut failures = 0;
        while let Some(Ok(permit)) = unless_stopped(Arc::clone(&permits).acquire_owned(), &stop).await {
            let wait = match this.store.claim_callback(LEASE).await {
                Ok(Some(job)) => {
                    failures = 0;
                    held.spawn(Arc::clone(&this).attempt(job, permit));
                    continue;
                }
                Ok(None) => {
                    failures = 0;
                    about(IDLE)
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look for callbacks");
                    failures += 1;
                    DATA_TIER.wait(failures)
                }
            };
            drop(permit);
            pause(wait, &stop).await;
        }
        held.close();
        if tokio::time::timeout(CALLBACKS_LIMIT, held.wait()).await.is_err() {
            tracing::warn!(
                held = held.len(),
                "stopping with callbacks under way; they are tried again"
            );
        }
    }

    async fn attempt(self: Arc<Self>, job: Job, permit: OwnedSemaphorePermit) {
        if let Some(callback) = &job.callback {
            let span = tracing::info_span!(
                "callback",
                job_id = %job.id,
                user_id = job.user_id,
                trace_id = job.trace.trace_id,
                attempt = tries(callback),
            );
            self.try_once(&job, callback).instrument(span).await;
        }
        drop(permit);
    }

    async fn try_once(&self, job: &Job, callback: &Callback) {
        match self.deliver(job, callback).await {
            Ok(Some(after)) => {
                self.metrics.callbacks.with_label_values(&[after.name()]).inc();
                tracing::info!(outcome = after.name(), "callback");
            }
            Ok(None) => tracing::info!("the callback was taken by another process meanwhile"),
            Err(error) => {
                self.metrics.callbacks.with_label_values(&["postponed"]).inc();
                tracing::warn!(%error, "the callback could not be tried; it is when its lease ends");
            }
        }
    }

    /// `None`: the lease ended before the try could be made, and another process has the callback.
    async fn deliver(&self, job: &Job, callback: &Callback) -> Result<Option<After>, TryError> {
        fail_point!("callback/after-claim");
        let found = caught(self.receiver(job, callback))
            .await
            .unwrap_or_else(|panicked| Err(panicked.into()));
        let receiver = match found {
            Err(error) if !error.is_about_the_callback() => return Err(error),
            found => found,
        };
        let Some(claimed_until) = callback.next_at else {
            return Ok(None);
        };
        if !self.store.begin_callback_try(job.id, claimed_until).await? {
            return Ok(None);
        }
        fail_point!("callback/after-count");
        let outcome = match receiver {
            Ok(Some((url, secret))) => self.send(job, &url, &secret).await,
            Ok(None) => DeliveryOutcome::Gone,
            Err(error) => not_sent(&error),
        };
        fail_point!("callback/after-delivery");
        if let DeliveryOutcome::Retry { reason, .. } = &outcome {
            tracing::info!(reason, "the receiver did not take the callback");
        }
        let after = after(tries(callback), &outcome, Timestamp::now(), &mut rand::rng());
        match after {
            After::Delivered => self.store.callback_delivered(job.id).await?,
            After::Again { at } => self.store.callback_retry(job.id, at).await?,
            After::GivenUp => self.store.callback_failed(job.id).await?,
        };
        Ok(Some(after))
    }

    async fn send(&self, job: &Job, url: &Url, secret: &SecretString) -> DeliveryOutcome {
        let (id, body, trace) = (job.id.to_string(), payload(job), job.trace.child());
        caught(self.sender.deliver(url, &id, secret, &body, &trace))
            .await
            .unwrap_or_else(|panicked| not_sent(&panicked.into()))
    }

    /// `None`: there is nobody to deliver to. The address was checked when the job was accepted; the client may have been
    /// removed since.
    async fn receiver(&self, job: &Job, callback: &Callback) -> Result<Option<Receiver>, TryError> {
        let secret = self.secret(&job.client_id).await?;
        Ok(Url::parse(&callback.url).ok().zip(secret))
    }

    async fn secret(&self, client_id: &str) -> Result<Option<SecretString>, TryError> {
        let Some(client) = self.clients.get(client_id).await? else {
            return Ok(None);
        };
        let secret = self
            .vault
            .decrypt(TransitKey::AppCredentials, client_id, &client.webhook_secret)
            .await?;
        Ok(Some(secret))
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_job::model::CallbackState;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn after_try(attempts: u32, outcome: &DeliveryOutcome) -> After {
        after(
            attempts,
            outcome,
            Timestamp::UNIX_EPOCH,
            &mut StdRng::seed_from_u64(1),
        )
    }

    fn refused(retry_after: Option<Duration>) -> DeliveryOutcome {
        DeliveryOutcome::Retry {
            reason: "503".to_owned(),
            retry_after,
        }
    }

    #[test]
    fn a_delivered_callback_is_over() {
        assert_eq!(after_try(1, &DeliveryOutcome::Delivered), After::Delivered);
    }

    #[test]
    fn a_receiver_that_is_gone_gets_no_further_try() {
        assert_eq!(after_try(1, &DeliveryOutcome::Gone), After::GivenUp);
    }

    #[test]
    fn the_next_try_waits_as_long_as_the_receiver_asked() {
        let hours = Duration::from_hours(20);
        let After::Again { at } = after_try(1, &refused(Some(hours))) else {
            panic!("the first refusal is not the last try");
        };
        assert!(at.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs() >= hours);
    }

    #[test]
    fn only_what_is_about_the_callback_itself_counts_as_a_try() {
        let counts = |error: TryError| error.is_about_the_callback();
        for outage in [
            TryError::from(StoreError::Timeout),
            TryError::from(VaultError::Unavailable),
            TryError::from(VaultError::Denied),
        ] {
            assert!(!counts(outage));
        }
        assert!(counts(VaultError::Ciphertext.into()));
        assert!(counts(StoreError::Unreadable("a client".to_owned()).into()));
        assert!(counts(Panicked.into()));
    }

    #[test]
    fn the_try_that_is_to_be_made_is_counted_in() {
        let callback = Callback {
            url: "https://acme.example/hook".to_owned(),
            state: CallbackState::Pending,
            attempts: 0,
            next_at: None,
        };
        assert_eq!(tries(&callback), 1);
    }

    #[test]
    fn tries_end() {
        assert_eq!(after_try(1000, &refused(None)), After::GivenUp);
    }
}

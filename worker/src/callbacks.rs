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
//! | an answer of 410 disabled the address, the callback's end is not stored | the lease ends, the address is found disabled, and the callback is given up |
//! | the store | over; the delivery log lacks this try, see [`DeliveryStore`] |

use std::sync::Arc;
use std::time::{Duration, Instant};

use flickrhub_job::callback::{CallbackClient, SigningSecrets, Try, TryOutcome, next_try, payload};
use flickrhub_job::fail_point;
use flickrhub_job::model::{Callback, CallbackFailure, Job};
use flickrhub_job::store::{
    ClientStore, Delivery, DeliveryId, DeliveryStore, EndpointStore, JobStore, StoreError, shown,
};
use flickrhub_job::telemetry::Metrics;
use flickrhub_job::vault::VaultError;
use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use url::Url;

use crate::backoff::{DATA_TIER, about};
use crate::open_secrets::OpenSecrets;
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
    /// The addresses that are disabled.
    pub endpoints: EndpointStore,
    /// What became of each try.
    pub deliveries: DeliveryStore,
    /// Decrypts the secrets.
    pub secrets: OpenSecrets,
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
    GivenUp(CallbackFailure),
}

impl After {
    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again { .. } => "retried",
            Self::GivenUp(_) => "failed",
        }
    }

    const fn next_at(self) -> Option<Timestamp> {
        match self {
            Self::Again { at } => Some(at),
            Self::Delivered | Self::GivenUp(_) => None,
        }
    }
}

/// The tries of a callback that is claimed, with the one that is to be made.
const fn tries(callback: &Callback) -> u32 {
    callback.attempts.saturating_add(1)
}

/// How long ago the callback was due first: its job ended, or its client asked for it to be retried.
fn elapsed(job: &Job, callback: &Callback, now: Timestamp) -> Duration {
    let since = callback.retried_at.or(job.finished_at).unwrap_or(job.updated_at);
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn after(attempts: u32, elapsed: Duration, tried: Try, now: Timestamp, rng: &mut impl Rng) -> After {
    match tried.outcome {
        TryOutcome::Delivered => After::Delivered,
        TryOutcome::Gone => After::GivenUp(CallbackFailure::Gone),
        TryOutcome::Disabled => After::GivenUp(CallbackFailure::Disabled),
        TryOutcome::NoReceiver => After::GivenUp(CallbackFailure::NoReceiver),
        TryOutcome::Redirect
        | TryOutcome::Status
        | TryOutcome::RefusedAddress
        | TryOutcome::Timeout
        | TryOutcome::Tls
        | TryOutcome::Unreachable
        | TryOutcome::ConnectionLost
        | TryOutcome::NotSent => match next_try(attempts, elapsed, rng) {
            Some(pause) => {
                let pause = pause.max(tried.retry_after.unwrap_or_default());
                After::Again {
                    at: now.saturating_add(pause).unwrap_or(Timestamp::MAX),
                }
            }
            None => After::GivenUp(CallbackFailure::Exhausted),
        },
    }
}

/// A try that counts although nothing could be sent.
fn not_sent(error: &TryError) -> Try {
    tracing::error!(%error, "the callback cannot be sent");
    Try::unanswered(TryOutcome::NotSent)
}

/// What a try takes could not be had.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] Arc<VaultError>),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl TryError {
    /// Whether it is about this callback alone, so that its tries must come to an end. Anything else is an outage or a
    /// mistake in the installation, and over for every callback once it is.
    fn is_about_the_callback(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, StoreError::Unreadable(_)),
            Self::Vault(error) => matches!(**error, VaultError::Ciphertext),
            Self::Panicked(_) => true,
        }
    }
}

/// Who is to be told.
enum Receiver {
    /// Where the callback goes, and what it is signed with.
    At(Url, SigningSecrets),
    /// The address wants no more callbacks.
    Disabled,
    /// The client was removed, or the address is none.
    Nobody,
}

impl Callbacks {
    /// Delivers until `stop`; tries that have begun are finished.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let permits = Arc::new(Semaphore::new(AT_A_TIME));
        let held = TaskTracker::new();
        let sweeper = Arc::clone(&this);
        let sweep = tokio::spawn(async move { sweeper.secrets.sweep().await });
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
        sweep.abort();
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
        let (at, clock) = (Timestamp::now(), Instant::now());
        let tried = match receiver {
            Ok(Receiver::At(url, secrets)) => self.send(job, &url, &secrets).await?,
            Ok(Receiver::Disabled) => Try::unanswered(TryOutcome::Disabled),
            Ok(Receiver::Nobody) => Try::unanswered(TryOutcome::NoReceiver),
            Err(error) => not_sent(&error),
        };
        fail_point!("callback/after-delivery");
        let took = clock.elapsed();
        let (attempt, now) = (tries(callback), Timestamp::now());
        let after = after(attempt, elapsed(job, callback, now), tried, now, &mut rand::rng());
        match after {
            After::Delivered => self.store.callback_delivered(job.id).await?,
            After::Again { at } => self.store.callback_retry(job.id, at).await?,
            After::GivenUp(failure) => self.store.callback_failed(job.id, failure).await?,
        };
        let delivery = Delivery {
            id: DeliveryId::new(),
            client_id: job.client_id.clone(),
            job_id: job.id,
            url: Url::parse(&callback.url).map_or_else(|_| String::new(), |url| shown(&url)),
            attempt,
            at,
            duration_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
            outcome: tried.outcome,
            status: tried.status,
            next_at: after.next_at(),
        };
        self.record(&delivery, took).await;
        Ok(Some(after))
    }

    /// Sends, and disables the address if it answers 410.
    ///
    /// # Errors
    /// When that cannot be stored.
    async fn send(&self, job: &Job, url: &Url, secrets: &SigningSecrets) -> Result<Try, StoreError> {
        let (id, body, trace) = (job.id.to_string(), payload(job), job.trace.child());
        let tried = caught(self.sender.deliver(url, &id, secrets, &body, &trace))
            .await
            .unwrap_or_else(|panicked| not_sent(&panicked.into()));
        if tried.outcome == TryOutcome::Gone {
            self.endpoints.disable(&job.client_id, url, job.id).await?;
            tracing::warn!(
                event = "callback_endpoint_disabled",
                client_id = job.client_id,
                "the receiver is gone; its address gets no more callbacks"
            );
        }
        Ok(tried)
    }

    /// Tells metrics, the log and the delivery log, none of which may fail a delivery.
    async fn record(&self, delivery: &Delivery, took: Duration) {
        let outcome = delivery.outcome.name();
        self.metrics
            .callback_try_duration
            .with_label_values(&[outcome])
            .observe(took.as_secs_f64());
        if delivery.outcome != TryOutcome::Delivered {
            tracing::info!(
                outcome,
                status = delivery.status,
                "the receiver did not take the callback"
            );
        }
        if let Err(error) = self.deliveries.append(delivery).await {
            tracing::warn!(%error, "the delivery log lacks a try");
        }
    }

    /// The address was checked when the job was accepted; the client may have been removed, or the address disabled, since.
    async fn receiver(&self, job: &Job, callback: &Callback) -> Result<Receiver, TryError> {
        let Ok(url) = Url::parse(&callback.url) else {
            return Ok(Receiver::Nobody);
        };
        if self.endpoints.is_disabled(&job.client_id, &url).await? {
            return Ok(Receiver::Disabled);
        }
        let Some(stored) = self.clients.webhook_secrets(&job.client_id).await? else {
            return Ok(Receiver::Nobody);
        };
        let secrets =
            SigningSecrets::decrypt(&self.secrets, &job.client_id, &stored, Timestamp::now()).await?;
        Ok(Receiver::At(url, secrets))
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_job::callback::longest_pause;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn after_try(attempts: u32, elapsed: Duration, tried: Try) -> After {
        let mut rng = StdRng::seed_from_u64(1);
        after(attempts, elapsed, tried, Timestamp::UNIX_EPOCH, &mut rng)
    }

    fn busy(retry_after: Option<Duration>) -> Try {
        Try {
            outcome: TryOutcome::Status,
            status: Some(503),
            retry_after,
        }
    }

    #[test]
    fn every_outcome_ends_the_callback_or_leads_to_another_try() {
        use CallbackFailure as F;
        for outcome in TryOutcome::ALL {
            let expected = match outcome {
                TryOutcome::Delivered => Some(After::Delivered),
                TryOutcome::Gone => Some(After::GivenUp(F::Gone)),
                TryOutcome::Disabled => Some(After::GivenUp(F::Disabled)),
                TryOutcome::NoReceiver => Some(After::GivenUp(F::NoReceiver)),
                _ => None,
            };
            let tried = Try::unanswered(outcome);
            let first = after_try(1, Duration::ZERO, tried);
            assert_eq!(first.next_at().is_some(), expected.is_none(), "{outcome:?}");
            let last = after_try(20, 25 * HOUR, tried);
            assert_eq!(
                last,
                expected.unwrap_or(After::GivenUp(F::Exhausted)),
                "{outcome:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_next_try_waits_as_long_as_the_receiver_asked_and_at_most_as_long_as_it_or_the_schedule(
            attempts in 1..50_u32, asked in prop::option::of(0..86_400_u64),
        ) {
            let asked = asked.map(Duration::from_secs);
            let at = after_try(attempts, HOUR, busy(asked)).next_at();
            let pause = at.map(|at| at.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs());
            prop_assert!(pause >= asked.or(Some(Duration::ZERO)));
            prop_assert!(pause <= Some(asked.unwrap_or_default().max(longest_pause(attempts))));
        }
    }

    #[test]
    fn the_day_of_tries_begins_with_the_end_of_the_job_or_with_a_retry() {
        let finished = Timestamp::UNIX_EPOCH + HOUR;
        let job = Job {
            finished_at: Some(finished),
            ..crate::fixtures::job().build()
        };
        let callback = Callback::waiting("https://acme.example/hook");
        let now = finished + 30 * HOUR;
        assert_eq!(elapsed(&job, &callback, now), 30 * HOUR);
        let retried = Callback {
            retried_at: Some(now - HOUR),
            ..callback.clone()
        };
        assert_eq!(elapsed(&job, &retried, now), HOUR);
        assert_eq!(
            elapsed(&job, &callback, finished - HOUR),
            Duration::ZERO,
            "a clock behind"
        );
    }

    #[test]
    fn only_what_is_about_the_callback_itself_counts_as_a_try() {
        let counts = |error: TryError| error.is_about_the_callback();
        for outage in [
            TryError::from(StoreError::Timeout),
            TryError::from(Arc::new(VaultError::Unavailable)),
            TryError::from(Arc::new(VaultError::Denied)),
        ] {
            assert!(!counts(outage));
        }
        assert!(counts(Arc::new(VaultError::Ciphertext).into()));
        assert!(counts(StoreError::Unreadable("a client".to_owned()).into()));
        assert!(counts(Panicked.into()));
    }

    #[test]
    fn the_try_that_is_to_be_made_is_counted_in() {
        let callback = Callback::waiting("https://acme.example/hook");
        assert_eq!(tries(&callback), 1);
    }
}

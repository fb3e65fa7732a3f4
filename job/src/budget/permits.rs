//! Asking for permits and reporting how requests ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Script, ScriptInvocation};
use tokio::time::Instant;
use uuid::Uuid;

use super::breaker::Ended;
use super::scripts;
use super::{Circuit, Endpoint};
use crate::connection::redis::{Redis, RedisError, milliseconds};
use crate::queue::Queue;
use crate::telemetry::Metrics;

/// For how long after it was asked for a permit may be used: until then the request has to be on its way, for which it may
/// still need a connection.
pub const USABLE: Duration = Duration::from_secs(5);

/// How long a connection to Flickr may take for a request that has a permit.
pub const CONNECT: Duration = Duration::from_secs(5);

/// How often successes are reported at most.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// A request may be sent, once.
#[derive(Debug)]
#[must_use = "it is charged already"]
pub struct Permit {
    app: String,
    endpoint: Endpoint,
    probe: bool,
    usable_until: Instant,
}

impl Permit {
    /// Whether a request may still be sent with it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        Instant::now() < self.usable_until
    }
}

/// Why a request may not be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The budget of the application is spent.
    AppBudget,
    /// The budget of the user is spent.
    UserBudget,
    /// The circuit is open.
    CircuitOpen,
    /// The circuit is half-open and its probe is out.
    ProbeOut,
    /// The budgets are rebuilt, because Redis lost some of them.
    Rebuilding,
}

impl Reason {
    const fn of(number: i64) -> Self {
        match number {
            1 => Self::AppBudget,
            2 => Self::UserBudget,
            3 => Self::CircuitOpen,
            4 => Self::ProbeOut,
            _ => Self::Rebuilding,
        }
    }

    /// The name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AppBudget => "app_budget_spent",
            Self::UserBudget => "user_budget_spent",
            Self::CircuitOpen => "circuit_open",
            Self::ProbeOut => "probe_out",
            Self::Rebuilding => "rebuilding",
        }
    }
}

/// A request may not be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Flickr may not be called for another {} ms: {}", .wait.as_millis(), .reason.name())]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// After this time another question may be answered otherwise; exact for budgets and open circuits.
    pub wait: Duration,
}

/// Why there is no permit.
#[derive(Debug, thiserror::Error)]
pub enum PermitError {
    /// The request may not be sent now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Redis failed. Without it nobody knows what is left, so nothing is sent.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// The budgets of Flickr requests and the circuit breakers, shared by all processes. Cheap to clone.
#[derive(Clone)]
pub struct FlickrBudget {
    pub(super) redis: Redis,
    pub(super) prefix: Arc<str>,
    metrics: Option<Metrics>,
    unreported: Arc<Mutex<HashMap<Circuit, Unreported>>>,
}

/// Successes that are not reported yet.
struct Unreported {
    succeeded: u32,
    reported_at: Instant,
}

impl FlickrBudget {
    /// The budgets under `prefix`.
    #[must_use]
    pub fn new(redis: Redis, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.into(),
            metrics: None,
            unreported: Arc::default(),
        }
    }

    /// The same budgets, with answers counted in `metrics`.
    #[must_use]
    pub fn counted_in(self, metrics: Metrics) -> Self {
        Self {
            metrics: Some(metrics),
            ..self
        }
    }

    /// Asks for a permit for one request of application `app` to `endpoint`, signed by `user` if by anyone.
    ///
    /// # Errors
    /// [`PermitError::Refused`] when it may not be sent now; [`PermitError::Redis`] when nobody can say.
    pub async fn permit(
        &self,
        app: &str,
        user: Option<&str>,
        endpoint: Endpoint,
    ) -> Result<Permit, PermitError> {
        self.counted(app, self.ask(app, user, endpoint, false).await)
    }

    /// Asks for a permit for one step of the OAuth flow of application `app`. A person waits for it, so it may use the
    /// 0.3 % of the budget that jobs leave.
    ///
    /// # Errors
    /// As [`FlickrBudget::permit`].
    pub async fn permit_sign_in(&self, app: &str) -> Result<Permit, PermitError> {
        self.counted(app, self.ask(app, None, Endpoint::Rest, true).await)
    }

    fn counted(&self, app: &str, answer: Result<Permit, PermitError>) -> Result<Permit, PermitError> {
        let outcome = match &answer {
            Ok(_) => "granted",
            Err(PermitError::Refused(refused)) => refused.reason.name(),
            Err(PermitError::Redis(_)) => "redis_away",
        };
        if let Some(metrics) = &self.metrics {
            metrics.permits.with_label_values(&[app, outcome]).inc();
        }
        answer
    }

    async fn ask(
        &self,
        app: &str,
        user: Option<&str>,
        endpoint: Endpoint,
        signs_in: bool,
    ) -> Result<Permit, PermitError> {
        loop {
            // From before the question, since it may be charged at any time from now on.
            let asked_at = Instant::now();
            let ticket = Uuid::new_v4().simple().to_string();
            let call = |run: &str| {
                let mut call = self.call(&scripts::PERMIT);
                call.arg(&ticket)
                    .arg(app)
                    .arg(user.unwrap_or_default())
                    .arg(endpoint.name())
                    .arg(u8::from(signs_in))
                    .arg(run);
                call
            };
            let (why, wait, probe): (i64, u64, i64) = self.redis.script_on_run(call).await?;
            if why != 0 {
                let refused = Refused {
                    reason: Reason::of(why),
                    wait: Duration::from_millis(wait),
                };
                return Err(refused.into());
            }
            let permit = Permit {
                app: app.to_owned(),
                endpoint,
                probe: probe == 1,
                usable_until: asked_at + USABLE,
            };
            // A failover took so long that it is of no use; what was charged stays charged.
            if permit.is_usable() {
                return Ok(permit);
            }
        }
    }

    /// Reports that Flickr answered. Successes are told to the others about once a second, that of a probe at once.
    pub fn succeeded(&self, permit: Permit) {
        let ended = {
            let mut unreported = self.unreported.lock().unwrap_or_else(PoisonError::into_inner);
            let circuit = Circuit {
                app: permit.app.clone(),
                endpoint: permit.endpoint,
            };
            let of_circuit = unreported.entry(circuit).or_insert_with(|| Unreported {
                succeeded: 0,
                reported_at: Instant::now(),
            });
            of_circuit.succeeded += 1;
            if !permit.probe && of_circuit.reported_at.elapsed() < REPORT_PERIOD {
                return;
            }
            of_circuit.reported_at = Instant::now();
            Ended {
                succeeded: std::mem::take(&mut of_circuit.succeeded),
                failed: 0,
                limited: None,
                probe: permit.probe,
            }
        };
        self.report(permit, ended);
    }

    /// Reports that Flickr was not there for the request: no answer, 5xx, or an error that says so.
    pub fn failed(&self, permit: Permit) {
        self.report_failure(permit, None);
    }

    /// Reports that Flickr answered 429 and how long it asks to wait.
    pub fn limited(&self, permit: Permit, retry_after: Option<Duration>) {
        let asked = retry_after.unwrap_or_default().min(LONGEST_ASKED);
        self.report_failure(permit, Some(milliseconds(asked)));
    }

    fn report_failure(&self, permit: Permit, limited: Option<u64>) {
        let circuit = Circuit {
            app: permit.app.clone(),
            endpoint: permit.endpoint,
        };
        let succeeded = {
            let mut unreported = self.unreported.lock().unwrap_or_else(PoisonError::into_inner);
            unreported
                .get_mut(&circuit)
                .map(|of_circuit| std::mem::take(&mut of_circuit.succeeded))
                .unwrap_or_default()
        };
        let ended = Ended {
            succeeded,
            failed: 1,
            limited,
            probe: permit.probe,
        };
        self.report(permit, ended);
    }

    /// Reports in the background: nobody has to wait for it.
    fn report(&self, permit: Permit, ended: Ended) {
        let budget = self.clone();
        tokio::spawn(async move { budget.send_report(&permit, ended).await });
    }

    /// A report that does not get through is lost: the next failure tells the same, and a probe has a lease.
    async fn send_report(&self, permit: &Permit, ended: Ended) {
        let mut call = self.call(&scripts::REPORT);
        call.arg(Uuid::new_v4().simple().to_string())
            .arg(&permit.app)
            .arg(permit.endpoint.name())
            .arg(ended.succeeded)
            .arg(ended.failed)
            .arg(u8::from(ended.probe))
            .arg(
                ended
                    .limited
                    .map_or(-1, |asked| i64::try_from(asked).unwrap_or(i64::MAX)),
            )
            .arg(rand::random_range(0..=LONGEST_JITTER));
        match self.redis.script::<[i64; 2]>(&call).await {
            Ok(changes) => {
                for (endpoint, change) in Endpoint::ALL.into_iter().zip(changes) {
                    tell(&permit.app, endpoint, change, ended.limited.is_some());
                }
            }
            Err(error) => tracing::warn!(app = permit.app, %error, "the circuit breaker could not be told"),
        }
    }

    pub(super) fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        // Permits know no queue, only its endpoint; the names of the lanes' keys want one.
        call.arg(&*self.prefix).arg(Queue::Rest.name());
        call
    }
}

/// The longest `Retry-After` that keeps a circuit open: a larger one is taken for a mistake of the sender.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// By how many thousandths at most an opening is lengthened at random, so that circuits which opened together do not all
/// probe at once.
const LONGEST_JITTER: u32 = 100;

fn tell(app: &str, endpoint: Endpoint, change: i64, limited: bool) {
    let endpoint = endpoint.name();
    match change {
        1 => tracing::warn!(
            event = "circuit_opened",
            app,
            endpoint,
            limited,
            "Flickr is left alone for a while"
        ),
        -1 => tracing::info!(event = "circuit_closed", app, endpoint, "Flickr answers again"),
        _ => {}
    }
}

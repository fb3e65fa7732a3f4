//! One operator at a time: a Lease (`coordination.k8s.io/v1`) that the leader renews.
//!
//! Whether a lease has run out is judged by when this process last saw it change, not by the times in it, so clocks
//! need not agree. A leader that cannot renew ends before another may begin. If the process dies, the next one takes
//! over after [`DURATION`]; if it ends in order, at once.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep, timeout};

/// How long a lease holds after its last renewal.
pub const DURATION: Duration = Duration::from_secs(15);
/// How often the leader renews, and the others look.
const PERIOD: Duration = Duration::from_secs(3);
/// A leader that could not renew for so long gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the lease may take to be taken or given back, which nothing else bounds.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// The lease was lost, or cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// Another process holds it.
    #[error("another operator took over the lease")]
    Lost,
    /// It could not be renewed in time.
    #[error("the lease could not be renewed for {seconds} s: {0}", seconds = PATIENCE.as_secs())]
    NotRenewed(String),
}

/// A process that wants to lead.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is ours, or free, or has run out: write ourselves into it.
    Take,
    /// Another holds it.
    Wait,
}

/// Judges a lease that has not changed for `unchanged`.
fn decide(spec: Option<&LeaseSpec>, identity: &str, unchanged: Duration) -> Step {
    let holder = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default();
    let seconds = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|s| u64::try_from(s).ok());
    let duration = seconds.map_or(DURATION, Duration::from_secs);
    if holder.is_empty() || holder == identity || unchanged > duration {
        Step::Take
    } else {
        Step::Wait
    }
}

/// The lease with `identity` as its holder.
fn taken(lease: Option<Lease>, name: &str, identity: &str, now: Timestamp) -> Lease {
    let old = lease.unwrap_or_default();
    let spec = old.spec.unwrap_or_default();
    let is_renewal = spec.holder_identity.as_deref() == Some(identity);
    let transitions = spec.lease_transitions.unwrap_or(0);
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..old.metadata
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if is_renewal {
                spec.acquire_time
            } else {
                Some(MicroTime(now))
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if is_renewal {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }),
    }
}

impl Candidate {
    /// A candidate for the lease `name` in `namespace`. `identity` must be of this process alone.
    pub fn new(
        client: Client,
        namespace: &str,
        name: impl Into<String>,
        identity: impl Into<String>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.into(),
            identity: identity.into(),
        }
    }

    /// Waits until this process leads.
    pub async fn acquire(&self) {
        let mut seen: Option<(Option<String>, Instant)> = None;
        loop {
            match timeout(TIMEOUT, self.try_take(&mut seen)).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot read or write the lease"),
                Err(_) => tracing::warn!("the API server does not answer about the lease"),
            }
            sleep(crate::backoff::jittered(PERIOD)).await;
        }
    }

    /// Takes the lease if it may be taken. `seen` is the version that was seen last, and when it was new.
    async fn try_take(&self, seen: &mut Option<(Option<String>, Instant)>) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let version = lease.as_ref().and_then(ResourceExt::resource_version);
        let since = match seen {
            Some((known, since)) if *known == version => *since,
            _ => seen.insert((version, Instant::now())).1,
        };
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        match decide(spec, &self.identity, since.elapsed()) {
            Step::Take => self.write(lease).await,
            Step::Wait => Ok(false),
        }
    }

    /// Writes the lease; `false` if another was faster.
    async fn write(&self, lease: Option<Lease>) -> Result<bool, kube::Error> {
        let is_new = lease.is_none();
        let lease = taken(lease, &self.name, &self.identity, Timestamp::now());
        let written = if is_new {
            self.api.create(&PostParams::default(), &lease).await
        } else {
            self.api.replace(&self.name, &PostParams::default(), &lease).await
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Renews the lease until it is lost.
    ///
    /// # Errors
    /// Always, in the end: what ended the leadership.
    pub async fn lead(&self) -> LeaderError {
        let mut renewed = Instant::now();
        loop {
            sleep(PERIOD).await;
            let left = PATIENCE.saturating_sub(renewed.elapsed());
            let failure = match timeout(left, self.renew()).await {
                Ok(Ok(true)) => {
                    renewed = Instant::now();
                    continue;
                }
                Ok(Ok(false)) => return LeaderError::Lost,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            };
            tracing::warn!(failure, "cannot renew the lease");
            if renewed.elapsed() >= PATIENCE {
                return LeaderError::NotRenewed(failure);
            }
        }
    }

    /// Renews the lease; `false` if another holds it.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        match decide(spec, &self.identity, Duration::ZERO) {
            Step::Take => self.write(lease).await,
            Step::Wait => Ok(false),
        }
    }

    /// Gives the lease back, so that another can lead at once.
    pub async fn release(&self) {
        if timeout(TIMEOUT, self.give_back()).await.is_err() {
            tracing::warn!("cannot release the lease; another operator waits until it has run out");
        }
    }

    async fn give_back(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else {
            return;
        };
        let own = Some(self.identity.as_str());
        let Some(spec) = lease
            .spec
            .as_mut()
            .filter(|spec| spec.holder_identity.as_deref() == own)
        else {
            return;
        };
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::warn!(%error, "cannot release the lease; another operator waits until it has run out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }
    }

    fn lease(holder: &str) -> Lease {
        Lease {
            spec: Some(held_by(holder)),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_has_run_out() {
        assert_eq!(decide(None, "me", Duration::ZERO), Step::Take);
        assert_eq!(decide(Some(&held_by("")), "me", Duration::ZERO), Step::Take);
        assert_eq!(decide(Some(&held_by("me")), "me", Duration::ZERO), Step::Take);
        assert_eq!(
            decide(Some(&held_by("other")), "me", Duration::from_secs(16)),
            Step::Take
        );
    }

    #[test]
    fn a_lease_of_another_is_respected_until_it_has_run_out() {
        assert_eq!(
            decide(Some(&held_by("other")), "me", Duration::from_secs(14)),
            Step::Wait
        );
    }

    #[test]
    fn a_renewal_is_no_transition() {
        let now = Timestamp::UNIX_EPOCH;
        let transitions = |holder| {
            taken(Some(lease(holder)), "l", "me", now)
                .spec
                .and_then(|s| s.lease_transitions)
        };
        assert_eq!((transitions("me"), transitions("other")), (Some(3), Some(4)));
    }

    #[test]
    fn a_leader_gives_up_before_another_may_begin() {
        assert!(PATIENCE + PERIOD < DURATION);
    }
}

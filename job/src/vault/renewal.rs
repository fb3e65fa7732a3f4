//! Keeping the token of a handle alive.

use std::sync::Weak;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::session::{Lease, Session};
use super::{Inner, VaultError};

/// How often to look at a token that needs no care.
const IDLE: Duration = Duration::from_hours(1);
/// The bounds of the pause after a failure.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What to do about a token, after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Renew,
    LogIn,
}

/// When to do what: at two thirds of the lease, so that a third is left for repetitions.
///
/// A token is renewed up to a maximal life; near it each renewal grants less. `first` is the lease at login: when only
/// half of it is granted, a new login is better.
fn next(first: Duration, granted: Option<Lease>) -> (Duration, Step) {
    match granted {
        Some(lease) if !lease.duration.is_zero() => {
            let step = if lease.renewable && lease.duration * 2 > first {
                Step::Renew
            } else {
                Step::LogIn
            };
            (lease.duration * 2 / 3, step)
        }
        _ => (IDLE, Step::Nothing),
    }
}

/// The pause after a failure: several tries fit into the third of the lease that is left.
fn pause(lease: Option<Lease>) -> Duration {
    let lease = lease.map_or(IDLE, |lease| lease.duration);
    (lease / 20).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Tokens of many processes that started together are not renewed together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.9..1.0))
}

/// What is known of the token.
#[derive(Clone, Copy)]
struct Held {
    /// The login that it is from.
    number: u64,
    /// The lease at login.
    first: Duration,
    lease: Option<Lease>,
    granted: Instant,
}

impl Held {
    fn of(session: &Session) -> Self {
        Self {
            number: session.number(),
            first: session.lease().map_or(Duration::ZERO, |lease| lease.duration),
            lease: session.lease(),
            granted: session.since(),
        }
    }

    /// When to do what, from now.
    fn next(&self) -> (Duration, Step) {
        let (wait, step) = next(self.first, self.lease);
        (wait.saturating_sub(self.granted.elapsed()), step)
    }

    async fn take(self, step: Step, inner: &Inner) -> Result<Self, VaultError> {
        let session = inner.session();
        if session.number() != self.number {
            // A call logged in meanwhile.
            return Ok(Self::of(&session));
        }
        let lease = match step {
            Step::Nothing => self.lease,
            Step::Renew => Some(session.renew().await?),
            Step::LogIn => {
                inner.log_in_again(self.number).await?;
                return Ok(Self::of(&inner.session()));
            }
        };
        Ok(Self {
            lease,
            granted: Instant::now(),
            ..self
        })
    }
}

/// Renews or replaces the token until the last handle is dropped.
///
/// Failures are only logged: calls notice by themselves when the token is over, and log in.
pub(super) async fn keep_alive(vault: Weak<Inner>) {
    let Some(mut held) = vault.upgrade().map(|inner| Held::of(&inner.session())) else {
        return;
    };
    let (mut wait, mut step) = held.next();
    loop {
        sleep(jittered(wait)).await;
        let Some(inner) = vault.upgrade() else { return };
        match held.take(step, &inner).await {
            Ok(after) => {
                held = after;
                (wait, step) = held.next();
            }
            Err(error) => {
                tracing::warn!(%error, "the token of Vault was not renewed");
                wait = pause(held.lease);
                if matches!(error, VaultError::Denied) {
                    step = Step::LogIn;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[expect(clippy::unnecessary_wraps, reason = "what the code under test takes")]
    fn lease(duration: Duration, renewable: bool) -> Option<Lease> {
        Some(Lease { duration, renewable })
    }

    #[test]
    fn a_token_is_renewed_at_two_thirds_of_its_lease() {
        assert_eq!(next(HOUR, lease(HOUR, true)), (HOUR * 2 / 3, Step::Renew));
    }

    #[test]
    fn a_token_near_the_end_of_its_life_is_replaced() {
        assert_eq!(next(HOUR, lease(HOUR / 2, true)), (HOUR / 3, Step::LogIn));
    }

    #[test]
    fn a_token_that_cannot_be_renewed_is_replaced() {
        assert_eq!(next(HOUR, lease(HOUR, false)), (HOUR * 2 / 3, Step::LogIn));
    }

    #[test]
    fn a_token_without_an_end_is_left_alone() {
        assert_eq!(
            next(Duration::ZERO, lease(Duration::ZERO, false)).1,
            Step::Nothing
        );
        assert_eq!(next(Duration::ZERO, None).1, Step::Nothing);
    }

    #[test]
    fn several_tries_fit_into_what_is_left_of_a_lease() {
        let left = HOUR / 3;
        assert!(pause(lease(HOUR, true)) * 5 < left);
        assert_eq!(pause(lease(Duration::from_secs(10), true)), SHORTEST_PAUSE);
    }
}

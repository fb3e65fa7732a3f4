//! The engines of the data tier: what is observed of each, what is decided, and the thin layer that does it.
//!
//! Every engine has a pure function `decide` from what was observed and what is wanted to a [`Decision`]: one safe
//! action, or a finding that ends the step. [`drive`] alternates between observing and acting while each action has an
//! effect. Nothing is remembered between two observations, so a process that dies after any step is continued by the
//! next one from what it observes, and `decide` can be tested against every state that a crash leaves behind.
//!
//! | module | engine |
//! | --- | --- |
//! | [`mongodb`] | initiates the replica set once, creates its users |
//! | [`redis`] | tells whether master, replicas and Sentinels agree |
//! | [`rabbitmq`] | tells whether the cluster is whole, declares the queues |
//! | [`vault`] | initialises, unseals and configures OpenBao; checks an external Vault; rotates the transit keys |
//! | [`roster`] | what each says of its members before one of them is restarted |
//! | [`logins`] | how each takes a login, while credentials are replaced |
//! | [`certificates`] | what the servers show, and telling them to show another one |
//! | [`client`] | registers the API client that every hub starts with |

pub mod certificates;
pub mod client;
mod http;
pub mod hub_database;
pub mod logins;
pub mod mongodb;
pub mod rabbitmq;
pub mod redis;
pub mod roster;
mod size;
mod trust_file;
pub mod vault;

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use size::Size;

use crate::part::PartStatus;

/// How long one look at one member may take.
pub const OBSERVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one action may take, unless the action says otherwise.
pub const ACTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Actions in one reconciliation, so that one hub cannot hold a reconciler for ever.
const MAX_ACTIONS: usize = 12;

/// When to look again at something that settles within a second or two.
pub const SOON: Duration = Duration::from_millis(700);
/// When to look again at a part that serves while something in it is broken.
pub const WATCHFUL: Duration = Duration::from_secs(5);
/// When to look again at something that waits for a person.
pub const LATER: Duration = Duration::from_secs(15);
/// When to look again at a part that is well: engines tell Kubernetes nothing of what happens inside them.
pub const STEADY: Duration = Duration::from_secs(30);

/// How much of an engine must work for its part to be called ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Everything: the part has not been ready yet.
    Complete,
    /// Enough to serve without loss: the part was ready before, and one lost member is no outage. Members without any
    /// data are then no fresh start but a loss, and are never initialised again.
    Serving,
}

impl Standard {
    /// The standard for a part that was, or was not yet, ready when the reconciliation began.
    pub const fn of(was_ready: bool) -> Self {
        if was_ready { Self::Serving } else { Self::Complete }
    }
}

/// What follows from an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<A, F> {
    /// Do this one thing, then observe again; until it shows its effect, the part is not ready.
    Act(A),
    /// Do this one thing, then observe again; until it shows its effect, this is how the part stands.
    Heal(A, F),
    /// Nothing to do now.
    Report(F),
}

/// Observes, decides and acts for one engine of one hub.
trait Engine {
    /// Something that changes the engine. Its text completes the sentence "the operator is to …".
    type Action: PartialEq + fmt::Display + Send + Sync;
    /// Where the engine stands.
    type Finding: Into<PartStatus> + Send;
    /// Why an action failed.
    type Error: Error + Send;

    /// Observes and decides.
    fn next(&self) -> impl Future<Output = Decision<Self::Action, Self::Finding>> + Send;

    /// Does it, within a bounded time.
    fn perform(&self, action: &Self::Action) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Acts until there is nothing left to do, an action fails or shows no effect yet, or the bound on actions is reached.
async fn drive<E: Engine>(engine: &E) -> PartStatus {
    let mut done: Option<E::Action> = None;
    for _ in 0..MAX_ACTIONS {
        let (action, meanwhile) = match engine.next().await {
            Decision::Report(finding) => return finding.into(),
            Decision::Act(action) => (action, None),
            Decision::Heal(action, finding) => (action, Some(finding)),
        };
        if done.as_ref() == Some(&action) {
            let message = format!("The operator did this and waits for its effect: {action}.");
            return meanwhile.map_or_else(|| PartStatus::waiting("Progressing", message, SOON), Into::into);
        }
        tracing::info!(%action, "acts on the engine");
        if let Err(error) = engine.perform(&action).await {
            tracing::warn!(%action, %error, "the action failed");
            let message = format!("Failed to {action}: {error}.");
            return meanwhile.map_or_else(
                || PartStatus::waiting("ActionFailed", message, 2 * SOON),
                Into::into,
            );
        }
        done = Some(action);
    }
    PartStatus::waiting(
        "Progressing",
        "More is to be done and follows at once.",
        Duration::from_millis(50),
    )
}

/// `what` and its plural, counted.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// An engine that is well after a number of actions.
    struct Counter {
        actions: AtomicUsize,
        needed: usize,
        distinct: bool,
    }

    struct Well;

    impl From<Well> for PartStatus {
        fn from(_: Well) -> Self {
            Self::ready("Well.")
        }
    }

    impl Engine for Counter {
        type Action = String;
        type Finding = Well;
        type Error = fmt::Error;

        async fn next(&self) -> Decision<String, Well> {
            let actions = self.actions.load(Ordering::Relaxed);
            if actions >= self.needed {
                return Decision::Report(Well);
            }
            Decision::Act(if self.distinct {
                format!("take step {actions}")
            } else {
                "take a step".to_owned()
            })
        }

        async fn perform(&self, _: &String) -> Result<(), fmt::Error> {
            self.actions.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    async fn drive_counter(needed: usize, distinct: bool) -> (PartStatus, usize) {
        let engine = Counter {
            actions: AtomicUsize::new(0),
            needed,
            distinct,
        };
        let status = drive(&engine).await;
        (status, engine.actions.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn actions_follow_each_other_while_they_have_an_effect() {
        let (status, actions) = drive_counter(5, true).await;
        assert!(status.ready);
        assert_eq!(actions, 5);
    }

    #[tokio::test]
    async fn an_action_without_an_effect_is_not_repeated_at_once() {
        let (status, actions) = drive_counter(5, false).await;
        assert!(!status.ready);
        assert_eq!(actions, 1);
        assert_eq!(status.requeue_after, Some(SOON));
    }

    #[tokio::test]
    async fn one_reconciliation_takes_a_bounded_number_of_actions() {
        let (status, actions) = drive_counter(1000, true).await;
        assert!(!status.ready);
        assert_eq!(actions, MAX_ACTIONS);
    }
}

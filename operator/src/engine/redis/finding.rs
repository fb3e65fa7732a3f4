//! Where Redis stands, and how the status says it.

use crate::engine::{LATER, SOON, STEADY, WATCHFUL, count};
use crate::part::PartStatus;

/// Where Redis stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// These refuse the password of the Secret.
    PasswordRefused(Vec<String>),
    /// Nobody takes writes.
    NoMaster(Vec<String>),
    /// More than one takes writes.
    SeveralMasters(Vec<String>),
    /// Too few Sentinels point to the master; each with what is wrong.
    SentinelsDisagree(Vec<String>),
    /// These are not there, or not linked; each with what is wrong.
    WaitForMembers(Vec<String>),
    /// Master, a replica and a majority of the Sentinels work; these do not.
    Degraded {
        /// The master.
        master: String,
        /// What is wrong.
        unhealthy: Vec<String>,
    },
    /// All is well.
    Healthy {
        /// The master.
        master: String,
        /// Replicas linked to it.
        replicas: usize,
    },
}

impl From<Finding> for PartStatus {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::PasswordRefused(which) => Self::stalled(
                "PasswordRefused",
                format!(
                    "The password in the Secret is not the one that {} started with; restore the Secret, or restart \
                     the pods to take the new one.",
                    which.join(", ")
                ),
                LATER,
            ),
            Finding::NoMaster(which) => Self::waiting(
                "NoMaster",
                format!("No Redis takes writes: {}.", which.join("; ")),
                SOON,
            ),
            Finding::SeveralMasters(masters) => Self::waiting(
                "SeveralMasters",
                format!(
                    "{} are masters at the same time; the Sentinels are to demote all but one within seconds.",
                    masters.join(" and ")
                ),
                SOON,
            ),
            Finding::SentinelsDisagree(which) => Self::waiting(
                "SentinelsDisagree",
                format!("A failover would not succeed: {}.", which.join("; ")),
                SOON,
            ),
            Finding::WaitForMembers(which) => Self::waiting(
                "WaitForMembers",
                format!("Waits for Redis: {}.", which.join("; ")),
                SOON,
            ),
            Finding::Degraded { master, unhealthy } => Self {
                reason: "Degraded",
                requeue_after: Some(WATCHFUL),
                ..Self::ready(format!(
                    "{master} is master and replicated, but {}.",
                    unhealthy.join("; ")
                ))
            },
            Finding::Healthy { master, replicas } => Self {
                requeue_after: Some(STEADY),
                ..Self::ready(format!("{master} is master of {}.", count(replicas, "replica")))
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_somebody_stalls_and_what_passes_does_not() {
        let which = || vec!["gallery-redis-0".to_owned()];
        assert!(PartStatus::from(Finding::PasswordRefused(which())).stalled);
        for finding in [
            Finding::NoMaster(which()),
            Finding::SeveralMasters(which()),
            Finding::SentinelsDisagree(which()),
            Finding::WaitForMembers(which()),
        ] {
            assert!(!PartStatus::from(finding.clone()).stalled, "{finding:?}");
        }
    }
}

//! Where a replica set stands, and how the status says it.

use crate::engine::{LATER, SOON, STEADY, WATCHFUL, count};
use crate::part::PartStatus;

/// Where a replica set stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Members are missing that must be there first; each with what is wrong.
    WaitForMembers(Vec<String>),
    /// No member takes writes.
    WaitForPrimary,
    /// These members refuse the key of the Secret.
    KeyRefused(Vec<String>),
    /// These members have data of no replica set.
    DataWithoutReplicaSet(Vec<String>),
    /// Every member of a hub that was ready has lost its data.
    DataLost,
    /// The members belong to another set than the wanted one.
    OtherReplicaSet(String),
    /// The members belong to several sets.
    SeveralReplicaSets,
    /// The set has members that are no pods of the hub.
    ForeignMembers(Vec<String>),
    /// A majority works; these do not, each with what is wrong.
    Degraded {
        /// The primary.
        primary: String,
        /// Members that do not work.
        unhealthy: Vec<String>,
    },
    /// Every member works.
    Healthy {
        /// The primary.
        primary: String,
        /// Members that follow it.
        secondaries: usize,
    },
}

impl From<Finding> for PartStatus {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::WaitForMembers(which) => {
                let message = if which.is_empty() {
                    "Waits for the members of the replica set.".to_owned()
                } else {
                    format!("Waits for members of the replica set: {}.", which.join("; "))
                };
                Self::waiting("WaitForMembers", message, SOON)
            }
            Finding::WaitForPrimary => Self::waiting(
                "WaitForPrimary",
                "Waits until the members have elected a primary.",
                SOON,
            ),
            Finding::KeyRefused(hosts) => Self::stalled(
                "KeyRefused",
                format!(
                    "The key file in the Secret is not the one that {} started with; restore the Secret, or restart \
                     the members to take the new one.",
                    hosts.join(", ")
                ),
                LATER,
            ),
            Finding::DataWithoutReplicaSet(hosts) => Self::stalled(
                "DataWithoutReplicaSet",
                format!(
                    "{} has data but belongs to no replica set, so it is left alone; move the data away, or delete \
                     the volume if it is not needed.",
                    hosts.join(", ")
                ),
                LATER,
            ),
            Finding::DataLost => Self::stalled(
                "DataLost",
                "Every member is empty although this hub was ready before: its volumes are gone. Restore a backup; \
                 to start empty instead, delete the FlickrHub and create it again.",
                LATER,
            ),
            Finding::OtherReplicaSet(name) => Self::stalled(
                "OtherReplicaSet",
                format!("The members belong to replica set {name}; give the hub volumes of its own."),
                LATER,
            ),
            Finding::SeveralReplicaSets => Self::stalled(
                "SeveralReplicaSets",
                "The members belong to different replica sets of the same name; find out whose data is wanted and \
                 delete the volumes of the others, they will copy it.",
                LATER,
            ),
            Finding::ForeignMembers(hosts) => Self::stalled(
                "ForeignMembers",
                format!(
                    "The replica set has members that are no pods of this FlickrHub: {}. Take them out with \
                     rs.remove, at the primary.",
                    hosts.join(", ")
                ),
                LATER,
            ),
            Finding::Degraded { primary, unhealthy } => Self {
                reason: "Degraded",
                requeue_after: Some(WATCHFUL),
                ..Self::ready(format!(
                    "The majority works with {primary} as primary, but {}.",
                    unhealthy.join("; ")
                ))
            },
            Finding::Healthy { primary, secondaries } => Self {
                requeue_after: Some(STEADY),
                ..Self::ready(format!(
                    "{primary} is primary of {}.",
                    count(secondaries, "secondary member")
                ))
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_somebody_stalls_and_what_passes_does_not() {
        let host = || vec!["host".to_owned()];
        for finding in [
            Finding::KeyRefused(host()),
            Finding::DataWithoutReplicaSet(host()),
            Finding::DataLost,
            Finding::OtherReplicaSet("rs1".to_owned()),
            Finding::SeveralReplicaSets,
            Finding::ForeignMembers(host()),
        ] {
            assert!(PartStatus::from(finding.clone()).stalled, "{finding:?}");
        }
        for finding in [Finding::WaitForMembers(host()), Finding::WaitForPrimary] {
            assert!(!PartStatus::from(finding.clone()).stalled, "{finding:?}");
        }
    }
}

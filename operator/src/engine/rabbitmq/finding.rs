//! Where a cluster stands, and how the status says it.

use crate::engine::{LATER, SOON, STEADY, WATCHFUL, count};
use crate::part::PartStatus;

/// Where a cluster stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nodes are missing; each with what is wrong.
    WaitForNodes(Vec<String>),
    /// These refuse the password of the Secret.
    PasswordRefused(Vec<String>),
    /// The nodes have formed several clusters: the members of each.
    SeveralClusters(Vec<String>),
    /// These lost sight of others.
    Partitioned(Vec<String>),
    /// Publishers are held back, because these lack memory or disk.
    Alarm(Vec<String>),
    /// The cluster counts these in, and they have no pods any more.
    Forgotten(Vec<String>),
    /// The majority works; what is wrong with the others.
    Degraded(Vec<String>),
    /// So many nodes, all well.
    Healthy(usize),
}

impl From<Finding> for PartStatus {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::WaitForNodes(which) => Self::waiting(
                "WaitForNodes",
                format!("Waits for RabbitMQ: {}.", which.join("; ")),
                SOON,
            ),
            Finding::PasswordRefused(which) => Self::stalled(
                "PasswordRefused",
                format!(
                    "{} refuses the password in the Secret; restore the Secret, or change the user's password in \
                     RabbitMQ to the new one.",
                    which.join(", ")
                ),
                LATER,
            ),
            Finding::SeveralClusters(clusters) => Self::stalled(
                "SeveralClusters",
                format!(
                    "The nodes have formed {} ({}). Keep the one with the queues, mostly the largest. For each NODE \
                     outside of it, first run `rabbitmqctl forget_cluster_node NODE` in a pod of the cluster that is \
                     kept, then `rabbitmqctl stop_app`, `reset`, `join_cluster KEPT_NODE` and `start_app` in its own \
                     pod, and `rabbitmq-queues grow NODE all`, each in a shell after `. /etc/rabbitmq-config/env.sh`. \
                     To delete the volume of node 0 does not help: it would found a cluster again.",
                    count(clusters.len(), "cluster"),
                    clusters.join("; ")
                ),
                2 * SOON,
            ),
            Finding::Partitioned(which) => Self::waiting(
                "Partitioned",
                format!(
                    "{} lost sight of other nodes; RabbitMQ pauses the minority and heals when the network does.",
                    which.join(", ")
                ),
                2 * SOON,
            ),
            Finding::Alarm(which) => Self::waiting(
                "Alarm",
                format!(
                    "RabbitMQ holds publishers back, because {} lacks memory or disk; raise \
                     spec.rabbitmq.resources or spec.rabbitmq.storage.",
                    which.join(", ")
                ),
                2 * SOON,
            ),
            Finding::Forgotten(nodes) => Self {
                reason: "Degraded",
                requeue_after: Some(WATCHFUL),
                ..Self::ready(format!(
                    "Every node works, but the cluster still counts in {}, which stopped before it could leave. Run \
                     `. /etc/rabbitmq-config/env.sh; rabbitmqctl forget_cluster_node NODE` for each in a pod of \
                     RabbitMQ.",
                    nodes.join(", ")
                ))
            },
            Finding::Degraded(which) => Self {
                reason: "Degraded",
                requeue_after: Some(WATCHFUL),
                ..Self::ready(format!(
                    "The majority of the nodes works, but {}.",
                    which.join("; ")
                ))
            },
            Finding::Healthy(nodes) => Self {
                requeue_after: Some(STEADY),
                ..Self::ready(format!("{} and every queue.", count(nodes, "node")))
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_somebody_stalls_and_what_passes_does_not() {
        let which = || vec!["rabbit@a".to_owned()];
        for finding in [
            Finding::PasswordRefused(which()),
            Finding::SeveralClusters(which()),
        ] {
            assert!(PartStatus::from(finding.clone()).stalled, "{finding:?}");
        }
        for finding in [
            Finding::WaitForNodes(which()),
            Finding::Partitioned(which()),
            Finding::Alarm(which()),
        ] {
            assert!(!PartStatus::from(finding.clone()).stalled, "{finding:?}");
        }
    }

    #[test]
    fn who_left_a_cluster_is_forgotten_before_it_joins_again() {
        let clusters = ["rabbit@a", "rabbit@a + rabbit@b"].map(str::to_owned);
        let message = PartStatus::from(Finding::SeveralClusters(clusters.to_vec())).message;
        let position = |command| message.find(command);
        let steps = [
            "forget_cluster_node",
            "stop_app",
            "reset",
            "join_cluster",
            "start_app",
            "grow",
        ];
        let positions = steps.map(position);
        assert!(positions.iter().all(Option::is_some), "{message}");
        assert!(positions.is_sorted(), "{message}");
    }
}

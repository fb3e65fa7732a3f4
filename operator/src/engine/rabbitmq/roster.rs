//! Which node may stop: by what each node says of the queues that need it, and of the cluster. Pure.

use std::collections::BTreeMap;

use super::decide::{Node, Peer};
use crate::engine::roster::{HandOver, Roster, Standing};

/// Names of queues in a message; the rest has the same trouble.
const MAX_NAMES: usize = 3;

/// A node, for the question whether it may stop.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// Its host.
    pub(super) host: String,
    /// The node as it was found.
    pub(super) node: Node,
    /// What would lose its quorum without it, by its own word; why that cannot be learnt otherwise.
    pub(super) critical: Result<Vec<String>, String>,
}

/// What the nodes say of each other.
///
/// A node may stop if it says that no queue and no critical component needs it (the health check
/// `node-is-quorum-critical`), and if a majority runs without it: a minority pauses itself.
pub(super) fn roster(sights: &[Sight]) -> Roster {
    let size = sights.len();
    let leaders = leaders(sights);
    let runs: Vec<bool> = sights.iter().map(|sight| runs(sight, sights)).collect();
    let members = sights.iter().enumerate().map(|(index, sight)| {
        let left = runs
            .iter()
            .enumerate()
            .filter(|(other, runs)| *other != index && **runs);
        let left = left.count();
        let needed = if size == 1 {
            None
        } else if left <= size / 2 {
            Some(format!(
                "only {left} other nodes would run, and a minority pauses itself"
            ))
        } else {
            // A node that does not answer does nothing, so the others do without it already.
            match &sight.critical {
                Err(why) if runs[index] => Some(format!("it does not say whether a queue needs it ({why})")),
                Ok(critical) if !critical.is_empty() => {
                    let named = critical.len().min(MAX_NAMES);
                    let more = if named < critical.len() { " and others" } else { "" };
                    Some(format!(
                        "{}{more} would lose the quorum without it",
                        critical[..named].join(", ")
                    ))
                }
                _ => None,
            }
        };
        Standing {
            serves: runs[index],
            leads: leaders.get(sight.host.as_str()).copied().unwrap_or_default(),
            is_member: !has_let_go(&sight.host, sights),
            needed,
        }
    });
    Roster {
        hand_over: HandOver::Stopping,
        ..Roster::of(members)
    }
}

/// Whether a node answers, knows every other one and runs by the word of all that answer.
fn runs(sight: &Sight, sights: &[Sight]) -> bool {
    let Node::Answers(own) = &sight.node else {
        return false;
    };
    let is_well = |peer: &Peer| peer.running && !peer.partitioned;
    own.peers.len() >= sights.len()
        && sights.iter().all(|other| match &other.node {
            Node::Answers(view) => view
                .peers
                .iter()
                .any(|peer| host_of(&peer.name) == sight.host && is_well(peer)),
            Node::Unreachable(_) | Node::PasswordRefused(_) => true,
        })
}

/// The number of queues that each host leads, by the word of the first node that answers.
fn leaders(sights: &[Sight]) -> BTreeMap<&str, usize> {
    let view = sights.iter().find_map(|sight| match &sight.node {
        Node::Answers(view) => Some(view),
        Node::Unreachable(_) | Node::PasswordRefused(_) => None,
    });
    let mut leaders = BTreeMap::new();
    for queue in view.iter().flat_map(|view| view.queues.values()) {
        *leaders.entry(host_of(&queue.leader)).or_default() += 1;
    }
    leaders
}

/// Whether the cluster has let a node go: it is marked to leave when it stops, and has no replica of a queue, by the word
/// of every node that answers.
fn has_let_go(host: &str, sights: &[Sight]) -> bool {
    let mut views = sights.iter().filter_map(|sight| match &sight.node {
        Node::Answers(view) => Some(view),
        Node::Unreachable(_) | Node::PasswordRefused(_) => None,
    });
    let is_it = |node: &String| host_of(node) == host;
    views.all(|view| {
        let mut replicas = view.queues.values().flat_map(|queue| &queue.replicas);
        view.leaving.iter().any(is_it) && !replicas.any(is_it)
    })
}

/// The host in the name of a node.
fn host_of(name: &str) -> &str {
    name.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::decide::{Queued, View};
    use super::*;

    const HOSTS: [&str; 3] = ["a", "b", "c"];

    fn sights(runs: [bool; 3], critical: [Result<Vec<String>, String>; 3]) -> Vec<Sight> {
        let view = View {
            peers: (HOSTS.iter().zip(runs))
                .map(|(host, running)| Peer {
                    name: format!("rabbit@{host}"),
                    running,
                    ..Peer::default()
                })
                .collect(),
            queues: [("q", "rabbit@a"), ("r", "rabbit@a"), ("s", "rabbit@b")]
                .map(|(queue, leader)| {
                    let queued = Queued {
                        leader: leader.to_owned(),
                        ..Queued::default()
                    };
                    (queue.to_owned(), queued)
                })
                .into(),
            leaving: BTreeSet::from(["rabbit@c".to_owned()]),
        };
        (HOSTS.iter().zip(runs).zip(critical))
            .map(|((host, runs), critical)| Sight {
                host: (*host).to_owned(),
                node: if runs {
                    Node::Answers(view.clone())
                } else {
                    Node::Unreachable("no connection".to_owned())
                },
                critical,
            })
            .collect()
    }

    fn calm() -> [Result<Vec<String>, String>; 3] {
        [Ok(Vec::new()), Ok(Vec::new()), Ok(Vec::new())]
    }

    #[test]
    fn any_node_may_stop_while_all_run_and_no_queue_needs_it() {
        let roster = roster(&sights([true; 3], calm()));
        assert!((0..3).all(|ordinal| roster.needed(ordinal).is_none() && roster.serves(ordinal)));
        assert_eq!([0, 1, 2].map(|ordinal| roster.leads(ordinal)), [2, 1, 0]);
        assert_eq!(
            [0, 1, 2].map(|ordinal| roster.is_member(ordinal)),
            [true, true, false]
        );
        assert_eq!(roster.hand_over, HandOver::Stopping);
    }

    #[test]
    fn a_node_that_a_queue_needs_must_not_stop() {
        let mut critical = calm();
        critical[1] = Ok(vec!["flickr_rest".to_owned()]);
        critical[2] = Err("no answer in time".to_owned());
        let roster = roster(&sights([true; 3], critical));
        assert_eq!(roster.needed(0), None);
        assert_eq!(
            roster.needed(1),
            Some("flickr_rest would lose the quorum without it")
        );
        assert!(roster.needed(2).is_some());
    }

    proptest! {
        #[test]
        fn who_may_stop_leaves_a_running_majority(runs in prop::array::uniform3(any::<bool>())) {
            let roster = roster(&sights(runs, calm()));
            for ordinal in (0..3).filter(|&ordinal| roster.needed(ordinal).is_none()) {
                let left = (0..3).filter(|&other| other != ordinal && roster.serves(other)).count();
                prop_assert!(left >= 2);
            }
        }
    }
}

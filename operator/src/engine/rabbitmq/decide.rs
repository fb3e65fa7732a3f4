//! What follows from the state of a cluster.

use std::collections::BTreeSet;
use std::fmt;

use flickrhub_job::queue::Queue;

use super::Desired;
use super::finding::Finding;
use crate::engine::{Decision, Standard};

/// A cluster as it was found: every wanted node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// In the order of [`Desired::management`].
    pub nodes: Vec<Node>,
}

/// A node as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// No answer; its address and why.
    Unreachable(String),
    /// It refuses the password; its address.
    PasswordRefused(String),
    /// It answers.
    Answers(View),
}

/// What a node sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The members of its cluster.
    pub peers: Vec<Peer>,
    /// The queues that exist.
    pub queues: BTreeSet<String>,
}

/// A member of a cluster, as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its name, `rabbit@host`.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it lacks memory or disk; publishers are held back then.
    pub alarm: bool,
    /// Whether it lost sight of others.
    pub partitioned: bool,
}

/// A change of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Declare the queues.
    DeclareQueues,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeclareQueues => f.write_str("declare the queues"),
        }
    }
}

/// What to do about a cluster.
///
/// Queues are declared when every node runs, so that each queue starts with all of its members; in a cluster that was
/// whole before, a majority is enough.
pub fn decide(observed: &Observed, desired: &Desired) -> Decision<Action, Finding> {
    let views: Vec<&View> = observed
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Answers(view) => Some(view),
            _ => None,
        })
        .collect();
    match trouble(observed, &views, desired) {
        Some(finding) => Decision::Report(finding),
        None => judge(observed, &views, desired),
    }
}

/// What makes the cluster unusable however many of its nodes run.
fn trouble(observed: &Observed, views: &[&View], desired: &Desired) -> Option<Finding> {
    let refused: Vec<String> = observed
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::PasswordRefused(address) => Some(address.clone()),
            _ => None,
        })
        .collect();
    if !refused.is_empty() {
        return Some(Finding::PasswordRefused(refused));
    }
    if is_split(observed, desired) {
        let clusters: BTreeSet<Vec<&str>> = views.iter().map(|view| names_of(view)).collect();
        return Some(Finding::SeveralClusters(
            clusters.iter().map(|names| names.join(" + ")).collect(),
        ));
    }
    let partitioned = peers_that(views, |peer| peer.partitioned);
    if !partitioned.is_empty() {
        return Some(Finding::Partitioned(partitioned));
    }
    let alarmed = peers_that(views, |peer| peer.alarm);
    (!alarmed.is_empty()).then_some(Finding::Alarm(alarmed))
}

/// Whether a node that answers is no member to another one that does. The others may still count it in: a node that
/// lost its volume founds a cluster of its own under its old name.
///
/// A node that only joins does not look like that: it joins before it answers.
fn is_split(observed: &Observed, desired: &Desired) -> bool {
    let answering: Vec<(&str, &View)> = desired
        .management
        .iter()
        .zip(&observed.nodes)
        .filter_map(|(address, node)| match node {
            Node::Answers(view) if !view.peers.is_empty() => Some((address.host_str()?, view)),
            _ => None,
        })
        .collect();
    answering.iter().any(|(_, view)| {
        let hosts: BTreeSet<&str> = view.peers.iter().map(host_of).collect();
        answering.iter().any(|(host, _)| !hosts.contains(host))
    })
}

/// The host in the name of a node.
fn host_of(peer: &Peer) -> &str {
    peer.name.rsplit('@').next().unwrap_or_default()
}

fn judge(observed: &Observed, views: &[&View], desired: &Desired) -> Decision<Action, Finding> {
    let wanted = desired.management.len();
    // A node is well when it answers itself and its peers agree that it runs.
    let running = views
        .iter()
        .map(|view| view.peers.iter().filter(|peer| peer.running).count())
        .min();
    let well = views.len().min(running.unwrap_or_default());
    let missing = missing(observed, views, wanted);
    let serves = desired.standard == Standard::Serving && well > wanted / 2;
    if well < wanted && !serves {
        return Decision::Report(Finding::WaitForNodes(missing));
    }
    let lacks_queue = |view: &&View| {
        Queue::ALL.iter().any(|queue| {
            !view.queues.contains(queue.name()) || !view.queues.contains(queue.dead_letter_name())
        })
    };
    if views.iter().all(lacks_queue) {
        return Decision::Act(Action::DeclareQueues);
    }
    Decision::Report(if well < wanted {
        Finding::Degraded(missing)
    } else {
        Finding::Healthy(well)
    })
}

/// What the nodes that do not answer, or do not run, lack.
fn missing(observed: &Observed, views: &[&View], wanted: usize) -> Vec<String> {
    let mut missing: Vec<String> = observed
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Unreachable(why) => Some(why.clone()),
            _ => None,
        })
        .collect();
    missing.extend(
        peers_that(views, |peer| !peer.running)
            .iter()
            .map(|name| format!("{name} does not run")),
    );
    if missing.is_empty() {
        let joined = views
            .iter()
            .map(|view| view.peers.len())
            .min()
            .unwrap_or_default();
        missing.push(format!("{joined} of {wanted} nodes have joined the cluster"));
    }
    missing
}

fn names_of(view: &View) -> Vec<&str> {
    let mut names: Vec<&str> = view.peers.iter().map(|peer| peer.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn peers_that(views: &[&View], is: impl Fn(&Peer) -> bool) -> Vec<String> {
    let names: BTreeSet<&str> = views
        .iter()
        .flat_map(|view| &view.peers)
        .filter(|peer| is(peer))
        .map(|peer| peer.name.as_str())
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::SecretString;

    use super::*;
    use crate::part::PartStatus;

    fn desired(standard: Standard) -> Desired {
        let parse = |text: &str| text.parse().ok();
        Desired {
            management: ["http://a", "http://b", "http://c"]
                .into_iter()
                .filter_map(parse)
                .collect(),
            amqp: ["a:5671", "b:5671", "c:5671"].map(str::to_owned).to_vec(),
            trust: None,
            username: "flickrhub".to_owned(),
            password: SecretString::from("password"),
            vhost: "/".to_owned(),
            group_size: 3,
            standard,
        }
    }

    fn queues() -> BTreeSet<String> {
        Queue::ALL
            .into_iter()
            .flat_map(|queue| [queue.name().to_owned(), queue.dead_letter_name().to_owned()])
            .collect()
    }

    fn peer(host: &str) -> Peer {
        Peer {
            name: format!("rabbit@{host}"),
            running: true,
            ..Peer::default()
        }
    }

    fn view(names: &[&str]) -> View {
        View {
            peers: names.iter().map(|name| peer(name)).collect(),
            queues: queues(),
        }
    }

    fn whole() -> Node {
        Node::Answers(view(&["a", "b", "c"]))
    }

    fn with(change: impl Fn(&mut View)) -> Node {
        let mut view = view(&["a", "b", "c"]);
        change(&mut view);
        Node::Answers(view)
    }

    fn gone() -> Node {
        Node::Unreachable("c does not answer".to_owned())
    }

    #[test]
    fn each_state_has_its_finding() {
        let down = || with(|view| view.peers[2].running = false);
        let alone = |host: &str| Node::Answers(view(&[host]));
        let pair = |left: &str, right: &str| Node::Answers(view(&[left, right]));
        let (complete, serving) = (Standard::Complete, Standard::Serving);
        let cases = [
            ([whole(), whole(), whole()], complete, ("Ready", true)),
            ([whole(), whole(), gone()], complete, ("WaitForNodes", false)),
            ([down(), down(), gone()], complete, ("WaitForNodes", false)),
            ([down(), down(), gone()], serving, ("Degraded", true)),
            ([whole(), gone(), gone()], serving, ("WaitForNodes", false)),
            ([gone(), gone(), gone()], serving, ("WaitForNodes", false)),
            (
                [alone("a"), alone("b"), alone("c")],
                serving,
                ("SeveralClusters", false),
            ),
            (
                [alone("a"), whole(), whole()],
                serving,
                ("SeveralClusters", false),
            ),
            (
                [alone("a"), whole(), gone()],
                complete,
                ("SeveralClusters", false),
            ),
            (
                [alone("a"), pair("b", "c"), pair("b", "c")],
                serving,
                ("SeveralClusters", false),
            ),
            // The first nodes of a cluster that forms: those that have not joined do not answer yet.
            ([alone("a"), gone(), gone()], complete, ("WaitForNodes", false)),
            (
                [pair("a", "b"), pair("a", "b"), gone()],
                complete,
                ("WaitForNodes", false),
            ),
            (
                [Node::PasswordRefused("a".to_owned()), whole(), whole()],
                serving,
                ("PasswordRefused", false),
            ),
            (
                [whole(), with(|view| view.peers[1].alarm = true), whole()],
                serving,
                ("Alarm", false),
            ),
            (
                [whole(), with(|view| view.peers[1].partitioned = true), whole()],
                serving,
                ("Partitioned", false),
            ),
        ];
        for (nodes, standard, expected) in cases {
            let observed = Observed {
                nodes: nodes.to_vec(),
            };
            let Decision::Report(finding) = decide(&observed, &desired(standard)) else {
                panic!("acts on {observed:?}");
            };
            let status = PartStatus::from(finding);
            assert_eq!((status.reason, status.ready), expected, "{observed:?}");
        }
    }

    #[test]
    fn a_node_that_founded_a_second_cluster_gets_no_queues() {
        let blank = Node::Answers(View {
            queues: BTreeSet::new(),
            ..view(&["a"])
        });
        let observed = Observed {
            nodes: vec![blank, whole(), whole()],
        };
        let clusters = ["rabbit@a", "rabbit@a + rabbit@b + rabbit@c"].map(str::to_owned);
        assert_eq!(
            decide(&observed, &desired(Standard::Serving)),
            Decision::Report(Finding::SeveralClusters(clusters.to_vec()))
        );
    }

    #[test]
    fn queues_are_declared_once_every_node_runs() {
        let empty = || with(|view| view.queues.clear());
        let decide = |nodes: [Node; 3], standard| {
            decide(
                &Observed {
                    nodes: nodes.to_vec(),
                },
                &desired(standard),
            )
        };
        let declare = Decision::Act(Action::DeclareQueues);
        assert_eq!(decide([empty(), empty(), empty()], Standard::Complete), declare);
        assert_eq!(decide([empty(), empty(), gone()], Standard::Serving), declare);
        assert_ne!(decide([empty(), empty(), gone()], Standard::Complete), declare);
    }

    #[test]
    fn a_missing_dead_letter_queue_is_declared_again() {
        let lacking = || {
            with(|view| {
                view.queues.remove(Queue::Upload.dead_letter_name());
            })
        };
        let observed = Observed {
            nodes: vec![lacking(), lacking(), lacking()],
        };
        let decision = decide(&observed, &desired(Standard::Serving));
        assert_eq!(decision, Decision::Act(Action::DeclareQueues));
    }

    proptest! {
        #[test]
        fn the_cluster_is_ready_only_with_a_running_majority(
            answers in prop::array::uniform3(any::<bool>()),
            running in prop::array::uniform3(prop::array::uniform3(any::<bool>())),
            was_ready in any::<bool>(),
        ) {
            let nodes = (0..3)
                .map(|i| if answers[i] {
                    with(|view| for (peer, runs) in view.peers.iter_mut().zip(running[i]) { peer.running = runs; })
                } else {
                    gone()
                })
                .collect();
            let decision = decide(&Observed { nodes }, &desired(Standard::of(was_ready)));
            let ready = matches!(&decision, Decision::Report(finding) if PartStatus::from(finding.clone()).ready);
            let quorum = if was_ready { 2 } else { 3 };
            let answering: Vec<usize> = (0..3).filter(|&i| answers[i]).collect();
            let agreed = answering.len() >= quorum
                && answering.iter().all(|&i| running[i].iter().filter(|&&runs| runs).count() >= quorum);
            prop_assert_eq!(ready, agreed);
        }
    }
}

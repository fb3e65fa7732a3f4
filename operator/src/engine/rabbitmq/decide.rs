//! What follows from the state of a cluster.

use std::collections::{BTreeMap, BTreeSet};
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
    pub queues: BTreeMap<String, Queued>,
    /// The nodes that are marked to leave the cluster when they stop.
    pub leaving: BTreeSet<String>,
}

/// A queue, as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// The node that leads it; empty where none does.
    pub leader: String,
    /// The nodes with a replica of it.
    pub replicas: BTreeSet<String>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Declare the queues.
    DeclareQueues,
    /// Mark these nodes, and no others, to leave the cluster when they stop.
    Mark(BTreeSet<String>),
    /// Take the replicas of all queues away from this node.
    TakeReplicas(String),
    /// Give this node a replica of every queue.
    AddReplicas(String),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeclareQueues => f.write_str("declare the queues"),
            Self::Mark(nodes) if nodes.is_empty() => f.write_str("let every node stay in the cluster"),
            Self::Mark(nodes) => {
                let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
                write!(f, "mark {} to leave the cluster", nodes.join(", "))
            }
            Self::TakeReplicas(node) => write!(f, "take the replicas of the queues away from {node}"),
            Self::AddReplicas(node) => write!(f, "give {node} replicas of the queues"),
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
            !view.queues.contains_key(queue.name()) || !view.queues.contains_key(queue.dead_letter_name())
        })
    };
    if views.iter().all(lacks_queue) {
        return Decision::Act(Action::DeclareQueues);
    }
    let leaving = strangers(views, desired, true);
    let gone = strangers(views, desired, false);
    if well < wanted {
        Decision::Report(Finding::Degraded(missing))
    } else if !leaving.is_empty() {
        // Their marks stay until they have read them.
        let leaving = leaving.iter().map(|node| format!("{node} leaves the cluster"));
        Decision::Report(Finding::Degraded(leaving.collect()))
    } else if gone.is_empty() {
        match change_of_size(views, desired) {
            Some(action) => Decision::Heal(action, Finding::Healthy(well)),
            None => Decision::Report(Finding::Healthy(well)),
        }
    } else {
        Decision::Report(Finding::Forgotten(gone))
    }
}

/// The next step to another number of nodes, of a cluster whose nodes all run.
fn change_of_size(views: &[&View], desired: &Desired) -> Option<Action> {
    let view = views.first()?;
    let nodes: Vec<&str> = desired
        .management
        .iter()
        .filter_map(|address| {
            let peers = view
                .peers
                .iter()
                .find(|peer| Some(host_of(peer)) == address.host_str());
            peers.map(|peer| peer.name.as_str())
        })
        .collect();
    let (kept, leaving) = nodes
        .split_at_checked(desired.kept)
        .unwrap_or((nodes.as_slice(), &[]));
    let marks: BTreeSet<String> = leaving.iter().map(|node| (*node).to_owned()).collect();
    if view.leaving != marks {
        return Some(Action::Mark(marks));
    }
    let has_replica = |node: &str| view.queues.values().any(|queue| queue.replicas.contains(node));
    if let Some(node) = leaving.iter().rev().find(|node| has_replica(node)) {
        return Some(Action::TakeReplicas((*node).to_owned()));
    }
    let lacks_replica = |node: &str| {
        let mut replicated = view.queues.values().filter(|queue| !queue.replicas.is_empty());
        replicated.any(|queue| !queue.replicas.contains(node))
    };
    let node = kept.iter().find(|node| lacks_replica(node))?;
    Some(Action::AddReplicas((*node).to_owned()))
}

/// The nodes that the cluster counts in and that are none of the hub's any more: those that run, or those that do not.
fn strangers(views: &[&View], desired: &Desired, running: bool) -> Vec<String> {
    let is_known = |peer: &Peer| {
        let mut hosts = desired.management.iter().filter_map(|address| address.host_str());
        hosts.any(|host| host == host_of(peer))
    };
    peers_that(views, |peer| peer.running == running && !is_known(peer))
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
mod tests;

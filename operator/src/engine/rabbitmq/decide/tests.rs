//! One decision at a time.

use flickrhub_job::config::Login;
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
        kept: 3,
        trust: None,
        login: Login {
            username: "flickrhub".to_owned(),
            password: SecretString::from("password"),
        },
        vhost: "/".to_owned(),
        group_size: 3,
        standard,
    }
}

fn replicated(hosts: &[&str]) -> Queued {
    Queued {
        leader: "rabbit@a".to_owned(),
        replicas: hosts.iter().map(|host| format!("rabbit@{host}")).collect(),
    }
}

fn queues() -> BTreeMap<String, Queued> {
    Queue::ALL
        .into_iter()
        .flat_map(|queue| [queue.name(), queue.dead_letter_name()])
        .map(|queue| (queue.to_owned(), replicated(&["a", "b", "c"])))
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
        leaving: BTreeSet::new(),
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
        queues: BTreeMap::new(),
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

/// What is done about a cluster whose nodes all run and see this, if so many nodes are wanted.
fn resized(kept: usize, change: impl Fn(&mut View)) -> Option<Action> {
    let desired = Desired {
        kept,
        ..desired(Standard::Serving)
    };
    let observed = Observed {
        nodes: vec![with(&change), with(&change), with(&change)],
    };
    match decide(&observed, &desired) {
        Decision::Heal(action, Finding::Healthy(3)) => Some(action),
        _ => None,
    }
}

fn named(hosts: &[&str]) -> BTreeSet<String> {
    hosts.iter().map(|host| format!("rabbit@{host}")).collect()
}

fn on(view: &mut View, hosts: &[&str]) {
    view.queues
        .values_mut()
        .for_each(|queue| *queue = replicated(hosts));
}

#[test]
fn a_node_that_is_to_go_is_marked_before_it_loses_its_replicas() {
    assert_eq!(resized(1, |_| {}), Some(Action::Mark(named(&["b", "c"]))));
    let marked = |view: &mut View| view.leaving = named(&["b", "c"]);
    assert_eq!(
        resized(1, marked),
        Some(Action::TakeReplicas("rabbit@c".to_owned()))
    );
    let next = |view: &mut View| {
        marked(view);
        on(view, &["a", "b"]);
    };
    assert_eq!(
        resized(1, next),
        Some(Action::TakeReplicas("rabbit@b".to_owned()))
    );
    let done = |view: &mut View| {
        marked(view);
        on(view, &["a"]);
    };
    assert_eq!(resized(1, done), None);
}

#[test]
fn a_node_that_came_gets_replicas_and_one_that_stays_loses_its_mark() {
    let new = |view: &mut View| on(view, &["a", "b"]);
    assert_eq!(resized(3, new), Some(Action::AddReplicas("rabbit@c".to_owned())));
    let marked = |view: &mut View| {
        new(view);
        view.leaving = named(&["c"]);
    };
    assert_eq!(resized(3, marked), Some(Action::Mark(BTreeSet::new())));
    assert_eq!(resized(3, |_| {}), None);
}

#[test]
fn a_node_that_left_without_a_word_is_told() {
    let judge = |running| {
        let stray = || {
            with(|view| {
                let stranger = Peer { running, ..peer("d") };
                view.peers.push(stranger);
                view.leaving = named(&["d"]);
            })
        };
        let observed = Observed {
            nodes: vec![stray(), stray(), stray()],
        };
        decide(&observed, &desired(Standard::Serving))
    };
    let leaves = "rabbit@d leaves the cluster".to_owned();
    assert_eq!(judge(true), Decision::Report(Finding::Degraded(vec![leaves])));
    assert_eq!(
        judge(false),
        Decision::Report(Finding::Forgotten(vec!["rabbit@d".to_owned()]))
    );
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

//! The mechanism alone, with an executor whose commits end when the test lets them: no clock, so no test depends on one.

#![expect(
    clippy::expect_used,
    reason = "a test stops at the first thing that is not as expected"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::telemetry::Metrics;

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fine,
    /// It alone fails.
    Bad,
    /// The whole commit fails.
    Broken,
    /// The commit panics.
    Bug,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    number: u32,
    bytes: usize,
    kind: Kind,
}

fn fine(number: u32) -> Operation {
    Operation {
        number,
        bytes: 1,
        kind: Kind::Fine,
    }
}

/// Records what it is given; a commit ends when the gate lets it.
#[derive(Clone)]
struct Recorder {
    groups: Arc<Mutex<Vec<Vec<u32>>>>,
    under_way: Arc<Mutex<BTreeSet<u32>>>,
    gate: Arc<Semaphore>,
}

impl Recorder {
    fn groups(&self) -> Vec<Vec<u32>> {
        self.groups.lock().expect("no panic").clone()
    }

    fn committed(&self) -> Vec<u32> {
        self.groups().into_iter().flatten().collect()
    }

    fn under_way(&self) -> usize {
        self.under_way.lock().expect("no panic").len()
    }

    fn let_end(&self, commits: usize) {
        self.gate.add_permits(commits);
    }
}

impl Executor for Recorder {
    type Operation = Operation;
    type Answer = u32;

    fn bytes(operation: &Operation) -> usize {
        operation.bytes
    }

    async fn commit(&self, operations: Vec<Operation>) -> Outcomes<u32> {
        let group: Vec<u32> = operations.iter().map(|operation| operation.number).collect();
        let name = group[0];
        self.groups.lock().expect("no panic").push(group);
        self.under_way.lock().expect("no panic").insert(name);
        self.gate.acquire().await.expect("never closed").forget();
        self.under_way.lock().expect("no panic").remove(&name);
        let has = |kind| operations.iter().any(|operation| operation.kind == kind);
        assert!(!has(Kind::Bug), "a bug");
        if has(Kind::Broken) {
            return Err(StoreError::Timeout);
        }
        let outcome = |operation: &Operation| match operation.kind {
            Kind::Bad => Err(StoreError::too_large()),
            _ => Ok(operation.number),
        };
        Ok(operations.iter().map(outcome).collect())
    }
}

fn limits() -> Limits {
    Limits {
        commits: 1,
        operations: 100,
        bytes: 1_000,
        held_bytes: 1_000 * LEAST_BYTES,
    }
}

fn committer(limits: Limits) -> (GroupCommit<Recorder>, Recorder) {
    let recorder = Recorder {
        groups: Arc::default(),
        under_way: Arc::default(),
        gate: Arc::new(Semaphore::new(0)),
    };
    (GroupCommit::new(recorder.clone(), limits), recorder)
}

type Caller = JoinHandle<Result<u32, StoreError>>;

fn spawn(committer: &GroupCommit<Recorder>, operation: Operation) -> Caller {
    let committer = committer.clone();
    tokio::spawn(async move { committer.submit(operation).await })
}

fn spawn_all(
    committer: &GroupCommit<Recorder>,
    operations: Vec<Operation>,
) -> JoinHandle<Vec<Result<u32, StoreError>>> {
    let committer = committer.clone();
    tokio::spawn(async move { committer.submit_all(operations).await })
}

/// Lets every task go on until it waits for the gate.
async fn settle() {
    for _ in 0..500 {
        yield_now().await;
    }
}

#[tokio::test]
async fn who_comes_first_goes_at_once_and_the_rest_go_together() {
    let (committer, recorder) = committer(limits());
    let first = spawn(&committer, fine(0));
    settle().await;
    assert_eq!(recorder.groups(), [[0]], "nothing is waited for");
    let rest: Vec<_> = (1..=50).map(|number| spawn(&committer, fine(number))).collect();
    settle().await;
    assert_eq!(recorder.groups().len(), 1);
    recorder.let_end(1);
    assert_eq!(first.await.expect("no panic").expect("committed"), 0);
    settle().await;
    assert_eq!(
        recorder.groups().iter().map(Vec::len).collect::<Vec<_>>(),
        [1, 50]
    );
    recorder.let_end(1);
    for (number, caller) in (1..).zip(rest) {
        assert_eq!(caller.await.expect("no panic").expect("committed"), number);
    }
}

#[tokio::test]
async fn an_idle_committer_holds_no_task_and_begins_anew() {
    let (committer, recorder) = committer(limits());
    recorder.let_end(3);
    for number in 0..3 {
        committer.submit(fine(number)).await.expect("committed");
        settle().await;
        assert_eq!(committer.shared.lock().committers, 0);
    }
    assert_eq!(recorder.groups().len(), 3);
}

#[tokio::test]
async fn a_group_keeps_to_its_limits() {
    let (committer, recorder) = committer(Limits {
        operations: 4,
        bytes: 10,
        ..limits()
    });
    recorder.let_end(100);
    let sizes = [1, 1, 1, 1, 6, 4, 1, 50, 1];
    let operations = (0..).zip(sizes).map(|(number, bytes)| Operation {
        bytes,
        ..fine(number)
    });
    let outcomes = committer.submit_all(operations).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let expected: [&[u32]; 5] = [&[0, 1, 2, 3], &[4, 5], &[6], &[7], &[8]];
    assert_eq!(recorder.groups(), expected, "the large one goes alone");
}

#[tokio::test]
async fn what_comes_together_is_committed_together_whoever_comes_before_and_after() {
    let (committer, recorder) = committer(limits());
    let metrics = Metrics::new().expect("names that differ");
    let (commits, operations) = (&metrics.group_commits, &metrics.group_commit_operations);
    committer.counted_in(Counters {
        commits: commits.clone(),
        operations: operations.clone(),
        write: "insert",
    });
    let first = spawn(&committer, fine(0));
    settle().await;
    // With those who came before there is no room for all of the batch, so it waits for the next commit and is whole.
    let before: Vec<_> = (1..=30).map(|number| spawn(&committer, fine(number))).collect();
    settle().await;
    let batch = spawn_all(&committer, (100..200).map(fine).collect());
    settle().await;
    let after = spawn(&committer, fine(31));
    settle().await;
    recorder.let_end(4);
    let outcomes = batch.await.expect("no panic");
    let answers: Vec<u32> = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("committed"))
        .collect();
    assert_eq!(answers, (100..200).collect::<Vec<_>>());
    for caller in before.into_iter().chain([first, after]) {
        caller.await.expect("no panic").expect("committed");
    }
    let groups = recorder.groups();
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [1, 30, 100, 1]);
    assert_eq!(groups[2], answers);
    let counted = [commits, operations].map(|counter| counter.with_label_values(&["insert"]).get());
    assert_eq!(counted, [4, 132]);
}

#[tokio::test]
async fn a_batch_larger_than_a_commit_takes_as_few_as_there_can_be() {
    let (committer, recorder) = committer(limits());
    recorder.let_end(10);
    let outcomes = committer.submit_all((0..250).map(fine)).await;
    let answers: Vec<u32> = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("committed"))
        .collect();
    assert_eq!(answers, (0..250).collect::<Vec<_>>());
    let sizes: Vec<usize> = recorder.groups().iter().map(Vec::len).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert!(committer.submit_all([]).await.is_empty());
}

#[tokio::test]
async fn no_more_commits_are_under_way_than_allowed() {
    let (committer, recorder) = committer(Limits {
        commits: 3,
        operations: 2,
        ..limits()
    });
    let all = spawn_all(&committer, (0..12).map(fine).collect());
    settle().await;
    assert_eq!(recorder.under_way(), 3);
    recorder.let_end(1);
    settle().await;
    assert_eq!((recorder.under_way(), recorder.groups().len()), (3, 4));
    recorder.let_end(5);
    assert!(all.await.expect("no panic").iter().all(Result::is_ok));
}

#[tokio::test]
async fn one_bad_operation_fails_alone_and_a_broken_commit_fails_for_all() {
    let (committer, recorder) = committer(limits());
    recorder.let_end(100);
    let with = |kind| [fine(0), Operation { kind, ..fine(1) }, fine(2)];
    let outcomes = committer.submit_all(with(Kind::Bad)).await;
    assert!(matches!(
        outcomes.as_slice(),
        [Ok(0), Err(StoreError::Unstorable(_)), Ok(2)]
    ));
    let outcomes = committer.submit_all(with(Kind::Broken)).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Err(StoreError::Timeout)))
    );
    let outcomes = committer.submit_all(with(Kind::Bug)).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Err(error) if error.is_transient()))
    );
    committer.submit(fine(4)).await.expect("the next commit goes on");
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nobody_along() {
    let (committer, recorder) = committer(limits());
    let gone = spawn_all(&committer, vec![fine(0), fine(1)]);
    let with_it = spawn(&committer, fine(2));
    settle().await;
    assert_eq!(recorder.groups(), [[0, 1, 2]]);
    let (gone_too, stays) = (spawn(&committer, fine(3)), spawn(&committer, fine(4)));
    settle().await;
    gone.abort();
    gone_too.abort();
    settle().await;
    recorder.let_end(2);
    assert_eq!(with_it.await.expect("no panic").expect("committed"), 2);
    assert_eq!(stays.await.expect("no panic").expect("committed"), 4);
    assert_eq!(recorder.committed(), [0, 1, 2, 4], "nobody wanted 3 any more");
    settle().await;
    assert_eq!(committer.shared.room.available_permits(), 1_000);
}

#[tokio::test]
async fn who_finds_no_room_waits_for_it() {
    let (committer, recorder) = committer(Limits {
        operations: 1,
        held_bytes: 2 * LEAST_BYTES,
        ..limits()
    });
    let all = spawn_all(&committer, (0..4).map(fine).collect());
    settle().await;
    assert_eq!(committer.shared.room.available_permits(), 0);
    assert_eq!(
        committer.shared.lock().waiting.len(),
        1,
        "one is under way, one waits, two are outside"
    );
    recorder.let_end(4);
    assert!(all.await.expect("no panic").iter().all(Result::is_ok));
    let huge = Operation {
        bytes: usize::MAX,
        ..fine(5)
    };
    recorder.let_end(1);
    committer
        .submit(huge)
        .await
        .expect("even what is larger than all the room");
    assert_eq!(committer.shared.room.available_permits(), 2);
}

#[derive(Clone, Debug)]
enum Step {
    /// A caller comes with operations.
    Submit(Vec<(usize, Kind)>),
    /// A caller, counted from the first, goes away.
    GoAway(usize),
    /// One commit under way may end.
    LetEnd,
    /// The tasks go on for a while.
    GoOn(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![8 => Just(Kind::Fine), 2 => Just(Kind::Bad), 1 => Just(Kind::Broken), 1 => Just(Kind::Bug)];
    prop_oneof![
        6 => prop::collection::vec((1_usize..40_000, kind), 1..5).prop_map(Step::Submit),
        1 => (0_usize..60).prop_map(Step::GoAway),
        2 => Just(Step::LetEnd),
        3 => (1_usize..8).prop_map(Step::GoOn),
    ]
}

proptest! {
    /// Whoever comes and goes when, and whenever commits end: nobody who stays is left without its own outcome, nothing is
    /// committed twice, no limit is passed, and at the end nothing is held.
    #[test]
    fn everybody_gets_its_own_outcome(
        steps in prop::collection::vec(step(), 1..80), commits in 1_usize..4, operations in 1_usize..6, room in 1_usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let limits = Limits { commits, operations, bytes: 64_000, held_bytes: room * LEAST_BYTES };
        runtime.block_on(async {
            let (committer, recorder) = committer(limits);
            let mut callers = Vec::new();
            let mut gone = BTreeSet::new();
            let mut numbers = 0..;
            for step in steps {
                match step {
                    Step::Submit(wanted) => {
                        let batch: Vec<Operation> = wanted
                            .into_iter()
                            .zip(&mut numbers)
                            .map(|((bytes, kind), number)| Operation { number, bytes, kind })
                            .collect();
                        callers.push((batch.clone(), spawn_all(&committer, batch)));
                    }
                    Step::GoAway(caller) => if let Some((_, task)) = callers.get(caller) {
                        task.abort();
                        gone.insert(caller);
                    },
                    Step::LetEnd => recorder.let_end(1),
                    Step::GoOn(turns) => for _ in 0..turns {
                        yield_now().await;
                    },
                }
                prop_assert!(recorder.under_way() <= commits);
            }
            recorder.let_end(1_000);
            for (caller, (batch, task)) in callers.into_iter().enumerate() {
                let Ok(outcomes) = task.await else {
                    prop_assert!(gone.contains(&caller));
                    continue;
                };
                prop_assert_eq!(outcomes.len(), batch.len());
                for (operation, outcome) in batch.iter().zip(outcomes) {
                    match outcome {
                        Ok(answer) => {
                            prop_assert_eq!(answer, operation.number);
                            prop_assert_eq!(operation.kind, Kind::Fine);
                        }
                        Err(StoreError::Unstorable(_)) => prop_assert_eq!(operation.kind, Kind::Bad),
                        Err(error) => prop_assert!(error.is_transient()),
                    }
                }
                let bytes: usize = batch.iter().map(|operation| operation.bytes).sum();
                if batch.len() <= operations && bytes <= limits.bytes {
                    let has = |group: &&Vec<u32>| batch.iter().any(|operation| group.contains(&operation.number));
                    prop_assert_eq!(recorder.groups().iter().filter(has).count(), 1, "{:?} was torn", batch);
                }
            }
            settle().await;
            prop_assert!(recorder.groups().iter().all(|group| group.len() <= operations));
            let committed = recorder.committed();
            let distinct: BTreeSet<u32> = committed.iter().copied().collect();
            prop_assert_eq!(committed.len(), distinct.len());
            prop_assert_eq!(committer.shared.room.available_permits(), room);
            prop_assert_eq!(committer.shared.lock().committers, 0);
            Ok(())
        })?;
    }
}

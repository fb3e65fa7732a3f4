//! The mechanism alone, with an executor that only records what it is given.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as expected")]

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const TAKES: Duration = Duration::from_millis(10);

/// What to do with an operation, and its number.
#[derive(Clone, Copy, Debug)]
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

#[derive(Clone, Default)]
struct Recorder {
    groups: Arc<Mutex<Vec<Vec<u32>>>>,
    /// Commits under way now, and the most there ever were.
    under_way: Arc<Mutex<(usize, usize)>>,
}

impl Recorder {
    fn groups(&self) -> Vec<Vec<u32>> {
        self.groups.lock().map(|groups| groups.clone()).unwrap_or_default()
    }

    fn most_under_way(&self) -> usize {
        self.under_way.lock().map(|under_way| under_way.1).unwrap_or_default()
    }

    fn count(&self, change: isize) {
        if let Ok(mut under_way) = self.under_way.lock() {
            under_way.0 = under_way.0.saturating_add_signed(change);
            under_way.1 = under_way.1.max(under_way.0);
        }
    }
}

impl Executor for Recorder {
    type Operation = Operation;
    type Answer = u32;

    fn bytes(operation: &Operation) -> usize {
        operation.bytes
    }

    async fn commit(&self, operations: Vec<Operation>) -> Outcomes<u32> {
        if let Ok(mut groups) = self.groups.lock() {
            groups.push(operations.iter().map(|operation| operation.number).collect());
        }
        self.count(1);
        sleep(TAKES).await;
        self.count(-1);
        assert!(
            !operations.iter().any(|operation| matches!(operation.kind, Kind::Bug)),
            "a bug"
        );
        if operations.iter().any(|operation| matches!(operation.kind, Kind::Broken)) {
            return Err(StoreError::Timeout);
        }
        let outcome = |operation: Operation| match operation.kind {
            Kind::Bad => Err(StoreError::too_large()),
            _ => Ok(operation.number),
        };
        Ok(operations.into_iter().map(outcome).collect())
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
    let recorder = Recorder::default();
    (GroupCommit::new(recorder.clone(), limits), recorder)
}

fn spawn(
    committer: &GroupCommit<Recorder>,
    operation: Operation,
) -> tokio::task::JoinHandle<Result<u32, StoreError>> {
    let committer = committer.clone();
    tokio::spawn(async move { committer.submit(operation).await })
}

#[tokio::test(start_paused = true)]
async fn who_comes_first_goes_at_once_and_the_rest_go_together() {
    let (committer, recorder) = committer(limits());
    let started = Instant::now();
    let first = spawn(&committer, fine(0));
    sleep(Duration::from_millis(1)).await;
    let rest: Vec<_> = (1..=50).map(|number| spawn(&committer, fine(number))).collect();
    first.await.expect("no panic").expect("committed");
    assert_eq!(started.elapsed(), TAKES, "nothing was waited for");
    for (number, caller) in (1..).zip(rest) {
        assert_eq!(caller.await.expect("no panic").expect("committed"), number);
    }
    assert_eq!(started.elapsed(), 2 * TAKES);
    let groups = recorder.groups();
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [1, 50]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_committer_holds_no_task_and_begins_anew() {
    let (committer, recorder) = committer(limits());
    for number in 0..3 {
        let started = Instant::now();
        committer.submit(fine(number)).await.expect("committed");
        assert_eq!(started.elapsed(), TAKES);
    }
    tokio::task::yield_now().await;
    assert_eq!(committer.shared.lock().committers, 0);
    assert_eq!(recorder.groups().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_group_keeps_to_its_limits() {
    let (committer, recorder) = committer(Limits {
        operations: 4,
        bytes: 10,
        ..limits()
    });
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

#[tokio::test(start_paused = true)]
async fn no_more_commits_are_under_way_than_allowed() {
    let (committer, recorder) = committer(Limits {
        commits: 3,
        operations: 2,
        ..limits()
    });
    let started = Instant::now();
    let outcomes = committer.submit_all((0..12).map(fine)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(recorder.most_under_way(), 3);
    assert_eq!(started.elapsed(), 2 * TAKES, "six commits, three at a time");
}

#[tokio::test(start_paused = true)]
async fn one_bad_operation_fails_alone_and_a_broken_commit_fails_for_all() {
    let (committer, _) = committer(limits());
    let kinds = |kind| {
        let odd = Operation { kind, ..fine(1) };
        [fine(0), odd, fine(2)]
    };
    let outcomes = committer.submit_all(kinds(Kind::Bad)).await;
    assert!(matches!(
        outcomes.as_slice(),
        [Ok(0), Err(StoreError::Unstorable(_)), Ok(2)]
    ));
    let outcomes = committer.submit_all(kinds(Kind::Broken)).await;
    let all_timed_out = |outcome| matches!(outcome, Err(StoreError::Timeout));
    assert!(outcomes.into_iter().all(all_timed_out));
    let outcomes = committer.submit_all(kinds(Kind::Bug)).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(error) if error.is_transient())));
    committer.submit(fine(4)).await.expect("the next commit goes on");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_takes_nobody_along() {
    let (committer, recorder) = committer(limits());
    let in_the_commit = timeout(TAKES / 2, committer.submit_all([fine(0), fine(1)]));
    let other = spawn(&committer, fine(2));
    assert!(in_the_commit.await.is_err(), "it did not wait for the end");
    assert_eq!(other.await.expect("no panic").expect("committed"), 2);

    let under_way = spawn(&committer, fine(3));
    sleep(TAKES / 2).await;
    let waits = spawn(&committer, fine(4));
    let waits_too = spawn(&committer, fine(5));
    tokio::task::yield_now().await;
    waits.abort();
    under_way.await.expect("no panic").expect("committed");
    waits_too.await.expect("no panic").expect("committed");
    let committed: Vec<u32> = recorder.groups().into_iter().flatten().collect();
    assert!(!committed.contains(&4), "nobody wanted it any more: {committed:?}");
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_waits_for_it() {
    let (committer, _) = committer(Limits {
        operations: 1,
        held_bytes: 2 * LEAST_BYTES,
        ..limits()
    });
    let started = Instant::now();
    let outcomes = committer.submit_all((0..4).map(fine)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(started.elapsed(), 4 * TAKES);
    let huge = Operation {
        bytes: usize::MAX,
        ..fine(5)
    };
    committer.submit(huge).await.expect("even what is larger than all the room");
    assert_eq!(committer.shared.room.available_permits(), 2, "all of it is given back");
}

#[derive(Clone, Copy, Debug)]
struct Step {
    bytes: usize,
    kind: Kind,
    /// When it comes, and how long it waits for its outcome, in milliseconds.
    comes: u64,
    patience: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![8 => Just(Kind::Fine), 2 => Just(Kind::Bad), 1 => Just(Kind::Broken), 1 => Just(Kind::Bug)];
    (1_usize..40, kind, 0_u64..60, prop_oneof![0_u64..30, Just(1_000)]).prop_map(
        |(bytes, kind, comes, patience)| Step {
            bytes,
            kind,
            comes,
            patience,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever comes and goes when: nobody who stays is left without its own outcome, nothing is committed twice, no limit
    /// is passed, and at the end nothing is held.
    #[test]
    fn everybody_gets_its_own_outcome(
        steps in prop::collection::vec(step(), 1..60), commits in 1_usize..4, operations in 1_usize..6, room in 1_usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let limits = Limits { commits, operations, bytes: 64, held_bytes: room * LEAST_BYTES };
        runtime.block_on(async {
            let (committer, recorder) = committer(limits);
            let callers: Vec<_> = (0_u32..).zip(&steps).map(|(number, &step)| {
                let committer = committer.clone();
                tokio::spawn(async move {
                    sleep(Duration::from_millis(step.comes)).await;
                    let operation = Operation { number, bytes: step.bytes, kind: step.kind };
                    timeout(Duration::from_millis(step.patience), committer.submit(operation)).await
                })
            }).collect();
            for ((number, caller), step) in (0_u32..).zip(callers).zip(&steps) {
                match caller.await.expect("no panic") {
                    Ok(Ok(answer)) => {
                        prop_assert_eq!(answer, number);
                        prop_assert!(matches!(step.kind, Kind::Fine));
                    }
                    Ok(Err(StoreError::Unstorable(_))) => prop_assert!(matches!(step.kind, Kind::Bad)),
                    Ok(Err(error)) => prop_assert!(error.is_transient()),
                    Err(_) => prop_assert!(step.patience < 1_000),
                }
            }
            sleep(Duration::from_secs(1)).await;
            let groups = recorder.groups();
            prop_assert!(groups.iter().all(|group| group.len() <= operations));
            prop_assert!(recorder.most_under_way() <= commits);
            let committed: Vec<u32> = groups.into_iter().flatten().collect();
            let distinct: BTreeSet<u32> = committed.iter().copied().collect();
            prop_assert_eq!(committed.len(), distinct.len());
            prop_assert_eq!(committer.shared.room.available_permits(), room);
            prop_assert_eq!(committer.shared.lock().committers, 0);
            Ok(())
        })?;
    }
}

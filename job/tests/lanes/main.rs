//! The lanes: what they are meant to do, and that the scripts in a real Redis do it.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod fairness;
mod oracle;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flickrhub_job::config::Config;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::lane::{Admission, AdmissionLimits, LaneEntry, Lanes, Submission};
use flickrhub_job::limits::RequestClass;
use flickrhub_job::model::{JobId, Priority};
use flickrhub_job::queue::Queue;
use jiff::Timestamp;
use oracle::{Oracle, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestCaseError, TestRunner};
use uuid::Uuid;

const QUEUES: [Queue; 2] = [Queue::Rest, Queue::Upload];
const USERS: [&str; 3] = ["12345678@N00", "user|with:signs", "z"];
const HOUR: Duration = Duration::from_hours(1);

/// One operation on one of a few jobs; `soon` is whether the time it sets has run out by the next operation.
#[derive(Clone, Debug)]
enum Operation {
    Admit {
        job: usize,
        pending: u32,
        buffer: u32,
        soon: bool,
    },
    Push {
        job: usize,
    },
    Requeue {
        job: usize,
    },
    Delay {
        job: usize,
        soon: bool,
    },
    Hold {
        job: usize,
        soon: bool,
    },
    Extend {
        job: usize,
        soon: bool,
    },
    Done {
        job: usize,
    },
    Release {
        queue: Queue,
        max: usize,
        window: u32,
        soon: bool,
    },
}

const JOBS: usize = 18;

fn operation() -> impl Strategy<Value = Operation> {
    let job = 0..JOBS;
    prop_oneof![
        2 => (job.clone(), 1..6_u32, 1..10_u32, any::<bool>())
            .prop_map(|(job, pending, buffer, soon)| Operation::Admit { job, pending, buffer, soon }),
        4 => job.clone().prop_map(|job| Operation::Push { job }),
        1 => job.clone().prop_map(|job| Operation::Requeue { job }),
        2 => (job.clone(), any::<bool>()).prop_map(|(job, soon)| Operation::Delay { job, soon }),
        1 => (job.clone(), any::<bool>()).prop_map(|(job, soon)| Operation::Hold { job, soon }),
        1 => (job.clone(), any::<bool>()).prop_map(|(job, soon)| Operation::Extend { job, soon }),
        2 => job.prop_map(|job| Operation::Done { job }),
        4 => (prop::sample::select(QUEUES.to_vec()), 0..5_usize, 0..8_u32, any::<bool>())
            .prop_map(|(queue, max, window, soon)| Operation::Release { queue, max, window, soon }),
    ]
}

/// Jobs of every user, queue and priority.
fn jobs() -> Vec<LaneEntry> {
    let priorities = [Priority::High, Priority::Normal, Priority::Low];
    (0..JOBS)
        .map(|number| LaneEntry {
            queue: QUEUES[number % QUEUES.len()],
            app: "main".to_owned(),
            user_id: USERS[number / QUEUES.len() % USERS.len()].to_owned(),
            job_id: JobId::new(),
            priority: priorities[number / (QUEUES.len() * USERS.len()) % priorities.len()],
            weight: 1,
            // Some are accepted in the same millisecond.
            created_at: Timestamp::now() - Duration::from_millis(u64::try_from(number / 4).unwrap()),
        })
        .collect()
}

fn lease(soon: bool) -> Duration {
    if soon { Duration::ZERO } else { HOUR }
}

async fn connect() -> Redis {
    let path: PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
    Redis::connect(&Config::load(&path).unwrap().redis).await.unwrap()
}

/// Lanes of their own, so that tests do not meet.
fn lanes(redis: &Redis) -> (Lanes, String) {
    let prefix = format!("fh-test-{}:", Uuid::now_v7().simple());
    (Lanes::new(redis.clone(), &prefix), prefix)
}

async fn keys(redis: &Redis, prefix: &str) -> Vec<String> {
    redis
        .run(redis::cmd("KEYS").arg(format!("{prefix}*")))
        .await
        .unwrap()
}

/// Every key with its value.
async fn dump(redis: &Redis, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut values = BTreeMap::new();
    for key in keys(redis, prefix).await {
        let value: Option<Vec<u8>> = redis.run(redis::cmd("DUMP").arg(&key)).await.unwrap();
        values.extend(value.map(|value| (key, value)));
    }
    values
}

async fn remove(redis: &Redis, prefix: &str) {
    for key in keys(redis, prefix).await {
        redis.run::<()>(redis::cmd("DEL").arg(key)).await.unwrap();
    }
}

/// Limits without windows, which have tests of their own.
fn places(pending_per_user: u32, buffer: u32) -> AdmissionLimits {
    AdmissionLimits {
        pending_per_user,
        buffer,
        per_user_per_hour: u32::MAX,
        per_class_per_hour: u32::MAX,
        per_client_per_minute: u32::MAX,
    }
}

/// Asks for a place; the answer without the time to wait, which depends on the clock.
async fn admit(lanes: &Lanes, entry: &LaneEntry, limits: &AdmissionLimits) -> Option<Verdict> {
    let submission = Submission {
        entry,
        client_id: "acme",
        class: RequestClass::Read,
        idempotency: None,
    };
    match lanes.admit(&submission, limits).await.unwrap().0 {
        Admission::Admitted(_) => Some(Verdict::Admitted),
        Admission::UserBusy { pending, .. } => Some(Verdict::UserBusy(pending)),
        Admission::QueueFull { .. } => Some(Verdict::QueueFull),
        _ => None,
    }
}

async fn agree(redis: &Redis, operations: &[Operation]) -> Result<(), TestCaseError> {
    let (lanes, prefix) = lanes(redis);
    let jobs = jobs();
    let mut oracle = Oracle::default();
    for operation in operations {
        step(&lanes, &mut oracle, &jobs, operation).await?;
        for queue in QUEUES {
            prop_assert_eq!(
                lanes.depth(queue).await.unwrap(),
                oracle.depth(queue),
                "after {:?}",
                operation
            );
        }
    }
    for job in &jobs {
        lanes.done(job).await.unwrap();
    }
    let kinds = [
        "pending", "jobs", "entries", "reserved", "lane", "delayed", "inflight", "lanes", "sizes",
    ];
    for key in keys(redis, &prefix).await {
        let kind = key.split(':').nth(1).unwrap();
        prop_assert!(!kinds.contains(&kind), "{} is left behind", key);
    }
    remove(redis, &prefix).await;
    Ok(())
}

async fn step(
    lanes: &Lanes,
    oracle: &mut Oracle,
    jobs: &[LaneEntry],
    operation: &Operation,
) -> Result<(), TestCaseError> {
    match *operation {
        Operation::Admit {
            job,
            pending,
            buffer,
            soon,
        } => {
            let limits = places(pending, buffer);
            let lanes = lanes.clone().with_reservation(lease(soon));
            let answer = admit(&lanes, &jobs[job], &limits).await;
            let expected = oracle.admit(&jobs[job], limits, soon);
            prop_assert_eq!(answer, Some(expected), "{:?}", operation);
        }
        Operation::Push { job } => {
            lanes.push(&jobs[job]).await.unwrap();
            oracle.push(&jobs[job]);
        }
        Operation::Requeue { job } => {
            lanes.requeue(&jobs[job]).await.unwrap();
            oracle.requeue(&jobs[job]);
        }
        Operation::Delay { job, soon } => {
            let due = if soon {
                Timestamp::UNIX_EPOCH
            } else {
                Timestamp::now() + HOUR
            };
            lanes.push_delayed(&jobs[job], due).await.unwrap();
            oracle.push_delayed(&jobs[job], soon);
        }
        Operation::Hold { job, soon } => {
            lanes.hold(&jobs[job], lease(soon)).await.unwrap();
            oracle.hold(&jobs[job], soon);
        }
        Operation::Extend { job, soon } => {
            let answer = lanes
                .extend(jobs[job].queue, jobs[job].job_id, lease(soon))
                .await
                .unwrap();
            prop_assert_eq!(answer, oracle.extend(&jobs[job], soon), "{:?}", operation);
        }
        Operation::Done { job } => {
            lanes.done(&jobs[job]).await.unwrap();
            oracle.done(&jobs[job]);
        }
        Operation::Release {
            queue,
            max,
            window,
            soon,
        } => {
            let answer = lanes.release(queue, max, window, lease(soon)).await.unwrap();
            prop_assert_eq!(
                answer,
                oracle.release(queue, max, window, soon),
                "{:?}",
                operation
            );
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs the data tier: make test"]
fn the_scripts_agree_with_the_oracle_in_every_history() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(connect());
    let mut runner = TestRunner::new(RunnerConfig {
        failure_persistence: None,
        ..RunnerConfig::default()
    });
    let histories = prop::collection::vec(operation(), 1..60);
    let outcome = runner.run(&histories, |operations| {
        runtime.block_on(agree(&redis, &operations))
    });
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn every_operation_can_be_repeated() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let job = &jobs()[0];
    for _ in 0..2 {
        assert_eq!(admit(&lanes, job, &places(1, 1)).await, Some(Verdict::Admitted));
    }
    for _ in 0..2 {
        lanes.push(job).await.unwrap();
    }
    assert_eq!(lanes.depth(job.queue).await.unwrap().queued, 1);
    assert_eq!(lanes.release(job.queue, 10, 10, HOUR).await.unwrap().len(), 1);
    lanes.push(job).await.unwrap();
    assert_eq!(
        lanes.depth(job.queue).await.unwrap().inflight,
        1,
        "a late push changes nothing"
    );
    for _ in 0..2 {
        lanes.done(job).await.unwrap();
    }
    assert_eq!(
        lanes.depth(job.queue).await.unwrap(),
        flickrhub_job::lane::LaneDepth::default()
    );
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn only_jobs_without_a_place_are_missing_and_the_look_writes_nothing() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let of_queue: Vec<_> = jobs()
        .into_iter()
        .filter(|job| job.queue == Queue::Rest)
        .collect();
    let [never, reserved, waiting, delayed, released, lost, over] = &of_queue[..7] else {
        panic!("seven jobs");
    };
    lanes.push(released).await.unwrap();
    assert_eq!(lanes.release(Queue::Rest, 1, 10, HOUR).await.unwrap().len(), 1);
    admit(&lanes, reserved, &places(100, 100)).await;
    lanes
        .push_delayed(delayed, Timestamp::now() + HOUR)
        .await
        .unwrap();
    for job in [waiting, lost, over] {
        lanes.push(job).await.unwrap();
    }
    lanes.done(over).await.unwrap();
    let lane = format!("{prefix}lane:{}:{}", lost.queue, lost.user_id);
    redis
        .run::<()>(redis::cmd("ZREM").arg(lane).arg(lost.job_id.to_string()))
        .await
        .unwrap();

    let before = dump(&redis, &prefix).await;
    let missing = lanes.missing(Queue::Rest, &of_queue[..7]).await.unwrap();
    let expected = [never, reserved, lost, over].map(|job| job.job_id);
    assert_eq!(missing, expected.into_iter().collect());
    assert_eq!(dump(&redis, &prefix).await, before);
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_any_number_of_jobs_every_one_is_looked_for() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let template = jobs()[0].clone();
    let all: Vec<_> = (0..250)
        .map(|_| LaneEntry {
            job_id: JobId::new(),
            ..template.clone()
        })
        .collect();
    let (first, last) = (&all[0], &all[249]);
    for job in [first, last] {
        lanes.push(job).await.unwrap();
    }
    let missing = lanes.missing(template.queue, &all).await.unwrap();
    assert_eq!(missing.len(), 248);
    assert!(!missing.contains(&first.job_id) && !missing.contains(&last.job_id));
    assert!(lanes.missing(template.queue, &[]).await.unwrap().is_empty());
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_push_wakes_a_dispatcher_and_silence_does_not() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let job = jobs()[0].clone();
    let started = Instant::now();
    lanes
        .wait_for_work(job.queue, Duration::from_millis(300))
        .await
        .unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));
    let waiting = {
        let (lanes, queue) = (lanes.clone(), job.queue);
        tokio::spawn(async move { lanes.wait_for_work(queue, Duration::from_secs(30)).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pushed = Instant::now();
    lanes.push(&job).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(pushed.elapsed() < Duration::from_secs(10));
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_marker_of_a_rebuild_is_gone_when_the_data_are() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    assert_eq!(lanes.generation().await.unwrap(), None);
    lanes.set_generation("one").await.unwrap();
    assert_eq!(lanes.generation().await.unwrap(), Some("one".to_owned()));
    remove(&redis, &prefix).await;
    assert_eq!(lanes.generation().await.unwrap(), None);
}

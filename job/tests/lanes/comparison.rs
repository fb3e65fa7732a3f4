//! The scripts against the oracle, in random histories.

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_job::connection::redis::Redis;
use flickrhub_job::lane::{LaneEntry, Lanes};
use flickrhub_job::queue::Queue;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestCaseError, TestRunner};

use crate::oracle::{Limit, NextDue, Oracle};
use crate::{APPS, HOUR, JOBS, QUEUES, USERS, admit, connect, jobs, keys, lanes, lease, places, remove};

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
    /// Of an application, or of a user's token there.
    Limit {
        app: &'static str,
        user: Option<&'static str>,
        requests: Option<u64>,
        soon: bool,
    },
}

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
        2 => (
            prop::sample::select(APPS.to_vec()),
            prop::option::weighted(0.8, prop::sample::select(USERS.to_vec())),
            prop::option::weighted(0.7, 0..3_u64),
            any::<bool>(),
        )
            .prop_map(|(app, user, requests, soon)| Operation::Limit { app, user, requests, soon }),
    ]
}

/// What is counted is what is there.
async fn counts_agree(redis: &Redis, prefix: &str, oracle: &Oracle) -> Result<(), TestCaseError> {
    let windows = [
        ("window_app", oracle.window_of_apps()),
        ("window_user", oracle.window_of_users()),
    ];
    for (key, expected) in windows {
        let mut read = redis::cmd("HGETALL");
        read.arg(format!("{prefix}2:{key}"));
        let counted: BTreeMap<String, u64> = redis.run(&read).await.unwrap();
        prop_assert_eq!(counted, expected, "{}", key);
    }
    for queue in QUEUES {
        let mut entries = redis::cmd("HLEN");
        entries.arg(format!("{prefix}2:entries:{queue}"));
        let outside = oracle.depth(queue);
        prop_assert_eq!(
            redis.run::<u64>(&entries).await.unwrap(),
            outside.reserved + outside.delayed + outside.inflight,
            "entries of {}",
            queue
        );
    }
    Ok(())
}

async fn agree(redis: &Redis, operations: &[Operation]) -> Result<(), TestCaseError> {
    let (lanes, prefix) = lanes(redis);
    let jobs = jobs();
    let mut oracle = Oracle::default();
    for operation in operations {
        if let Operation::Limit { .. } = operation {
            limit(redis, &prefix, &mut oracle, operation).await;
            continue;
        }
        step(&lanes, &mut oracle, &jobs, operation).await?;
        for queue in QUEUES {
            prop_assert_eq!(
                lanes.depth(queue).await.unwrap(),
                oracle.depth(queue),
                "after {:?}",
                operation
            );
        }
        counts_agree(redis, &prefix, &oracle).await?;
    }
    for job in &jobs {
        lanes.done(job).await.unwrap();
    }
    for queue in QUEUES {
        lanes.release(queue, 1, 1, HOUR).await.unwrap();
    }
    for key in keys(redis, &prefix).await {
        let name = key.strip_prefix(&prefix).unwrap();
        let stays = ["room", "2:wake:", "2:released:", "window:", "client:"]
            .iter()
            .any(|kind| name.starts_with(kind));
        prop_assert!(stays, "{} is left behind", key);
    }
    remove(redis, &prefix).await;
    Ok(())
}

async fn limit(redis: &Redis, prefix: &str, oracle: &mut Oracle, operation: &Operation) {
    let Operation::Limit {
        app,
        user,
        requests,
        soon,
    } = *operation
    else {
        return;
    };
    let limit = requests.map(|requests| Limit { requests, soon });
    let field = if let Some(user) = user {
        oracle.limit_user(app, user, limit);
        format!("user:{app}:{user}")
    } else {
        oracle.limit_app(app, limit);
        format!("app:{app}")
    };
    let mut set = redis::cmd(if requests.is_some() { "HSET" } else { "HDEL" });
    set.arg(format!("{prefix}room")).arg(field);
    if let Some(requests) = requests {
        set.arg(format!("{requests}|{}", lease(soon).as_millis()));
    }
    redis.run::<()>(&set).await.unwrap();
}

/// Which of the times of the oracle it is.
fn next_due(wait: Option<Duration>) -> NextDue {
    match wait {
        Some(Duration::ZERO) => NextDue::Now,
        Some(wait) if wait < Duration::from_secs(1) => NextDue::Soon,
        Some(_) => NextDue::Late,
        None => NextDue::Never,
    }
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
                (answer.jobs, next_due(answer.next_due)),
                oracle.release(queue, max, window, soon),
                "{:?}",
                operation
            );
        }
        Operation::Limit { .. } => {}
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

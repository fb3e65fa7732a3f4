//! The sliding log in a real Redis does what a list of all events would.
//!
//! `FLICKRHUB_TEST_CONFIG` names a configuration whose Redis can be reached.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::PathBuf;

use flickrhub_job::config::Config;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::sliding_log::SCRIPT;
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestCaseError, TestRunner};
use redis::Script;
use serde_json::json;
use uuid::Uuid;

const HOUR: i64 = 3_600_000;
/// Where the clock begins; any time in milliseconds.
const START: i64 = 1_800_000_000_000;

/// Reads the logs of all keys, then does what ARGV says: add n to the first, take the newest back from it, or nothing.
/// Answers the number of events of each, and when the first, the middle and the last event of the first log and of all of
/// them are over.
const CALL: &str = r"
local time, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local logs, total = {}, 0
for i, key in ipairs(KEYS) do
  logs[i] = log_read(key, time, span)
end
if ARGV[3] == 'add' then
  log_add(logs[1], tonumber(ARGV[4]))
elseif ARGV[3] == 'take back' then
  log_take_back(logs[1], tonumber(ARGV[4]))
end
local counts, single, all = {}, {}, {}
for i, log in ipairs(logs) do
  counts[i] = log.count
  total = total + log.count
end
local function some(n)
  return n == 0 and {} or {1, math.floor((n + 1) / 2), n}
end
for i, n in ipairs(some(logs[1].count)) do
  single[i] = log_frees(logs[1], n)
end
for i, n in ipairs(some(total)) do
  all[i] = log_frees_of_all(logs, n)
end
return {counts, single, all}
";

#[derive(Clone, Debug)]
enum Operation {
    /// Adds so many events to one of the logs.
    Add { log: usize, events: usize },
    /// Takes back the newest event, or one that is not the newest.
    TakeBack { log: usize, newest: bool },
    /// The time that passes, negative when the clock is set back.
    Pass(i64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let time = prop_oneof![
        4 => 0..2_000_i64,
        // Around the longest distance of two bytes, and where its halves look like marks.
        2 => 65_530..65_540_i64,
        1 => 131_065..131_075_i64,
        1 => Just(0x0001_FFFF_i64),
        2 => 0..1_500_000_i64,
        1 => HOUR - 2..HOUR + 2,
        1 => -100_000..0_i64,
    ];
    prop_oneof![
        6 => (0..2_usize, prop_oneof![4 => Just(1_usize), 1 => 2..5_usize, 1 => 200..300_usize])
            .prop_map(|(log, events)| Operation::Add { log, events }),
        2 => (0..2_usize, prop::bool::weighted(0.8))
            .prop_map(|(log, newest)| Operation::TakeBack { log, newest }),
        6 => time.prop_map(Operation::Pass),
    ]
}

/// A log as a list of all its events.
#[derive(Default)]
struct Oracle(Vec<i64>);

impl Oracle {
    /// The time that counts, which is never before the newest event, and the events that are not over then. What is
    /// over stays in the log until something is written: a clock that was set back finds it again.
    fn at(&self, clock: i64) -> (i64, Vec<i64>) {
        let time = self.0.last().copied().unwrap_or(clock).max(clock);
        let left = self.0.iter().copied().filter(|event| *event > time - HOUR);
        (time, left.collect())
    }
}

async fn agree(redis: &Redis, script: &Script, operations: &[Operation]) -> Result<(), TestCaseError> {
    let keys = [0, 1].map(|log| format!("fh-test-{}:{log}", Uuid::now_v7().simple()));
    let mut oracles = [Oracle::default(), Oracle::default()];
    let mut clock = START;
    for operation in operations {
        let (log, what, argument) = match operation {
            Operation::Add { log, events } => (*log, "add", i64::try_from(*events).unwrap()),
            Operation::TakeBack { log, newest } => {
                let last = oracles[*log].0.last().copied().unwrap_or(START);
                (*log, "take back", if *newest { last } else { last - 1 })
            }
            Operation::Pass(time) => {
                clock += time;
                (0, "", 0)
            }
        };
        let mut call = script.key(&keys[log]);
        call.key(&keys[1 - log])
            .arg(clock)
            .arg(HOUR)
            .arg(what)
            .arg(argument);
        let (counts, single, all): (Vec<usize>, Vec<i64>, Vec<i64>) = redis.script(&call).await.unwrap();

        let (time, mut first) = oracles[log].at(clock);
        let (_, second) = oracles[1 - log].at(clock);
        match operation {
            Operation::Add { events, .. } => {
                first.extend(vec![time; *events]);
                oracles[log].0.clone_from(&first);
            }
            Operation::TakeBack { newest: true, .. } if !first.is_empty() => {
                first.pop();
                oracles[log].0.clone_from(&first);
            }
            _ => {}
        }
        let ends = |events: &[i64]| match events {
            [] => Vec::new(),
            events => [0, (events.len() - 1) / 2, events.len() - 1]
                .map(|n| events[n] + HOUR)
                .to_vec(),
        };
        prop_assert_eq!(&counts, &[first.len(), second.len()], "{:?}", operation);
        prop_assert_eq!(single, ends(&first), "{:?}", operation);
        let mut merged = [first, second].concat();
        merged.sort_unstable();
        prop_assert_eq!(all, ends(&merged), "{:?}", operation);
    }
    for key in keys {
        redis.run::<()>(redis::cmd("DEL").arg(key)).await.unwrap();
    }
    Ok(())
}

async fn connect() -> Redis {
    let path: PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
    Redis::connect(&Config::load(&path).unwrap().redis).await.unwrap()
}

#[test]
#[ignore = "needs the data tier: make test"]
fn a_log_agrees_with_a_list_of_all_events_in_every_history() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(connect());
    let script = Script::new(&format!("{SCRIPT}{CALL}"));
    let mut runner = TestRunner::new(RunnerConfig {
        failure_persistence: None,
        ..RunnerConfig::default()
    });
    let histories = prop::collection::vec(operation(), 1..60);
    let outcome = runner.run(&histories, |operations| {
        runtime.block_on(agree(&redis, &script, &operations))
    });
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

/// Adds an event and answers how many there are.
const ADD: &str = r"
local log = log_read(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]))
log_add(log, 1)
return log.count
";

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_log_does_not_grow_with_events_that_are_over() {
    let redis = connect().await;
    let script = Script::new(&format!("{SCRIPT}{ADD}"));
    let key = format!("fh-test-{}:long", Uuid::now_v7().simple());
    let mut longest = 0;
    // 1,000 events in an hour, for five hours.
    for number in 0..5_000_i64 {
        let mut call = script.key(&key);
        call.arg(START + number * HOUR / 1_000).arg(HOUR);
        let count: i64 = redis.script(&call).await.unwrap();
        assert_eq!(count, (number + 1).min(1_000));
        let length: usize = redis.run(redis::cmd("STRLEN").arg(&key)).await.unwrap();
        longest = longest.max(length);
    }
    assert!(longest <= 32 + 2_000 * 5 / 4 + 16, "{longest} bytes");
    let left: i64 = redis.run(redis::cmd("PTTL").arg(&key)).await.unwrap();
    assert!((HOUR - 60_000..=HOUR).contains(&left), "{left} ms");
    redis.run::<()>(redis::cmd("DEL").arg(key)).await.unwrap();
}

/// Adds so many events at once.
const ADD_MANY: &str = r"
log_add(log_read(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])), tonumber(ARGV[3]))
";

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_log_of_a_user_with_a_full_hour_is_as_long_as_documented() {
    const LIMIT: i64 = 3_500;
    let redis = connect().await;
    let script = Script::new(&format!("{SCRIPT}{ADD_MANY}"));
    // Bursts of so many, evenly over the hour.
    for burst in [1, 7, 100, LIMIT] {
        let key = format!("fh-test-{}:full", Uuid::now_v7().simple());
        let mut most = 0;
        for number in 0..2 * LIMIT / burst {
            let mut call = script.key(&key);
            call.arg(START + number * HOUR * burst / LIMIT)
                .arg(HOUR)
                .arg(burst);
            redis.script::<()>(&call).await.unwrap();
            let mut usage = redis::cmd("MEMORY");
            let bytes: usize = redis.run(usage.arg("USAGE").arg(&key)).await.unwrap();
            most = most.max(bytes);
        }
        println!(
            "{}",
            json!({
                "bench": "engine", "metric": "bytes_of_full_window", "value": most, "unit": "bytes",
                "labels": { "requests": LIMIT, "burst": burst },
            })
        );
        // The allocator has no size between 8 and 10 KiB.
        assert!(most <= 10 * 1024 + 256, "{most} bytes, bursts of {burst}");
        redis.run::<()>(redis::cmd("DEL").arg(key)).await.unwrap();
    }
}

//! What users can rely on, shown for the oracle; the comparison with Redis carries it over to the scripts.

use std::collections::BTreeMap;

use flickrhub_job::lane::{LaneEntry, Released};
use flickrhub_job::model::{JobId, Priority};
use flickrhub_job::queue::Queue;
use jiff::Timestamp;
use proptest::prelude::*;

use crate::oracle::Oracle;

const QUEUE: Queue = Queue::Rest;
const WIDE_OPEN: u32 = 1_000_000;

fn entry(user: &str, number: i64) -> LaneEntry {
    LaneEntry {
        queue: QUEUE,
        app: "main".to_owned(),
        user_id: user.to_owned(),
        job_id: JobId::new(),
        priority: Priority::Normal,
        weight: 1,
        created_at: Timestamp::from_millisecond(1_700_000_000_000 + number).unwrap_or_default(),
    }
}

fn push(oracle: &mut Oracle, user: &str, jobs: i64) {
    for number in 0..jobs {
        oracle.push(&entry(user, number));
    }
}

fn release(oracle: &mut Oracle, max: usize) -> Vec<Released> {
    oracle.release(QUEUE, max, WIDE_OPEN, false)
}

#[test]
fn a_user_with_one_job_does_not_wait_for_one_with_a_thousand() {
    let mut oracle = Oracle::default();
    push(&mut oracle, "heavy", 1000);
    assert_eq!(release(&mut oracle, 300).len(), 300);
    push(&mut oracle, "light", 1);
    let next = release(&mut oracle, 2);
    assert!(next.iter().any(|job| job.user_id == "light"), "{next:?}");
}

#[test]
fn a_user_who_was_away_does_not_get_what_was_missed() {
    let mut oracle = Oracle::default();
    push(&mut oracle, "steady", 100);
    release(&mut oracle, 50);
    push(&mut oracle, "late", 100);
    let next = release(&mut oracle, 20);
    let steady = next.iter().filter(|job| job.user_id == "steady").count();
    assert!((9..=11).contains(&steady), "{steady} of 20");
}

#[test]
fn one_job_at_a_time_is_served_no_more_often_than_many_at_once() {
    let mut oracle = Oracle::default();
    push(&mut oracle, "many", 1000);
    let mut served = 0;
    for number in 0..100 {
        oracle.push(&entry("one", number));
        for job in release(&mut oracle, 1) {
            if job.user_id == "one" {
                served += 1;
            } else {
                assert_eq!(job.user_id, "many");
            }
        }
    }
    assert!((49..=51).contains(&served), "{served} of 100");
}

proptest! {
    #[test]
    fn users_that_wait_are_served_in_turn(sizes in prop::collection::vec(1..30_i64, 2..6), max in 1..40_usize) {
        let mut oracle = Oracle::default();
        for (user, jobs) in sizes.iter().enumerate() {
            push(&mut oracle, &format!("user {user}"), *jobs);
        }
        let mut served: BTreeMap<String, i64> = BTreeMap::new();
        for job in release(&mut oracle, max) {
            *served.entry(job.user_id).or_default() += 1;
        }
        let counts: Vec<(i64, i64)> = sizes
            .iter()
            .enumerate()
            .map(|(user, jobs)| (served.get(&format!("user {user}")).copied().unwrap_or(0), *jobs))
            .collect();
        // Whoever still waits was served at most once less than anybody else.
        for (mine, jobs) in &counts {
            for (theirs, _) in &counts {
                prop_assert!(mine == jobs || *theirs <= mine + 1, "{counts:?}");
            }
        }
    }

    #[test]
    fn every_job_is_released_once(sizes in prop::collection::vec(0..20_i64, 1..6), step in 1..7_usize) {
        let mut oracle = Oracle::default();
        for (user, jobs) in sizes.iter().enumerate() {
            push(&mut oracle, &format!("user {user}"), *jobs);
        }
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let jobs = release(&mut oracle, step);
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                prop_assert!(seen.insert(job.job_id));
            }
        }
        prop_assert_eq!(i64::try_from(seen.len()), Ok(sizes.iter().sum()));
    }
}

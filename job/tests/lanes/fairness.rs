//! What users can rely on, shown for the oracle; the comparison with Redis carries it over to the scripts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::hub::Hub;

#[test]
fn a_user_with_one_job_does_not_wait_for_one_with_a_thousand() {
    let mut hub = Hub::default();
    hub.push("main", "heavy", 1, 1000);
    assert_eq!(hub.release(300).len(), 300);
    hub.push("main", "light", 1, 1);
    let next = hub.release(2);
    assert!(next.iter().any(|job| job.user_id == "light"), "{next:?}");
}

#[test]
fn a_user_who_was_away_does_not_get_what_was_missed() {
    let mut hub = Hub::default();
    hub.push("main", "steady", 1, 100);
    hub.release(50);
    hub.push("main", "late", 1, 100);
    let next = hub.release(20);
    let steady = next.iter().filter(|job| job.user_id == "steady").count();
    assert!((9..=11).contains(&steady), "{steady} of 20");
}

#[test]
fn one_job_at_a_time_is_served_no_more_often_than_many_at_once() {
    let mut hub = Hub::default();
    hub.push("main", "many", 1, 1000);
    let mut served = 0;
    for _ in 0..100 {
        hub.push("main", "one", 1, 1);
        for job in hub.release(1) {
            if job.user_id == "one" {
                served += 1;
            } else {
                assert_eq!(job.user_id, "many");
            }
        }
    }
    assert!((49..=51).contains(&served), "{served} of 100");
}

#[test]
fn a_new_weight_counts_from_the_next_job_on() {
    let mut hub = Hub::default();
    hub.push("main", "raised", 1, 500);
    hub.push("main", "steady", 1, 500);
    hub.release(100);
    hub.push("main", "raised", 3, 1);
    let next = hub.release(200);
    let raised = next.iter().filter(|job| job.user_id == "raised").count();
    assert!((149..=151).contains(&raised), "{raised} of 200");
}

proptest! {
    #[test]
    fn users_that_wait_are_served_in_turn(sizes in prop::collection::vec(1..30_usize, 2..6), max in 1..40_usize) {
        let mut hub = Hub::default();
        for (user, jobs) in sizes.iter().enumerate() {
            hub.push("main", &format!("user {user}"), 1, *jobs);
        }
        let mut served: BTreeMap<String, usize> = BTreeMap::new();
        for job in hub.release(max) {
            *served.entry(job.user_id).or_default() += 1;
        }
        let counts: Vec<(usize, usize)> = sizes
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
    fn every_job_is_released_once(sizes in prop::collection::vec(0..20_usize, 1..6), step in 1..7_usize) {
        let mut hub = Hub::default();
        for (user, jobs) in sizes.iter().enumerate() {
            hub.push(&format!("app {}", user % 2), &format!("user {user}"), 1, *jobs);
        }
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let jobs = hub.release(step);
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                prop_assert!(seen.insert(job.job_id));
            }
        }
        prop_assert_eq!(seen.len(), sizes.iter().sum::<usize>());
    }
}

//! What to do about the workers of a queue. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// A change of the number of workers that no autoscaler makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// None.
    Stay,
    /// The first worker comes: an HPA leaves a Deployment alone that is scaled to zero.
    Wake,
    /// The last workers go: an HPA goes no lower than one.
    Sleep,
}

/// The workers of a queue and its work at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Workers that the Deployment has now.
    pub replicas: u32,
    /// Jobs that workers run or could run.
    pub jobs: u64,
    /// For how long there has been no such job, as far as it was seen.
    pub idle: Duration,
}

/// From none to one worker and back, for a queue with at least `least` workers that may be without a job for `delay` before
/// the last of them goes.
pub fn step(least: u32, delay: Duration, seen: Seen) -> Step {
    match (least, seen.replicas, seen.jobs) {
        (0, 0, 1..) => Step::Wake,
        (0, 1.., 0) if seen.idle >= delay => Step::Sleep,
        _ => Step::Stay,
    }
}

/// How many workers the jobs are enough for: what the HPA works out, too.
pub fn wanted(jobs: u64, jobs_per_replica: u32, least: u32, most: u32) -> u32 {
    let workers = jobs.div_ceil(u64::from(jobs_per_replica.max(1)));
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    workers.clamp(least.max(1), most.max(1).max(least))
}

/// A worker that may be chosen to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The name of its pod.
    pub pod: String,
    /// What stands in its annotation `controller.kubernetes.io/pod-deletion-cost`; 0 without one, as Kubernetes takes it.
    pub cost: i32,
}

/// The costs that are to be written, by pod, where workers run so many jobs: those that run none are the cheapest. Of two
/// that run nearly as many none is dearer, so that a busy worker is not written to with each of its jobs.
pub fn costs(workers: &[Worker], running: &BTreeMap<String, u64>) -> BTreeMap<String, i32> {
    workers
        .iter()
        .filter_map(|worker| {
            let jobs = running.get(&worker.pod).copied().unwrap_or_default();
            let cost = cost(jobs);
            (cost != worker.cost).then(|| (worker.pod.clone(), cost))
        })
        .collect()
}

/// The greatest power of two that is not above the number of jobs.
fn cost(jobs: u64) -> i32 {
    jobs.checked_ilog2().map_or(0, |log| 1 << log.min(30))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DELAY: Duration = Duration::from_mins(5);

    fn seen(replicas: u32, jobs: u64, idle: Duration) -> Seen {
        Seen { replicas, jobs, idle }
    }

    #[test]
    fn the_first_worker_comes_with_the_first_job() {
        assert_eq!(step(0, DELAY, seen(0, 1, Duration::ZERO)), Step::Wake);
        assert_eq!(step(0, DELAY, seen(0, 0, DELAY)), Step::Stay);
    }

    #[test]
    fn the_last_workers_go_after_the_delay_without_a_job() {
        assert_eq!(step(0, DELAY, seen(1, 0, DELAY)), Step::Sleep);
        assert_eq!(step(0, DELAY, seen(1, 0, DELAY / 2)), Step::Stay);
        assert_eq!(step(0, DELAY, seen(1, 1, DELAY)), Step::Stay);
    }

    proptest! {
        #[test]
        fn a_queue_that_keeps_workers_is_left_to_its_autoscaler(
            least in 1_u32..500, replicas in 0_u32..500, jobs in 0_u64..10, idle in 0_u64..10_000
        ) {
            let step = step(least, DELAY, seen(replicas, jobs, Duration::from_secs(idle)));
            prop_assert_eq!(step, Step::Stay);
        }

        #[test]
        fn the_last_worker_never_goes_while_there_is_a_job(
            replicas in 0_u32..500, jobs in 1_u64..10_000, idle in 0_u64..10_000
        ) {
            let step = step(0, DELAY, seen(replicas, jobs, Duration::from_secs(idle)));
            prop_assert_ne!(step, Step::Sleep);
        }

        #[test]
        fn as_many_workers_are_wanted_as_the_bounds_allow(
            jobs: u64, per_replica in 0_u32..1000, least in 0_u32..500, most in 1_u32..500
        ) {
            let wanted = wanted(jobs, per_replica, least, most.max(least));
            prop_assert!(wanted >= least.max(1) && wanted <= most.max(least));
        }

        #[test]
        fn no_worker_with_a_job_is_as_cheap_as_one_without(jobs in proptest::collection::vec(0_u64..5000, 1..20)) {
            let running: BTreeMap<String, u64> =
                jobs.iter().enumerate().map(|(index, jobs)| (format!("w{index}"), *jobs)).collect();
            let workers: Vec<Worker> =
                running.keys().map(|pod| Worker { pod: pod.clone(), cost: -1 }).collect();
            let costs = costs(&workers, &running);
            for (pod, jobs) in &running {
                prop_assert_eq!(costs[pod] == 0, *jobs == 0);
            }
            // What was written once is not written again.
            let written: Vec<Worker> =
                costs.iter().map(|(pod, cost)| Worker { pod: pod.clone(), cost: *cost }).collect();
            prop_assert!(super::costs(&written, &running).is_empty());
        }
    }

    #[test]
    fn a_worker_with_many_jobs_is_dearer_than_one_with_few() {
        assert_eq!([0, 1, 2, 3, 7, 8, 256].map(cost), [0, 1, 2, 2, 4, 8, 256]);
        assert_eq!(cost(u64::MAX), 1 << 30);
    }

    #[test]
    fn workers_are_wanted_for_the_last_job_too() {
        assert_eq!(wanted(17, 8, 1, 10), 3);
        assert_eq!(wanted(0, 8, 0, 10), 1, "an autoscaler goes no lower");
        assert_eq!(wanted(1000, 8, 2, 10), 10);
    }
}

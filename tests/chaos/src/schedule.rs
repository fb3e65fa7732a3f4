//! What is done to the hub and when: the same for the same seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A part of the hub, as its pods are labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A member of Redis, with its Sentinel.
    Redis,
    /// A member of MongoDB.
    Mongodb,
    /// A member of RabbitMQ.
    Rabbitmq,
    /// The HTTP API.
    Api,
    /// The dispatcher.
    Dispatcher,
    /// The workers of REST calls.
    WorkerRest,
    /// The workers of uploads.
    WorkerUpload,
    /// The workers of replacements.
    WorkerReplace,
    /// The deliverers of callbacks.
    Callbacks,
    /// A node of the lab, with all that runs on it.
    Node,
}

impl Target {
    /// The component label of its pods.
    pub const fn component(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
            Self::Rabbitmq => "rabbitmq",
            Self::Api => "api",
            Self::Dispatcher => "dispatcher",
            Self::WorkerRest => "worker-rest",
            Self::WorkerUpload => "worker-upload",
            Self::WorkerReplace => "worker-replace",
            Self::Callbacks => "callbacks",
            Self::Node => "node",
        }
    }
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to all processes of a container.
    Kill,
    /// The pod is deleted without a grace period.
    Delete,
    /// SIGSTOP, and SIGCONT after this time: it hangs, and then goes on as if nothing had happened.
    Stop(Duration),
    /// Nothing reaches it nor leaves it for this time.
    Cut(Duration),
    /// Redis forgets everything.
    Flush,
}

impl Fault {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::Stop(_) => "stop",
            Self::Cut(_) => "cut",
            Self::Flush => "flush",
        }
    }
}

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, from the beginning of the run.
    pub at: Duration,
    /// To what.
    pub target: Target,
    /// What.
    pub fault: Fault,
    /// Which member, modulo how many there are.
    pub member: u32,
    /// Whether every run has it: it is waited for, and done late rather than not at all.
    pub certain: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.fault.name(), self.target.component())?;
        if let Fault::Stop(duration) | Fault::Cut(duration) = self.fault {
            write!(f, " for {} s", duration.as_secs())?;
        }
        Ok(())
    }
}

/// How often a part is chosen: engines more than processes without state, which are three kinds of the same.
const WEIGHTS: [(Target, u32); 9] = [
    (Target::Redis, 5),
    (Target::Mongodb, 4),
    (Target::Rabbitmq, 4),
    (Target::Api, 3),
    (Target::Dispatcher, 4),
    (Target::WorkerRest, 4),
    (Target::WorkerUpload, 2),
    (Target::WorkerReplace, 2),
    (Target::Callbacks, 1),
];

/// The shortest and the longest pause between two steps, in seconds.
const PAUSE: std::ops::Range<f64> = 3.0..9.0;

/// The shortest and the longest time for which something hangs or is cut off, in seconds.
const AWAY: std::ops::RangeInclusive<u64> = 5..=15;

/// The engines, of which one has a member cut off in every run.
const ENGINES: [Target; 3] = [Target::Redis, Target::Mongodb, Target::Rabbitmq];

/// The place among the steps of the cut that every run has.
const CERTAIN_CUT: usize = 1;

/// The place among the steps of the flush that every run has: when some requests are counted that must not be forgotten.
const CERTAIN_FLUSH: usize = 3;

/// How long a run has to be to have every certain step in its plan.
pub const SHORTEST: Duration = Duration::from_secs(36);

/// What is done in `length`, with `nodes` nodes to choose from; nodes are left alone when there is only one.
pub fn schedule(seed: u64, length: Duration, nodes: usize) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut at = Duration::from_secs_f64(rng.random_range(PAUSE));
    let mut steps = Vec::new();
    while at < length {
        let certain = certain(&mut rng, steps.len());
        let (target, fault) = certain.unwrap_or_else(|| {
            let target = target(&mut rng, nodes);
            (target, fault(&mut rng, target))
        });
        steps.push(Step {
            at,
            target,
            fault,
            member: rng.random_range(0..1000),
            certain: certain.is_some(),
        });
        at += Duration::from_secs_f64(rng.random_range(PAUSE));
    }
    steps
}

/// What every run has in this place.
fn certain(rng: &mut StdRng, place: usize) -> Option<(Target, Fault)> {
    match place {
        CERTAIN_CUT => {
            let engine = ENGINES[rng.random_range(0..ENGINES.len())];
            Some((engine, Fault::Cut(away(rng))))
        }
        CERTAIN_FLUSH => Some((Target::Redis, Fault::Flush)),
        _ => None,
    }
}

fn away(rng: &mut StdRng) -> Duration {
    Duration::from_secs(rng.random_range(AWAY))
}

fn target(rng: &mut StdRng, nodes: usize) -> Target {
    if nodes > 1 && rng.random_range(0..12) == 0 {
        return Target::Node;
    }
    let total = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random_range(0..total);
    for (target, weight) in WEIGHTS {
        if left < weight {
            return target;
        }
        left -= weight;
    }
    Target::Dispatcher
}

fn fault(rng: &mut StdRng, target: Target) -> Fault {
    let away = away(rng);
    match (target, rng.random_range(0..10)) {
        (Target::Node, 0..=4) => Fault::Stop(away),
        (Target::Node, _) => Fault::Cut(away),
        (Target::Redis, 0..=2) => Fault::Flush,
        (_, 0..=4) => Fault::Kill,
        (_, 5..=6) => Fault::Delete,
        (_, 7..=8) => Fault::Stop(away),
        (_, _) => Fault::Cut(away),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_seed_does_the_same(seed in any::<u64>(), seconds in 0..600_u64, nodes in 1..4_usize) {
            let length = Duration::from_secs(seconds);
            prop_assert_eq!(schedule(seed, length, nodes), schedule(seed, length, nodes));
        }

        #[test]
        fn a_longer_run_begins_as_the_shorter_one(seed in any::<u64>(), seconds in 0..300_u64) {
            let shorter = schedule(seed, Duration::from_secs(seconds), 1);
            let longer = schedule(seed, Duration::from_secs(seconds * 2), 1);
            prop_assert_eq!(&longer[..shorter.len()], &shorter[..]);
        }

        #[test]
        fn everything_happens_within_the_run_and_one_after_the_other(seed in any::<u64>(), seconds in 0..600_u64) {
            let steps = schedule(seed, Duration::from_secs(seconds), 2);
            prop_assert!(steps.iter().all(|step| step.at < Duration::from_secs(seconds)));
            prop_assert!(steps.windows(2).all(|pair| pair[0].at < pair[1].at));
        }

        #[test]
        fn every_run_cuts_a_member_off_and_flushes_redis(seed in any::<u64>(), nodes in 1..4_usize) {
            let steps = schedule(seed, SHORTEST, nodes);
            let certain: Vec<_> = steps.iter().filter(|step| step.certain).collect();
            prop_assert!(matches!(certain[..], [
                Step { target: Target::Redis | Target::Mongodb | Target::Rabbitmq, fault: Fault::Cut(_), .. },
                Step { target: Target::Redis, fault: Fault::Flush, .. },
            ]), "{certain:?}");
        }

        #[test]
        fn a_single_node_is_left_alone(seed in any::<u64>()) {
            let steps = schedule(seed, Duration::from_mins(10), 1);
            prop_assert!(steps.iter().all(|step| step.target != Target::Node));
        }
    }
}

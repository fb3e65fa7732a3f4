//! When Redis may have lost writes by what was done to it.

use std::time::Duration;

use crate::history::{Loss, Lost};
use crate::schedule::{Fault, Step, Target};

/// How old the writes can be that a replica does not have: a master that no replica has followed for 5 s
/// (`min-replicas-max-lag`) takes no more.
const LAG: Duration = Duration::from_secs(6);

/// How long a master that was away may take writes until it hears that it is none any more.
const DEPOSED: Duration = Duration::from_secs(15);

/// What Redis may have lost by a step that was done from `began_ms` to `ended_ms`, in milliseconds since 1970, to a member
/// that may have been the master.
pub(crate) fn loss(step: Step, is_master: bool, (began_ms, ended_ms): (i64, i64)) -> Option<Loss> {
    if step.fault == Fault::Flush {
        return Some(Loss {
            from_ms: began_ms,
            to_ms: ended_ms,
            lost: Lost::Everything,
        });
    }
    let away = match step.fault {
        Fault::Stop(away) | Fault::Cut(away) => away,
        Fault::Kill | Fault::Delete | Fault::Flush => Duration::ZERO,
    };
    let concerned = step.target == Target::Node || (step.target == Target::Redis && is_master);
    concerned.then(|| Loss {
        from_ms: began_ms - milliseconds(LAG),
        to_ms: ended_ms + milliseconds(away + DEPOSED),
        lost: Lost::Last,
    })
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(target: Target, fault: Fault) -> Step {
        Step {
            at: Duration::ZERO,
            target,
            fault,
            member: 0,
            certain: false,
        }
    }

    #[test]
    fn a_flush_loses_everything_and_a_failover_the_last_writes() {
        let flush = loss(step(Target::Redis, Fault::Flush), false, (10, 20));
        let everything = Loss {
            from_ms: 10,
            to_ms: 20,
            lost: Lost::Everything,
        };
        assert_eq!(flush, Some(everything));
        let cut = Fault::Cut(Duration::from_secs(9));
        let last = Loss {
            from_ms: 4_000,
            to_ms: 34_100,
            lost: Lost::Last,
        };
        assert_eq!(loss(step(Target::Redis, cut), true, (10_000, 10_100)), Some(last));
        assert!(loss(step(Target::Node, cut), false, (0, 0)).is_some());
    }

    #[test]
    fn replicas_and_other_parts_lose_nothing_of_redis() {
        assert_eq!(loss(step(Target::Redis, Fault::Kill), false, (0, 0)), None);
        assert_eq!(loss(step(Target::Mongodb, Fault::Kill), true, (0, 0)), None);
    }
}

//! Which Redis may stop: by what the servers and the Sentinels say. Pure.

use super::decide::{Observed, ServerState, remembers_the_gone, unhealthy_sentinel, unhealthy_server};
use crate::engine::roster::{Roster, Standing};

/// What Redis says of its members, each a server with its Sentinel.
///
/// Without the member the master must still have a replica in step, as it refuses writes otherwise, and most of the
/// Sentinels must agree on it, as no other master can be chosen otherwise.
pub(super) fn roster(observed: &Observed) -> Roster {
    let size = observed.servers.len();
    let masters = observed
        .servers
        .iter()
        .filter(|server| server.state == ServerState::Master);
    let masters: Vec<&str> = masters.map(|server| server.address.as_str()).collect();
    let [master] = masters[..] else {
        let why = "there is not exactly one master";
        return Roster::of(observed.servers.iter().map(|_| Standing {
            needed: (size > 1).then(|| why.to_owned()),
            ..Standing::default()
        }));
    };
    let in_step: Vec<bool> = observed
        .servers
        .iter()
        .map(|server| unhealthy_server(server, master).is_none())
        .collect();
    let agreeing: Vec<bool> = observed
        .sentinels
        .iter()
        .map(|sentinel| unhealthy_sentinel(sentinel, master, size.saturating_sub(1)).is_none())
        .collect();
    let remembers_the_gone = remembers_the_gone(observed).is_some();
    let without = |of: &[bool], index: usize| {
        let others = of.iter().enumerate().filter(|(other, _)| *other != index);
        others.filter(|(_, is_well)| **is_well).count()
    };
    Roster::of(observed.servers.iter().enumerate().map(|(index, server)| {
        let needed = if size == 1 {
            None
        } else if without(&in_step, index) < 2.min(size - 1) {
            Some("no other replica is in step with the master".to_owned())
        } else if without(&agreeing, index) <= observed.sentinels.len() / 2 {
            Some("too few other Sentinels agree on the master and know every replica".to_owned())
        } else if remembers_the_gone {
            Some("a Sentinel still counts on members that are gone".to_owned())
        } else {
            None
        };
        Standing {
            serves: in_step[index] && agreeing.get(index).copied().unwrap_or_default(),
            leads: usize::from(server.state == ServerState::Master),
            // The others do without a replica as soon as it stops.
            is_member: false,
            needed,
        }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decide::{Sentinel, SentinelState, Server};
    use super::*;

    fn address(index: usize) -> String {
        format!("r-{index}:6379")
    }

    /// Three Redis with the first one as master: which replicas are linked, which Sentinels agree.
    fn observed(linked: [bool; 2], agrees: [bool; 3]) -> Observed {
        let replica = |linked| ServerState::Replica {
            master: address(0),
            linked,
        };
        let states = [ServerState::Master, replica(linked[0]), replica(linked[1])];
        Observed {
            servers: (0..)
                .zip(states)
                .map(|(index, state)| Server {
                    address: address(index),
                    state,
                })
                .collect(),
            sentinels: (0..)
                .zip(agrees)
                .map(|(index, agrees)| Sentinel {
                    address: format!("r-{index}:26379"),
                    state: SentinelState::Monitors {
                        master: address(if agrees { 0 } else { 2 }),
                        down: false,
                        quorum: true,
                        replicas: 2,
                        others: 2,
                    },
                })
                .collect(),
        }
    }

    #[test]
    fn any_member_may_stop_while_all_is_well() {
        let roster = roster(&observed([true, true], [true; 3]));
        assert!((0..3).all(|ordinal| roster.needed(ordinal).is_none() && roster.serves(ordinal)));
        assert_eq!((roster.leads(0), roster.leads(1)), (1, 0));
    }

    #[test]
    fn only_what_is_broken_may_stop_while_something_is() {
        let roster = roster(&observed([true, false], [true; 3]));
        assert!(roster.needed(0).is_some() && roster.needed(1).is_some());
        assert_eq!(roster.needed(2), None);
        assert!(!roster.serves(2));
    }

    #[test]
    fn without_a_master_nobody_may_stop() {
        let mut found = observed([true, true], [true; 3]);
        found.servers[0].state = ServerState::Unreachable("no connection".to_owned());
        let roster = roster(&found);
        assert!((0..3).all(|ordinal| roster.needed(ordinal).is_some()));
    }

    proptest! {
        #[test]
        fn who_may_stop_leaves_a_replica_in_step_and_most_sentinels(
            linked in prop::array::uniform2(any::<bool>()),
            agrees in prop::array::uniform3(any::<bool>()),
        ) {
            let roster = roster(&observed(linked, agrees));
            for ordinal in 0..3_u32 {
                let index = usize::try_from(ordinal).unwrap_or_default();
                if roster.needed(ordinal).is_none() {
                    let in_step = [true, linked[0], linked[1]];
                    let left = (0..3).filter(|&other| other != index);
                    prop_assert!(left.clone().all(|other| in_step[other]));
                    prop_assert!(left.clone().all(|other| agrees[other]));
                }
            }
        }
    }
}

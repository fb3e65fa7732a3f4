//! What follows from the state of Redis and its Sentinels.

use std::fmt;

use super::Desired;
use super::finding::Finding;
use crate::engine::{Decision, Standard};

/// Redis and its Sentinels as they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Every Redis.
    pub servers: Vec<Server>,
    /// Every Sentinel.
    pub sentinels: Vec<Sentinel>,
}

/// A Redis as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its `host:port`.
    pub address: String,
    /// What it says.
    pub state: ServerState,
}

/// What a Redis says of its replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// No answer; why.
    Unreachable(String),
    /// It refuses the password.
    PasswordRefused,
    /// It takes writes.
    Master,
    /// It follows a master.
    Replica {
        /// The master's `host:port`.
        master: String,
        /// Whether the link to it is up.
        linked: bool,
    },
}

/// A Sentinel as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinel {
    /// Its `host:port`.
    pub address: String,
    /// What it says.
    pub state: SentinelState,
}

/// What a Sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentinelState {
    /// No answer; why.
    Unreachable(String),
    /// It refuses the password.
    PasswordRefused,
    /// It does not know the master's name yet.
    Unaware,
    /// It monitors a master.
    Monitors {
        /// The master's `host:port`.
        master: String,
        /// Whether it holds the master for down (`s_down` or `o_down` in its flags).
        down: bool,
        /// Whether enough Sentinels are reachable for a failover (`SENTINEL CKQUORUM`).
        quorum: bool,
        /// The replicas that it knows of. It asks the master every ten seconds; one that it does not know of by a failover
        /// is not told of the new master, and goes on following the old one.
        replicas: usize,
        /// The other Sentinels that it knows of. It needs the votes of most of them for a failover, and learns of them
        /// within seconds.
        others: usize,
    },
}

/// A change of the Sentinels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have this Sentinel forget every replica and every other Sentinel; it finds those that are there anew.
    Forget {
        /// Its `host:port`.
        sentinel: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forget { sentinel } => write!(f, "have Sentinel {sentinel} forget members that are gone"),
        }
    }
}

/// What to do about Redis.
///
/// A Sentinel that knows more members than there are is reset while everything works and every other one knows all that
/// there are, so that enough can carry out a failover at any moment.
pub fn decide(observed: &Observed, desired: &Desired) -> Decision<Action, Finding> {
    let finding = judge(observed, desired);
    match (&finding, remembers_the_gone(observed)) {
        (Finding::Healthy { .. }, Some(sentinel)) => Decision::Heal(Action::Forget { sentinel }, finding),
        _ => Decision::Report(finding),
    }
}

/// The first Sentinel that knows more members than there are.
pub(super) fn remembers_the_gone(observed: &Observed) -> Option<String> {
    let expected = observed.servers.len().saturating_sub(1);
    let stale = observed.sentinels.iter().find(|sentinel| match sentinel.state {
        SentinelState::Monitors { replicas, others, .. } => replicas > expected || others > expected,
        _ => false,
    });
    stale.map(|sentinel| sentinel.address.clone())
}

/// Whether there is exactly one master, followed by every replica and known to every Sentinel.
///
/// To stay ready, one master with a linked replica (it refuses writes without one) and a majority of Sentinels that
/// agree on it are enough.
pub fn judge(observed: &Observed, desired: &Desired) -> Finding {
    let refused = password_refused(observed);
    if !refused.is_empty() {
        return Finding::PasswordRefused(refused);
    }
    let masters: Vec<String> = observed
        .servers
        .iter()
        .filter(|server| server.state == ServerState::Master)
        .map(|server| server.address.clone())
        .collect();
    let master = match <[String; 1]>::try_from(masters) {
        Ok([master]) => master,
        Err(masters) if masters.is_empty() => return Finding::NoMaster(unhealthy_servers(observed, "")),
        Err(masters) => return Finding::SeveralMasters(masters),
    };
    let servers = unhealthy_servers(observed, &master);
    let sentinels = unhealthy_sentinels(observed, &master);
    let replicas = desired.servers.len().saturating_sub(servers.len() + 1);
    let agreeing = desired.sentinels.len().saturating_sub(sentinels.len());
    if servers.is_empty() && sentinels.is_empty() {
        Finding::Healthy { master, replicas }
    } else if agreeing <= desired.sentinels.len() / 2 {
        Finding::SentinelsDisagree(sentinels)
    } else if desired.standard == Standard::Serving && (replicas > 0 || desired.servers.len() == 1) {
        Finding::Degraded {
            master,
            unhealthy: [servers, sentinels].concat(),
        }
    } else {
        Finding::WaitForMembers([servers, sentinels].concat())
    }
}

fn password_refused(observed: &Observed) -> Vec<String> {
    let servers = observed
        .servers
        .iter()
        .filter(|server| server.state == ServerState::PasswordRefused)
        .map(|server| server.address.clone());
    let sentinels = observed
        .sentinels
        .iter()
        .filter(|sentinel| sentinel.state == SentinelState::PasswordRefused)
        .map(|sentinel| sentinel.address.clone());
    servers.chain(sentinels).collect()
}

/// The servers that neither are the master nor follow it, each with why.
fn unhealthy_servers(observed: &Observed, master: &str) -> Vec<String> {
    let servers = observed.servers.iter();
    servers
        .filter_map(|server| unhealthy_server(server, master))
        .collect()
}

/// Why a server neither is the master nor follows it; `None` if it does.
pub(super) fn unhealthy_server(Server { address, state }: &Server, master: &str) -> Option<String> {
    match state {
        ServerState::Master => None,
        ServerState::Replica { master: follows, .. } if !same_address(follows, master) => {
            Some(format!("{address} follows {follows}"))
        }
        ServerState::Replica { linked: true, .. } => None,
        ServerState::Replica { linked: false, .. } => Some(format!("{address} has no link to its master")),
        ServerState::Unreachable(why) => Some(format!("{address} does not answer ({why})")),
        ServerState::PasswordRefused => Some(format!("{address} refuses the password")),
    }
}

/// The Sentinels that could not carry out a failover from this master, each with why.
fn unhealthy_sentinels(observed: &Observed, master: &str) -> Vec<String> {
    let expected = observed.servers.len().saturating_sub(1);
    let sentinels = observed.sentinels.iter();
    sentinels
        .filter_map(|sentinel| unhealthy_sentinel(sentinel, master, expected))
        .collect()
}

/// Why a Sentinel could not carry out a failover from this master with so many replicas; `None` if it could.
pub(super) fn unhealthy_sentinel(
    Sentinel { address, state }: &Sentinel,
    master: &str,
    expected: usize,
) -> Option<String> {
    match state {
        SentinelState::Monitors { master: known, .. } if !same_address(known, master) => {
            Some(format!("Sentinel {address} takes {known} for the master"))
        }
        SentinelState::Monitors { down: true, .. } => {
            Some(format!("Sentinel {address} does not reach the master"))
        }
        SentinelState::Monitors { quorum: false, .. } => {
            Some(format!("Sentinel {address} reaches too few other Sentinels"))
        }
        SentinelState::Monitors { replicas, .. } if *replicas < expected => Some(format!(
            "Sentinel {address} knows {replicas} of {expected} replicas"
        )),
        SentinelState::Monitors { others, .. } if *others < expected => Some(format!(
            "Sentinel {address} knows {others} of {expected} other Sentinels"
        )),
        SentinelState::Monitors { .. } => None,
        SentinelState::Unaware => Some(format!("Sentinel {address} does not monitor the master yet")),
        SentinelState::Unreachable(why) => Some(format!("Sentinel {address} does not answer ({why})")),
        SentinelState::PasswordRefused => Some(format!("Sentinel {address} refuses the password")),
    }
}

/// DNS names are compared without case and without the root's dot.
fn same_address(left: &str, right: &str) -> bool {
    let plain = |address: &str| address.replace(".:", ":").to_ascii_lowercase();
    plain(left) == plain(right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::SecretString;

    use super::*;
    use crate::part::PartStatus;

    fn address(index: usize) -> String {
        format!("r-{index}:6379")
    }

    fn desired(standard: Standard) -> Desired {
        Desired {
            servers: (0..3).map(address).collect(),
            sentinels: (0..3).map(|index| format!("r-{index}:26379")).collect(),
            kept: 3,
            master_name: "flickrhub".to_owned(),
            password: SecretString::from("password"),
            trust: None,
            standard,
        }
    }

    fn replica(master: usize, linked: bool) -> ServerState {
        ServerState::Replica {
            master: address(master),
            linked,
        }
    }

    fn monitors(master: usize) -> SentinelState {
        SentinelState::Monitors {
            master: address(master),
            down: false,
            quorum: true,
            replicas: 2,
            others: 2,
        }
    }

    fn observed(servers: [ServerState; 3], sentinels: [SentinelState; 3]) -> Observed {
        let desired = desired(Standard::Complete);
        Observed {
            servers: (desired.servers.into_iter().zip(servers))
                .map(|(address, state)| Server { address, state })
                .collect(),
            sentinels: (desired.sentinels.into_iter().zip(sentinels))
                .map(|(address, state)| Sentinel { address, state })
                .collect(),
        }
    }

    #[test]
    fn each_state_has_its_finding() {
        use SentinelState::Unaware;
        use ServerState::{Master, PasswordRefused};
        let agree = || [monitors(0), monitors(0), monitors(0)];
        let gone = || ServerState::Unreachable("no connection".to_owned());
        let (complete, serving) = (Standard::Complete, Standard::Serving);
        let no_quorum = || SentinelState::Monitors {
            master: address(0),
            down: false,
            quorum: false,
            replicas: 2,
            others: 2,
        };
        let knows_one = || SentinelState::Monitors {
            master: address(0),
            down: false,
            quorum: true,
            replicas: 1,
            others: 2,
        };
        let cases = [
            (
                [Master, replica(0, true), replica(0, true)],
                agree(),
                complete,
                ("Ready", true),
            ),
            (
                [Master, replica(0, true), replica(0, true)],
                [monitors(0), monitors(0), knows_one()],
                complete,
                ("WaitForMembers", false),
            ),
            (
                [Master, replica(0, true), replica(0, false)],
                agree(),
                complete,
                ("WaitForMembers", false),
            ),
            (
                [Master, replica(0, true), replica(0, false)],
                agree(),
                serving,
                ("Degraded", true),
            ),
            (
                [Master, replica(0, true), gone()],
                agree(),
                serving,
                ("Degraded", true),
            ),
            (
                [Master, replica(1, true), gone()],
                agree(),
                serving,
                ("WaitForMembers", false),
            ),
            (
                [Master, Master, replica(0, true)],
                agree(),
                serving,
                ("SeveralMasters", false),
            ),
            (
                [gone(), replica(0, false), replica(0, false)],
                agree(),
                serving,
                ("NoMaster", false),
            ),
            (
                [Master, PasswordRefused, replica(0, true)],
                agree(),
                serving,
                ("PasswordRefused", false),
            ),
            (
                [Master, replica(0, true), replica(0, true)],
                [monitors(0), monitors(1), Unaware],
                serving,
                ("SentinelsDisagree", false),
            ),
            (
                [Master, replica(0, true), replica(0, true)],
                [monitors(0), monitors(0), Unaware],
                complete,
                ("WaitForMembers", false),
            ),
            (
                [Master, replica(0, true), replica(0, true)],
                [no_quorum(), no_quorum(), monitors(0)],
                serving,
                ("SentinelsDisagree", false),
            ),
        ];
        for (servers, sentinels, standard, expected) in cases {
            let observed = observed(servers, sentinels);
            let status = PartStatus::from(judge(&observed, &desired(standard)));
            assert_eq!((status.reason, status.ready), expected, "{observed:?}");
        }
    }

    /// A Sentinel that knows so many replicas and other Sentinels.
    fn knows(replicas: usize, others: usize) -> SentinelState {
        SentinelState::Monitors {
            master: address(0),
            down: false,
            quorum: true,
            replicas,
            others,
        }
    }

    #[test]
    fn sentinels_forget_the_gone_one_at_a_time() {
        let next = |sentinels| {
            let servers = [ServerState::Master, replica(0, true), replica(0, true)];
            decide(&observed(servers, sentinels), &desired(Standard::Serving))
        };
        let forgets = |sentinels| match next(sentinels) {
            Decision::Heal(Action::Forget { sentinel }, _) => Some(sentinel),
            _ => None,
        };
        assert_eq!(
            forgets([knows(3, 3), knows(3, 3), knows(3, 3)]).as_deref(),
            Some("r-0:26379")
        );
        assert_eq!(
            forgets([knows(2, 2), knows(2, 3), knows(3, 3)]).as_deref(),
            Some("r-1:26379")
        );
        // The first one has not found the others again yet.
        assert_eq!(forgets([knows(0, 0), knows(3, 3), knows(3, 3)]), None);
        assert_eq!(forgets([knows(2, 2), knows(2, 2), knows(2, 2)]), None);
    }

    #[test]
    fn a_name_is_the_same_with_and_without_the_dot_of_the_root() {
        assert!(same_address(
            "r-0.svc.cluster.local.:6379",
            "R-0.svc.cluster.local:6379"
        ));
        assert!(!same_address("r-0:6379", "r-1:6379"));
    }

    fn server_state() -> impl Strategy<Value = ServerState> {
        prop_oneof![
            Just(ServerState::Master),
            (0..3_usize, any::<bool>()).prop_map(|(master, linked)| replica(master, linked)),
            Just(ServerState::Unreachable("gone".to_owned())),
        ]
    }

    fn sentinel_state() -> impl Strategy<Value = SentinelState> {
        prop_oneof![
            (0..3_usize, any::<bool>(), any::<bool>(), 0..3_usize).prop_map(
                |(master, down, quorum, replicas)| {
                    SentinelState::Monitors {
                        master: address(master),
                        down,
                        quorum,
                        replicas,
                        others: 2,
                    }
                }
            ),
            Just(SentinelState::Unaware),
            Just(SentinelState::Unreachable("gone".to_owned())),
        ]
    }

    proptest! {
        #[test]
        fn redis_is_ready_only_with_one_replicated_master_that_most_sentinels_know(
            servers in prop::array::uniform3(server_state()),
            sentinels in prop::array::uniform3(sentinel_state()),
            was_ready in any::<bool>(),
        ) {
            let status = PartStatus::from(judge(
                &observed(servers.clone(), sentinels.clone()),
                &desired(Standard::of(was_ready)),
            ));
            if status.ready {
                let masters: Vec<usize> = (0..3).filter(|&i| servers[i] == ServerState::Master).collect();
                prop_assert_eq!(masters.len(), 1);
                let following = servers.iter().filter(|state| **state == replica(masters[0], true)).count();
                let agreeing = sentinels.iter().filter(|state| **state == monitors(masters[0])).count();
                let (least_following, least_agreeing) = if was_ready { (1, 2) } else { (2, 3) };
                prop_assert!(following >= least_following);
                prop_assert!(agreeing >= least_agreeing);
            }
        }
    }
}

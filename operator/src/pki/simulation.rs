//! A hub whose authority is replaced, in every order of events: whoever connects must know whom it connects to.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::rotation::{Observed, Step, decide};

const PODS: usize = 4;

/// The authorities by number. Each step is one write of one Secret, so a process that dies leaves one of these states.
#[derive(Clone, Debug)]
struct Hub {
    current: Option<u32>,
    next: Option<u32>,
    previous: Option<u32>,
    made: u32,
    requested: bool,
    pods: Vec<Pod>,
    /// Who signed the certificate in the Secret.
    issued_by: Option<u32>,
}

/// A pod is a server and a client at once.
#[derive(Clone, Debug, Default)]
struct Pod {
    trusts: Vec<u32>,
    shows: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The operator reconciles.
    Reconcile,
    /// The operator dies after the authorities were written and before certificates were.
    ReconcileHalf,
    /// A pod starts anew, by a rollout or by itself.
    Restart(usize),
    /// A server takes up the certificate that is in its Secret.
    Reload(usize),
    /// A person asks for another authority.
    Ask,
}

impl Hub {
    fn new() -> Self {
        Self {
            current: None,
            next: None,
            previous: None,
            made: 0,
            requested: false,
            pods: vec![Pod::default(); PODS],
            issued_by: None,
        }
    }

    fn trusted(&self) -> Vec<u32> {
        let mut all: Vec<u32> = [self.previous, self.current, self.next]
            .into_iter()
            .flatten()
            .collect();
        all.sort_unstable();
        all
    }

    fn observed(&self) -> Observed {
        let now = Timestamp::UNIX_EPOCH;
        Observed {
            renew_at: self.current.map(|_| now + SignedDuration::from_hours(1)),
            has_next: self.next.is_some(),
            has_previous: self.previous.is_some(),
            requested: self.requested,
            all_trust: self.pods.iter().all(|pod| pod.trusts == self.trusted()),
            all_renewed: self.pods.iter().all(|pod| pod.shows == self.current),
        }
    }

    fn step(&mut self) {
        match decide(&self.observed(), Timestamp::UNIX_EPOCH) {
            Step::Rest => {}
            Step::Create => {
                self.made += 1;
                self.current = Some(self.made);
            }
            Step::Prepare => {
                self.made += 1;
                self.next = Some(self.made);
                self.requested = false;
            }
            Step::Promote => {
                self.previous = self.current;
                self.current = self.next.take();
            }
            Step::Retire => self.previous = None,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Reconcile => {
                self.step();
                self.issued_by = self.current;
            }
            Happening::ReconcileHalf => self.step(),
            Happening::Restart(pod) => {
                // A pod does not start without its Secret.
                if self.issued_by.is_some() {
                    self.pods[pod] = Pod {
                        trusts: self.trusted(),
                        shows: self.issued_by,
                    };
                }
            }
            Happening::Reload(pod) => {
                if self.pods[pod].shows.is_some() {
                    self.pods[pod].shows = self.issued_by;
                }
            }
            Happening::Ask => self.requested = true,
        }
    }

    fn strangers(&self) -> Option<(usize, usize)> {
        let running = || {
            self.pods
                .iter()
                .enumerate()
                .filter_map(|(index, pod)| Some((index, pod, pod.shows?)))
        };
        running()
            .flat_map(|(client, pod, _)| {
                running().map(move |(server, _, shows)| (client, pod, server, shows))
            })
            .find(|(_, pod, _, shows)| !pod.trusts.contains(shows))
            .map(|(client, _, server, _)| (client, server))
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => Just(Happening::Reconcile),
        1 => Just(Happening::ReconcileHalf),
        4 => (0..PODS).prop_map(Happening::Restart),
        2 => (0..PODS).prop_map(Happening::Reload),
        1 => Just(Happening::Ask),
    ]
}

proptest! {
    #[test]
    fn no_client_ever_meets_a_server_that_it_does_not_know(
        happenings in prop::collection::vec(happening(), 0..200),
    ) {
        let mut hub = Hub::new();
        for (index, happening) in happenings.into_iter().enumerate() {
            hub.happen(happening);
            prop_assert_eq!(hub.strangers(), None, "after {} ({:?}): {:?}", index, happening, hub);
        }
    }

    #[test]
    fn a_rotation_ends_when_pods_restart_and_reload(happenings in prop::collection::vec(happening(), 0..50)) {
        let mut hub = Hub::new();
        for happening in happenings {
            hub.happen(happening);
        }
        let before = hub.made;
        hub.happen(Happening::Ask);
        for _ in 0..8 {
            hub.happen(Happening::Reconcile);
            for pod in 0..PODS {
                hub.happen(Happening::Restart(pod));
                hub.happen(Happening::Reload(pod));
            }
        }
        prop_assert_eq!(hub.current, Some(hub.made));
        prop_assert!(hub.made > before || before == 0);
        prop_assert_eq!(hub.trusted(), vec![hub.made]);
        prop_assert!(!hub.requested);
    }
}

//! A simulated replica set whose wanted size changes while members fail, against [`decide`].

use proptest::prelude::*;
use secrecy::SecretString;

use super::*;

/// As many pods as there ever are.
const MOST: usize = 7;

fn host(index: usize) -> String {
    format!("m-{index}:27017")
}

/// A replica set: who is in its configuration, and which members work.
#[derive(Clone, Debug)]
struct Simulated {
    in_set: [bool; MOST],
    version: i64,
    up: [bool; MOST],
    /// Whether a member has copied the data.
    copied: [bool; MOST],
    primary: Option<usize>,
}

impl Simulated {
    fn of(size: usize) -> Self {
        let first = std::array::from_fn(|index| index < size);
        Self {
            in_set: first,
            version: 1,
            up: [true; MOST],
            copied: first,
            primary: Some(0),
        }
    }

    fn size(&self) -> usize {
        self.in_set.iter().filter(|in_set| **in_set).count()
    }

    fn works(&self, index: usize) -> bool {
        self.in_set[index] && self.up[index] && self.copied[index]
    }

    /// Members vote when they have copied the data.
    fn voters(&self) -> usize {
        (0..MOST)
            .filter(|&index| self.in_set[index] && self.copied[index])
            .count()
    }

    fn working(&self) -> usize {
        (0..MOST).filter(|&index| self.works(index)).count()
    }

    fn elect(&mut self) {
        let keeps = self.primary.filter(|&index| self.works(index));
        let elected = keeps.or_else(|| (0..MOST).find(|&index| self.works(index)));
        self.primary = elected.filter(|_| self.working() > self.voters() / 2);
    }

    fn observe(&self, pods: usize) -> Observed {
        let configuration = Configuration {
            id: "set".to_owned(),
            replica_set: "rs0".to_owned(),
            version: self.version,
            hosts: (0..MOST).filter(|&index| self.in_set[index]).map(host).collect(),
            timing: Timing::SWIFT,
        };
        let state = |index: usize| {
            if !self.up[index] {
                return MemberState::Unreachable("down".to_owned());
            }
            let role = if self.primary == Some(index) {
                Role::Primary
            } else if self.works(index) {
                Role::Secondary
            } else if self.in_set[index] {
                Role::Other("STARTUP2".to_owned())
            } else if self.copied[index] {
                Role::Other("REMOVED".to_owned())
            } else {
                return MemberState::Blank;
            };
            MemberState::Configured(configuration.clone(), role)
        };
        Observed {
            members: (0..pods)
                .map(|index| Member {
                    host: host(index),
                    state: state(index),
                })
                .collect(),
            accounts: self.primary.map(|_| Accounts::AS_WANTED),
        }
    }

    fn perform(&mut self, action: &Action) -> Result<(), TestCaseError> {
        let index = |of: &str| (0..MOST).find(|&index| host(index) == of).unwrap_or_default();
        match action {
            Action::AddMember { primary, host } => {
                prop_assert_eq!(self.primary, Some(index(primary)));
                prop_assert_eq!(
                    self.working(),
                    self.size(),
                    "a member is added while another does not work"
                );
                let added = index(host);
                prop_assert!(!self.in_set[added]);
                self.in_set[added] = true;
                self.version += 1;
            }
            Action::RemoveMember { primary, host } => {
                let removed = index(host);
                prop_assert_eq!(self.primary, Some(index(primary)));
                prop_assert_ne!(self.primary, Some(removed), "the primary is taken out");
                self.in_set[removed] = false;
                self.version += 1;
                prop_assert!(self.working() > self.voters() / 2, "the majority is lost");
            }
            other => return Err(TestCaseError::fail(format!("wants to {other}"))),
        }
        Ok(())
    }

    fn step(&mut self, desired: &Desired) -> Result<Decision<Action, Finding>, TestCaseError> {
        let decision = decide(&self.observe(desired.hosts.len()), desired);
        if let Decision::Act(action) | Decision::Heal(action, _) = &decision {
            self.perform(action)?;
        }
        Ok(decision)
    }

    /// A member that is in the set and up copies the data.
    fn settle(&mut self) {
        for index in 0..MOST {
            self.copied[index] |= self.in_set[index] && self.up[index] && self.primary.is_some();
        }
        self.elect();
    }
}

fn desired(pods: usize, kept: usize) -> Desired {
    Desired {
        hosts: (0..pods.max(kept)).map(host).collect(),
        kept,
        replica_set: "rs0".to_owned(),
        database: "flickrhub".to_owned(),
        keyfile: SecretString::from("key"),
        admin_password: SecretString::from("admin"),
        app: Login {
            username: "flickrhub".to_owned(),
            password: SecretString::from("app"),
        },
        rights: Rights::OwnRole,
        timing: Timing::SWIFT,
        trust: None,
        standard: Standard::Serving,
        users_are_known: false,
    }
}

fn size() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1_usize, 3, 5, 7])
}

proptest! {
    #[test]
    fn members_come_and_go_one_at_a_time_without_the_loss_of_a_majority(
        before in size(),
        wishes in prop::collection::vec((size(), prop::collection::vec((0..MOST, any::<bool>()), 0..12)), 1..4),
    ) {
        let mut set = Simulated::of(before);
        let mut pods = before;
        let mut wanted = before;
        for (wish, failures) in wishes {
            wanted = wish;
            pods = pods.max(wanted);
            for (member, up) in failures {
                set.up[member] = up;
                set.elect();
                set.step(&desired(pods, wanted))?;
                set.settle();
            }
        }
        set.up = [true; MOST];
        for _ in 0..4 * MOST {
            set.settle();
            // The primary hands over where it is to go: see `crate::rolling`.
            if set.primary.is_some_and(|primary| primary >= wanted) {
                set.primary = (0..wanted).find(|&index| set.works(index)).or(set.primary);
            }
            set.step(&desired(pods, wanted))?;
        }
        set.settle();
        prop_assert!((0..MOST).all(|index| set.in_set[index] == (index < wanted)), "{set:?}");
        let decision = set.step(&desired(pods, wanted))?;
        let well = matches!(decision, Decision::Report(Finding::Healthy { .. }));
        prop_assert!(well, "{decision:?}");
    }
}

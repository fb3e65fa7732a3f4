//! A client whose operator dies between any two steps, whose Secret and document are lost at times, against [`decide`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::decide::*;

const INTERVAL: SignedDuration = SignedDuration::from_hours(24 * 90);
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

#[derive(Clone, Copy, Debug)]
enum Happens {
    /// Hours pass.
    Hours(i64),
    /// Somebody asks for a rotation.
    Request,
    /// The operator looks, and takes so many steps; of the last one the effect does not come about.
    Look { steps: usize },
    /// Two operators look; the second acts on what it saw before the first one acted.
    Race,
    /// Somebody reads the key and uses it.
    Use,
    /// Somebody deletes the Secret.
    DeleteSecret,
    /// The document is gone, or as in an old backup.
    LoseDocument,
}

/// The Secret as it is, with the version by which a write is guarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SecretNow {
    seen: Option<SecretSeen>,
    version: u32,
}

#[derive(Debug)]
struct World {
    now: Timestamp,
    secret: SecretNow,
    keys: Option<Vec<StoredKey>>,
    is_current: bool,
    made: usize,
    requests: usize,
    /// When each key that was shown has to hold at least.
    promised: BTreeMap<String, Timestamp>,
    rotations: usize,
}

impl World {
    fn new() -> Self {
        Self {
            now: Timestamp::UNIX_EPOCH,
            secret: SecretNow::default(),
            keys: None,
            is_current: false,
            made: 0,
            requests: 0,
            promised: BTreeMap::new(),
            rotations: 0,
        }
    }

    fn new_key(&mut self) -> String {
        self.made += 1;
        format!("k{}", self.made)
    }

    fn request(&self) -> Option<String> {
        (self.requests > 0).then(|| self.requests.to_string())
    }

    fn observe(&self) -> (Observed, u32) {
        let client = self
            .keys
            .as_ref()
            .map_or(ClientSeen::Absent, |keys| ClientSeen::Ours {
                keys: keys.clone(),
                is_current: self.is_current,
            });
        let secret = self.secret.seen.clone();
        (Observed { secret, client }, self.secret.version)
    }

    fn decide(&self, observed: &Observed) -> Decision {
        let request = self.request();
        let wanted = Wanted {
            interval: INTERVAL,
            overlap: OVERLAP,
            request: request.as_deref(),
        };
        decide(observed, &wanted, self.now)
    }

    /// As the effects do it: a write of the Secret fails if it is another one by now, a write of the document is guarded by
    /// what it relies on.
    fn perform(&mut self, action: &Action, observed: &Observed, version: u32) {
        let is_same = self.secret.version == version;
        match action {
            Action::CreateSecret if self.secret.seen.is_none() => {
                let key = self.new_key();
                self.write(SecretSeen {
                    key: Some(key),
                    next: None,
                    is_complete: true,
                    rotated_for: self.request(),
                });
            }
            Action::CompleteSecret if is_same => {
                let key = self.new_key();
                let seen = self.secret.seen.clone().unwrap_or_default();
                self.write(SecretSeen {
                    key: seen.key.or(Some(key)),
                    is_complete: true,
                    ..seen
                });
            }
            Action::PrepareNext if is_same => {
                let key = self.new_key();
                let rotated_for = self.request();
                let seen = self.secret.seen.clone().unwrap_or_default();
                self.write(SecretSeen {
                    next: Some(key),
                    rotated_for,
                    ..seen
                });
            }
            Action::Promote if is_same => {
                let seen = self.secret.seen.clone().unwrap_or_default();
                let end = self.now + OVERLAP;
                self.promised.extend(seen.key.map(|old| (old, end)));
                self.rotations += 1;
                self.write(SecretSeen {
                    key: seen.next,
                    next: None,
                    ..self.secret.seen.clone().unwrap_or_default()
                });
            }
            Action::CreateSecret | Action::CompleteSecret | Action::PrepareNext | Action::Promote => {}
            Action::WriteSettings => {
                self.keys.get_or_insert_default();
                self.is_current = true;
            }
            Action::Register(slot) => self.register(*slot, observed),
            Action::Retire(ids, until) => {
                for key in self.keys.iter_mut().flatten() {
                    if ids.contains(&key.id) && key.not_after.is_none() {
                        key.not_after = Some(*until);
                    }
                }
            }
            Action::Remove(ids) => {
                let now = self.now;
                if let Some(keys) = &mut self.keys {
                    let ended = |key: &StoredKey| key.not_after.is_some_and(|end| end <= now);
                    keys.retain(|key| !(ids.contains(&key.id) && ended(key)));
                }
            }
        }
    }

    fn write(&mut self, seen: SecretSeen) {
        self.secret = SecretNow {
            seen: Some(seen),
            version: self.secret.version + 1,
        };
    }

    fn register(&mut self, slot: Slot, observed: &Observed) {
        let Some(secret) = &observed.secret else {
            return;
        };
        let id = match slot {
            Slot::Present => secret.key.clone(),
            Slot::Next => secret.next.clone(),
        };
        let (Some(id), Some(keys)) = (id, &mut self.keys) else {
            return;
        };
        if let Some(key) = keys.iter_mut().find(|key| key.id == id) {
            key.matches = true;
            key.not_after = None;
        } else {
            keys.push(StoredKey {
                id,
                created_at: self.now,
                not_after: None,
                matches: true,
            });
        }
    }

    fn holds(&self, id: &str) -> bool {
        let keys = self.keys.iter().flatten();
        keys.into_iter()
            .any(|key| key.id == id && key.not_after.is_none_or(|end| end > self.now))
    }

    fn look(&mut self, steps: usize) {
        for _ in 0..steps {
            let (observed, version) = self.observe();
            match self.decide(&observed) {
                Decision::Act(action) => self.perform(&action, &observed, version),
                Decision::Rest(until) => {
                    assert!(until > self.now, "rests until a time that is over");
                    return;
                }
                Decision::NameTaken => panic!("the name is ours"),
            }
            self.check();
        }
    }

    /// What was shown to hold goes on holding, for its overlap.
    fn check(&self) {
        for (key, until) in &self.promised {
            assert!(
                *until <= self.now || self.holds(key),
                "{key} does not hold: {self:?}"
            );
        }
    }

    fn present(&self) -> Option<&String> {
        self.secret.seen.as_ref()?.key.as_ref()
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Hours(hours) => self.now += SignedDuration::from_hours(hours),
            Happens::Request => self.requests += 1,
            Happens::Look { steps } => self.look(steps),
            Happens::Race => {
                let (observed, version) = self.observe();
                self.look(1);
                if let Decision::Act(action) = self.decide(&observed) {
                    self.perform(&action, &observed, version);
                }
            }
            // Whoever sees a key that holds may use it until the overlap after its replacement ends.
            Happens::Use => {
                if let Some(key) = self.present().cloned()
                    && self.holds(&key)
                {
                    self.promised.insert(key, Timestamp::MAX);
                }
            }
            Happens::DeleteSecret => {
                self.forgive();
                self.secret = SecretNow {
                    seen: None,
                    version: self.secret.version + 1,
                };
            }
            Happens::LoseDocument => {
                self.forgive();
                self.keys = None;
                self.is_current = false;
            }
        }
        self.check();
    }

    /// Who deletes things by hand is promised nothing.
    fn forgive(&mut self) {
        self.promised.clear();
    }
}

fn calm() -> impl Strategy<Value = Happens> {
    prop_oneof![
        2 => (1..40_i64).prop_map(Happens::Hours),
        1 => (40..24 * 100_i64).prop_map(Happens::Hours),
        1 => Just(Happens::Request),
        6 => (1..6_usize).prop_map(|steps| Happens::Look { steps }),
        1 => Just(Happens::Race),
        2 => Just(Happens::Use),
    ]
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        12 => calm(),
        1 => Just(Happens::DeleteSecret),
        1 => Just(Happens::LoseDocument),
    ]
}

proptest! {
    #[test]
    fn wherever_the_operator_dies_the_key_in_the_secret_holds_and_the_one_before_it_for_its_overlap(
        schedule in prop::collection::vec(calm(), 0..60),
    ) {
        let mut world = World::new();
        for what in schedule {
            world.happen(what);
        }
        world.look(20);
        let present = world.present().cloned().unwrap_or_default();
        prop_assert!(world.holds(&present));
        // A moment later than the end of every overlap nothing else holds.
        world.now += OVERLAP;
        world.promised.clear();
        world.look(20);
        let keys = world.keys.clone().unwrap_or_default();
        prop_assert!(keys.iter().any(|key| Some(&key.id) == world.present()));
        prop_assert!(keys.iter().filter(|key| key.not_after.is_none()).count() == 1);
        let rotations = world.rotations;
        world.look(20);
        prop_assert_eq!(world.rotations, rotations, "a request is granted once");
    }

    #[test]
    fn whatever_is_lost_the_secret_and_the_document_agree_in_the_end(
        schedule in prop::collection::vec(anything(), 0..60),
    ) {
        let mut world = World::new();
        for what in schedule {
            world.happen(what);
        }
        world.look(20);
        let present = world.present().cloned().unwrap_or_default();
        prop_assert!(world.holds(&present));
        prop_assert!(world.secret.seen.as_ref().is_some_and(|seen| seen.next.is_none()));
        world.now += OVERLAP;
        world.look(20);
        prop_assert!(world.keys.iter().flatten().all(|key| Some(&key.id) == world.present() || key.not_after.is_some()));
    }
}

#[test]
fn a_key_is_rotated_when_its_time_is_over_and_not_before() {
    let mut world = World::new();
    world.look(20);
    world.now += INTERVAL - SignedDuration::from_secs(1);
    world.look(20);
    assert_eq!(world.rotations, 0);
    world.now += SignedDuration::from_secs(1);
    world.look(20);
    assert_eq!(world.rotations, 1);
    assert_eq!(
        world.keys.as_ref().map(Vec::len),
        Some(2),
        "two keys hold during the overlap"
    );
    world.now += OVERLAP;
    world.look(20);
    assert_eq!(world.keys.as_ref().map(Vec::len), Some(1));
}

#[test]
fn a_client_that_somebody_else_made_is_left_alone() {
    let observed = Observed {
        secret: None,
        client: ClientSeen::Foreign,
    };
    let wanted = Wanted {
        interval: INTERVAL,
        overlap: OVERLAP,
        request: None,
    };
    assert_eq!(
        decide(&observed, &wanted, Timestamp::UNIX_EPOCH),
        Decision::NameTaken
    );
}

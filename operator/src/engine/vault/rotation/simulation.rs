//! A hub whose operator dies between any two steps, against [`decide`]; and a rewrap that is cut off after any call, or
//! overtaken by a new token, against [`pass`].

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const INTERVAL: SignedDuration = SignedDuration::from_hours(24 * 90);

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// Minutes pass.
    Minutes(i64),
    /// A process encrypts something, and stores it after so many minutes.
    Write(i64),
    /// A process reads something stored, and has it decrypted after so many minutes.
    Read(i64),
    /// The operator looks; it does so much of a rewrap, and dies before the effect of a step or before the status is written.
    Look {
        rewraps: usize,
        dies: bool,
        forgets: bool,
    },
}

/// Key, database, and what is on its way between them.
#[derive(Debug)]
struct World {
    now: Timestamp,
    key: KeyVersions,
    stored: Vec<u32>,
    writes: Vec<(Timestamp, u32)>,
    reads: Vec<(Timestamp, u32)>,
    progress: Progress,
}

impl World {
    fn new() -> Self {
        Self {
            now: Timestamp::UNIX_EPOCH,
            key: KeyVersions {
                latest: 1,
                latest_at: Timestamp::UNIX_EPOCH,
                oldest_usable: 1,
            },
            stored: vec![1, 1, 1],
            writes: Vec::new(),
            reads: Vec::new(),
            progress: Progress::default(),
        }
    }

    fn older(&self) -> u64 {
        let older = self.stored.iter().filter(|version| **version < self.key.latest);
        older.count() as u64
    }

    fn pass_time(&mut self, minutes: i64) {
        self.now += SignedDuration::from_mins(minutes);
        let now = self.now;
        let arrives = |(at, _): &(Timestamp, u32)| *at <= now;
        self.stored.extend(
            self.writes
                .extract_if(.., |write| arrives(write))
                .map(|(_, version)| version),
        );
        for (_, version) in self.reads.extract_if(.., |read| arrives(read)) {
            assert!(
                version >= self.key.oldest_usable,
                "somebody cannot decrypt what was just read"
            );
        }
    }

    fn look(&mut self, rewraps: usize, dies: bool, forgets: bool) {
        let mut older = None;
        let mut progress = self.progress;
        for _ in 0..MAX_STEPS {
            let step = decide(self.now, &self.key, INTERVAL, progress, older);
            if dies && !matches!(step, Step::Count | Step::Rewrap) {
                return;
            }
            match step {
                Step::Rest(until) => {
                    assert!(until > self.now, "rests until a time that is over");
                    break;
                }
                Step::Rotate => {
                    assert!(self.now >= self.key.latest_at + INTERVAL, "rotated too early");
                    self.key.latest += 1;
                    self.key.latest_at = self.now;
                    progress = Progress::default();
                }
                Step::Count => {
                    older = Some(self.older());
                    progress.remaining = older;
                    if older != Some(0) {
                        progress.clean_since = None;
                    }
                }
                Step::Rewrap => {
                    let latest = self.key.latest;
                    let left = self.stored.iter_mut().filter(|version| **version < latest);
                    left.take(rewraps).for_each(|version| *version = latest);
                    progress.remaining = Some(self.older());
                    break;
                }
                Step::NoteClean => {
                    progress.clean_since = Some(self.now);
                    break;
                }
                Step::Disable => {
                    assert_eq!(self.older(), 0, "disabled what is stored");
                    self.key.oldest_usable = self.key.latest;
                    progress = Progress::default();
                    break;
                }
            }
        }
        self.progress = if forgets { Progress::default() } else { progress };
    }

    /// Ten hours in which nothing goes wrong: enough for a rotation with all that follows.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.pass_time(10);
            self.look(5, false, false);
        }
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Minutes(minutes) => self.pass_time(minutes),
            Happens::Write(minutes) => {
                let at = self.now + SignedDuration::from_mins(minutes);
                self.writes.push((at, self.key.latest));
            }
            Happens::Read(minutes) => {
                let at = self.now + SignedDuration::from_mins(minutes);
                self.reads
                    .extend(self.stored.first().map(|version| (at, *version)));
            }
            Happens::Look {
                rewraps,
                dies,
                forgets,
            } => self.look(rewraps, dies, forgets),
        }
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        2 => (1..50_i64).prop_map(Happens::Minutes),
        1 => (60..60 * 24 * 60_i64).prop_map(Happens::Minutes),
        2 => (1..59_i64).prop_map(Happens::Write),
        2 => (1..59_i64).prop_map(Happens::Read),
        5 => (0..3_usize, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(rewraps, dies, forgets)| Happens::Look { rewraps, dies, forgets }),
    ]
}

proptest! {
    #[test]
    fn wherever_the_operator_dies_nothing_is_locked_in_and_in_the_end_old_versions_are_disabled(
        schedule in prop::collection::vec(happens(), 0..80),
    ) {
        let mut world = World::new();
        for what in schedule {
            world.happen(what);
        }
        let latest = world.key.latest;
        world.settle();
        if world.key.latest != latest {
            // The next rotation fell due meanwhile, perhaps just now. There is time for one only.
            world.settle();
        }
        prop_assert_eq!(world.key.oldest_usable, world.key.latest);
        prop_assert!(world.stored.iter().all(|version| *version == world.key.latest));
        let age = world.now.duration_since(world.key.latest_at);
        prop_assert!(age < INTERVAL);
    }
}

/// Ciphertexts of users in memory. After so many calls, of Vault or of this, everything fails.
struct Memory {
    users: Mutex<BTreeMap<String, (String, String)>>,
    calls_left: AtomicUsize,
    /// The user whose token is replaced while Vault rewraps it.
    replaced: Option<&'static str>,
}

const BAD: &str = "vault:v1:bad";

impl Memory {
    fn new(users: usize, calls_left: usize) -> Self {
        let user = |number: usize| {
            let token = |what: &str| format!("vault:v1:{what}-{number}");
            (format!("{number:04}"), (token("token"), token("secret")))
        };
        Self {
            users: Mutex::new((0..users).map(user).collect()),
            calls_left: AtomicUsize::new(calls_left),
            replaced: None,
        }
    }

    fn call(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        self.calls_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_ok()
    }

    fn users(&self) -> BTreeMap<String, (String, String)> {
        self.users.lock().map(|users| users.clone()).unwrap_or_default()
    }

    fn set(&self, id: &str, token: &str, secret: &str) {
        if let Ok(mut users) = self.users.lock() {
            users.insert(id.to_owned(), (token.to_owned(), secret.to_owned()));
        }
    }
}

impl Stored for Memory {
    async fn older(
        &self,
        _: &Place,
        latest: u32,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Sealed>, StoredError> {
        if !self.call() {
            return Err(StoredError::Updates(0));
        }
        let current = format!("vault:v{latest}:");
        let is_older = |text: &String| !text.starts_with(&current);
        let users = self.users().into_iter();
        let behind = users.filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
        let sealed = behind.map(|(id, (token, secret))| Sealed {
            context: id.clone(),
            id,
            ciphertexts: [("token".to_owned(), token), ("token_secret".to_owned(), secret)]
                .into_iter()
                .filter(|(_, text)| is_older(text))
                .collect(),
        });
        Ok(sealed
            .filter(|sealed| !sealed.ciphertexts.is_empty())
            .take(limit)
            .collect())
    }

    async fn exchange(&self, _: &Place, exchanges: &[Exchange]) -> Result<u64, StoredError> {
        if !self.call() {
            return Err(StoredError::Updates(0));
        }
        let mut changed = 0;
        for Exchange { id, fields } in exchanges {
            let Some((mut token, mut secret)) = self.users().remove(id) else {
                continue;
            };
            let is_as_read = fields.iter().all(|(field, old, _)| match field.as_str() {
                "token" => token == *old,
                _ => secret == *old,
            });
            if !is_as_read {
                continue;
            }
            for (field, _, new) in fields {
                match field.as_str() {
                    "token" => token.clone_from(new),
                    _ => secret.clone_from(new),
                }
            }
            self.set(id, &token, &secret);
            changed += 1;
        }
        Ok(changed)
    }

    async fn count(&self, place: &Place, latest: u32) -> Result<u64, StoredError> {
        Ok(self.older(place, latest, None, usize::MAX).await?.len() as u64)
    }
}

impl Transit for Memory {
    async fn rewrap(&self, _: TransitKey, wrapped: &[Wrapped<'_>]) -> Result<Vec<Option<String>>, ApiError> {
        if !self.call() {
            return Err(ApiError::Incomplete("an answer"));
        }
        if let Some(user) = self.replaced {
            self.set(user, "vault:v2:new-token", "vault:v2:new-secret");
        }
        let rewrap = |one: &Wrapped<'_>| {
            let text = one.ciphertext.strip_prefix("vault:v1:")?;
            (one.ciphertext != BAD).then(|| format!("vault:v2:{text}"))
        };
        Ok(wrapped.iter().map(rewrap).collect())
    }
}

async fn run(memory: &Memory) -> Result<Passed, RotationError> {
    let deadline = Instant::now() + Duration::from_mins(1);
    pass(memory, memory, TransitKey::UserTokens, 2, deadline).await
}

/// Every user with the token and the secret that belong together, of the new version.
fn all_rewrapped(memory: &Memory) -> bool {
    memory.users().iter().all(|(id, (token, secret))| {
        let number: usize = id.parse().unwrap_or_default();
        *token == format!("vault:v2:token-{number}") && *secret == format!("vault:v2:secret-{number}")
    })
}

#[tokio::test]
async fn a_pass_that_is_cut_off_after_any_call_is_finished_by_the_next_one() {
    const USERS: usize = 2 * BATCH + 7;
    let mut calls = 0;
    loop {
        let memory = Memory::new(USERS, calls);
        let first = run(&memory).await;
        memory.calls_left.store(usize::MAX, Ordering::Relaxed);
        let passed = run(&memory).await.unwrap_or_default();
        assert!(
            passed.complete && all_rewrapped(&memory),
            "cut off after {calls} calls"
        );
        if first.is_ok() {
            break;
        }
        calls += 1;
    }
    // Three batches of three calls each, and the look that finds nothing more.
    assert_eq!(calls, 10);
}

#[tokio::test]
async fn a_token_that_is_replaced_meanwhile_is_not_overwritten() {
    let memory = Memory {
        replaced: Some("0003"),
        ..Memory::new(10, usize::MAX)
    };
    let passed = run(&memory).await.unwrap_or_default();
    assert_eq!((passed.rewrapped, passed.complete), (9, true));
    let new = ("vault:v2:new-token".to_owned(), "vault:v2:new-secret".to_owned());
    assert_eq!(memory.users().get("0003"), Some(&new));
}

#[tokio::test]
async fn a_ciphertext_that_cannot_be_read_keeps_no_other_from_being_rewrapped() {
    let memory = Memory::new(BATCH + 3, usize::MAX);
    memory.set("0001", BAD, BAD);
    let passed = run(&memory).await.unwrap_or_default();
    let expected = Passed {
        rewrapped: BATCH as u64 + 2,
        unreadable: 1,
        complete: true,
    };
    assert_eq!(passed, expected);
}

#[tokio::test]
async fn a_pass_whose_time_is_over_has_done_one_batch() {
    let memory = Memory::new(3 * BATCH, usize::MAX);
    let passed = pass(&memory, &memory, TransitKey::UserTokens, 2, Instant::now()).await;
    let passed = passed.unwrap_or_default();
    assert_eq!((passed.rewrapped, passed.complete), (BATCH as u64, false));
}

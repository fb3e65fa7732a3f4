//! What to do next about a client: one step at a time, each of which may be the last before the operator dies. Pure.
//!
//! The Secret is what counts: what it holds is registered in MongoDB, before anybody is told to use it. A rotation takes
//! these steps:
//!
//! | step | Secret | MongoDB |
//! | --- | --- | --- |
//! | prepare | `api-key` A, `next-api-key` B | A |
//! | register | the same | A, B |
//! | promote | `api-key` B | A, B |
//! | retire | the same | A until the end of the overlap, B |
//! | remove | the same | B |
//!
//! After each of them the key in `api-key` holds, and every key that ever stood there does for the time of the overlap.
//! A signing key (`signing-key`, `next-signing-key`) is one with its key: it has the same id, and comes and goes with it.

use jiff::{SignedDuration, Timestamp};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The Secret, if there is one.
    pub secret: Option<SecretSeen>,
    /// The client in MongoDB.
    pub client: ClientSeen,
}

/// What the Secret holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretSeen {
    /// The id of the key; `None` where there is none that can be read.
    pub key: Option<String>,
    /// The id of the key that takes its place.
    pub next: Option<String>,
    /// Whether there is a webhook secret, and beside each key its signing key.
    pub is_complete: bool,
    /// The last request to rotate that was granted.
    pub rotated_for: Option<String>,
}

/// The client in MongoDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSeen {
    /// There is none of this id.
    Absent,
    /// It was not made for a `FlickrHubClient`.
    Foreign,
    /// It is ours.
    Ours {
        /// Its keys.
        keys: Vec<StoredKey>,
        /// Whether scopes, addresses and webhook secret are as wanted.
        is_current: bool,
    },
}

/// A key of a client in MongoDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// It holds until then; for ever without it.
    pub not_after: Option<Timestamp>,
    /// `false`: what is stored is not of the key of this id in the Secret, or of its signing key.
    pub matches: bool,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The time between two rotations.
    pub interval: SignedDuration,
    /// How long a key holds after it was replaced.
    pub overlap: SignedDuration,
    /// The value of the annotation that asks for a rotation.
    pub request: Option<&'a str>,
}

/// A key in the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The one to use.
    Present,
    /// The one that takes its place.
    Next,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create the Secret with a new key, signing key and webhook secret.
    CreateSecret,
    /// Make up what the Secret lacks.
    CompleteSecret,
    /// Write scopes, addresses and webhook secret, and the client if there is none.
    WriteSettings,
    /// Let a key of the Secret hold.
    Register(Slot),
    /// Put a new key into the Secret, beside the present one.
    PrepareNext,
    /// Put the next key into the place of the present one.
    Promote,
    /// Let these keys end at this time.
    Retire(Vec<String>, Timestamp),
    /// Take these keys, which have ended, out.
    Remove(Vec<String>),
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Do this, then look again.
    Act(Action),
    /// Nothing before this time.
    Rest(Timestamp),
    /// A client of this name was made by somebody else.
    NameTaken,
}

/// What to do at `now`.
pub fn decide(observed: &Observed, wanted: &Wanted<'_>, now: Timestamp) -> Decision {
    if observed.client == ClientSeen::Foreign {
        return Decision::NameTaken;
    }
    let Some(secret) = &observed.secret else {
        return Decision::Act(Action::CreateSecret);
    };
    let (Some(present), true) = (&secret.key, secret.is_complete) else {
        return Decision::Act(Action::CompleteSecret);
    };
    let ClientSeen::Ours {
        keys,
        is_current: true,
    } = &observed.client
    else {
        return Decision::Act(Action::WriteSettings);
    };
    if let Some(created_at) = holding_since(keys, present) {
        match &secret.next {
            None => settled(keys, secret, present, created_at, wanted, now),
            Some(next) if holding_since(keys, next).is_some() => Decision::Act(Action::Promote),
            Some(_) => Decision::Act(Action::Register(Slot::Next)),
        }
    } else {
        Decision::Act(Action::Register(Slot::Present))
    }
}

/// When a key of the Secret was made; `None` where it does not hold, or would end.
fn holding_since(keys: &[StoredKey], id: &str) -> Option<Timestamp> {
    keys.iter()
        .find(|key| key.id == id && key.matches && key.not_after.is_none())
        .map(|key| key.created_at)
}

/// No rotation is under way.
fn settled(
    keys: &[StoredKey],
    secret: &SecretSeen,
    present: &str,
    created_at: Timestamp,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Decision {
    let others = || keys.iter().filter(|key| key.id != present);
    let ids = |chosen: &dyn Fn(&StoredKey) -> bool| -> Vec<String> {
        others()
            .filter(|key| chosen(key))
            .map(|key| key.id.clone())
            .collect()
    };
    let ended = ids(&|key| key.not_after.is_some_and(|end| end <= now));
    if !ended.is_empty() {
        return Decision::Act(Action::Remove(ended));
    }
    let replaced = ids(&|key| key.not_after.is_none());
    if !replaced.is_empty() {
        return Decision::Act(Action::Retire(replaced, after(now, wanted.overlap)));
    }
    let due = after(created_at, wanted.interval);
    let is_requested = wanted.request.is_some() && wanted.request != secret.rotated_for.as_deref();
    if due <= now || is_requested {
        return Decision::Act(Action::PrepareNext);
    }
    let ends = others().filter_map(|key| key.not_after);
    Decision::Rest(ends.fold(due, Timestamp::min))
}

/// `time` and so much later.
pub(super) fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

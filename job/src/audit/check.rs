//! Whether a chain is whole.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::seal::GENESIS;
use super::{AuditEvent, Head, SealedEntry};

/// What is wrong at one place of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFault {
    /// The chain.
    pub chain: Uuid,
    /// The number of the entry.
    pub seq: u64,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It is not the entry that its hash is of.
    Changed,
    /// It does not follow the entry before it.
    Unlinked,
    /// Entries before it are missing.
    Missing,
    /// Another chain noted it, and it is not there, or another one is.
    NotAsNoted,
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::Changed => "was changed",
            FaultKind::Unlinked => "does not follow the entry before it",
            FaultKind::Missing => "lacks entries before it",
            FaultKind::NotAsNoted => "is not as another chain noted it",
        };
        write!(f, "chain {}, entry {} {what}", self.chain, self.seq)
    }
}

/// Reads one chain in the order of its numbers.
#[derive(Debug)]
pub struct ChainCheck {
    chain: Uuid,
    /// Entries older than this may be gone by their age.
    kept_since: Timestamp,
    /// The number and the hash of the entry before.
    last: Option<(u64, String)>,
    /// Entries that were read.
    pub entries: u64,
    /// What is wrong.
    pub faults: Vec<ChainFault>,
    /// Where other chains stood, as this one noted it.
    pub noted: Vec<Head>,
}

/// How much later than its time an entry may be deleted, and how far clocks differ.
const TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

impl ChainCheck {
    /// Begins with a chain; entries are kept for `retention`.
    pub fn new(chain: Uuid, retention: SignedDuration, now: Timestamp) -> Self {
        let kept_since = now.saturating_sub(retention).unwrap_or(Timestamp::MIN);
        Self {
            chain,
            kept_since: kept_since.saturating_add(TOLERANCE).unwrap_or(Timestamp::MAX),
            last: None,
            entries: 0,
            faults: Vec::new(),
            noted: Vec::new(),
        }
    }

    /// Reads the next entry.
    pub fn read(&mut self, sealed: &SealedEntry) {
        self.entries += 1;
        if sealed.chain != self.chain || sealed.hash != sealed.digest() {
            self.fault(sealed.seq, FaultKind::Changed);
        }
        match &self.last {
            None if sealed.seq == 0 => {
                if sealed.previous != GENESIS {
                    self.fault(0, FaultKind::Unlinked);
                }
            }
            // The beginning of an old chain goes with its age; of a young one it does not.
            None if self.may_have_aged() => {}
            None => self.fault(sealed.seq, FaultKind::Missing),
            Some((seq, hash)) => {
                if sealed.seq != seq + 1 {
                    self.fault(sealed.seq, FaultKind::Missing);
                } else if sealed.previous != *hash {
                    self.fault(sealed.seq, FaultKind::Unlinked);
                }
            }
        }
        self.last = Some((sealed.seq, sealed.hash.clone()));
        if matches!(
            sealed.entry.event,
            AuditEvent::ChainStarted | AuditEvent::Checkpoint
        ) {
            let note = sealed.entry.note.as_deref().unwrap_or_default();
            let heads = note.split(' ').filter_map(|head| head.parse::<Head>().ok());
            self.noted.extend(heads);
        }
    }

    /// Whether a head that was noted has to be there still.
    pub fn is_kept(&self, head: &Head) -> bool {
        Timestamp::from_millisecond(head.at).is_ok_and(|at| at > self.kept_since)
    }

    /// When the chain began, by its name, was so long ago that entries may be gone.
    fn may_have_aged(&self) -> bool {
        let began = self.chain.get_timestamp().map(|time| time.to_unix().0);
        let began = began.and_then(|seconds| i64::try_from(seconds).ok());
        began.is_none_or(|seconds| Timestamp::from_second(seconds).is_ok_and(|at| at < self.kept_since))
    }

    fn fault(&mut self, seq: u64, kind: FaultKind) {
        let chain = self.chain;
        self.faults.push(ChainFault { chain, seq, kind });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{AuditEntry, Chain};
    use super::*;

    const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

    fn chain(length: usize) -> Vec<SealedEntry> {
        let mut chain = Chain::new();
        let entry = |number: usize| AuditEntry {
            client_id: Some(format!("client{number}")),
            ..AuditEntry::of_log(AuditEvent::ApiCall, Timestamp::now(), None)
        };
        (0..length).map(|number| chain.seal(entry(number))).collect()
    }

    fn check_at(entries: &[SealedEntry], now: Timestamp) -> Vec<FaultKind> {
        let chain = entries.first().map_or(Uuid::nil(), |entry| entry.chain);
        let mut check = ChainCheck::new(chain, YEAR, now);
        for entry in entries {
            check.read(entry);
        }
        check.faults.iter().map(|fault| fault.kind).collect()
    }

    fn check(entries: &[SealedEntry]) -> Vec<FaultKind> {
        check_at(entries, Timestamp::now())
    }

    #[test]
    fn a_chain_whose_beginning_aged_is_whole_and_a_young_one_without_it_is_not() {
        let entries = chain(5);
        assert_eq!(check(&entries[2..]), [FaultKind::Missing]);
        let in_a_year = Timestamp::now().saturating_add(YEAR).unwrap_or_default();
        assert_eq!(check_at(&entries[2..], in_a_year), []);
    }

    #[test]
    fn heads_of_others_are_noted() {
        let other = chain(1).remove(0).head();
        let mut mine = Chain::new();
        let note = Some(format!("{other} nonsense"));
        let started = mine.seal(AuditEntry::of_log(
            AuditEvent::ChainStarted,
            Timestamp::now(),
            note,
        ));
        let mut check = ChainCheck::new(mine.id(), YEAR, Timestamp::now());
        check.read(&started);
        assert_eq!(check.noted, std::slice::from_ref(&other));
        assert!(check.is_kept(&other));
        let old = Head { at: 0, ..other };
        assert!(!check.is_kept(&old));
    }

    #[test]
    fn an_entry_that_was_rewritten_with_its_hash_breaks_the_link() {
        let mut entries = chain(3);
        entries[1].entry.client_id = Some("nobody".to_owned());
        entries[1].hash = entries[1].digest();
        assert_eq!(check(&entries), [FaultKind::Unlinked]);
    }

    proptest! {
        #[test]
        fn a_whole_chain_has_no_fault(length in 1..30_usize) {
            prop_assert_eq!(check(&chain(length)), []);
        }

        #[test]
        fn a_removed_entry_shows(length in 3..30_usize, place in 0..28_usize) {
            let mut entries = chain(length);
            // The last one is what only other chains can tell.
            entries.remove(place.min(length - 2));
            prop_assert_eq!(check(&entries), [FaultKind::Missing]);
        }

        #[test]
        fn a_changed_field_shows(field in 0..6_usize, place in 0..5_usize) {
            let mut entries = chain(5);
            let entry = &mut entries[place].entry;
            match field {
                0 => entry.client_id = None,
                1 => entry.key_id = Some("k".to_owned()),
                2 => entry.status = Some(200),
                3 => entry.at = Timestamp::UNIX_EPOCH,
                4 => entry.event = AuditEvent::AdminAction,
                _ => entry.note = Some("a".to_owned()),
            }
            prop_assert_eq!(check(&entries), [FaultKind::Changed]);
        }

        #[test]
        fn two_entries_that_change_places_show(place in 0..4_usize) {
            let mut entries = chain(5);
            entries.swap(place, place + 1);
            prop_assert!(!check(&entries).is_empty());
        }
    }
}

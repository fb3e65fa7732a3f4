//! What to do about one transit key: rotate it, rewrap what is stored, disable old versions, or nothing. Pure.

use jiff::{SignedDuration, Timestamp};

/// How long something encrypted with an old version of a key may still be on its way: from Vault into MongoDB, or from
/// MongoDB to Vault to be decrypted. Both take seconds; the rest is for clocks that disagree.
pub const ON_ITS_WAY: SignedDuration = SignedDuration::from_hours(1);

/// The versions of a transit key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyVersions {
    /// The newest, which encrypts.
    pub latest: u32,
    /// When the newest was made.
    pub latest_at: Timestamp,
    /// The oldest that decrypts.
    pub oldest_usable: u32,
}

/// What the status remembers of the newest version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Stored secrets of older versions, when they were counted last.
    pub remaining: Option<u64>,
    /// When a count found none first, at least [`ON_ITS_WAY`] after the rotation.
    pub clean_since: Option<Timestamp>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time.
    Rest(Timestamp),
    /// Make a new version.
    Rotate,
    /// Count what is stored of older versions, and decide again.
    Count,
    /// Rewrap what is stored of older versions.
    Rewrap,
    /// Remember that nothing of older versions is stored.
    NoteClean,
    /// Disable every version but the newest.
    Disable,
}

/// What to do about a key at `now`; `older` is the number of stored secrets of older versions, if it was counted just now.
///
/// Old versions are disabled when two counts found none that lie at least [`ON_ITS_WAY`] apart, the first at least as long
/// after the rotation: then nothing of them can be stored any more, and whoever read such a ciphertext has decrypted it.
/// Until then the key is not rotated again, however old it is.
pub fn decide(
    now: Timestamp,
    key: &KeyVersions,
    interval: SignedDuration,
    progress: Progress,
    older: Option<u64>,
) -> Step {
    if key.oldest_usable >= key.latest {
        let due = due(key, interval);
        return if due <= now { Step::Rotate } else { Step::Rest(due) };
    }
    let settled = after(key.latest_at, ON_ITS_WAY);
    let clean_since = progress.clean_since.filter(|since| *since >= settled);
    // No count before there is something that it decides.
    let next_count = match (clean_since, progress.remaining) {
        (Some(since), _) => after(since, ON_ITS_WAY),
        (None, Some(0)) => settled,
        (None, _) => now,
    };
    match older {
        Some(0) if now < settled => Step::Rest(settled),
        Some(0) if clean_since.is_none() => Step::NoteClean,
        Some(0) if now >= next_count => Step::Disable,
        Some(0) => Step::Rest(next_count),
        Some(_) => Step::Rewrap,
        None if now < next_count => Step::Rest(next_count),
        None => Step::Count,
    }
}

/// When the key is to be rotated.
pub(super) fn due(key: &KeyVersions, interval: SignedDuration) -> Timestamp {
    after(key.latest_at, interval)
}

fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);
    const INTERVAL: SignedDuration = SignedDuration::from_hours(24 * 90);

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn key(latest: u32, oldest_usable: u32) -> KeyVersions {
        KeyVersions {
            latest,
            latest_at: at(0),
            oldest_usable,
        }
    }

    fn noted(remaining: Option<u64>, clean_since: Option<Timestamp>) -> Progress {
        Progress {
            remaining,
            clean_since,
        }
    }

    #[test]
    fn a_key_is_rotated_when_its_time_is_over_and_nothing_of_an_older_version_is_left() {
        let step = |now, key| decide(now, &key, INTERVAL, Progress::default(), None);
        assert_eq!(step(at(24 * 90 - 1), key(3, 3)), Step::Rest(at(24 * 90)));
        assert_eq!(step(at(24 * 90), key(3, 3)), Step::Rotate);
        assert_eq!(step(at(24 * 900), key(3, 2)), Step::Count);
    }

    #[test]
    fn old_versions_are_disabled_after_two_counts_far_enough_apart() {
        let step = |now, progress, older| decide(now, &key(2, 1), DAY, progress, older);
        let unknown = noted(None, None);
        assert_eq!(step(at(0), unknown, Some(5)), Step::Rewrap);
        assert_eq!(step(at(0), unknown, Some(0)), Step::Rest(at(1)));
        assert_eq!(step(at(0), noted(Some(0), None), None), Step::Rest(at(1)));
        assert_eq!(step(at(1), noted(Some(0), None), None), Step::Count);
        assert_eq!(step(at(1), noted(Some(0), None), Some(0)), Step::NoteClean);
        let clean = noted(Some(0), Some(at(1)));
        assert_eq!(step(at(1), clean, None), Step::Rest(at(2)));
        assert_eq!(step(at(1), clean, Some(0)), Step::Rest(at(2)));
        assert_eq!(step(at(2), clean, None), Step::Count);
        assert_eq!(step(at(2), clean, Some(0)), Step::Disable);
        assert_eq!(step(at(2), clean, Some(1)), Step::Rewrap);
    }

    #[test]
    fn a_note_from_before_everything_settled_counts_for_nothing() {
        let early = noted(Some(0), Some(at(0)));
        assert_eq!(decide(at(5), &key(2, 1), DAY, early, Some(0)), Step::NoteClean);
    }
}

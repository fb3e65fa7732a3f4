//! What the status says of the transit keys, and what it remembers. Pure.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{KeyVersions, Progress, due};
use super::pass::Passed;
use super::{RotationError, TransitKey};
use crate::crd::{FlickrHubStatus, TransitKeyStatus};
use crate::engine::{SOON, count};
use crate::status::condition;

/// The condition: whether the keys are rotated as the hub wants it.
pub const KEYS_ROTATED: &str = "KeysRotated";
/// When to look again at something that waits for a person.
const WAITS: Duration = Duration::from_mins(5);

/// Where a key stands after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLook {
    /// The key.
    pub key: TransitKey,
    /// Its versions.
    pub versions: KeyVersions,
    /// When it is to be rotated.
    pub due: Timestamp,
    /// What is to be remembered.
    pub progress: Progress,
    /// Nothing is to be done before.
    pub rest_until: Option<Timestamp>,
    /// Stored documents that the key does not decrypt; zero if that is not known.
    pub unreadable: u64,
    /// Whether it was rotated just now.
    pub rotated: bool,
}

impl KeyLook {
    pub(super) fn new(
        key: TransitKey,
        versions: KeyVersions,
        interval: SignedDuration,
        progress: Progress,
    ) -> Self {
        Self {
            key,
            versions,
            due: due(&versions, interval),
            progress,
            rest_until: None,
            unreadable: 0,
            rotated: false,
        }
    }

    /// So many documents are left.
    pub(super) fn counted(&mut self, older: u64) {
        self.progress.remaining = Some(older);
        if older > 0 {
            self.progress.clean_since = None;
        }
    }

    /// After a pass.
    pub(super) fn passed(&mut self, passed: Passed) {
        let remaining = self.progress.remaining.unwrap_or_default();
        self.progress.remaining = Some(remaining.saturating_sub(passed.rewrapped));
        self.unreadable = passed.unreadable;
    }

    /// What the status says.
    fn status(&self) -> TransitKeyStatus {
        let rewrapping = self.versions.oldest_usable < self.versions.latest;
        let remaining = self.progress.remaining.filter(|_| rewrapping);
        TransitKeyStatus {
            name: self.key.name().to_owned(),
            version: self.versions.latest,
            oldest_usable_version: self.versions.oldest_usable,
            rotated_at: Time(self.versions.latest_at),
            next_rotation: Time(self.due),
            remaining: remaining.map(|remaining| i64::try_from(remaining).unwrap_or(i64::MAX)),
            rewrapped_at: self.progress.clean_since.filter(|_| rewrapping).map(Time),
        }
    }

    fn look_again(&self) -> Option<Duration> {
        if self.unreadable > 0 {
            return Some(WAITS);
        }
        match self.rest_until {
            // The reconciliations that come anyway are often enough.
            Some(_) => None,
            None if self.progress.remaining.is_some_and(|remaining| remaining > 0) => Some(SOON),
            None => None,
        }
    }
}

/// What a look at the keys came to.
#[derive(Clone, Debug, PartialEq)]
pub struct RotationReport {
    /// Every key, as the status says it.
    pub keys: Vec<TransitKeyStatus>,
    /// Whether all is as it should be.
    pub holds: bool,
    /// One word in `CamelCase`.
    pub reason: Cow<'static, str>,
    /// A sentence that tells what is the case and, if something is wrong, what to do.
    pub message: String,
    /// When to look again.
    pub look_again: Option<Duration>,
    /// The keys that were rotated just now.
    pub rotated: Vec<&'static str>,
}

impl RotationReport {
    /// What the last look came to, by the status: it holds still. `None` if the status tells of no look.
    pub fn of_last_look(status: &FlickrHubStatus) -> Option<Self> {
        let condition = condition(Some(status), KEYS_ROTATED)?;
        Some(Self {
            keys: status.transit_keys.clone(),
            holds: condition.status == "True",
            reason: Cow::Owned(condition.reason.clone()),
            message: condition.message.clone(),
            look_again: None,
            rotated: Vec::new(),
        })
    }

    /// Nothing could be looked at.
    pub(super) fn failed(known: &[TransitKeyStatus], error: &RotationError) -> Self {
        Self::new(&[], known, Some(error))
    }

    /// After a look at some or all keys; of the others the status stays as it is known.
    pub(super) fn new(looks: &[KeyLook], known: &[TransitKeyStatus], error: Option<&RotationError>) -> Self {
        let seen = |name: &str| looks.iter().any(|look| look.key.name() == name);
        let unseen = known.iter().filter(|status| !seen(&status.name)).cloned();
        let keys = looks.iter().map(KeyLook::status).chain(unseen).collect();
        let (holds, reason, message) = match error {
            Some(error) => of_error(error),
            None => of_looks(looks),
        };
        Self {
            keys,
            holds,
            reason: Cow::Borrowed(reason),
            message,
            look_again: looks.iter().filter_map(KeyLook::look_again).min(),
            rotated: looks
                .iter()
                .filter(|look| look.rotated)
                .map(|look| look.key.name())
                .collect(),
        }
    }
}

fn of_error(error: &RotationError) -> (bool, &'static str, String) {
    if error.is_denied() {
        let message = "Vault does not let the operator rotate the transit keys: give it the policy of docs/external-vault.md. \
            Everything else goes on.";
        (false, "RotationDenied", message.to_owned())
    } else {
        let message = format!("The rotation of the transit keys cannot go on: {error}. It is tried again.");
        (false, "RotationFailed", message)
    }
}

fn of_looks(looks: &[KeyLook]) -> (bool, &'static str, String) {
    let unreadable: u64 = looks.iter().map(|look| look.unreadable).sum();
    if unreadable > 0 {
        let documents = count(usize::try_from(unreadable).unwrap_or(usize::MAX), "document");
        let message = format!(
            "{documents} in MongoDB cannot be rewrapped, because the key does not decrypt what is in them; old versions \
             of the key stay usable. After a restore from an older backup lower min_decryption_version of the key, see \
             docs/key-rotation.md."
        );
        return (false, "Unreadable", message);
    }
    let mut sentences: Vec<String> = Vec::new();
    for look in looks {
        let (name, version) = (look.key.name(), look.versions.latest);
        if look.versions.oldest_usable >= version {
            continue;
        }
        sentences.push(match (look.progress.remaining, look.progress.clean_since) {
            (Some(0), _) | (_, Some(_)) => format!(
                "Nothing stored needs a version of {name} before {version} any more; those are disabled when nothing can be \
                 on its way."
            ),
            _ => format!("What is stored is rewrapped with version {version} of {name}."),
        });
    }
    if sentences.is_empty() {
        let next = looks.iter().map(|look| look.due).min();
        let next = next
            .map(|next| next.strftime("%Y-%m-%d").to_string())
            .unwrap_or_default();
        (true, "UpToDate", format!("The next rotation is due on {next}."))
    } else {
        (true, "Rewrapping", sentences.join(" "))
    }
}

/// What the status remembers of the newest version of a key.
pub(super) fn progress(key: TransitKey, versions: &KeyVersions, known: &[TransitKeyStatus]) -> Progress {
    let known = known
        .iter()
        .find(|status| status.name == key.name() && status.version == versions.latest);
    known.map_or_else(Progress::default, |status| Progress {
        remaining: status
            .remaining
            .and_then(|remaining| u64::try_from(remaining).ok()),
        clean_since: status.rewrapped_at.as_ref().map(|time| time.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(oldest_usable: u32, progress: Progress) -> KeyLook {
        let versions = KeyVersions {
            latest: 3,
            latest_at: Timestamp::constant(1_800_000_000, 0),
            oldest_usable,
        };
        KeyLook::new(
            TransitKey::UserTokens,
            versions,
            SignedDuration::from_hours(24),
            progress,
        )
    }

    #[test]
    fn what_is_remembered_is_read_back_for_the_same_version_only() {
        let noted = Progress {
            remaining: Some(0),
            clean_since: Some(Timestamp::constant(1_800_003_600, 0)),
        };
        let look = look(2, noted);
        let status = [look.status()];
        assert_eq!(progress(look.key, &look.versions, &status), noted);
        let newer = KeyVersions {
            latest: 4,
            ..look.versions
        };
        assert_eq!(progress(look.key, &newer, &status), Progress::default());
        assert_eq!(
            progress(TransitKey::AppCredentials, &look.versions, &status),
            Progress::default()
        );
    }

    #[test]
    fn a_key_at_rest_says_when_it_is_rotated_next() {
        let report = RotationReport::new(&[look(3, Progress::default())], &[], None);
        assert_eq!(
            (report.holds, report.reason.as_ref(), report.look_again),
            (true, "UpToDate", None)
        );
        assert_eq!(report.message, "The next rotation is due on 2027-01-16.");
    }

    #[test]
    fn a_rewrap_under_way_goes_on_soon() {
        let mut under_way = look(2, Progress::default());
        under_way.counted(250);
        under_way.passed(Passed {
            rewrapped: 100,
            ..Passed::default()
        });
        let report = RotationReport::new(&[under_way], &[], None);
        assert_eq!(
            (report.reason.as_ref(), report.look_again),
            ("Rewrapping", Some(SOON))
        );
        assert_eq!(report.keys.first().and_then(|key| key.remaining), Some(150));
    }

    #[test]
    fn what_cannot_be_rewrapped_is_told_and_not_tried_all_the_time() {
        let mut damaged = look(2, Progress::default());
        damaged.counted(1);
        damaged.passed(Passed {
            unreadable: 1,
            complete: true,
            ..Passed::default()
        });
        let report = RotationReport::new(&[damaged], &[], None);
        assert_eq!(
            (report.holds, report.reason.as_ref(), report.look_again),
            (false, "Unreadable", Some(WAITS))
        );
    }

    #[test]
    fn a_denial_and_an_outage_keep_what_was_known() {
        use crate::engine::vault::ApiError;
        let known = [look(2, Progress::default()).status()];
        let denied = RotationReport::failed(&known, &ApiError::Forbidden.into());
        assert_eq!((denied.holds, denied.reason.as_ref()), (false, "RotationDenied"));
        assert_eq!(denied.keys, known);
        let failed = RotationReport::failed(&known, &ApiError::Incomplete("an answer").into());
        assert_eq!(failed.reason, "RotationFailed");
    }
}

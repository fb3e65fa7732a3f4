//! Checks that were passed a short time ago, so that they are not made at each look.
//!
//! A look at a hub that is well finds out whether its engines work and who leads. Beside that there is what only a person, or
//! the operator itself, can change: users, the default client, transit keys, the certificate that a server shows. To check that
//! takes logins and handshakes with every member, which is most of what the operator costs at rest. So what was found right is
//! taken for right for [`KEPT`], as long as everything that it was checked against is the same and the data tier works.
//!
//! It is in memory alone: a process that begins makes every check.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flickrhub_job::connection::trust::Trust;

use crate::build::checksum;
use crate::validate::ValidatedHub;

/// For how long a check that was passed holds.
pub const KEPT: Duration = Duration::from_mins(5);

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// The users of MongoDB, with their rights and passwords, and the indexes of the audit log.
    MongoDbUsers,
    /// The certificate that every member of MongoDB shows.
    MongoDbCertificate,
    /// The API client that every hub starts with.
    DefaultClient,
    /// That nothing is due of the transit keys.
    TransitKeys,
    /// That every pod logs in to a managed OpenBao by a token that is for it alone.
    VaultAudience,
}

/// A check of one hub, against what it is made. Only a checksum of that is kept, which tells nothing of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Against {
    key: (String, Check),
    inputs: String,
}

impl Against {
    /// A check of a hub against these texts and the authorities that it trusts.
    pub fn new<'a>(hub: &'a ValidatedHub, check: Check, inputs: impl IntoIterator<Item = &'a str>) -> Self {
        let trust = hub.trust.iter().map(Trust::pem);
        Self {
            key: (hub.uid.clone(), check),
            inputs: checksum::of_texts(inputs.into_iter().chain(trust)),
        }
    }
}

/// What was passed when, and against which inputs, by hub and check.
type Noted = HashMap<(String, Check), (String, Instant)>;

/// The checks that hubs passed a short time ago.
#[derive(Default)]
pub struct PassedChecks {
    passed: Mutex<Noted>,
}

impl PassedChecks {
    /// Whether this was checked, and passed, a short time ago.
    pub fn holds(&self, check: &Against) -> bool {
        self.holds_at(check, Instant::now())
    }

    /// Notes that it was passed.
    pub fn note(&self, check: Against) {
        self.note_at(check, Instant::now());
    }

    /// Makes every check of a hub anew: something of it does not work, and nobody knows what that changes.
    pub fn forget(&self, hub: &ValidatedHub) {
        self.lock().retain(|(uid, _), _| *uid != hub.uid);
    }

    fn holds_at(&self, check: &Against, now: Instant) -> bool {
        self.lock()
            .get(&check.key)
            .is_some_and(|(inputs, at)| *inputs == check.inputs && now.duration_since(*at) < KEPT)
    }

    fn note_at(&self, check: Against, now: Instant) {
        let mut passed = self.lock();
        // Hubs that are gone, too.
        passed.retain(|_, (_, at)| now.duration_since(*at) < KEPT);
        passed.insert(check.key, (check.inputs, now));
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn check(check: Check, password: &str) -> Against {
        let hub = fixtures::validated(&fixtures::minimal());
        Against::new(&hub, check, [password])
    }

    #[test]
    fn a_check_holds_for_a_time_and_for_the_same_inputs_alone() {
        let (passed, now) = (PassedChecks::default(), Instant::now());
        let users = check(Check::MongoDbUsers, "a");
        assert!(!passed.holds_at(&users, now));
        passed.note_at(users.clone(), now);
        assert!(passed.holds_at(&users, now + KEPT / 2));
        assert!(!passed.holds_at(&users, now + KEPT));
        assert!(!passed.holds_at(&check(Check::MongoDbUsers, "b"), now));
        assert!(!passed.holds_at(&check(Check::DefaultClient, "a"), now));
    }

    #[test]
    fn nothing_holds_of_a_hub_that_does_not_work_and_old_checks_take_no_memory() {
        let (passed, now) = (PassedChecks::default(), Instant::now());
        let users = check(Check::MongoDbUsers, "a");
        passed.note_at(users.clone(), now);
        passed.forget(&fixtures::validated(&fixtures::minimal()));
        assert!(!passed.holds_at(&users, now));
        passed.note_at(users, now);
        passed.note_at(check(Check::TransitKeys, "a"), now + KEPT);
        assert_eq!(passed.lock().len(), 1);
    }

    #[test]
    fn nothing_that_is_kept_tells_a_secret() {
        assert!(!format!("{:?}", check(Check::DefaultClient, "hunter2")).contains("hunter2"));
    }
}

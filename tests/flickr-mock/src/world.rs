//! Everything the server knows, behind one lock.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    callback::Callbacks, catalog::Catalog, fault::Faults, journal::Journal, nonce::Nonces, user::Users,
};

/// What stays the same as long as the server runs.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Applications: key to secret.
    pub(crate) apps: HashMap<String, String>,
    /// Whether `authorize` approves without asking.
    pub(crate) auto_approve: bool,
    /// How long an asynchronous upload takes.
    pub(crate) ticket_delay: Duration,
    /// Requests an hour that an application may make; without, any number.
    pub(crate) requests_per_hour: Option<usize>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("apps", &self.apps.keys())
            .field("auto_approve", &self.auto_approve)
            .field("ticket_delay", &self.ticket_delay)
            .field("requests_per_hour", &self.requests_per_hour)
            .finish()
    }
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) users: Users,
    pub(crate) catalog: Catalog,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) nonces: Nonces,
    pub(crate) callbacks: Callbacks,
    pub(crate) budgets: Budgets,
}

/// Settings and state.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    state: Mutex<State>,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    /// The state. Never held across an `await`.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // State is whole after every statement, so that a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests of the last hour, by application.
#[derive(Debug, Default)]
pub(crate) struct Budgets(HashMap<String, VecDeque<Instant>>);

impl Budgets {
    /// Counts a request; false when `limit` within the last hour is spent. As Flickr does, refused
    /// requests do not count.
    pub(crate) fn spend(&mut self, key: &str, limit: usize, now: Instant) -> bool {
        const HOUR: Duration = Duration::from_hours(1);
        let spent = self.0.entry(key.to_owned()).or_default();
        while spent
            .front()
            .is_some_and(|first| now.duration_since(*first) >= HOUR)
        {
            spent.pop_front();
        }
        let may = spent.len() < limit;
        if may {
            spent.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_per_application_and_slides() {
        let start = Instant::now();
        let mut budgets = Budgets::default();
        assert!(budgets.spend("a", 2, start));
        assert!(budgets.spend("a", 2, start + Duration::from_mins(30)));
        assert!(!budgets.spend("a", 2, start + Duration::from_mins(59)));
        assert!(budgets.spend("b", 2, start));
        assert!(budgets.spend("a", 2, start + Duration::from_hours(1)));
        assert!(!budgets.spend("a", 2, start + Duration::from_mins(61)));
    }
}

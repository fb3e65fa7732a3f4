//! The settings that the scripts work by; they are kept in Redis, so that every script of every process has the same.

use std::collections::BTreeMap;
use std::time::Duration;

use super::breaker::BreakerConfig;
use crate::config::Config;
use crate::connection::redis;
use crate::limits::Limits;

/// How long Flickr counts a request.
const HOUR: Duration = Duration::from_hours(1);

/// By how much longer we count it: [`super::USABLE`], the time of a connection, and what the network and the clocks of two
/// Redis members may differ by.
pub const MARGIN: Duration = Duration::from_secs(15);

/// The budgets and when circuits open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// For how long a request counts; the hour and [`MARGIN`], shorter only in tests.
    pub span: Duration,
    /// Requests of one user's token within the span.
    pub per_user: u32,
    /// Requests of each application within the span, by its name.
    pub apps: BTreeMap<String, u32>,
    /// When circuits open, and for how long.
    pub breaker: BreakerConfig,
}

impl BudgetSettings {
    /// The settings of a configuration, and of the limits as they are now.
    #[must_use]
    pub fn of(config: &Config, limits: &Limits) -> Self {
        let apps = config.flickr.apps.iter();
        Self {
            span: HOUR + MARGIN,
            per_user: limits.per_user_per_hour,
            apps: apps
                .map(|app| (app.name.clone(), app.requests_per_hour))
                .collect(),
            breaker: limits.breaker.clone(),
        }
    }

    /// By the names that `budget.lua` has for them.
    pub(super) fn named(&self) -> [(&'static str, u64); 8] {
        let milliseconds = |seconds: u32| u64::from(seconds) * 1000;
        let breaker = &self.breaker;
        [
            ("span", redis::milliseconds(self.span)),
            ("user", self.per_user.into()),
            ("opening", milliseconds(breaker.open_seconds)),
            ("longest", milliseconds(breaker.longest_open_seconds)),
            ("window", milliseconds(breaker.window_seconds.max(1))),
            ("requests", breaker.min_requests.into()),
            ("percent", breaker.failure_percent.into()),
            ("lease", milliseconds(breaker.probe_lease_seconds)),
        ]
    }
}

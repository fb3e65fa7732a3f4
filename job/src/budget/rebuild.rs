//! Writing the settings, and making the logs whole again after Redis lost some of them.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::scripts;
use super::{BudgetSettings, FlickrBudget};
use crate::connection::redis::{RedisError, milliseconds};

/// For how long a rebuild may go on.
const REBUILD: Duration = Duration::from_mins(2);

/// What the logs lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// Perhaps everything: Redis is new, or was emptied.
    Everything,
    /// Perhaps the last requests: another server has become the master, or the same one has started again.
    Last,
}

/// One rebuild of the logs, by one process; others may be at it at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuild(String);

impl Rebuild {
    /// The id, as it is in the name of its key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }
}

/// Whose requests a log counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// An application's.
    App(String),
    /// A user's.
    User(String),
}

impl FlickrBudget {
    /// Writes the settings. Scripts work by them from the next one on.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn configure(&self, settings: &BudgetSettings) -> Result<(), RedisError> {
        let named = settings.named();
        let mut call = self.call(&scripts::CONFIGURE);
        call.arg(named.len());
        for (name, value) in named {
            call.arg(name).arg(value);
        }
        for (app, limit) in &settings.apps {
            call.arg(app).arg(*limit);
        }
        self.redis.script::<()>(&call).await
    }

    /// Whether the logs have to be rebuilt, and the right to end it ([`FlickrBudget::end_rebuild`]) if nothing is lost once
    /// more until then. Requests have to be read after this, not before.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn begin_rebuild(&self) -> Result<(Lost, Rebuild), RedisError> {
        let rebuild = Rebuild(Uuid::new_v4().simple().to_string());
        let mut call = self.call(&scripts::LOST);
        call.arg(&rebuild.0).arg(milliseconds(REBUILD));
        let lost = match self.redis.script::<i64>(&call).await? {
            0 => Lost::Nothing,
            1 => Lost::Everything,
            _ => Lost::Last,
        };
        Ok((lost, rebuild))
    }

    /// Adds to a log those of `requests` (ascending, none before it was made) that it may lack; how many.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn restore(&self, whose: &Whose, requests: &[Timestamp]) -> Result<u64, RedisError> {
        let key = match whose {
            Whose::App(app) => format!("app:{app}"),
            Whose::User(user) => format!("user:{user}"),
        };
        let mut call = self.call(&scripts::RESTORE);
        call.arg(key);
        for request in requests {
            call.arg(request.as_millisecond());
        }
        self.redis.script(&call).await
    }

    /// Ends a rebuild, after which permits are given again; `false` when something was lost since it began.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn end_rebuild(&self, rebuild: &Rebuild) -> Result<bool, RedisError> {
        let mut call = self.call(&scripts::WHOLE);
        call.arg(&rebuild.0);
        Ok(self.redis.script::<i64>(&call).await? == 1)
    }
}

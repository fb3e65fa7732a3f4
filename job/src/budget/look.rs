//! How budgets and circuits stand, for the API, the metrics and the operator.

use jiff::Timestamp;

use super::scripts;
use super::{Endpoint, FlickrBudget};
use crate::connection::redis::RedisError;

/// A budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetState {
    /// Requests that it allows in the window.
    pub limit: u32,
    /// Requests of the window so far.
    pub used: u32,
    /// When the oldest of them stops to count; none without one.
    pub frees_at: Option<Timestamp>,
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CircuitState {
    /// Requests are sent.
    Closed,
    /// One request at a time is sent, to see whether Flickr answers again.
    HalfOpen,
    /// Nothing is sent.
    Open,
}

impl CircuitState {
    const fn of(number: i64) -> Self {
        match number {
            0 => Self::Closed,
            1 => Self::HalfOpen,
            _ => Self::Open,
        }
    }

    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// The number in metrics: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// A circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitView {
    /// Which of Flickr's hosts it is for.
    pub endpoint: Endpoint,
    /// Its state.
    pub state: CircuitState,
    /// Until when it is in this state at most, unless it is closed.
    pub until: Option<Timestamp>,
}

/// How an application stands, and one of its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// False while budgets are rebuilt; nothing is sent then.
    pub whole: bool,
    /// The application's budget.
    pub app: BudgetState,
    /// Its circuits.
    pub circuits: [CircuitView; 2],
    /// The user's budget.
    pub user: BudgetState,
}

impl Standing {
    /// The circuit of an endpoint.
    #[must_use]
    pub const fn circuit(&self, endpoint: Endpoint) -> CircuitView {
        let [rest, upload] = self.circuits;
        match endpoint {
            Endpoint::Rest => rest,
            Endpoint::Upload => upload,
        }
    }
}

impl FlickrBudget {
    /// How `app` and `user` stand; without a user, an unused budget stands for one.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn look(&self, app: &str, user: Option<&str>) -> Result<Standing, RedisError> {
        let mut call = self.call(&scripts::LOOK);
        call.arg(app).arg(user.unwrap_or_default());
        let answer: [i64; 12] = self.redis.script(&call).await?;
        let [
            _,
            whole,
            limit,
            used,
            frees,
            rest,
            rest_until,
            upload,
            upload_until,
            user_limit,
            used_by_user,
            user_frees,
        ] = answer;
        let circuit = |endpoint, state, until| CircuitView {
            endpoint,
            state: CircuitState::of(state),
            until: time(until),
        };
        Ok(Standing {
            whole: whole == 1,
            app: budget(limit, used, frees),
            circuits: [
                circuit(Endpoint::Rest, rest, rest_until),
                circuit(Endpoint::Upload, upload, upload_until),
            ],
            user: budget(user_limit, used_by_user, user_frees),
        })
    }
}

fn budget(limit: i64, used: i64, frees: i64) -> BudgetState {
    let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
    BudgetState {
        limit: count(limit),
        used: count(used),
        frees_at: time(frees),
    }
}

fn time(milliseconds: i64) -> Option<Timestamp> {
    (milliseconds > 0)
        .then(|| Timestamp::from_millisecond(milliseconds).ok())
        .flatten()
}

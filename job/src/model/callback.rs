//! The callback of a job: whom to tell that it is over, and how that goes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where the delivery of a callback stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbackState {
    /// The job is not in a final state yet.
    Waiting,
    /// Due, or waiting for its next try.
    Pending,
    /// The receiver answered 2xx.
    Delivered,
    /// Given up.
    Failed,
}

impl CallbackState {
    /// The name in MongoDB and in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// Why a callback was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbackFailure {
    /// The receiver answered 410, which disabled its address.
    Gone,
    /// The address had been disabled before; nothing was sent.
    Disabled,
    /// The receiver did not take it within a day.
    Exhausted,
    /// There is nobody to deliver to: the client was removed, or the address is none.
    NoReceiver,
}

impl CallbackFailure {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Gone, Self::Disabled, Self::Exhausted, Self::NoReceiver];

    /// The name in MongoDB and in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Disabled => "disabled",
            Self::Exhausted => "exhausted",
            Self::NoReceiver => "no_receiver",
        }
    }
}

/// The callback of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// Where to deliver; https, or http where the configuration allows its network.
    pub url: String,
    /// Where the delivery stands.
    pub state: CallbackState,
    /// Tries so far; a retry that the client asked for begins to count anew.
    pub attempts: u32,
    /// The next try is not before this time; while a try is under way, the end of its lease.
    #[serde(with = "crate::store::time::option")]
    pub next_at: Option<Timestamp>,
    /// Why it was given up; `None` in every state but [`CallbackState::Failed`], and where an older version gave it up.
    #[serde(default)]
    pub failure: Option<CallbackFailure>,
    /// When the client asked for another day of tries; `None`: the day began with the end of the job.
    #[serde(default, with = "crate::store::time::option")]
    pub retried_at: Option<Timestamp>,
}

impl Callback {
    /// The callback of a job that is not finished yet.
    pub fn waiting(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            state: CallbackState::Waiting,
            attempts: 0,
            next_at: None,
            failure: None,
            retried_at: None,
        }
    }
}

//! What one try to deliver a callback came to.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a try came to, by kind: in the delivery log, in metrics and in logs. It tells nothing of the answer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TryOutcome {
    /// The receiver answered 2xx.
    Delivered,
    /// The receiver answered 410: it wants no more callbacks at this address.
    Gone,
    /// The receiver answered 3xx, which is not followed.
    Redirect,
    /// The receiver answered with another status.
    Status,
    /// The address is none that a callback may go to; nothing was sent.
    RefusedAddress,
    /// No complete answer in time.
    Timeout,
    /// The receiver's certificate does not hold, or it does not speak TLS as we do.
    Tls,
    /// The host has no address, or nobody listens there.
    Unreachable,
    /// The connection ended before the answer.
    ConnectionLost,
    /// It could not be made or signed, for a reason on our side that concerns this callback.
    NotSent,
    /// The address was disabled before; nothing was sent.
    Disabled,
    /// There is nobody to deliver to; nothing was sent.
    NoReceiver,
}

impl TryOutcome {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Delivered,
        Self::Gone,
        Self::Redirect,
        Self::Status,
        Self::RefusedAddress,
        Self::Timeout,
        Self::Tls,
        Self::Unreachable,
        Self::ConnectionLost,
        Self::NotSent,
        Self::Disabled,
        Self::NoReceiver,
    ];

    /// The name in MongoDB, in metrics and in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Redirect => "redirect",
            Self::Status => "status",
            Self::RefusedAddress => "refused_address",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Unreachable => "unreachable",
            Self::ConnectionLost => "connection_lost",
            Self::NotSent => "not_sent",
            Self::Disabled => "disabled",
            Self::NoReceiver => "no_receiver",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// What it came to.
    pub outcome: TryOutcome,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What the receiver asked for by `Retry-After`, at most 24 h; wait for it when it is longer than the schedule.
    pub retry_after: Option<Duration>,
}

impl Try {
    /// A try without an answer.
    pub const fn unanswered(outcome: TryOutcome) -> Self {
        Self {
            outcome,
            status: None,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_found_by_its_name_and_serialised_as_it() {
        for outcome in TryOutcome::ALL {
            assert_eq!(TryOutcome::from_name(outcome.name()), Some(outcome));
            assert_eq!(
                serde_json::to_value(outcome).ok(),
                Some(serde_json::Value::from(outcome.name()))
            );
        }
        assert_eq!(TryOutcome::from_name("lost"), None);
    }
}

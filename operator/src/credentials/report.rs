//! What the status says of the credentials. Pure.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::Phase;
use super::store::{Stored, name};
use crate::crd::CredentialStatus;
use crate::engine::SOON;

/// The condition: whether the credentials are those that the hub wants, and no others hold.
pub const CREDENTIALS_ROTATED: &str = "CredentialsRotated";
/// When to look again at something that is under way: the kubelet takes a minute or two to bring files into pods.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// What a look at the credentials came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Every engine, as the status says it.
    pub credentials: Vec<CredentialStatus>,
    /// Whether all is as it should be.
    pub holds: bool,
    /// One word in `CamelCase`.
    pub reason: &'static str,
    /// A sentence that tells what is the case.
    pub message: String,
    /// When to look again.
    pub look_again: Option<Duration>,
    /// The engine whose credentials began to be replaced just now.
    pub began: Option<&'static str>,
    /// The engine whose credentials were replaced just now: the old ones are refused.
    pub ended: Option<&'static str>,
}

impl Report {
    /// Nothing is under way or due.
    pub(super) fn at_rest(all: &[Stored]) -> Self {
        Self::new(
            all,
            true,
            "UpToDate",
            "No credential is due to be replaced.".to_owned(),
            None,
        )
    }

    /// Something is due, and this is no time to begin.
    pub(super) fn waits(all: &[Stored]) -> Self {
        let message = "Credentials are to be replaced as soon as every part is ready and nothing else is being changed.";
        Self::new(all, false, "WaitsForHub", message.to_owned(), None)
    }

    /// Credentials of an engine are being replaced, which waits for this; `None`: it goes on at once.
    pub(super) fn under_way(all: &[Stored], of: &Stored, waits_for: Option<String>) -> Self {
        let what = match of.phase {
            Phase::Rest | Phase::Prepared => "every member has to accept the new one",
            Phase::Promoted => "everybody who logs in has to use the new one",
            Phase::Retiring => "every member has to refuse the old one",
        };
        let look_again = if waits_for.is_some() { UNDER_WAY } else { SOON };
        let why = waits_for.map_or_else(String::new, |why| format!(": {why}"));
        let message = format!(
            "The credentials of {} are being replaced; {what}{why}.",
            name(of.part)
        );
        Self::new(all, false, "Rotating", message, Some(look_again))
    }

    /// A step failed, which is tried again.
    pub(super) fn failed(all: &[Stored], of: &Stored, error: &impl std::fmt::Display) -> Self {
        let message = format!(
            "The credentials of {} cannot be replaced now: {error}.",
            name(of.part)
        );
        Self::new(all, false, "RotationFailed", message, Some(UNDER_WAY))
    }

    fn new(
        all: &[Stored],
        holds: bool,
        reason: &'static str,
        message: String,
        look_again: Option<Duration>,
    ) -> Self {
        Self {
            credentials: all.iter().map(status).collect(),
            holds,
            reason,
            message,
            look_again,
            began: None,
            ended: None,
        }
    }
}

fn status(stored: &Stored) -> CredentialStatus {
    CredentialStatus {
        name: name(stored.part).to_owned(),
        phase: stored.phase.as_str().to_owned(),
        rotated_at: stored.since.map(Time),
    }
}

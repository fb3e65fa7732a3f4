//! How far a reconciliation brought a hub, and what follows for its status and for the next look. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::apply::ApplyError;
use crate::backoff;
use crate::consent::BuildReport;
use crate::crd::FlickrHubStatus;
use crate::credentials;
use crate::engine::redis::OpenCircuit;
use crate::engine::vault::rotation::RotationReport;
use crate::hibernation::HIBERNATING;
use crate::lack::{Lack, SECRET_LOST};
use crate::part::{Part, PartStatus};
use crate::pki::CertificatesReport;
use crate::reconcile::ReconcileError;
use crate::status::{self, Outcome};

/// When to look again at the pods of a hub that goes to sleep.
const PODS_PAUSE: Duration = Duration::from_secs(1);

/// The reason of a condition where another try may mend what failed.
pub(crate) const APPLY_FAILED: &str = "ApplyFailed";

/// The reason of a condition where an object can only be applied once somebody has acted.
const fn object_stalls(error: &ApplyError) -> Option<&'static str> {
    match error {
        ApplyError::Refused { .. } => Some("ObjectRefused"),
        ApplyError::NameTaken { .. } => Some("NameTaken"),
        ApplyError::Volume { .. } => Some("VolumeCannotGrow"),
        ApplyError::Smaller { .. } => Some("VolumeCannotShrink"),
        ApplyError::Api { .. } | ApplyError::StillThere { .. } | ApplyError::Encoding { .. } => None,
    }
}

/// An error's text as a sentence.
pub(crate) fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// How far a hub was brought.
pub(crate) struct Brought {
    /// Where its parts stand.
    pub(crate) parts: BTreeMap<Part, PartStatus>,
    /// Secrets that somebody has to bring.
    pub(crate) lacks: Vec<Lack>,
    /// What kept single objects from being what they should be.
    pub(crate) failures: Vec<ApplyError>,
    /// Circuits to Flickr that are not closed, if somebody could tell.
    pub(crate) circuits: Option<Vec<OpenCircuit>>,
    /// The transit keys, if they were looked at.
    pub(crate) keys: Option<RotationReport>,
    /// The credentials of the engines, if they were looked at.
    pub(crate) credentials: Option<credentials::Report>,
    /// What the objects were built from.
    pub(crate) build: BuildReport,
    /// How far a hub is that is to sleep: the reason, and a sentence.
    pub(crate) sleep: Option<(&'static str, String)>,
    /// When to look again at certificates that are being replaced.
    pub(crate) certificates: Option<Duration>,
    /// Whether every server has its certificate.
    pub(crate) certified: Option<CertificatesReport>,
}

impl Brought {
    /// Looks less often at parts that have not been ready for long.
    pub(crate) fn calm_down(&mut self, before: Option<&FlickrHubStatus>, now: Timestamp) {
        for (part, status) in self.parts.iter_mut().filter(|(_, status)| !status.ready) {
            let waited = status::condition(before, part.condition())
                .filter(|condition| condition.status == "False")
                .map(|condition| now.duration_since(condition.last_transition_time.0))
                .and_then(|waited| Duration::try_from(waited).ok())
                .unwrap_or_default();
            status.requeue_after = status.requeue_after.map(|pause| backoff::calmed(pause, waited));
        }
    }

    /// When to look again although nothing in Kubernetes changes.
    pub(crate) fn look_again(&self) -> Option<Duration> {
        if let Some((HIBERNATING, _)) = self.sleep {
            // Pods are not watched.
            return Some(PODS_PAUSE);
        }
        let parts = self.parts.values().filter_map(|status| status.requeue_after);
        let keys = self.keys.iter().filter_map(|keys| keys.look_again);
        let credentials = self.credentials.iter().filter_map(|found| found.look_again);
        parts
            .chain(keys)
            .chain(credentials)
            .chain(self.certificates)
            .min()
    }

    /// Everything that somebody has to know, each once.
    fn message(&self) -> String {
        let lacks = self.lacks.iter().map(|lack| lack.message.clone());
        let failures = self.failures.iter().map(|error| sentence(&error.to_string()));
        let stalled = self.stalled().map(|status| status.message.clone());
        let mut sentences: Vec<String> = Vec::new();
        for text in lacks.chain(failures).chain(stalled) {
            if !sentences.contains(&text) {
                sentences.push(text);
            }
        }
        sentences.join(" ")
    }

    fn stalled(&self) -> impl Iterator<Item = &PartStatus> {
        self.parts.values().filter(|status| status.stalled)
    }

    /// What another try may mend, so that it comes soon; `None` if nothing is of that kind.
    pub(crate) fn error(&self) -> Option<ReconcileError> {
        let may_pass = self.failures.iter().any(|error| object_stalls(error).is_none());
        may_pass.then(|| ReconcileError::Partly {
            message: self.message(),
            look_again: self.look_again(),
        })
    }

    /// The reason for which the hub stalls: what is lost before what is only missing, and both before single objects.
    fn stalls(&self) -> Option<&'static str> {
        let lacks = self.lacks.iter().filter(|lack| !lack.passes);
        let lacks = lacks.map(|lack| lack.reason);
        let parts = self.stalled().map(|status| status.reason);
        let objects = self.failures.iter().filter_map(object_stalls);
        let reasons: Vec<&'static str> = lacks.chain(parts).chain(objects).collect();
        let lost = reasons.iter().find(|reason| **reason == SECRET_LOST);
        lost.or(reasons.first()).copied()
    }

    /// What the status says of it.
    pub(crate) fn outcome(self) -> Outcome {
        let (reason, message) = (self.stalls(), self.message());
        let parts = self.parts;
        if let (None, Some((reason, message)), true) = (reason, &self.sleep, self.failures.is_empty()) {
            return Outcome::Sleeps {
                reason,
                message: message.clone(),
                parts,
            };
        }
        match reason {
            Some(reason) => Outcome::Stalled {
                reason,
                message,
                parts,
            },
            None if self.failures.is_empty() => Outcome::Applied(parts),
            None => Outcome::Failed {
                reason: APPLY_FAILED,
                message,
                parts,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> ApplyError {
        ApplyError::Refused {
            kind: "Ingress".to_owned(),
            name: "gallery-api".to_owned(),
            message: "host: Invalid value".to_owned(),
        }
    }

    fn away() -> ApplyError {
        ApplyError::StillThere {
            kind: "Service".to_owned(),
            name: "gallery-api".to_owned(),
        }
    }

    fn missing() -> Lack {
        Lack {
            secret: "flickr-app".to_owned(),
            reason: "CredentialsSecretMissing",
            message: "Create flickr-app.".to_owned(),
            passes: false,
        }
    }

    fn brought(failures: Vec<ApplyError>) -> Brought {
        let waiting = PartStatus::waiting("Sealed", "It is sealed.", Duration::from_secs(1));
        Brought {
            parts: BTreeMap::from([(Part::Vault, waiting)]),
            lacks: Vec::new(),
            failures,
            circuits: None,
            keys: None,
            credentials: None,
            build: BuildReport {
                last: None,
                finding: (true, "Applied", String::new()),
            },
            sleep: None,
            certificates: None,
            certified: None,
        }
    }

    /// The reason and the message of a hub that is stalled.
    fn stalled(brought: Brought) -> (&'static str, String, BTreeMap<Part, PartStatus>) {
        match brought.outcome() {
            Outcome::Stalled {
                reason,
                message,
                parts,
            } => (reason, message, parts),
            other => panic!("it is not stalled: {other:?}"),
        }
    }

    #[test]
    fn an_object_that_is_refused_stalls_the_hub_and_its_parts_are_reported() {
        let brought = brought(vec![refused()]);
        assert!(brought.error().is_none());
        let (reason, message, parts) = stalled(brought);
        assert_eq!(reason, "ObjectRefused");
        assert!(message.contains("host: Invalid value"), "{message}");
        assert!(parts.contains_key(&Part::Vault));
    }

    #[test]
    fn a_missing_secret_stalls_the_hub_and_its_engines_are_looked_at_all_the_same() {
        let mut brought = brought(Vec::new());
        brought.lacks.push(missing());
        assert!(brought.error().is_none());
        assert_eq!(brought.look_again(), Some(Duration::from_secs(1)));
        let (reason, message, parts) = stalled(brought);
        assert_eq!(
            (reason, message.as_str()),
            ("CredentialsSecretMissing", "Create flickr-app.")
        );
        assert!(parts.contains_key(&Part::Vault));
    }

    #[test]
    fn a_secret_that_comes_by_itself_does_not_stall_the_hub() {
        let mut brought = brought(Vec::new());
        brought.lacks.push(Lack {
            passes: true,
            ..missing()
        });
        assert!(matches!(brought.outcome(), Outcome::Applied(_)));
    }

    #[test]
    fn a_part_that_waits_for_somebody_stalls_the_hub_and_is_told_once() {
        let mut brought = brought(Vec::new());
        let lost = PartStatus::stalled("SecretLost", "Restore it.", Duration::from_secs(15));
        brought.parts.insert(Part::Vault, lost.clone());
        brought.parts.insert(Part::Redis, lost);
        brought.lacks.push(missing());
        let (reason, message, _) = stalled(brought);
        assert_eq!(
            (reason, message.as_str()),
            ("SecretLost", "Create flickr-app. Restore it.")
        );
    }

    #[test]
    fn a_failure_that_may_pass_is_tried_again_as_soon_as_the_parts_ask() {
        for failures in [vec![away()], vec![refused(), away()]] {
            let error = brought(failures).error();
            assert_eq!(
                error.and_then(|error| error.look_again()),
                Some(Duration::from_secs(1))
            );
        }
        assert!(matches!(brought(vec![away()]).outcome(), Outcome::Failed { .. }));
        assert!(matches!(brought(Vec::new()).outcome(), Outcome::Applied(_)));
    }

    #[test]
    fn a_part_that_waits_for_long_is_looked_at_less_often() {
        let outcome = brought(Vec::new()).outcome();
        let since = Timestamp::UNIX_EPOCH;
        let before = status::status(None, 1, None, &outcome, since);
        let wait = |seconds| {
            let mut brought = brought(Vec::new());
            let now = Timestamp::from_second(seconds).unwrap_or_default();
            brought.calm_down(Some(&before), now);
            brought.look_again()
        };
        assert_eq!(wait(60), Some(Duration::from_secs(1)));
        assert_eq!(wait(180), Some(Duration::from_secs(5)));
        assert_eq!(wait(3600), Some(Duration::from_secs(20)));
    }
}

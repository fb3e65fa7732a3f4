//! Events: what a person would want to know, when it happens and not again while it lasts.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};

use crate::context::Context;
use crate::crd::FlickrHubStatus;
use crate::hibernation::{HIBERNATED, HIBERNATING};
use crate::status::{READY, STALLED, condition};

/// An event that a change of the status is worth: `None` where nothing of note changed.
pub fn of_change(before: Option<&FlickrHubStatus>, after: &FlickrHubStatus) -> Option<Event> {
    let truth = |status, type_| condition(status, type_).map(|c| (c.status.as_str(), c.reason.as_str()));
    let ready = condition(Some(after), READY)?;
    let was_ready = truth(before, READY).is_some_and(|(status, _)| status == "True");
    let is_ready = ready.status == "True";
    let stalled = truth(Some(after), STALLED).filter(|(status, _)| *status == "True");
    if stalled.is_some() && stalled != truth(before, STALLED) {
        return Some(event(EventType::Warning, &ready.reason, &ready.message));
    }
    match (was_ready, is_ready) {
        (false, true) => Some(event(EventType::Normal, "Ready", &ready.message)),
        _ if ready.reason == HIBERNATED
            && truth(before, READY).is_none_or(|(_, reason)| reason != HIBERNATED) =>
        {
            Some(event(EventType::Normal, HIBERNATED, &ready.message))
        }
        (true, false) if ready.reason == HIBERNATING => {
            Some(event(EventType::Normal, HIBERNATING, &ready.message))
        }
        (true, false) if ready.status == "False" && stalled.is_none() => {
            Some(event(EventType::Warning, &ready.reason, &ready.message))
        }
        _ => None,
    }
}

/// The event that Secrets were made up.
pub fn secrets_created(names: &[String]) -> Event {
    let note = format!("Made up and stored in Secrets: {}.", names.join(", "));
    event(EventType::Normal, "SecretsCreated", &note)
}

/// The event that a transit key was rotated.
pub fn key_rotated(key: &str) -> Event {
    let note = format!("Rotated the transit key {key}; what is stored is rewrapped.");
    event(EventType::Normal, "KeyRotated", &note)
}

/// The event that the credentials of an engine begin to be replaced.
pub fn credentials_rotation_began(engine: &str) -> Event {
    let note = format!("Made new credentials for {engine}; the old ones hold until nobody uses them.");
    event(EventType::Normal, "CredentialRotationStarted", &note)
}

/// The event that the credentials of an engine were replaced.
pub fn credentials_rotated(engine: &str) -> Event {
    let note = format!("Replaced the credentials of {engine}; every member refuses the old ones.");
    event(EventType::Normal, "CredentialsRotated", &note)
}

/// Most characters of an event's note that Kubernetes takes.
const MAX_NOTE: usize = 1024;

fn event(type_: EventType, reason: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(
            note.get(..note.floor_char_boundary(MAX_NOTE))
                .unwrap_or_default()
                .to_owned(),
        ),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

/// Publishes an event. That it cannot be published is logged and nothing more: events are a courtesy.
pub async fn publish(ctx: &Context, hub: &ObjectReference, event: &Event) {
    if let Err(error) = ctx.recorder.publish(event, hub).await {
        tracing::warn!(%error, reason = event.reason, "cannot publish an event");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::part::{Part, PartStatus};
    use crate::status::{Outcome, status};

    fn after(outcome: &Outcome) -> FlickrHubStatus {
        status(None, 1, None, outcome, Timestamp::UNIX_EPOCH)
    }

    fn ready() -> FlickrHubStatus {
        after(&Outcome::Applied(BTreeMap::from([(
            Part::Api,
            PartStatus::ready("It runs."),
        )])))
    }

    fn unready() -> FlickrHubStatus {
        let waiting = PartStatus::waiting("Starting", "It starts.", std::time::Duration::from_secs(1));
        after(&Outcome::Applied(BTreeMap::from([(Part::Api, waiting)])))
    }

    fn stalled() -> FlickrHubStatus {
        after(&Outcome::Stalled {
            reason: "InvalidSpec",
            message: "Correct it.".to_owned(),
            parts: BTreeMap::new(),
        })
    }

    fn reason(before: Option<&FlickrHubStatus>, after: &FlickrHubStatus) -> Option<String> {
        of_change(before, after).map(|event| event.reason)
    }

    #[test]
    fn becoming_ready_and_unready_and_stalled_is_worth_an_event() {
        assert_eq!(reason(Some(&unready()), &ready()).as_deref(), Some("Ready"));
        assert_eq!(reason(Some(&ready()), &unready()).as_deref(), Some("ApiNotReady"));
        assert_eq!(reason(None, &stalled()).as_deref(), Some("InvalidSpec"));
    }

    #[test]
    fn what_lasts_is_worth_none() {
        assert_eq!(reason(Some(&ready()), &ready()), None);
        assert_eq!(reason(None, &unready()), None);
        assert_eq!(reason(Some(&stalled()), &stalled()), None);
    }
}

//! What the status of a client says. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::decide::{ClientSeen, Observed, StoredKey, Wanted, after};
use super::key_secret::name_of;
use crate::crd::{FlickrHubClientStatus, PreviousKeyStatus};
use crate::status::{READY, RECONCILING, STALLED};

/// How a reconciliation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key in the Secret holds.
    Ready,
    /// Something failed that another try may mend. A key that held goes on holding.
    Failed {
        /// What failed.
        message: String,
    },
    /// Something is to come by itself.
    Waiting {
        /// One word in `CamelCase`.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
    /// Somebody has to do something first.
    Stalled {
        /// One word in `CamelCase`.
        reason: &'static str,
        /// A sentence that tells what to do.
        message: String,
    },
}

/// The status after a reconciliation of `generation` at `now`. What was not looked at stays as it was.
pub fn status(
    before: Option<&FlickrHubClientStatus>,
    generation: i64,
    client: &str,
    outcome: &Outcome,
    looked: Option<(&Observed, &Wanted<'_>)>,
    now: Timestamp,
) -> FlickrHubClientStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = Some(generation);
    if let Some((observed, wanted)) = looked {
        keys(&mut status, client, observed, wanted, now);
    }
    let known = std::mem::take(&mut status.conditions);
    let was_ready = known.iter().any(|condition| {
        condition.type_ == READY
            && condition.status == "True"
            && condition.observed_generation == Some(generation)
    });
    let (ready, reconciling, stalled) = match outcome {
        Outcome::Ready => (true, false, false),
        Outcome::Failed { .. } => (was_ready, true, false),
        Outcome::Waiting { .. } => (false, true, false),
        Outcome::Stalled { .. } => (false, false, true),
    };
    let (reason, message) = match outcome {
        Outcome::Ready => ("KeyHolds", "The key in the Secret holds."),
        Outcome::Failed { message } => ("Failed", message.as_str()),
        Outcome::Waiting { reason, message } | Outcome::Stalled { reason, message } => {
            (*reason, message.as_str())
        }
    };
    let (ready_reason, ready_message) = if ready {
        ("KeyHolds", "The key in the Secret holds.")
    } else {
        (reason, message)
    };
    let add =
        |type_, holds, reason, message| condition(&known, type_, holds, reason, message, generation, now);
    status.conditions = vec![
        add(READY, ready, ready_reason, ready_message),
        match outcome {
            Outcome::Ready => add(RECONCILING, reconciling, "UpToDate", ""),
            _ => add(RECONCILING, reconciling, reason, message),
        },
        match outcome {
            Outcome::Stalled { .. } => add(STALLED, stalled, reason, message),
            _ => add(STALLED, stalled, "NotStalled", ""),
        },
    ];
    status
}

fn keys(
    status: &mut FlickrHubClientStatus,
    client: &str,
    observed: &Observed,
    wanted: &Wanted<'_>,
    now: Timestamp,
) {
    let stored: &[StoredKey] = match &observed.client {
        ClientSeen::Ours { keys, .. } => keys,
        ClientSeen::Absent | ClientSeen::Foreign => &[],
    };
    let present = observed.secret.as_ref().and_then(|secret| secret.key.clone());
    let key = stored.iter().find(|key| Some(&key.id) == present.as_ref());
    status.secret_name = observed.secret.as_ref().map(|_| name_of(client));
    status.key_created_at = key.map(|key| whole_seconds(key.created_at));
    status.next_rotation = key.map(|key| whole_seconds(after(key.created_at, wanted.interval)));
    status.previous_keys = stored
        .iter()
        .filter(|key| Some(&key.id) != present.as_ref())
        .filter_map(|key| {
            Some(PreviousKeyStatus {
                key_id: key.id.clone(),
                valid_until: whole_seconds(key.not_after.filter(|end| *end > now)?),
            })
        })
        .collect();
    status.key_id = present;
}

/// A time as Kubernetes keeps it. With milliseconds the status would never be what is read back of it, and be written anew by
/// every reconciliation.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn condition(
    known: &[Condition],
    type_: &str,
    holds: bool,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let truth = if holds { "True" } else { "False" };
    let unchanged = known
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == truth);
    Condition {
        type_: type_.to_owned(),
        status: truth.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: unchanged.map_or(Time(now), |condition| condition.last_transition_time.clone()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::decide::SecretSeen;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or_default()
    }

    fn look() -> (Observed, Wanted<'static>) {
        let key = |id: &str, not_after| StoredKey {
            id: id.to_owned(),
            created_at: at(100),
            not_after,
            matches: true,
        };
        let observed = Observed {
            secret: Some(SecretSeen {
                key: Some("k2".to_owned()),
                is_complete: true,
                ..SecretSeen::default()
            }),
            client: ClientSeen::Ours {
                keys: vec![
                    key("k1", Some(at(500))),
                    key("k0", Some(at(150))),
                    key("k2", None),
                ],
                is_current: true,
            },
        };
        let wanted = Wanted {
            interval: SignedDuration::from_secs(1000),
            overlap: SignedDuration::from_secs(400),
            request: None,
        };
        (observed, wanted)
    }

    #[test]
    fn the_keys_are_told_with_their_times() {
        let (observed, wanted) = look();
        let status = status(
            None,
            3,
            "acme",
            &Outcome::Ready,
            Some((&observed, &wanted)),
            at(200),
        );
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(status.secret_name.as_deref(), Some("acme-key"));
        assert_eq!(status.key_id.as_deref(), Some("k2"));
        assert_eq!(status.next_rotation, Some(Time(at(1100))));
        let previous: Vec<&str> = status
            .previous_keys
            .iter()
            .map(|key| key.key_id.as_str())
            .collect();
        assert_eq!(previous, ["k1"]);
    }

    #[test]
    fn a_failure_keeps_what_was_known_of_the_keys() {
        let (observed, wanted) = look();
        let ready = status(
            None,
            1,
            "acme",
            &Outcome::Ready,
            Some((&observed, &wanted)),
            at(200),
        );
        let outcome = Outcome::Waiting {
            reason: "HubNotReady",
            message: "It starts.".to_owned(),
        };
        let waiting = status(Some(&ready), 2, "acme", &outcome, None, at(300));
        assert_eq!(waiting.key_id, ready.key_id);
        let truth = |type_: &str| {
            let found = waiting
                .conditions
                .iter()
                .find(|condition| condition.type_ == type_);
            found.map(|condition| (condition.status.as_str(), condition.reason.as_str()))
        };
        assert_eq!(truth(READY), Some(("False", "HubNotReady")));
        assert_eq!(truth(RECONCILING), Some(("True", "HubNotReady")));
        assert_eq!(truth(STALLED), Some(("False", "NotStalled")));
    }

    #[test]
    fn a_key_that_held_goes_on_holding_while_reconciliations_fail() {
        let (observed, wanted) = look();
        let ready = status(
            None,
            1,
            "acme",
            &Outcome::Ready,
            Some((&observed, &wanted)),
            at(200),
        );
        let failure = || Outcome::Failed {
            message: "Vault: no connection.".to_owned(),
        };
        let truth = |status: &FlickrHubClientStatus, type_: &str| {
            let found = status
                .conditions
                .iter()
                .find(|condition| condition.type_ == type_);
            found.map(|condition| (condition.status.clone(), condition.reason.clone()))
        };
        let pair = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
        let failed = status(Some(&ready), 1, "acme", &failure(), None, at(300));
        assert_eq!(truth(&failed, READY), pair("True", "KeyHolds"));
        assert_eq!(truth(&failed, RECONCILING), pair("True", "Failed"));
        let newer = status(Some(&ready), 2, "acme", &failure(), None, at(300));
        assert_eq!(truth(&newer, READY), pair("False", "Failed"));
    }

    #[test]
    fn times_are_what_is_read_back_of_them() -> Result<(), serde_json::Error> {
        let (mut observed, wanted) = look();
        if let ClientSeen::Ours { keys, .. } = &mut observed.client {
            for key in keys {
                key.created_at += SignedDuration::from_millis(7);
                key.not_after = key.not_after.map(|end| end + SignedDuration::from_millis(7));
            }
        }
        let look = Some((&observed, &wanted));
        let written = status(None, 1, "acme", &Outcome::Ready, look, at(200));
        let read: FlickrHubClientStatus = serde_json::from_value(serde_json::to_value(&written)?)?;
        assert_eq!(read, written);
        Ok(())
    }

    #[test]
    fn the_same_outcome_gives_the_same_status() {
        let (observed, wanted) = look();
        let look = Some((&observed, &wanted));
        let first = status(None, 1, "acme", &Outcome::Ready, look, at(200));
        assert_eq!(
            status(Some(&first), 1, "acme", &Outcome::Ready, look, at(210)),
            first
        );
    }
}

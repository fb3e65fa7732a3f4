//! From what the steps found to the status of the hub. Pure.
//!
//! The conditions follow kstatus: `Ready` is the whole, `Reconciling` says that the operator is on its way, `Stalled`
//! that it cannot go on until somebody does what the message says. `Ready` is `True` only if every part is ready with
//! the settings of the generation that it names. Parts that nobody looks at, because the hub is paused, its spec is refused or
//! reconciliations fail for longer than a moment, are `Unknown`.
//!
//! | module | conditions |
//! | --- | --- |
//! | here | of the whole and of the parts |
//! | `findings` | of what else was found |
//! | `conditions` | how each is put together |

mod conditions;
mod findings;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::crd::FlickrHubStatus;
use crate::hibernation::HIBERNATED;
use crate::part::{Part, PartStatus};
use conditions::{Conditions, Truth, Unseen};

pub use findings::{
    with_autoscaling, with_build, with_certificates, with_credentials, with_flickr, with_keys,
};

/// The condition of the whole.
pub const READY: &str = "Ready";
/// The condition that the operator is on its way.
pub const RECONCILING: &str = "Reconciling";
/// The condition that the operator cannot go on by itself.
pub const STALLED: &str = "Stalled";

/// How long `Ready` stays `True` while reconciliations fail.
const KEEP_READY: Duration = Duration::from_mins(1);
/// The reason of `Ready` where nobody could look for longer.
const NOT_OBSERVED: &str = "NotObserved";

/// How a reconciliation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was applied; the parts stand as they say.
    Applied(BTreeMap<Part, PartStatus>),
    /// Somebody has to do something first.
    Stalled {
        /// One word in `CamelCase`.
        reason: &'static str,
        /// A sentence that tells what to do.
        message: String,
        /// Where the parts stand, as far as they were looked at.
        parts: BTreeMap<Part, PartStatus>,
    },
    /// Something failed that another try may mend.
    Failed {
        /// One word in `CamelCase`.
        reason: &'static str,
        /// What failed.
        message: String,
        /// Where the parts stand, as far as they were looked at.
        parts: BTreeMap<Part, PartStatus>,
    },
    /// The hub is to sleep, and does or is about to.
    Sleeps {
        /// [`HIBERNATED`] or [`crate::hibernation::HIBERNATING`].
        reason: &'static str,
        /// What is the case.
        message: String,
        /// Where the parts stand.
        parts: BTreeMap<Part, PartStatus>,
    },
    /// The user asked to leave everything as it is.
    Paused,
}

/// The status after a reconciliation of `generation` at `now`. Conditions that did not change keep their time.
pub fn status(
    previous: Option<&FlickrHubStatus>,
    generation: i64,
    api_url: Option<String>,
    outcome: &Outcome,
    now: Timestamp,
) -> FlickrHubStatus {
    let known = previous.map_or(&[][..], |status| status.conditions.as_slice());
    let mut ready_generations = previous
        .map(|status| status.ready_generations.clone())
        .unwrap_or_default();
    let mut conditions = Conditions {
        known,
        generation,
        now,
        list: Vec::new(),
    };
    match outcome {
        Outcome::Applied(parts) => {
            applied(&mut conditions, parts);
            let ready = parts.iter().filter(|(_, status)| status.ready);
            ready_generations.extend(ready.map(|(part, _)| (part.condition().to_owned(), generation)));
        }
        Outcome::Stalled {
            reason,
            message,
            parts,
        } => {
            conditions.add(READY, Truth::False, reason, message.clone());
            conditions.add(
                RECONCILING,
                Truth::False,
                reason,
                "Waits for somebody to act.".to_owned(),
            );
            conditions.add(STALLED, Truth::True, reason, message.clone());
            let unseen =
                "Nobody looks at it until what keeps the hub from being reconciled is mended; see Stalled.";
            conditions.add_parts(parts, Unseen::Unknown(NOT_OBSERVED, unseen));
            remember(&mut ready_generations, parts, generation);
        }
        Outcome::Failed {
            reason,
            message,
            parts,
        } => {
            failed(&mut conditions, reason, message, parts);
            conditions.add(
                RECONCILING,
                Truth::True,
                reason,
                format!("{message} It is tried again."),
            );
            conditions.add(STALLED, Truth::False, "NotStalled", String::new());
            let unseen = if conditions.failed_for(reason, KEEP_READY) {
                Unseen::Unknown(
                    NOT_OBSERVED,
                    "Nobody could look at it for some time; see Reconciling.",
                )
            } else {
                Unseen::Kept
            };
            conditions.add_parts(parts, unseen);
            remember(&mut ready_generations, parts, generation);
        }
        Outcome::Sleeps {
            reason,
            message,
            parts,
        } => {
            let is_under_way = if *reason == HIBERNATED {
                Truth::False
            } else {
                Truth::True
            };
            conditions.add(READY, Truth::False, reason, message.clone());
            conditions.add(RECONCILING, is_under_way, reason, message.clone());
            conditions.add(STALLED, Truth::False, "NotStalled", String::new());
            conditions.add_parts(parts, Unseen::Kept);
            remember(&mut ready_generations, parts, generation);
        }
        Outcome::Paused => {
            let message =
                "spec.paused is true, so nothing is looked at or changed: set it to false to go on.";
            conditions.add(READY, Truth::Unknown, "Paused", message.to_owned());
            conditions.add(RECONCILING, Truth::False, "Paused", message.to_owned());
            conditions.add(STALLED, Truth::False, "Paused", String::new());
            let unseen = "Nobody looks at it while the hub is paused.";
            conditions.add_parts(&BTreeMap::new(), Unseen::Unknown("Paused", unseen));
        }
    }
    FlickrHubStatus {
        observed_generation: Some(generation),
        api_url: api_url.or_else(|| previous.and_then(|status| status.api_url.clone())),
        ready_generations,
        build: previous.and_then(|status| status.build.clone()),
        transit_keys: previous
            .map(|status| status.transit_keys.clone())
            .unwrap_or_default(),
        credentials: previous
            .map(|status| status.credentials.clone())
            .unwrap_or_default(),
        plan: None,
        conditions: conditions.list,
    }
}

/// Remembers that parts have been ready although not every object is as this generation wants it: they have data, which
/// is never initialised anew, and have not settled.
fn remember(
    ready_generations: &mut BTreeMap<String, i64>,
    parts: &BTreeMap<Part, PartStatus>,
    generation: i64,
) {
    for (part, _) in parts.iter().filter(|(_, status)| status.ready) {
        ready_generations
            .entry(part.condition().to_owned())
            .or_insert(generation.saturating_sub(1));
    }
}

/// `Ready` after a failure: what was `True` stays so while the failure is new, because most pass within seconds, and is
/// `Unknown` after that, because nobody has looked. Nothing else is kept: what holds the hub up now is the failure.
fn failed(conditions: &mut Conditions<'_>, reason: &str, message: &str, parts: &BTreeMap<Part, PartStatus>) {
    if parts.values().any(|status| !status.ready) {
        return add_waiting(conditions, parts);
    }
    match conditions.last(READY).map(|ready| ready.status.as_str()) {
        Some("True") if conditions.is_failing_for(KEEP_READY) => {
            let message = format!("It is not known any more whether every part does its work: {message}");
            conditions.add(READY, Truth::Unknown, NOT_OBSERVED, message);
        }
        Some("True") => conditions.keep(READY),
        Some("Unknown")
            if conditions
                .last(READY)
                .is_some_and(|ready| ready.reason == NOT_OBSERVED) =>
        {
            let message = format!("It is not known any more whether every part does its work: {message}");
            conditions.add(READY, Truth::Unknown, NOT_OBSERVED, message);
        }
        _ => conditions.add(READY, Truth::False, reason, message.to_owned()),
    }
}

/// `Ready` while parts are not.
fn add_waiting(conditions: &mut Conditions<'_>, parts: &BTreeMap<Part, PartStatus>) {
    let mut waiting = parts.iter().filter(|(_, status)| !status.ready).peekable();
    if let Some((part, _)) = waiting.peek().copied() {
        let messages: Vec<&str> = waiting.map(|(_, status)| status.message.as_str()).collect();
        conditions.add(READY, Truth::False, not_ready(*part), messages.join(" "));
    }
}

fn applied(conditions: &mut Conditions<'_>, parts: &BTreeMap<Part, PartStatus>) {
    let waiting: Vec<(&Part, &PartStatus)> = parts.iter().filter(|(_, status)| !status.ready).collect();
    if waiting.is_empty() {
        let message = "Every part does its work.";
        conditions.add(READY, Truth::True, "AllPartsReady", message.to_owned());
        conditions.add(RECONCILING, Truth::False, "UpToDate", String::new());
    } else {
        add_waiting(conditions, parts);
        let names: Vec<&str> = waiting.iter().map(|(part, _)| part.condition()).collect();
        let message = format!("Waits for {}.", names.join(", "));
        conditions.add(RECONCILING, Truth::True, "Progressing", message);
    }
    conditions.add(STALLED, Truth::False, "NotStalled", String::new());
    conditions.add_parts(parts, Unseen::Kept);
}

/// The reason of `Ready` for the first part that is not.
const fn not_ready(part: Part) -> &'static str {
    match part {
        Part::Redis => "RedisNotReady",
        Part::MongoDb => "MongoDBNotReady",
        Part::RabbitMq => "RabbitMQNotReady",
        Part::Vault => "VaultNotReady",
        Part::Api => "ApiNotReady",
        Part::Dispatcher => "DispatcherNotReady",
        Part::Workers => "WorkersNotReady",
    }
}

/// A condition of the hub, by its type.
pub fn condition<'a>(status: Option<&'a FlickrHubStatus>, type_: &str) -> Option<&'a Condition> {
    status?
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod never_stale;
#[cfg(test)]
mod tests;

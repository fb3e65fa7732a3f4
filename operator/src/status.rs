//! From what the steps found to the status of the hub. Pure.
//!
//! The conditions follow kstatus: `Ready` is the whole, `Reconciling` says that the operator is on its way, `Stalled`
//! that it cannot go on until somebody does what the message says. `Ready` is `True` only if every part is ready with
//! the settings of the generation that it names.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::consent::{BuildReport, OPERATOR_VERSION_APPLIED};
use crate::crd::FlickrHubStatus;
use crate::engine::vault::rotation::{KEYS_ROTATED, RotationReport};
use crate::flickr_reachable::{FLICKR_REACHABLE, Reachability};
use crate::hibernation::HIBERNATED;
use crate::part::{Part, PartStatus};

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
            conditions.add_parts(parts);
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
            conditions.add_parts(parts);
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
            conditions.add_parts(parts);
            remember(&mut ready_generations, parts, generation);
        }
        Outcome::Paused => {
            let message =
                "spec.paused is true, so nothing is looked at or changed: set it to false to go on.";
            conditions.add(READY, Truth::Unknown, "Paused", message.to_owned());
            conditions.add(RECONCILING, Truth::False, "Paused", message.to_owned());
            conditions.add(STALLED, Truth::False, "Paused", String::new());
            conditions.add_parts(&BTreeMap::new());
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
        conditions: conditions.list,
    }
}

/// The status with the condition about Flickr; without a finding, as that condition was.
pub fn with_flickr(
    status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    flickr: Option<&Reachability>,
    now: Timestamp,
) -> FlickrHubStatus {
    let finding = flickr.map(|flickr| (flickr.reachable, flickr.reason, flickr.message.clone()));
    with_condition(status, previous, FLICKR_REACHABLE, finding, now)
}

/// The status with what is known of the transit keys; without a look at them, as that was.
pub fn with_keys(
    mut status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    keys: Option<&RotationReport>,
    now: Timestamp,
) -> FlickrHubStatus {
    if let Some(keys) = keys {
        status.transit_keys.clone_from(&keys.keys);
    }
    let finding = keys.map(|keys| (keys.holds, keys.reason, keys.message.clone()));
    with_condition(status, previous, KEYS_ROTATED, finding, now)
}

/// The status with what the objects were built from; without a look at them, as that was.
pub fn with_build(
    mut status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    build: Option<&BuildReport>,
    now: Timestamp,
) -> FlickrHubStatus {
    if let Some(build) = build {
        status.build.clone_from(&build.last);
    }
    let finding = build.map(|build| build.finding.clone());
    with_condition(status, previous, OPERATOR_VERSION_APPLIED, finding, now)
}

/// The status with a condition that is no part of `Ready`: whether it holds, the reason, and a sentence.
fn with_condition(
    mut status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    type_: &str,
    finding: Option<(bool, &str, String)>,
    now: Timestamp,
) -> FlickrHubStatus {
    let mut conditions = Conditions {
        known: previous.map_or(&[][..], |status| status.conditions.as_slice()),
        generation: status.observed_generation.unwrap_or_default(),
        now,
        list: std::mem::take(&mut status.conditions),
    };
    if let Some((holds, reason, message)) = finding {
        let truth = if holds { Truth::True } else { Truth::False };
        conditions.add(type_, truth, reason, message);
    } else {
        let known = condition(previous, type_).cloned();
        conditions.list.extend(known);
    }
    status.conditions = conditions.list;
    status
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
    conditions.add_parts(parts);
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

#[derive(Clone, Copy)]
enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Most characters of a condition's message that Kubernetes takes.
const MAX_MESSAGE: usize = 32_768;

/// Conditions under construction.
struct Conditions<'a> {
    known: &'a [Condition],
    generation: i64,
    now: Timestamp,
    list: Vec<Condition>,
}

impl Conditions<'_> {
    fn add(&mut self, type_: &str, truth: Truth, reason: &str, mut message: String) {
        let known = self.known.iter().find(|condition| condition.type_ == type_);
        let unchanged = known.filter(|condition| condition.status == truth.as_str());
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        self.list.push(Condition {
            type_: type_.to_owned(),
            status: truth.as_str().to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: Some(self.generation),
            last_transition_time: unchanged
                .map_or(Time(self.now), |condition| condition.last_transition_time.clone()),
        });
    }

    /// A condition as it was, if it is about this generation.
    fn last(&self, type_: &str) -> Option<&Condition> {
        let known = self.known.iter().find(|condition| condition.type_ == type_);
        known.filter(|condition| condition.observed_generation == Some(self.generation))
    }

    /// Leaves a condition as it was, if it is about this generation.
    fn keep(&mut self, type_: &str) {
        let current = self.last(type_).cloned();
        self.list.extend(current);
    }

    /// Whether the operator has been on its way for so long. A hub that was ready is on its way since it first failed.
    fn is_failing_for(&self, patience: Duration) -> bool {
        let known = self.last(RECONCILING);
        let failing = known.filter(|condition| condition.status == Truth::True.as_str());
        failing.is_some_and(|condition| {
            let since = self.now.duration_since(condition.last_transition_time.0);
            Duration::try_from(since).is_ok_and(|since| since >= patience)
        })
    }

    /// The conditions of the parts; of those that were not looked at as they were.
    fn add_parts(&mut self, parts: &BTreeMap<Part, PartStatus>) {
        for part in Part::ALL {
            let type_ = part.condition();
            if let Some(status) = parts.get(&part) {
                let truth = if status.ready { Truth::True } else { Truth::False };
                self.add(type_, truth, status.reason, status.message.clone());
            } else {
                let known = self.known.iter().find(|condition| condition.type_ == type_);
                self.list.extend(known.cloned());
            }
        }
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
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or_default()
    }

    fn parts(waiting: &[Part]) -> Outcome {
        let status = |part: Part| {
            if waiting.contains(&part) {
                PartStatus::waiting("Starting", format!("{part:?} starts."), Duration::from_secs(1))
            } else {
                PartStatus::ready("It runs.")
            }
        };
        Outcome::Applied(Part::ALL.into_iter().map(|part| (part, status(part))).collect())
    }

    fn failure() -> Outcome {
        Outcome::Failed {
            reason: "ApplyFailed",
            message: "The API server is away.".to_owned(),
            parts: BTreeMap::new(),
        }
    }

    fn truth<'a>(status: &'a FlickrHubStatus, type_: &str) -> Option<(&'a str, &'a str, Option<i64>)> {
        condition(Some(status), type_).map(|c| (c.status.as_str(), c.reason.as_str(), c.observed_generation))
    }

    #[test]
    fn a_hub_is_ready_when_every_part_is() {
        let status = status(None, 3, Some("http://api".to_owned()), &parts(&[]), at(1));
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(truth(&status, READY), Some(("True", "AllPartsReady", Some(3))));
        assert_eq!(truth(&status, RECONCILING), Some(("False", "UpToDate", Some(3))));
        assert_eq!(truth(&status, "MongoDBReady"), Some(("True", "Ready", Some(3))));
    }

    #[test]
    fn one_part_that_is_not_ready_makes_the_hub_unready_and_says_why() {
        let status = status(None, 1, None, &parts(&[Part::Vault, Part::Api]), at(1));
        assert_eq!(truth(&status, READY), Some(("False", "VaultNotReady", Some(1))));
        let message = condition(Some(&status), READY).map(|c| c.message.clone());
        assert_eq!(message.as_deref(), Some("Vault starts. Api starts."));
        assert_eq!(
            truth(&status, RECONCILING),
            Some(("True", "Progressing", Some(1)))
        );
        assert_eq!(truth(&status, "RedisReady"), Some(("True", "Ready", Some(1))));
    }

    #[test]
    fn a_stalled_hub_is_never_ready_for_the_new_generation() {
        let ready = status(None, 1, None, &parts(&[]), at(1));
        let outcome = Outcome::Stalled {
            reason: "CredentialsSecretMissing",
            message: "Create it.".to_owned(),
            parts: BTreeMap::new(),
        };
        let stalled = status(Some(&ready), 2, None, &outcome, at(2));
        assert_eq!(
            truth(&stalled, READY),
            Some(("False", "CredentialsSecretMissing", Some(2)))
        );
        assert_eq!(
            truth(&stalled, STALLED),
            Some(("True", "CredentialsSecretMissing", Some(2)))
        );
        assert_eq!(truth(&stalled, "RedisReady"), Some(("True", "Ready", Some(1))));
    }

    #[test]
    fn a_failure_does_not_make_a_ready_hub_unready_but_one_of_an_older_generation() {
        let ready = status(None, 1, None, &parts(&[]), at(1));
        let failed = failure();
        let same = status(Some(&ready), 1, None, &failed, at(2));
        assert_eq!(truth(&same, READY), Some(("True", "AllPartsReady", Some(1))));
        assert_eq!(truth(&same, RECONCILING), Some(("True", "ApplyFailed", Some(1))));
        let newer = status(Some(&ready), 2, None, &failed, at(2));
        assert_eq!(truth(&newer, READY), Some(("False", "ApplyFailed", Some(2))));
    }

    #[test]
    fn a_failure_that_lasts_leaves_nothing_ready() {
        let ready = status(None, 1, None, &parts(&[]), at(1));
        let first = status(Some(&ready), 1, None, &failure(), at(10));
        let soon = status(Some(&first), 1, None, &failure(), at(69));
        assert_eq!(truth(&soon, READY), Some(("True", "AllPartsReady", Some(1))));
        let late = status(Some(&soon), 1, None, &failure(), at(70));
        assert_eq!(truth(&late, READY), Some(("Unknown", "NotObserved", Some(1))));
        let later = status(Some(&late), 1, None, &failure(), at(90));
        assert_eq!(truth(&later, READY), Some(("Unknown", "NotObserved", Some(1))));
        let mended = status(Some(&later), 1, None, &parts(&[]), at(91));
        assert_eq!(truth(&mended, READY), Some(("True", "AllPartsReady", Some(1))));
    }

    #[test]
    fn a_failure_takes_the_place_of_what_held_the_hub_up_before() {
        let unready = status(None, 1, None, &parts(&[Part::Vault]), at(1));
        let failed = status(Some(&unready), 1, None, &failure(), at(2));
        assert_eq!(truth(&failed, READY), Some(("False", "ApplyFailed", Some(1))));
    }

    #[test]
    fn parts_that_were_looked_at_are_reported_whatever_failed() {
        let ready = status(None, 1, None, &parts(&[]), at(1));
        let Outcome::Applied(found) = parts(&[Part::Vault]) else {
            return;
        };
        let outcome = Outcome::Failed {
            reason: "ApplyFailed",
            message: "An object is refused.".to_owned(),
            parts: found,
        };
        let failed = status(Some(&ready), 1, None, &outcome, at(2));
        assert_eq!(truth(&failed, READY), Some(("False", "VaultNotReady", Some(1))));
        assert_eq!(truth(&failed, "VaultReady"), Some(("False", "Starting", Some(1))));
    }

    #[test]
    fn a_part_that_is_ready_beside_a_failure_has_data_and_has_not_settled() {
        let Outcome::Applied(found) = parts(&[]) else {
            return;
        };
        let outcome = Outcome::Stalled {
            reason: "ObjectRefused",
            message: "An object is refused.".to_owned(),
            parts: found,
        };
        let stalled = status(None, 1, None, &outcome, at(1));
        assert_eq!(stalled.ready_generations.get("MongoDBReady"), Some(&0));
    }

    #[test]
    fn the_last_generation_in_which_a_part_was_ready_is_remembered() {
        let first = status(None, 1, None, &parts(&[Part::Api]), at(1));
        let second = status(Some(&first), 2, None, &parts(&[Part::Redis, Part::Api]), at(2));
        let remembered = |part: Part| second.ready_generations.get(part.condition()).copied();
        assert_eq!(remembered(Part::Redis), Some(1));
        assert_eq!(remembered(Part::MongoDb), Some(2));
        assert_eq!(remembered(Part::Api), None);
    }

    #[test]
    fn a_hub_that_sleeps_is_not_ready_and_at_its_goal() {
        let outcome = |reason| Outcome::Sleeps {
            reason,
            message: "It sleeps.".to_owned(),
            parts: BTreeMap::new(),
        };
        let before = status(None, 1, None, &parts(&[]), at(1));
        let going = status(Some(&before), 2, None, &outcome("Hibernating"), at(2));
        assert_eq!(truth(&going, READY), Some(("False", "Hibernating", Some(2))));
        assert_eq!(truth(&going, RECONCILING), Some(("True", "Hibernating", Some(2))));
        let gone = status(Some(&going), 2, None, &outcome(HIBERNATED), at(3));
        assert_eq!(truth(&gone, RECONCILING), Some(("False", "Hibernated", Some(2))));
        assert_eq!(gone.ready_generations, before.ready_generations, "there is data");
    }

    #[test]
    fn a_paused_hub_is_neither_ready_nor_not() {
        let status = status(None, 1, None, &Outcome::Paused, at(1));
        assert_eq!(truth(&status, READY), Some(("Unknown", "Paused", Some(1))));
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_truth_changes() {
        let time =
            |status: &FlickrHubStatus| condition(Some(status), READY).map(|c| c.last_transition_time.0);
        let first = status(None, 1, None, &parts(&[Part::Redis]), at(1));
        let second = status(Some(&first), 2, None, &parts(&[Part::Api]), at(2));
        let third = status(Some(&second), 2, None, &parts(&[]), at(3));
        assert_eq!((time(&second), time(&third)), (Some(at(1)), Some(at(3))));
    }

    #[test]
    fn the_same_outcome_gives_the_same_status() {
        let first = status(None, 1, None, &parts(&[]), at(1));
        assert_eq!(status(Some(&first), 1, None, &parts(&[]), at(9)), first);
    }
}

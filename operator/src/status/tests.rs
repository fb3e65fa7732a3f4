//! One case after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

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
    assert_eq!(
        truth(&stalled, "RedisReady"),
        Some(("Unknown", "NotObserved", Some(2)))
    );
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
    assert_eq!(truth(&soon, "RedisReady"), Some(("True", "Ready", Some(1))));
    let late = status(Some(&soon), 1, None, &failure(), at(70));
    for type_ in [READY, "RedisReady"] {
        assert_eq!(truth(&late, type_), Some(("Unknown", "NotObserved", Some(1))));
    }
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
    let time = |status: &FlickrHubStatus| condition(Some(status), READY).map(|c| c.last_transition_time.0);
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

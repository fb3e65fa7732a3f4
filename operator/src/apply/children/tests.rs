use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const KIND: Kind = Kind::ConfigMap;
const BUILT: Fingerprint = Fingerprint(1);

fn hub() -> HubId {
    HubId {
        namespace: "photos".to_owned(),
        name: "gallery".to_owned(),
    }
}

fn meta(name: &str, version: u64) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("photos".to_owned()),
        resource_version: Some(version.to_string()),
        labels: Some(BTreeMap::from([(INSTANCE.to_owned(), "gallery".to_owned())])),
        ..ObjectMeta::default()
    }
}

fn object(name: &str, version: u64) -> Value {
    json!({"metadata": {"name": name, "namespace": "photos", "resourceVersion": version.to_string()}})
}

fn watched() -> Children {
    let children = Children::default();
    children.see(KIND, Seen::Begin);
    children.see(KIND, Seen::Complete);
    children
}

/// The names that are as built, and those that have to be read.
fn known(children: &Children) -> Option<(Vec<String>, Vec<String>)> {
    let built = ["a", "b"].map(|name| (name.to_owned(), BUILT));
    let known = children.known(KIND, &hub(), &HashMap::from(built))?;
    Some((
        known.as_built.into_iter().map(|(name, _)| name).collect(),
        known.unread,
    ))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn nothing_is_known_until_a_watch_has_listed_everything() {
    let children = Children::default();
    assert_eq!(known(&children), None);
    children.see(KIND, Seen::Begin);
    children.see(KIND, Seen::Listed(&meta("a", 1)));
    assert_eq!(known(&children), None);
    children.see(KIND, Seen::Complete);
    assert_eq!(known(&children), Some((names(&[]), names(&["a"]))));
}

#[test]
fn what_was_found_as_built_is_so_until_its_version_or_what_is_built_changes() {
    let children = watched();
    children.see(KIND, Seen::Changed(&meta("a", 1)));
    children.settle(KIND, &hub(), &object("a", 1), BUILT);
    assert_eq!(known(&children), Some((names(&["a"]), names(&[]))));
    let other = HashMap::from([("a".to_owned(), Fingerprint(2))]);
    let unread = children.known(KIND, &hub(), &other).map(|known| known.unread);
    assert_eq!(unread, Some(names(&["a"])));
    children.see(KIND, Seen::Changed(&meta("a", 2)));
    assert_eq!(known(&children), Some((names(&[]), names(&["a"]))));
}

#[test]
fn what_was_written_is_known_before_its_event_and_older_events_change_nothing() {
    let children = watched();
    children.settle(KIND, &hub(), &object("a", 5), BUILT);
    children.see(KIND, Seen::Changed(&meta("a", 4)));
    children.see(KIND, Seen::Gone(&meta("a", 4)));
    children.see(KIND, Seen::Changed(&meta("a", 5)));
    assert_eq!(known(&children), Some((names(&["a"]), names(&[]))));
    assert_eq!(children.see(KIND, Seen::Gone(&meta("a", 6))), [hub()]);
    assert_eq!(known(&children), Some((names(&[]), names(&[]))));
}

#[test]
fn what_is_gone_when_a_watch_begins_anew_is_forgotten() {
    let children = watched();
    for name in ["a", "b"] {
        children.see(KIND, Seen::Changed(&meta(name, 1)));
    }
    children.see(KIND, Seen::Begin);
    children.see(KIND, Seen::Listed(&meta("b", 1)));
    assert_eq!(children.see(KIND, Seen::Complete), [hub()]);
    assert_eq!(known(&children), Some((names(&[]), names(&["b"]))));
}

#[test]
fn a_child_that_loses_label_and_owner_concerns_its_hub_still() {
    let children = watched();
    children.see(KIND, Seen::Changed(&meta("a", 1)));
    let mut bare = meta("a", 2);
    bare.labels = None;
    assert_eq!(children.see(KIND, Seen::Changed(&bare)), [hub()]);
    assert_eq!(known(&children), Some((names(&[]), names(&["a"]))));
    // One that was never known belongs to nobody.
    bare.name = Some("b".to_owned());
    assert_eq!(children.see(KIND, Seen::Changed(&bare)), []);
}

#[test]
fn an_owner_is_believed_before_a_label_and_both_are_told() {
    let children = watched();
    let mut child = meta("a", 1);
    child.owner_references = Some(vec![OwnerReference {
        kind: "FlickrHub".to_owned(),
        name: "owner".to_owned(),
        ..OwnerReference::default()
    }]);
    let told: Vec<String> = children
        .see(KIND, Seen::Changed(&child))
        .into_iter()
        .map(|hub| hub.name)
        .collect();
    assert_eq!(told, ["owner", "gallery"]);
    assert_eq!(known(&children), Some((names(&[]), names(&[]))));
}

proptest! {
    /// Whatever the order of events and writes: nothing counts as built whose newest version was not compared.
    #[test]
    fn what_counts_as_built_was_compared_in_its_newest_version(
        steps in prop::collection::vec((0_u8..4, 0_u64..6), 0..40)
    ) {
        let children = watched();
        let mut newest = 0;
        let mut compared = None;
        for (step, ahead) in steps {
            match step {
                0 => {
                    newest += ahead;
                    children.see(KIND, Seen::Changed(&meta("a", newest)));
                }
                1 => {
                    newest += ahead;
                    children.settle(KIND, &hub(), &object("a", newest), BUILT);
                    compared = Some(newest);
                }
                2 => {
                    children.see(KIND, Seen::Changed(&meta("a", newest.saturating_sub(ahead))));
                }
                _ => {
                    newest += 1 + ahead;
                    children.see(KIND, Seen::Gone(&meta("a", newest)));
                    compared = None;
                }
            }
            let is_built = known(&children).is_some_and(|(built, _)| !built.is_empty());
            prop_assert!(!is_built || compared == Some(newest));
        }
    }
}

#[test]
fn nothing_is_known_once_a_watch_has_ended_until_another_has_listed_everything() {
    let children = watched();
    children.settle(KIND, &hub(), &object("a", 1), BUILT);
    assert_eq!(known(&children), Some((names(&["a"]), names(&[]))));
    children.see(KIND, Seen::Ended);
    assert_eq!(known(&children), None);
    children.see(KIND, Seen::Begin);
    assert_eq!(known(&children), None);
    children.see(KIND, Seen::Complete);
    assert_eq!(known(&children), Some((names(&[]), names(&[]))));
}

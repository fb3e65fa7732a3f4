//! The health check for Argo CD, run as Argo CD runs it (Lua 5.1), against kstatus: both have the same verdict on every status
//! that a hub or a client can have.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_operator::crd::{FlickrHubStatus, definitions};
use flickrhub_operator::part::{Part, PartStatus};
use flickrhub_operator::status::{Outcome, status};
use jiff::Timestamp;
use mlua::{Lua, LuaSerdeExt as _};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

const HEALTH: &str = include_str!("../../manifests/gitops/argocd/health.lua");
const CONFIG_MAP: &str = include_str!("../../manifests/gitops/argocd/argocd-cm.yaml");

/// What Argo CD says of an object.
fn argo_cd(lua: &Lua, object: &Value) -> String {
    let object = lua.to_value(object).expect("a table");
    lua.globals().set("obj", object).expect("set");
    let health: mlua::Table = lua.load(HEALTH).eval().expect("the script runs");
    assert!(health.get::<Option<String>>("message").expect("a text").is_some());
    health.get("status").expect("a status")
}

/// What kstatus says of an object without rules of its own, by its documentation and `Compute` of
/// `sigs.k8s.io/cli-utils/pkg/kstatus/status`: the deletion, then the generation, then `Reconciling` and `Stalled` in the order
/// in which they stand, then `Ready`.
fn kstatus(object: &Value) -> &'static str {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    let observed = &object["status"]["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return "InProgress";
    }
    let conditions = || object["status"]["conditions"].as_array().into_iter().flatten();
    for condition in conditions().filter(|condition| condition["status"] == "True") {
        match condition["type"].as_str() {
            Some("Reconciling") => return "InProgress",
            Some("Stalled") => return "Failed",
            _ => {}
        }
    }
    match conditions().find(|condition| condition["type"] == "Ready") {
        Some(ready) if ready["status"] != "True" => "InProgress",
        _ => "Current",
    }
}

/// The verdict of kstatus in Argo CD's words.
fn in_argo_cds_words(verdict: &str) -> &'static str {
    match verdict {
        "Current" => "Healthy",
        "Failed" => "Degraded",
        _ => "Progressing",
    }
}

fn assert_same(object: &Value) {
    let verdict = kstatus(object);
    assert_eq!(
        argo_cd(&Lua::new(), object),
        in_argo_cds_words(verdict),
        "{object}"
    );
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let parts = proptest::collection::btree_map(select(Part::ALL.to_vec()), any::<bool>(), 0..=7);
    let parts = parts.prop_map(|parts| {
        let judge = |ready: bool| {
            if ready {
                PartStatus::ready("It runs.")
            } else {
                PartStatus::waiting("Away", "It is away.", Duration::from_secs(1))
            }
        };
        let parts = parts.into_iter().map(|(part, ready)| (part, judge(ready)));
        parts.collect::<BTreeMap<_, _>>()
    });
    (0..4, parts).prop_map(|(kind, parts)| {
        let (reason, message) = ("Reason", "A sentence.".to_owned());
        match kind {
            0 => Outcome::Applied(parts),
            1 => Outcome::Stalled {
                reason,
                message,
                parts,
            },
            2 => Outcome::Failed {
                reason,
                message,
                parts,
            },
            _ => Outcome::Paused,
        }
    })
}

fn object(generation: i64, leaves: bool, status: &Value) -> Value {
    let mut object = json!({"metadata": {"name": "gallery", "generation": generation}, "status": status});
    if leaves {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    object
}

fn any_condition() -> impl Strategy<Value = Value> {
    let types = vec!["Ready", "Reconciling", "Stalled", "RedisReady", "KeysRotated"];
    (select(types), select(vec!["True", "False", "Unknown"]), 1..4_i64).prop_map(
        |(type_, status, generation)| {
            json!({"type": type_, "status": status, "reason": "Reason", "message": "A sentence.",
            "observedGeneration": generation})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn on_what_the_operator_writes_both_have_the_same_verdict(
        outcomes in proptest::collection::vec((outcome(), 0..2_i64, 0..90_i64), 1..6),
        changes in 0..2_i64,
        leaves in any::<bool>(),
    ) {
        let (mut before, mut generation, mut now) = (None::<FlickrHubStatus>, 1, 0);
        for (outcome, changes, seconds) in outcomes {
            generation += changes;
            now += seconds;
            let now = Timestamp::from_second(now).unwrap_or_default();
            before = Some(status(before.as_ref(), generation, None, &outcome, now));
        }
        assert_same(&object(generation + changes, leaves, &json!(before)));
    }

    #[test]
    fn on_any_conditions_in_any_order_both_have_the_same_verdict(
        conditions in proptest::collection::vec(any_condition(), 0..6),
        generation in 1..4_i64,
        observed in proptest::option::of(-1..4_i64),
        leaves in any::<bool>(),
    ) {
        let mut status = json!({"conditions": conditions});
        if let Some(observed) = observed {
            status["observedGeneration"] = json!(observed);
        }
        assert_same(&object(generation, leaves, &status));
    }
}

#[test]
fn what_is_new_is_well_for_neither() {
    for definition in definitions().expect("definitions") {
        let definition = serde_json::to_value(definition).expect("JSON");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let status = &schema["properties"]["status"]["default"];
        let new = object(1, false, status);
        assert_eq!(
            (kstatus(&new), argo_cd(&Lua::new(), &new).as_str()),
            ("InProgress", "Progressing")
        );
    }
}

#[test]
fn argo_cds_config_map_has_the_script_for_every_kind() {
    let map: Value = serde_yaml_ng::from_str(CONFIG_MAP).expect("YAML");
    let data = map["data"].as_object().expect("data");
    let mut keys: Vec<&str> = data.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let kinds = ["FlickrHub", "FlickrHubClient"];
    let expected = kinds.map(|kind| format!("resource.customizations.health.flickrhub.dev_{kind}"));
    assert_eq!(keys, expected);
    for (key, text) in data {
        assert_eq!(text.as_str(), Some(HEALTH), "{key}");
    }
}

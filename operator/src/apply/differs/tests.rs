use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The same of an object as it was read, and of one that is kept.
fn differs(desired: &Value, live: &Value) -> bool {
    let mut kept = live.clone();
    compact_ownership(&mut kept);
    let found = super::differs(desired, live);
    assert_eq!(super::differs(desired, &kept), found, "{kept}");
    found
}

/// `object` as the API server shows it after the operator applied it.
fn applied(object: &Value) -> Value {
    let mut live = object.clone();
    live["metadata"]["managedFields"] = json!([{
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "fieldsV1": fields_of(&without_identity(object)),
    }]);
    live
}

/// The fields of an object in the form `FieldsV1`; lists of objects count as lists with the key `name`.
fn fields_of(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !is_empty(value))
            .map(|(key, value)| (format!("f:{key}"), fields_of(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) if items.iter().all(|item| item.get("name").is_some()) => items
            .iter()
            .map(|item| (format!("k:{}", json!({"name": item["name"]})), fields_of(item)))
            .collect::<Map<_, _>>()
            .into(),
        _ => json!({}),
    }
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "gallery-api", "labels": {"app": "api"}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "api", "image": "api:1", "args": ["--config", "x"],
             "resources": {"limits": {"cpu": "0.5", "memory": "512Mi"}}},
        ]}}},
    })
}

#[test]
fn what_was_applied_does_not_differ() {
    assert!(!differs(&deployment(), &applied(&deployment())));
}

#[test]
fn defaults_and_status_make_no_difference() {
    let mut live = applied(&deployment());
    live["spec"]["replicas"] = json!(4);
    live["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] =
        json!("/dev/termination-log");
    live["status"] = json!({"readyReplicas": 4});
    assert!(!differs(&deployment(), &live));
}

#[test]
fn an_amount_in_another_form_makes_no_difference() {
    let mut live = applied(&deployment());
    live["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] =
        json!({"cpu": "500m", "memory": "536870912"});
    assert!(!differs(&deployment(), &live));
}

#[test]
fn a_changed_value_differs() {
    let mut live = applied(&deployment());
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("api:2");
    assert!(differs(&deployment(), &live));
}

#[test]
fn a_changed_order_of_arguments_differs() {
    let mut live = applied(&deployment());
    live["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["x", "--config"]);
    assert!(differs(&deployment(), &live));
}

#[test]
fn a_removed_label_differs() {
    let mut live = applied(&deployment());
    live["metadata"]["labels"] = json!({});
    assert!(differs(&deployment(), &live));
}

#[test]
fn a_field_that_is_no_longer_wanted_differs_while_the_operator_owns_it() {
    let mut before = deployment();
    before["spec"]["template"]["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"sleep": {"seconds": 5}}});
    assert!(differs(&deployment(), &applied(&before)));
}

#[test]
fn an_item_that_is_no_longer_wanted_differs() {
    let mut before = deployment();
    before["spec"]["template"]["spec"]["containers"] =
        json!([before["spec"]["template"]["spec"]["containers"][0], {"name": "old", "image": "old:1"}]);
    assert!(differs(&deployment(), &applied(&before)));
}

#[test]
fn a_field_of_somebody_else_makes_no_difference() {
    let mut live = applied(&deployment());
    live["metadata"]["annotations"] = json!({"example.org/note": "kept"});
    assert!(!differs(&deployment(), &live));
}

/// What an injector and a defaulting webhook make of a pod: containers, volumes, environment.
fn injected(mut live: Value) -> Value {
    let pod = &mut live["spec"]["template"]["spec"];
    let sidecar = json!({"name": "proxy", "image": "proxy:1", "args": ["run"]});
    let container = &mut pod["containers"][0];
    container["env"] = json!([{"name": "PROXY", "value": "on"}]);
    container["volumeMounts"] = json!([{"name": "proxy", "mountPath": "/proxy"}]);
    let own = pod["containers"][0].clone();
    pod["containers"] = json!([sidecar, own]);
    pod["initContainers"] = json!([{"name": "proxy-init", "image": "proxy:1"}]);
    pod["volumes"] = json!([{"name": "proxy", "emptyDir": {}}]);
    live
}

#[test]
fn what_an_injector_adds_makes_no_difference() {
    assert!(!differs(&deployment(), &injected(applied(&deployment()))));
}

#[test]
fn a_changed_value_beside_what_an_injector_added_differs() {
    let mut live = injected(applied(&deployment()));
    live["spec"]["template"]["spec"]["containers"][1]["image"] = json!("api:2");
    assert!(differs(&deployment(), &live));
}

#[test]
fn a_removed_item_beside_what_an_injector_added_differs() {
    let mut live = injected(applied(&deployment()));
    if let Some(containers) = live["spec"]["template"]["spec"]["containers"].as_array_mut() {
        containers.remove(1);
    }
    assert!(differs(&deployment(), &live));
}

#[test]
fn an_item_that_somebody_else_took_over_differs() {
    let mut live = injected(applied(&deployment()));
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"] =
        json!({});
    assert!(differs(&deployment(), &live));
}

/// The selector of a Service belongs to one writer as a whole, and with it everything below its `f:selector`.
#[test]
fn a_key_that_somebody_adds_to_a_map_of_one_writer_differs_until_it_is_regained() {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "gallery-api", "namespace": "photos"},
        "spec": {"clusterIP": "None", "selector": {"app": "api"}},
    });
    let mut live = applied(&service);
    let own = json!({"f:spec": {"f:clusterIP": {}, "f:selector": {}}});
    live["metadata"]["managedFields"][0]["fieldsV1"] = own.clone();
    assert!(!differs(&service, &live));
    live["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:spec": {"f:clusterIP": {}}});
    live["spec"]["selector"]["extra"] = json!("of another");
    assert!(differs(&service, &live));
    live["metadata"]["managedFields"][0]["fieldsV1"] = own;
    live["spec"]["selector"] = json!({"app": "api"});
    assert!(!differs(&service, &live));
}

#[test]
fn defaults_within_what_is_owned_as_a_whole_make_no_difference() {
    let mut object = deployment();
    object["spec"]["fieldRef"] = json!({"fieldPath": "metadata.name"});
    let mut live = applied(&object);
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:fieldRef"] = json!({});
    live["spec"]["fieldRef"]["apiVersion"] = json!("v1");
    assert!(!differs(&object, &live));
}

#[test]
fn what_is_empty_needs_no_owner() {
    let mut object = deployment();
    object["spec"]["strategy"] = json!({"options": {}, "items": [], "nothing": null});
    let mut live = applied(&object);
    assert!(!differs(&object, &live));
    live["spec"]["strategy"] = json!({"options": {"theirs": 1}, "items": [1], "nothing": "theirs"});
    assert!(!differs(&object, &live));
}

#[test]
fn an_owner_reference_is_owned_as_a_whole() {
    let mut object = deployment();
    object["metadata"]["ownerReferences"] = json!([{"uid": "1", "kind": "FlickrHub", "name": "gallery"}]);
    let mut live = applied(&object);
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:ownerReferences"] =
        json!({r#"k:{"uid":"1"}"#: {}});
    assert!(!differs(&object, &live));
    live["metadata"]["ownerReferences"][0]["name"] = json!("another");
    assert!(differs(&object, &live));
}

#[test]
fn an_item_more_in_a_list_without_keys_differs() {
    let mut rules = deployment();
    rules["spec"]["rules"] = json!([{"host": "a"}]);
    let mut live = applied(&rules);
    live["spec"]["rules"] = json!([{"host": "a", "http": {}}]);
    assert!(!differs(&rules, &live));
    live["spec"]["rules"] = json!([{"host": "a"}, {"host": "b"}]);
    assert!(differs(&rules, &live));
}

#[test]
fn items_are_known_by_all_of_their_keys_and_by_defaults() {
    let mut service = deployment();
    service["spec"] = json!({"ports": [{"port": 80, "targetPort": "http"}]});
    let mut live = applied(&service);
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:ports"] =
        json!({r#"k:{"port":80,"protocol":"TCP"}"#: {".": {}, "f:port": {}, "f:targetPort": {}}});
    let tcp = json!({"port": 80, "protocol": "TCP", "targetPort": "http"});
    let udp = json!({"port": 80, "protocol": "UDP", "targetPort": "dns"});
    live["spec"]["ports"] = json!([udp, tcp]);
    assert!(!differs(&service, &live));
    live["spec"]["ports"] = json!([udp]);
    assert!(differs(&service, &live));
}

#[test]
fn a_list_of_values_that_many_write_needs_only_the_own_ones() {
    let mut object = deployment();
    object["metadata"]["finalizers"] = json!(["own"]);
    let mut live = applied(&object);
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:finalizers"] =
        json!({r#"v:"own""#: {}});
    live["metadata"]["finalizers"] = json!(["foreign", "own"]);
    assert!(!differs(&object, &live));
    live["metadata"]["finalizers"] = json!(["foreign"]);
    assert!(differs(&object, &live));
}

#[test]
fn a_list_that_is_to_hold_nothing_of_the_operator_may_hold_something_of_others() {
    let mut object = deployment();
    object["spec"]["volumes"] = json!([]);
    let mut live = applied(&object);
    live["spec"]["volumes"] = json!([{"name": "foreign"}]);
    assert!(!differs(&object, &live));
}

#[test]
fn what_the_operator_never_applied_differs() {
    assert!(differs(&deployment(), &deployment()));
}

fn any_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z]{0,8}".prop_map(Value::from),
        Just(Value::Array(Vec::new())),
    ];
    let value = leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::btree_map("[a-z]{1,6}", inner.clone(), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|items| {
                items
                    .into_iter()
                    .map(|(name, value)| json!({"name": name, "value": value}))
                    .collect::<Value>()
            }),
        ]
    });
    prop::collection::btree_map("[a-z]{1,6}", value, 0..5).prop_map(|fields| {
        let mut object: Map<String, Value> = fields.into_iter().collect();
        object.insert(
            "metadata".to_owned(),
            json!({"name": "any", "labels": {"app": "any"}}),
        );
        Value::Object(object)
    })
}

/// `value` with what others add to it, wherever one of `choices` says so: a field of an object, an item of a list with
/// keys. Names in upper case are nobody's else.
fn with_additions(value: Value, choices: &mut impl Iterator<Item = bool>) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Map<String, Value> = fields
                .into_iter()
                .map(|(key, value)| match key.as_str() {
                    "managedFields" => (key, value),
                    _ => (key, with_additions(value, choices)),
                })
                .collect();
            if choices.next() == Some(true) {
                fields.insert("FOREIGN".to_owned(), json!([{"name": "x"}]));
            }
            Value::Object(fields)
        }
        Value::Array(items) => {
            // One without keys belongs to one writer as a whole.
            if items.is_empty() || !items.iter().all(|item| item.get("name").is_some()) {
                return Value::Array(items);
            }
            let mut items: Vec<Value> = items
                .into_iter()
                .map(|item| with_additions(item, choices))
                .collect();
            if choices.next() == Some(true) {
                items.insert(0, json!({"name": "INJECTED", "value": 1}));
            }
            Value::Array(items)
        }
        leaf => leaf,
    }
}

/// The paths of all values in an object that are neither objects nor lists.
fn leaves(value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| leaves(value, &format!("{path}/{key}")))
            .collect(),
        Value::Array(items) => (0_usize..)
            .zip(items)
            .flat_map(|(index, value)| leaves(value, &format!("{path}/{index}")))
            .collect(),
        _ => vec![path.to_owned()],
    }
}

/// `live` without the field at a path; for an item of a list, with something else in its place.
fn without(mut live: Value, path: &str) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap_or_default();
    match live.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(name);
        }
        _ => live = changed(live, path),
    }
    live
}

/// The paths of all selectors in a set of fields, each as its parts.
fn selectors(fields: &Value, path: &[String]) -> Vec<Vec<String>> {
    let inner = fields.as_object().into_iter().flatten();
    inner
        .flat_map(|(selector, inner)| {
            let path: Vec<String> = path.iter().chain([selector]).cloned().collect();
            let mut found = selectors(inner, &path);
            found.push(path);
            found
        })
        .collect()
}

/// A set of fields without one of them.
fn disowned(fields: &mut Value, path: &[String]) {
    match path {
        [selector] => drop(fields.as_object_mut().and_then(|fields| fields.remove(selector))),
        [selector, rest @ ..] => {
            // What is left of it is not owned as a whole.
            fields[selector]["."] = json!({});
            disowned(&mut fields[selector], rest);
        }
        [] => {}
    }
}

fn changed(mut live: Value, path: &str) -> Value {
    if let Some(value) = live.pointer_mut(path) {
        *value = json!("CHANGED");
    }
    live
}

proptest! {
    #[test]
    fn nothing_that_was_applied_differs(object in any_object()) {
        prop_assert!(!differs(&object, &applied(&object)));
    }

    #[test]
    fn nothing_that_others_add_makes_a_difference(
        object in any_object(), choices in prop::collection::vec(any::<bool>(), 64),
    ) {
        let live = with_additions(applied(&object), &mut choices.into_iter().cycle());
        prop_assert!(!differs(&object, &live), "{live}");
    }

    #[test]
    fn every_change_of_what_was_applied_is_seen_whatever_others_add(
        object in any_object(), at in any::<prop::sample::Index>(), removed in any::<bool>(),
        choices in prop::collection::vec(any::<bool>(), 64),
    ) {
        let leaves = leaves(&without_identity(&object), "");
        let path = at.get(&leaves);
        let live = applied(&object);
        let live = if removed { without(live, path) } else { changed(live, path) };
        let live = with_additions(live, &mut choices.into_iter().cycle());
        prop_assert!(differs(&object, &live), "{path}: {live}");
    }

    #[test]
    fn every_field_that_somebody_took_over_is_seen_although_it_is_as_wanted(
        object in any_object(), at in any::<prop::sample::Index>(),
    ) {
        let mut live = applied(&object);
        let own = &mut live["metadata"]["managedFields"][0]["fieldsV1"];
        let selectors = selectors(own, &[]);
        let path = at.get(&selectors);
        disowned(own, path);
        prop_assert!(differs(&object, &live), "{path:?}: {live}");
    }
}

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// `object` as the API server shows it after the operator applied it.
fn applied(object: &Value) -> Value {
    let mut live = object.clone();
    live["metadata"]["managedFields"] = json!([{
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "fieldsV1": fields_of(object),
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
        object.insert("metadata".to_owned(), json!({"name": "any"}));
        Value::Object(object)
    })
}

proptest! {
    #[test]
    fn nothing_that_was_applied_differs(object in any_object()) {
        prop_assert!(!differs(&object, &applied(&object)));
    }
}

//! Whether a live object needs a write to be what was built.

use serde_json::{Map, Value};

use crate::context::FIELD_MANAGER;
use crate::crd::Quantity;

/// Whether `live` lacks something of `desired`, or the operator still owns something in it that `desired` no longer has.
///
/// What others added to `live` (defaults, status, their own fields) makes no difference. A write where this is false
/// would change nothing.
pub fn differs(desired: &Value, live: &Value) -> bool {
    !contains(None, desired, live) || !owns_only(desired, live)
}

/// Whether `live` has everything of `desired`. `key` is the field that holds both.
fn contains(key: Option<&str>, desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            desired.iter().all(|(key, value)| match live.get(key) {
                Some(live) => contains(Some(key), value, live),
                None => is_empty(value),
            })
        }
        (Value::Array(desired), Value::Array(live)) if desired.iter().all(Value::is_object) => {
            desired.len() == live.len()
                && desired
                    .iter()
                    .all(|item| live.iter().any(|live| contains(None, item, live)))
        }
        (Value::String(desired), Value::String(live)) => {
            desired == live || (is_amount(key) && same_amount(desired, live))
        }
        _ => desired == live,
    }
}

/// The API server drops what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether the field holds an amount, which the API server writes in its own form: `0.5` becomes `500m`.
fn is_amount(key: Option<&str>) -> bool {
    matches!(key, Some("cpu" | "memory" | "storage" | "sizeLimit"))
}

fn same_amount(one: &str, other: &str) -> bool {
    match (Quantity::new(one).nanos(), Quantity::new(other).nanos()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether everything in `live` that the operator owns by its last apply is in `desired`.
fn owns_only(desired: &Value, live: &Value) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let own = entries.into_iter().flatten().find(|entry| {
        entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply" && entry["subresource"].is_null()
    });
    match own.and_then(|entry| entry["fieldsV1"].as_object()) {
        Some(fields) => covers(desired, fields),
        None => false,
    }
}

/// Whether `desired` has every field of a set in the form `FieldsV1`: `f:<name>` is a field, `k:<keys>` the item of a
/// list with these keys, `v:<value>` an item of a list of values, `.` the field or item itself.
fn covers(desired: &Value, fields: &Map<String, Value>) -> bool {
    fields.iter().all(|(selector, inner)| {
        let found = match selector.split_once(':') {
            Some(("f", name)) => desired.get(name),
            Some(("k", keys)) => item_with(desired, keys),
            Some(("v", value)) => item_equal_to(desired, value),
            _ => return true,
        };
        match (found, inner.as_object()) {
            (Some(found), Some(inner)) => covers(found, inner),
            (found, _) => found.is_some(),
        }
    })
}

/// The item of a list that has these keys. A key that the item leaves out has its default there.
fn item_with<'a>(list: &'a Value, keys: &str) -> Option<&'a Value> {
    let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
    list.as_array()?.iter().find(|item| {
        keys.iter()
            .all(|(key, value)| item.get(key).is_none_or(|own| own == value))
    })
}

fn item_equal_to<'a>(list: &'a Value, value: &str) -> Option<&'a Value> {
    let value: Value = serde_json::from_str(value).ok()?;
    list.as_array()?.iter().find(|item| **item == value)
}

#[cfg(test)]
mod tests;

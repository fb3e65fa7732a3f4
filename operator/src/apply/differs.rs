//! Whether a live object needs a write to be what was built, by the rules of server-side apply.
//!
//! `managedFields` tell what the operator owns. What others own makes no difference: their fields, defaults, status, and
//! their items of lists that have keys (`containers` by name, `ports` by number), into which admission webhooks and
//! injectors put items of their own. A list without keys belongs to one writer as a whole, so there every item counts.
//!
//! Every wanted field has to be owned too. Who changes a field of the operator's takes it over, and who adds to a map that
//! has one owner as a whole (the selector of a Service) takes over the whole map, where all that was wanted is still found.
//! A forced apply always regains a field, so this ends after one write.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::context::FIELD_MANAGER;
use crate::crd::Quantity;

/// Fields in the form `FieldsV1`: `f:<name>` is a field, `k:<keys>` the item of a list with these keys, `v:<value>` an
/// item of a list of values, `.` the field or item itself.
pub(super) type Fields = Map<String, Value>;

/// Whether `live` lacks something of `desired`, or the operator still owns something in it that `desired` no longer has.
///
/// A write where this is false would change nothing.
pub fn differs(desired: &Value, live: &Value) -> bool {
    let desired = without_identity(desired);
    match own_fields(live) {
        Some(own) => !contains(None, &desired, live, Some(&own)) || !covers(&desired, &own),
        None => true,
    }
}

/// An object without what it is found by, which nobody owns and nobody can change.
fn without_identity(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("name");
        meta.remove("namespace");
    }
    object
}

/// What the operator owns of an object by its last apply; `None` if it never applied it.
pub(super) fn own_fields(live: &Value) -> Option<Cow<'_, Fields>> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    match &entries.into_iter().flatten().find(|entry| is_own(entry))?["fieldsV1"] {
        Value::Object(fields) => Some(Cow::Borrowed(fields)),
        Value::String(fields) => serde_json::from_str(fields).ok().map(Cow::Owned),
        _ => None,
    }
}

fn is_own(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply" && entry["subresource"].is_null()
}

/// Drops what others own of an object, and makes a text of what the operator does: as maps in maps it would be most of the
/// memory that a look at a hub takes.
pub(super) fn compact_ownership(object: &mut Value) {
    let entries = object.pointer_mut("/metadata/managedFields");
    let Some(entries) = entries.and_then(Value::as_array_mut) else {
        return;
    };
    entries.retain(is_own);
    for fields in entries.iter_mut().filter_map(|entry| entry.get_mut("fieldsV1")) {
        if fields.is_object() {
            *fields = Value::String(fields.to_string());
        }
    }
}

/// Whether `live` has everything of `desired`, as the operator's own. `key` is the field that holds both, `own` what the
/// operator owns in it; `None` if it owns it as a whole.
fn contains(key: Option<&str>, desired: &Value, live: &Value, own: Option<&Fields>) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired
            .iter()
            .all(|(key, value)| has_field(live, key, value, own)),
        (Value::Array(desired), Value::Array(live)) => match own {
            None => {
                desired.len() == live.len()
                    && desired
                        .iter()
                        .zip(live)
                        .all(|(item, live)| contains(None, item, live, None))
            }
            Some(own) if is_set(own) => desired.iter().all(|item| live.contains(item)),
            Some(own) => desired.iter().all(|item| has_keyed(live, item, own)),
        },
        (Value::String(desired), Value::String(live)) => {
            desired == live || (is_amount(key) && same_amount(desired, live))
        }
        _ => desired == live,
    }
}

/// Whether `live` has a wanted field, as the operator's own.
fn has_field(live: &Map<String, Value>, key: &str, desired: &Value, own: Option<&Fields>) -> bool {
    let inner = match own.map(|own| own.get(&format!("f:{key}"))) {
        // What is wanted of it is nothing, and nothing in it is the operator's.
        Some(None) => return is_empty(desired),
        Some(Some(inner)) => parts_of(inner),
        None => None,
    };
    match live.get(key) {
        Some(live) => contains(Some(key), desired, live, inner),
        None => is_empty(desired),
    }
}

/// What is owned within something that is owned; `None` if it is owned as a whole.
fn parts_of(owned: &Value) -> Option<&Fields> {
    owned.as_object().filter(|parts| !parts.is_empty())
}

/// Whether a list of which parts are owned is one of values. Otherwise its items have keys.
fn is_set(own: &Fields) -> bool {
    own.keys().any(|selector| selector.starts_with("v:"))
}

/// Whether a list with keys has an item that the operator owns and that is `desired`.
fn has_keyed(live: &[Value], desired: &Value, own: &Fields) -> bool {
    own.iter().any(|(selector, inner)| {
        let Some(keys) = keys_of(selector).filter(|keys| may_have(desired, keys)) else {
            return false;
        };
        let item = live.iter().find(|item| has(item, &keys));
        item.is_some_and(|item| contains(None, desired, item, parts_of(inner)))
    })
}

/// The keys of an item, by its selector.
pub(super) fn keys_of(selector: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(selector.strip_prefix("k:")?).ok()
}

/// Whether a built item has these keys. A key that it leaves out has its default.
fn may_have(item: &Value, keys: &Map<String, Value>) -> bool {
    keys.iter()
        .all(|(key, value)| item.get(key).is_none_or(|own| own == value))
}

/// Whether a live item has these keys.
fn has(item: &Value, keys: &Map<String, Value>) -> bool {
    keys.iter().all(|(key, value)| item.get(key) == Some(value))
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

/// Whether `desired` has every field of a set.
fn covers(desired: &Value, fields: &Fields) -> bool {
    fields.iter().all(|(selector, inner)| {
        let found = match selector.split_once(':') {
            Some(("f", name)) => desired.get(name),
            Some(("k", _)) => keys_of(selector).and_then(|keys| item_with(desired, &keys)),
            Some(("v", value)) => item_equal_to(desired, value),
            _ => return true,
        };
        match (found, inner.as_object()) {
            (Some(found), Some(inner)) => covers(found, inner),
            (found, _) => found.is_some(),
        }
    })
}

fn item_with<'a>(list: &'a Value, keys: &Map<String, Value>) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| may_have(item, keys))
}

fn item_equal_to<'a>(list: &'a Value, value: &str) -> Option<&'a Value> {
    let value: Value = serde_json::from_str(value).ok()?;
    list.as_array()?.iter().find(|item| **item == value)
}

#[cfg(test)]
mod tests;

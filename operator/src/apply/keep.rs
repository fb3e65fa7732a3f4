//! What pods are made from, left as it is: the operator applies again what it applied before, so that it neither changes
//! anything of it nor gives it up. What somebody else has changed in it meanwhile stays theirs.

use serde_json::{Map, Value};

use super::differs::{keys_of, own_fields};
use crate::build::Kind;

/// Where an object holds what pods are made from.
const fn source(kind: Kind) -> Option<&'static [&'static str]> {
    match kind {
        Kind::Deployment | Kind::StatefulSet => Some(&["spec", "template"]),
        Kind::ConfigMap => Some(&["data"]),
        _ => None,
    }
}

/// Puts what the operator owns of the live template, or data, in the place of what was built.
pub(super) fn keep_source(kind: Kind, desired: &mut Value, live: &Value) {
    let (Some(path), Some(owned)) = (source(kind), own_fields(live)) else {
        return;
    };
    let mut own = &*owned;
    let mut current = live;
    let mut place = desired;
    for name in path {
        let (Some(inner), Some(value), Some(inside)) = (
            own.get(&format!("f:{name}")).and_then(Value::as_object),
            current.get(name),
            place.get_mut(name),
        ) else {
            return;
        };
        (own, current, place) = (inner, value, inside);
    }
    *place = owned_part(current, own);
}

/// What is owned of a value.
fn owned_part(live: &Value, own: &Map<String, Value>) -> Value {
    let part = |value: &Value, inner: &Value| match inner.as_object() {
        Some(inner) if inner.keys().any(|selector| selector != ".") => owned_part(value, inner),
        _ => value.clone(),
    };
    match live {
        Value::Object(fields) => own
            .iter()
            .filter_map(|(selector, inner)| {
                let name = selector.strip_prefix("f:")?;
                Some((name.to_owned(), part(fields.get(name)?, inner)))
            })
            .collect(),
        // In the order in which the items are, which can mean something.
        Value::Array(items) => items
            .iter()
            .filter_map(|item| {
                own.iter().find_map(|(selector, inner)| {
                    if let Some(keys) = keys_of(selector) {
                        let is_it = keys.iter().all(|(key, value)| item.get(key) == Some(value));
                        return is_it.then(|| part(item, inner));
                    }
                    let value: Value = serde_json::from_str(selector.strip_prefix("v:")?).ok()?;
                    (*item == value).then_some(value)
                })
            })
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::differs;
    use super::*;

    fn live() -> Value {
        json!({
            "metadata": {
                "name": "gallery-api",
                "managedFields": [{
                    "manager": "flickrhub-operator", "operation": "Apply",
                    "fieldsV1": {"f:spec": {
                        "f:replicas": {},
                        "f:template": {"f:spec": {"f:containers": {
                            "k:{\"name\":\"api\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {}},
                        }}},
                    }},
                }],
            },
            "spec": {
                "replicas": 2,
                "template": {"spec": {
                    "containers": [
                        {"name": "injected", "image": "mesh"},
                        {"name": "api", "image": "api:1", "args": ["run"], "terminationMessagePath": "/dev/log"},
                    ],
                    "dnsPolicy": "ClusterFirst",
                }},
            },
        })
    }

    fn built(image: &str, replicas: u32) -> Value {
        let container = json!({"name": "api", "image": image, "args": ["run"]});
        json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}}})
    }

    #[test]
    fn a_template_stays_and_everything_else_is_as_built() {
        let mut desired = built("api:2", 3);
        keep_source(Kind::Deployment, &mut desired, &live());
        assert_eq!(desired, built("api:1", 3));
        let mut desired = built("api:2", 2);
        keep_source(Kind::Deployment, &mut desired, &live());
        assert!(!differs(&desired, &live()));
    }

    #[test]
    fn other_kinds_are_as_built() {
        let mut desired = built("api:2", 3);
        keep_source(Kind::Service, &mut desired, &live());
        assert_eq!(desired, built("api:2", 3));
    }
}

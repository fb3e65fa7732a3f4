//! The fields that the operator owns in an object, by its `managedFields`, and how somebody else may change each.

use serde_json::{Map, Value, json};

/// The field manager of the operator.
const OPERATOR: &str = "flickrhub-operator";

/// A field that the operator owns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    /// Its path by names and keys, the same in every object of a kind.
    pub(crate) path: String,
    /// Where it is in this object (RFC 6901).
    pointer: String,
    value: Value,
}

/// What the operator owns of an object by its last apply.
pub(crate) fn owned(object: &Value) -> Option<&Map<String, Value>> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let own = entries.iter().find(|entry| {
        entry["manager"] == OPERATOR && entry["operation"] == "Apply" && entry["subresource"].is_null()
    });
    own?["fieldsV1"].as_object()
}

/// Every field that is owned, and every item of a list.
pub(crate) fn fields(object: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    if let Some(own) = owned(object) {
        collect(own, object, &Field::root(), &mut found);
    }
    found
}

fn collect(own: &Map<String, Value>, value: &Value, at: &Field, found: &mut Vec<Field>) {
    for (selector, inner) in own {
        let Some(field) = step(selector, value, at) else {
            continue;
        };
        match inner.as_object() {
            Some(inner) if !inner.is_empty() => {
                if inner.contains_key(".") {
                    found.push(field.clone());
                }
                collect(inner, &field.value.clone(), &field, found);
            }
            _ => found.push(field),
        }
    }
}

/// One selector further.
fn step(selector: &str, value: &Value, at: &Field) -> Option<Field> {
    let (form, what) = selector.split_once(':')?;
    let (segment, found) = if form == "f" {
        (what.replace('~', "~0").replace('/', "~1"), value.get(what)?)
    } else {
        let wanted: Value = serde_json::from_str(what).ok()?;
        let is_it = |item: &&Value| match (&wanted, form) {
            (Value::Object(keys), "k") => keys.iter().all(|(key, value)| item.get(key) == Some(value)),
            (wanted, _) => *item == wanted,
        };
        let items = value.as_array()?;
        let index = items.iter().position(|item| is_it(&item))?;
        (index.to_string(), items.get(index)?)
    };
    Some(Field {
        path: format!("{}/{what}", at.path),
        pointer: format!("{}/{segment}", at.pointer),
        value: found.clone(),
    })
}

/// Only what is owned of an object.
pub(crate) fn projection(object: &Value, own: &Map<String, Value>) -> Value {
    let parts = own.iter().filter(|(selector, _)| selector.as_str() != ".");
    let parts = parts.map(|(selector, inner)| {
        let found = step(selector, object, &Field::root()).map(|field| field.value);
        let part = match (found, inner.as_object()) {
            (Some(found), Some(inner)) if !inner.is_empty() => projection(&found, inner),
            (found, _) => found.unwrap_or_default(),
        };
        (selector.clone(), part)
    });
    Value::Object(parts.collect())
}

impl Field {
    const fn root() -> Self {
        Self {
            path: String::new(),
            pointer: String::new(),
            value: Value::Null,
        }
    }

    /// Values that it may be given, the likeliest to be accepted first.
    pub(crate) fn others(&self) -> Vec<Value> {
        match &self.value {
            Value::Bool(is) => vec![json!(!is)],
            Value::Number(number) => {
                let number = number.as_i64().unwrap_or_default();
                vec![json!(number + 1), json!(number - 1)]
            }
            Value::String(text) => vec![json!(format!("{text}x")), json!(format!("1{text}")), json!("x")],
            Value::Array(items) => vec![json!([]), json!(items.iter().skip(1).collect::<Vec<_>>())],
            Value::Object(_) => vec![json!({"x": "y"}), json!({})],
            Value::Null => Vec::new(),
        }
    }

    /// Gives it another value in an object, or takes it away.
    pub(crate) fn set(&self, object: &mut Value, value: Option<Value>) {
        let Some((parent, segment)) = self.pointer.rsplit_once('/') else {
            return;
        };
        match (object.pointer_mut(parent), value) {
            (Some(Value::Object(fields)), Some(value)) => {
                fields.insert(segment.replace("~1", "/").replace("~0", "~"), value);
            }
            (Some(Value::Object(fields)), None) => {
                fields.remove(&segment.replace("~1", "/").replace("~0", "~"));
            }
            (Some(Value::Array(items)), value) => {
                let Some(index) = segment.parse().ok().filter(|index| *index < items.len()) else {
                    return;
                };
                match value {
                    Some(value) => items[index] = value,
                    None => drop(items.remove(index)),
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({
            "metadata": {
                "labels": {"a/b": "c"},
                "managedFields": [{"manager": OPERATOR, "operation": "Apply", "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:a/b": {}}},
                    "f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}, "f:port": {}}}},
                }}],
            },
            "spec": {"ports": [{"port": 1}, {"port": 80, "name": "http", "nodePort": 7}]},
        })
    }

    #[test]
    fn every_field_and_item_that_is_owned_is_found() {
        let pointers: Vec<String> = fields(&object()).into_iter().map(|field| field.pointer).collect();
        assert_eq!(
            pointers,
            [
                "/metadata/labels/a~1b",
                "/spec/ports/1",
                "/spec/ports/1/name",
                "/spec/ports/1/port",
            ]
        );
    }

    #[test]
    fn a_field_is_changed_and_taken_away_where_it_is() {
        let before = object();
        let fields = fields(&before);
        let mut changed = before.clone();
        fields[0].set(&mut changed, Some(json!("x")));
        fields[2].set(&mut changed, None);
        assert_eq!(changed["metadata"]["labels"], json!({"a/b": "x"}));
        assert_eq!(changed["spec"]["ports"][1], json!({"port": 80, "nodePort": 7}));
        fields[1].set(&mut changed, None);
        assert_eq!(changed["spec"]["ports"], json!([{"port": 1}]));
    }

    #[test]
    fn what_others_own_is_no_part_of_the_projection() {
        let mut other = object();
        other["spec"]["ports"][1]["nodePort"] = json!(9);
        let before = object();
        let own = owned(&before).cloned().unwrap_or_default();
        assert_eq!(projection(&before, &own), projection(&other, &own));
        other["spec"]["ports"][1]["name"] = json!("other");
        assert_ne!(projection(&before, &own), projection(&other, &own));
    }
}

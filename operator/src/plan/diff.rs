//! How one object differs from another, field by field. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

/// Fields of metadata that no author sets.
const BOOKKEEPING: [&str; 5] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
];

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where it is: `spec.template.spec.containers[api].image`.
    pub path: String,
    /// What it was; `None` if it was not there.
    pub before: Option<Value>,
    /// What it becomes; `None` if it goes.
    pub after: Option<Value>,
}

/// Every field that differs, but for status and bookkeeping.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(&bare(before)), Some(&bare(after)), &mut found);
    found
}

fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        for name in ["status", "apiVersion", "kind"] {
            fields.remove(name);
        }
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in BOOKKEEPING {
            meta.remove(name);
        }
    }
    object
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                compare(path, before.get(name), after.get(name), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            if let (Some(before), Some(after)) = (by_name(before), by_name(after)) {
                let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                for name in names {
                    compare(
                        format!("{path}[{name}]"),
                        before.get(name),
                        after.get(name),
                        found,
                    );
                }
            } else {
                for index in 0..before.len().max(after.len()) {
                    compare(
                        format!("{path}[{index}]"),
                        before.get(index),
                        after.get(index),
                        found,
                    );
                }
            }
        }
        (before, after) => found.push(Change {
            path,
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

/// The items of a list by their names; `None` if they have none.
fn by_name(items: &[Value]) -> Option<Map<String, Value>> {
    let named: Option<Map<String, Value>> = items
        .iter()
        .map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.clone())))
        .collect();
    named.filter(|named| named.len() == items.len())
}

impl Change {
    /// The change as JSON: `path`, `before` and `after`.
    pub fn json(&self) -> Value {
        json!({"path": self.path, "before": self.before, "after": self.after})
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(Value::String(before)), Some(Value::String(after)))
                if before.contains('\n') || after.contains('\n') =>
            {
                writeln!(f, "  ~ {}:", self.path)?;
                lines(f, before, after)
            }
            (Some(before), Some(after)) => writeln!(f, "  ~ {}: {before} → {after}", self.path),
            (None, Some(after)) => writeln!(f, "  + {}: {after}", self.path),
            (Some(before), None) => writeln!(f, "  - {}: {before}", self.path),
            (None, None) => Ok(()),
        }
    }
}

/// The lines that differ, between those at the beginning and the end that both have.
fn lines(f: &mut fmt::Formatter<'_>, before: &str, after: &str) -> fmt::Result {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let head = before.iter().zip(&after).take_while(same).count();
    let (before, after) = (&before[head..], &after[head..]);
    let tail = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(same)
        .count();
    for line in &before[..before.len() - tail] {
        writeln!(f, "      - {line}")?;
    }
    for line in &after[..after.len() - tail] {
        writeln!(f, "      + {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(image: &str, replicas: u32) -> Value {
        json!({
            "metadata": {"name": "api", "resourceVersion": image, "generation": replicas},
            "spec": {"replicas": replicas, "containers": [{"name": "side"}, {"name": "api", "image": image}]},
            "status": {"replicas": replicas},
        })
    }

    #[test]
    fn changes_are_told_by_field_and_by_name() {
        let found = changes(&object("a:1", 2), &object("a:2", 3));
        let text: String = found.iter().map(Change::to_string).collect();
        assert_eq!(
            text,
            "  ~ spec.containers[api].image: \"a:1\" → \"a:2\"\n  ~ spec.replicas: 2 → 3\n"
        );
    }

    #[test]
    fn of_a_text_only_the_lines_that_differ_are_told() {
        let change = Change {
            path: "data.config".to_owned(),
            before: Some(json!("a\nb\nc\nd\n")),
            after: Some(json!("a\nx\nd\n")),
        };
        assert_eq!(
            change.to_string(),
            "  ~ data.config:\n      - b\n      - c\n      + x\n"
        );
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself_and_texts_of_any_lines_are_told(
            before in prop::collection::vec("[ab]", 0..6), after in prop::collection::vec("[ab]", 0..6)
        ) {
            let object = |lines: &[String]| json!({"data": {"text": lines.join("\n")}});
            prop_assert_eq!(changes(&object(&before), &object(&before)), []);
            let found = changes(&object(&before), &object(&after));
            prop_assert_eq!(found.is_empty(), before.join("\n") == after.join("\n"));
            let _ = found.iter().map(Change::to_string).collect::<String>();
        }
    }
}

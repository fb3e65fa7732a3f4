//! Changes of a spec, drawn from the schema of its definition: fields that go, values at and past their bounds, other types,
//! other items.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

/// Texts that break things: amounts, addresses, networks, names and none of them.
const TEXTS: [&str; 34] = [
    "",
    " ",
    "a",
    "A",
    "-",
    "0",
    "-1",
    "1e3",
    "100m",
    "64Mi",
    "63Mi",
    "512Mi",
    "3Gi",
    "1Ei",
    "9223372036854775807",
    "99999999999999999999999999",
    "1.0000000001",
    "http://example.org",
    "https://example.org:443/path?query=1#part",
    "http://",
    "http://[::1",
    "https://user:password@example.org",
    "ftp://example.org",
    "10.0.0.0/8",
    "10.0.0.1/33",
    "::/0",
    "0.0.0.0/0",
    "example.org",
    "*.example.org",
    "flickr-app",
    "no-such-secret",
    "null",
    "\u{0}\u{1f600}\u{202e}",
    "../../etc/passwd",
];
/// Numbers at the ends of the types that hold them.
const NUMBERS: [i64; 12] = [
    i64::MIN,
    -1,
    0,
    1,
    2,
    3,
    255,
    65_535,
    65_536,
    2_147_483_648,
    4_294_967_296,
    i64::MAX,
];
/// How deep values are made up.
const DEPTH: usize = 6;

/// Draws changes.
pub(crate) struct Mutator {
    schema: Value,
    rng: StdRng,
}

impl Mutator {
    /// Of specs with this schema.
    pub(crate) fn new(schema: Value, seed: u64) -> Self {
        Self {
            schema,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// The spec with one to three changes.
    pub(crate) fn change(&mut self, spec: &Value) -> Value {
        let mut changed = spec.clone();
        for _ in 0..self.rng.random_range(1..=3) {
            self.change_one(&mut changed);
        }
        changed
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    fn change_one(&mut self, spec: &mut Value) {
        let schema = std::mem::take(&mut self.schema);
        self.descend(spec, &schema);
        self.schema = schema;
    }

    /// Goes down by chance, and changes what is there.
    fn descend(&mut self, value: &mut Value, schema: &Value) {
        if let Some(properties) = schema["properties"].as_object() {
            let names: Vec<&String> = properties.keys().collect();
            let Some(name) = names.choose(&mut self.rng).copied() else {
                return;
            };
            if !value.is_object() {
                *value = json!({});
            }
            let inner = &properties[name];
            let is_composed = inner.get("properties").is_some() || inner.get("items").is_some();
            if is_composed && self.rng.random_bool(0.8) {
                if value[name].is_null() && self.rng.random_bool(0.5) {
                    value[name] = self.valid(inner, 0);
                }
                self.descend(&mut value[name], inner);
                if value[name].is_null() {
                    remove(value, name);
                }
                return;
            }
            match self.rng.random_range(0..10) {
                0..=1 => remove(value, name),
                2..=5 => value[name] = self.valid(inner, 0),
                6..=8 => value[name] = self.extreme(inner),
                _ => value[name] = self.anything(),
            }
        } else if schema.get("items").is_some() {
            self.change_list(value, &schema["items"]);
        } else {
            *value = self.extreme(schema);
        }
    }

    fn change_list(&mut self, value: &mut Value, item: &Value) {
        let mut list = value.as_array().cloned().unwrap_or_default();
        match self.rng.random_range(0..6) {
            0 => list.clear(),
            1 => list.push(self.valid(item, 0)),
            2 => {
                if let Some(first) = list.first().cloned() {
                    list.push(first);
                }
            }
            3 => {
                list.pop();
            }
            4 => {
                let count = self.rng.random_range(2..40);
                list.extend((0..count).map(|_| self.valid(item, 0)).collect::<Vec<_>>());
            }
            _ => {
                if let Some(first) = list.first_mut() {
                    self.descend(first, item);
                }
            }
        }
        *value = json!(list);
    }

    /// A value that fits the schema, but perhaps not its rules.
    fn valid(&mut self, schema: &Value, depth: usize) -> Value {
        if let Some(values) = schema["enum"].as_array() {
            return values.choose(&mut self.rng).cloned().unwrap_or_default();
        }
        if schema["x-kubernetes-int-or-string"] == true {
            let amounts = ["1", "2", "100m", "64Mi", "128Mi", "512Mi", "1Gi", "8Gi", "2Ti"];
            return json!(amounts.choose(&mut self.rng));
        }
        match schema["type"].as_str() {
            Some("object") => self.valid_object(schema, depth),
            Some("array") => {
                let least = bound(&schema["minItems"], 0);
                let most = bound(&schema["maxItems"], 4).clamp(least, least + 3);
                let count = self.rng.random_range(least..=most);
                let items: Vec<Value> = (0..count)
                    .map(|_| self.valid(&schema["items"], depth + 1))
                    .collect();
                json!(items)
            }
            Some("integer" | "number") => {
                let least = bound(&schema["minimum"], 0);
                let most = bound(&schema["maximum"], least + 1000).max(least);
                let near =
                    [least, least + 1, least + 2, most - 1, most].map(|value| value.clamp(least, most));
                if self.rng.random_bool(0.5) {
                    json!(near.choose(&mut self.rng))
                } else {
                    json!(self.rng.random_range(least..=most))
                }
            }
            Some("boolean") => json!(self.rng.random_bool(0.5)),
            _ => self.text(),
        }
    }

    fn valid_object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut object = Map::new();
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let is_required = required.contains(&name.as_str());
            if is_required || (depth < DEPTH && self.rng.random_bool(0.4)) {
                object.insert(name.clone(), self.valid(inner, depth + 1));
            }
        }
        if schema["additionalProperties"].is_object() {
            for name in ["a", "example.org/b"] {
                object.insert(
                    name.to_owned(),
                    self.valid(&schema["additionalProperties"], depth + 1),
                );
            }
        }
        Value::Object(object)
    }

    /// A value at the bounds of the schema, or past them.
    fn extreme(&mut self, schema: &Value) -> Value {
        match schema["type"].as_str() {
            Some("integer" | "number") => {
                let mut numbers = NUMBERS.to_vec();
                for end in ["minimum", "maximum"] {
                    if let Some(end) = schema[end].as_f64().map(f64::round) {
                        #[expect(clippy::cast_possible_truncation, reason = "bounds of schemas are small")]
                        let end = end as i64;
                        numbers.extend([end - 1, end, end + 1]);
                    }
                }
                json!(numbers.choose(&mut self.rng))
            }
            Some("array") => json!([]),
            Some("object") => json!({}),
            Some("boolean") => json!(self.rng.random_bool(0.5)),
            _ => self.text(),
        }
    }

    fn text(&mut self) -> Value {
        if self.rng.random_bool(0.05) {
            return json!("x".repeat(self.rng.random_range(60..6000)));
        }
        json!(TEXTS.choose(&mut self.rng))
    }

    /// A value of any type.
    fn anything(&mut self) -> Value {
        let values = [
            Value::Null,
            json!(true),
            json!(0),
            json!(-1.5),
            json!("text"),
            json!([]),
            json!([[]]),
            json!({}),
            json!({"a": {"b": []}}),
        ];
        values.choose(&mut self.rng).cloned().unwrap_or_default()
    }
}

fn remove(value: &mut Value, name: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(name);
    }
}

fn bound(value: &Value, otherwise: i64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "bounds of schemas are small")]
    value.as_f64().map_or(otherwise, |bound| bound as i64)
}

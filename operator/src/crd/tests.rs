#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use super::*;

fn schema() -> Value {
    let definition = serde_json::to_value(&definitions().unwrap()[0]).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with the path and the schema of every property.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    let properties = schema["properties"].as_object();
    for (name, property) in properties.into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, property);
        walk(&path, property, visit);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&format!("{path}[]"), &schema[inner], visit);
        }
    }
}

#[test]
fn every_field_is_described() {
    let mut bare = Vec::new();
    walk("", &schema(), &mut |path, property| {
        let described = property["description"]
            .as_str()
            .is_some_and(|text| !text.trim().is_empty());
        if !described && ![".metadata", ".status"].contains(&path) {
            bare.push(path.to_owned());
        }
    });
    assert!(bare.is_empty(), "without a description: {bare:?}");
}

#[test]
fn only_the_flickr_applications_are_required() {
    let schema = schema();
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec["required"], json!(["flickr"]));
    for (name, property) in spec["properties"].as_object().unwrap() {
        assert!(
            name == "flickr" || !property["default"].is_null(),
            "{name} has no default"
        );
    }
}

#[test]
fn numbers_are_bounded_and_of_a_format_that_kubernetes_knows() {
    let mut open = Vec::new();
    walk("", &schema(), &mut |path, property| {
        if path.starts_with(".spec") && property["type"] == "integer" {
            let bounded = property["minimum"].is_number() && property["maximum"].is_number();
            let known = ["int32", "int64"].map(Value::from).contains(&property["format"])
                || property["format"].is_null();
            if !bounded || !known {
                open.push(path.to_owned());
            }
        }
    });
    assert!(open.is_empty(), "not bounded: {open:?}");
}

#[test]
fn unknown_fields_are_not_preserved() {
    assert!(
        !schema()
            .to_string()
            .contains("x-kubernetes-preserve-unknown-fields")
    );
}

#[test]
fn every_rule_says_what_would_work() {
    fn check(schema: &Value) -> usize {
        let rules = schema["x-kubernetes-validations"].as_array();
        for rule in rules.into_iter().flatten() {
            assert!(
                rule["message"].as_str().is_some_and(|text| text.len() > 15),
                "{rule}"
            );
        }
        let inner: usize = match schema {
            Value::Object(fields) => fields.values().map(check).sum(),
            Value::Array(items) => items.iter().map(check).sum(),
            _ => 0,
        };
        inner + rules.map_or(0, Vec::len)
    }
    assert!(check(&schema()) > 15);
}

#[test]
fn the_definition_fits_into_one_annotation() {
    for definition in definitions().unwrap() {
        assert!(serde_json::to_vec(&definition).unwrap().len() < 262_144);
    }
}

#[test]
fn a_hub_with_only_credentials_has_every_default() {
    let minimal = crate::fixtures::minimal();
    assert_eq!(minimal.spec.mongodb, MongoDbSpec::default());
    assert_eq!(minimal.spec.vault, VaultSpec::default());
    assert_eq!(minimal.spec.deletion_policy, DeletionPolicy::Retain);
    assert!(!minimal.spec.paused);
}

#[test]
fn the_full_sample_has_every_field() {
    fn missing(path: &str, schema: &Value, sample: &Value, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            match sample.get(name) {
                Some(value) => missing(&path, property, value, found),
                None => found.push(path),
            }
        }
        if let (Some(item), Some(schema)) = (sample.get(0), schema.get("items")) {
            missing(&format!("{path}[]"), schema, item, found);
        }
    }
    let sample: Value =
        serde_yaml_ng::from_str(include_str!("../../../manifests/samples/flickrhub-full.yaml")).unwrap();
    let mut found = Vec::new();
    missing("", &schema()["properties"]["spec"], &sample["spec"], &mut found);
    // Alternatives of what the sample shows, and resources that are the same everywhere.
    let alternatives = [
        ".vault.managed",
        ".vault.external.auth.kubernetes",
        ".vault.external.auth.token",
    ];
    // What peers of NetworkPolicies can be is Kubernetes' own matter.
    let of_peer = |path: &str| path.starts_with(".networkPolicy") && path.contains("[]");
    found.retain(|path| {
        !alternatives.contains(&path.as_str()) && !path.contains(".resources") && !of_peer(path)
    });
    assert!(found.is_empty(), "not in the sample: {found:?}");
}

/// The copies of the definition that are kept: rewritten when `UPDATE_CRDS` is set, compared otherwise.
#[test]
fn the_kept_definitions_are_those_of_the_types() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = definitions_yaml().unwrap();
    for copy in [
        "crds/flickrhub.dev_flickrhubs.yaml",
        "charts/flickrhub-operator/crds/flickrhub.dev_flickrhubs.yaml",
    ] {
        let path = root.join(copy);
        if std::env::var_os("UPDATE_CRDS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == text,
            "{copy} is old; set UPDATE_CRDS=1 and run the test again"
        );
    }
}

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use super::*;

/// The schema of every resource.
fn schemas() -> Vec<Value> {
    let schema = |definition: &CustomResourceDefinition| {
        let definition = serde_json::to_value(definition).unwrap();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    };
    definitions().unwrap().iter().map(schema).collect()
}

/// The schema of `FlickrHub`.
fn schema() -> Value {
    schemas().swap_remove(0)
}

/// Calls `visit` with the path and the schema of every property of every resource.
fn walk_all(mut visit: impl FnMut(&str, &Value)) {
    for schema in schemas() {
        walk("", &schema, &mut visit);
    }
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
    walk_all(|path, property| {
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
    walk_all(|path, property| {
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
    for schema in schemas() {
        assert!(
            !schema
                .to_string()
                .contains("x-kubernetes-preserve-unknown-fields")
        );
    }
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
    let counts: Vec<usize> = schemas().iter().map(check).collect();
    assert!(counts[0] > 15 && counts[1] >= 5, "{counts:?}");
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
fn the_scopes_of_a_client_are_those_of_the_api() {
    let scopes = schemas()[1]
        .pointer("/properties/spec/properties/scopes/items/enum")
        .cloned();
    let api = include_str!("../../../api/openapi.json");
    let scopes: Vec<String> = serde_json::from_value(scopes.unwrap()).unwrap();
    for scope in scopes.iter().filter(|scope| *scope != "admin") {
        assert!(api.contains(&format!("\"{scope}\"")), "{scope}");
    }
}

#[test]
fn the_sample_of_a_client_can_be_read() {
    let sample = include_str!("../../../manifests/samples/flickrhubclient.yaml");
    let client: FlickrHubClient = serde_yaml_ng::from_str(sample).unwrap();
    assert_eq!(client.spec.hub_ref.name, "gallery");
    assert_eq!(client.spec.rotation, KeyRotationSpec::default());
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
    for plural in ["flickrhubs", "flickrhubclients"] {
        let text = definitions_yaml(Some(plural)).unwrap();
        for folder in ["crds", "charts/flickrhub-operator/crds"] {
            let path = root.join(folder).join(format!("flickrhub.dev_{plural}.yaml"));
            if std::env::var_os("UPDATE_CRDS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                kept == text,
                "{} is old; set UPDATE_CRDS=1 and run the test again",
                path.display()
            );
        }
    }
}

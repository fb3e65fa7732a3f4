//! What the operator is allowed, as the manifests and the chart say it.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::Value;

const MANIFEST: &str = include_str!("../../../manifests/operator/rbac.yaml");
const CHART: &str = include_str!("../../../charts/flickrhub-operator/templates/rbac.yaml");
const HELPERS: &str = include_str!("../../../charts/flickrhub-operator/templates/_helpers.tpl");

/// One thing that may be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Permission {
    /// The group of the resource; empty for the core group.
    pub(crate) group: String,
    /// The resource, with a subresource behind a slash.
    pub(crate) resource: String,
    /// The verb.
    pub(crate) verb: String,
    /// The only object that it may be done to; every one if `None`.
    pub(crate) name: Option<String>,
}

impl Permission {
    /// Whether it permits this.
    pub(crate) fn permits(&self, group: &str, resource: &str, verb: &str, name: Option<&str>) -> bool {
        self.group == group
            && self.resource == resource
            && self.verb == verb
            && self.name.as_deref().is_none_or(|only| Some(only) == name)
    }
}

/// What the manifests allow.
pub(crate) fn of_manifests() -> BTreeSet<Permission> {
    documents(MANIFEST).iter().flat_map(permissions).collect()
}

/// What the chart allows.
pub(crate) fn of_chart() -> BTreeSet<Permission> {
    let (_, rules) = HELPERS
        .split_once("{{- define \"flickrhub-operator.rules\" -}}")
        .expect("the rules");
    let (rules, _) = rules.split_once("{{- end -}}").expect("their end");
    let rules: Value = serde_yaml_ng::from_str(rules).expect("YAML");
    let helper = serde_json::json!({ "rules": rules });
    // What is left when the template's own lines are taken out is YAML.
    let plain: String = CHART
        .lines()
        .filter(|line| !line.trim_start().starts_with("{{"))
        .map(|line| {
            let line = line.replace("{{ $name }}", "flickrhub-operator");
            line.replace("{{ .Values.watchNamespace }}", "watched")
                .replace("{{ .Release.Namespace }}", "flickrhub-system")
                + "\n"
        })
        .collect();
    documents(&plain)
        .iter()
        .chain([&helper])
        .flat_map(permissions)
        .collect()
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect()
}

fn permissions(document: &Value) -> Vec<Permission> {
    let rules = document["rules"].as_array().into_iter().flatten();
    rules.flat_map(of_rule).collect()
}

fn of_rule(rule: &Value) -> Vec<Permission> {
    let texts = |field: &str| -> Vec<String> {
        let values = rule[field].as_array().into_iter().flatten();
        values
            .map(|value| value.as_str().expect("text").to_owned())
            .collect()
    };
    let names: Vec<Option<String>> = match texts("resourceNames") {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut permissions = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for verb in texts("verbs") {
                for name in &names {
                    permissions.push(Permission {
                        group: group.clone(),
                        resource: resource.clone(),
                        verb: verb.clone(),
                        name: name.clone(),
                    });
                }
            }
        }
    }
    permissions
}

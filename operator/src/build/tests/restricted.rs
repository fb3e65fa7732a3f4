//! The `restricted` Pod Security Standard of Kubernetes 1.36, which includes `baseline`, and what the project asks beyond it:
//! a read-only root file system and a user that is named.

use serde_json::{Value, json};

/// Volumes that the standard permits.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Every container of a pod, of each kind.
pub(super) fn containers(pod: &Value) -> Vec<Value> {
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|kind| pod[kind].as_array().cloned().unwrap_or_default())
        .collect()
}

/// What a pod violates, each with where.
pub(super) fn violations(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
        must(pod[namespace] != true, namespace.to_owned());
    }
    let own = &pod["securityContext"];
    for forbidden in ["sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"] {
        must(own[forbidden].is_null(), forbidden.to_owned());
    }
    must(
        own["runAsUser"].as_i64().is_some_and(|user| user > 0),
        "runAsUser of the pod".to_owned(),
    );
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().into_iter().flatten();
        let kinds = kinds
            .map(|(kind, _)| kind.as_str())
            .filter(|kind| *kind != "name");
        for kind in kinds {
            must(
                VOLUMES.contains(&kind),
                format!("volume {} of kind {kind}", volume["name"]),
            );
        }
    }
    for container in containers(pod) {
        let name = &container["name"];
        let security = &container["securityContext"];
        let either = |field: &str| {
            let of_container = &security[field];
            if of_container.is_null() {
                own[field].clone()
            } else {
                of_container.clone()
            }
        };
        must(security["privileged"] != true, format!("{name}: privileged"));
        must(
            security["allowPrivilegeEscalation"] == false,
            format!("{name}: allowPrivilegeEscalation"),
        );
        must(
            security["capabilities"] == json!({"drop": ["ALL"]}),
            format!("{name}: capabilities"),
        );
        must(
            security["readOnlyRootFilesystem"] == true,
            format!("{name}: readOnlyRootFilesystem"),
        );
        must(either("runAsNonRoot") == true, format!("{name}: runAsNonRoot"));
        must(either("runAsUser") != 0, format!("{name}: runAsUser"));
        must(
            either("seccompProfile")["type"] == "RuntimeDefault",
            format!("{name}: seccompProfile"),
        );
        for forbidden in ["procMount", "seLinuxOptions", "windowsOptions", "appArmorProfile"] {
            must(security[forbidden].is_null(), format!("{name}: {forbidden}"));
        }
        for port in container["ports"].as_array().into_iter().flatten() {
            must(port["hostPort"].is_null(), format!("{name}: hostPort"));
        }
        // Since 1.34: what asks from the node must not be sent to other hosts.
        let text = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"]
            .map(|field| container[field].to_string());
        must(
            text.iter().all(|text| !text.contains("\"host\"")),
            format!("{name}: host of a probe"),
        );
    }
    found
}

fn manifest(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter_map(|document| document.pointer("/spec/template/spec").cloned())
        .collect()
}

#[test]
fn the_pods_of_the_manifests_meet_the_standard() {
    for text in [
        include_str!("../../../../manifests/operator/deployment.yaml"),
        include_str!("../../../../manifests/demo/flickr-mock.yaml"),
    ] {
        let pods = manifest(text);
        assert_eq!(pods.len(), 1);
        assert_eq!(violations(&pods[0]), [""; 0]);
    }
}

#[test]
fn the_pods_of_the_chart_are_secured_as_those_of_the_manifests() {
    let chart = include_str!("../../../../charts/flickrhub-operator/templates/deployment.yaml");
    for line in [
        "        runAsNonRoot: true\n        runAsUser: 65532",
        "        seccompProfile:\n          type: RuntimeDefault",
        "            allowPrivilegeEscalation: false\n            readOnlyRootFilesystem: true\n            runAsNonRoot: true\n            capabilities:\n              drop: [ALL]",
    ] {
        assert!(chart.contains(line), "{line}");
    }
    assert_eq!(
        chart.matches("image:").count(),
        1,
        "one container, which is secured"
    );
}

#[test]
fn what_the_standard_forbids_is_found() {
    let good = manifest(include_str!("../../../../manifests/operator/deployment.yaml")).remove(0);
    let changed = |pointer: &str, field: &str, value: Value| {
        let mut pod = good.clone();
        pod.pointer_mut(pointer).unwrap()[field] = value;
        violations(&pod)
    };
    let secured = json!({"securityContext": {"privileged": true}, "name": "extra"});
    for (pointer, field, value) in [
        ("", "hostNetwork", json!(true)),
        (
            "",
            "volumes",
            json!([{"name": "node", "hostPath": {"path": "/"}}]),
        ),
        ("", "initContainers", json!([secured])),
        ("/securityContext", "runAsUser", json!(0)),
        (
            "/securityContext",
            "seccompProfile",
            json!({"type": "Unconfined"}),
        ),
        (
            "/containers/0/securityContext",
            "allowPrivilegeEscalation",
            json!(true),
        ),
        ("/containers/0/securityContext", "runAsNonRoot", json!(false)),
        ("/containers/0/securityContext", "runAsUser", json!(0)),
        (
            "/containers/0/securityContext",
            "readOnlyRootFilesystem",
            json!(false),
        ),
        (
            "/containers/0/securityContext",
            "capabilities",
            json!({"drop": ["ALL"], "add": ["NET_RAW"]}),
        ),
        (
            "/containers/0",
            "ports",
            json!([{"containerPort": 80, "hostPort": 80}]),
        ),
        ("/containers/0/readinessProbe/httpGet", "host", json!("10.0.0.1")),
    ] {
        assert!(
            !changed(pointer, field, value.clone()).is_empty(),
            "{pointer}/{field} {value}"
        );
    }
}

//! Every secret, and every place that is none for one.

use flickrhub_e2e::leak::Secret;
use flickrhub_e2e::{cluster, processes};
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt};

use super::verbose::OPERATOR;

fn namespaces() -> [String; 2] {
    [cluster::namespace(), OPERATOR.0.to_owned()]
}

/// What stands in the Secrets of the hub and of its operator. A release of Helm is a packed copy of its manifests.
pub(crate) async fn secrets(client: &Client) -> Vec<Secret> {
    let mut found = Vec::new();
    for namespace in namespaces() {
        let secrets: Api<SecretObject> = Api::namespaced(client.clone(), &namespace);
        let listed = secrets.list(&ListParams::default()).await.expect("Secrets");
        let ours = listed
            .into_iter()
            .filter(|secret| secret.type_.as_deref() != Some("helm.sh/release.v1"));
        for secret in ours {
            let name = secret.name_any();
            for (key, value) in secret.data.unwrap_or_default() {
                // Whose a password is stands beside it, and is no secret.
                if key.ends_with("username") {
                    continue;
                }
                found.extend(Secret::all_of(&format!("{key} of Secret {name}"), &value.0));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// What each process tells Prometheus.
pub(crate) async fn metrics(client: &Client) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for component in processes::COMPONENTS {
        for pod in processes::pods(client, component).await {
            found.push((pod.name_any(), processes::metrics_text(client, &pod).await));
        }
    }
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), OPERATOR.0);
    let listed = pods.list(&ListParams::default().labels(OPERATOR.1)).await;
    for pod in listed.expect("pods") {
        if pod.metadata.deletion_timestamp.is_none() {
            found.push((pod.name_any(), processes::metrics_text(client, &pod).await));
        }
    }
    found
}

/// Every object of the two namespaces but Secrets: status, events and the configuration of the processes among them.
pub(crate) async fn objects(client: &Client) -> Vec<(String, String)> {
    let discovery = Discovery::new(client.clone())
        .run()
        .await
        .expect("what the API server has");
    let kinds = discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources);
    let mut found = Vec::new();
    for (resource, capabilities) in kinds {
        let is_secret = resource.group.is_empty() && resource.kind == "Secret";
        let can_be_listed =
            capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::LIST);
        if is_secret || !can_be_listed {
            continue;
        }
        for namespace in namespaces() {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
            let Ok(listed) = api.list(&ListParams::default()).await else {
                continue;
            };
            for object in listed {
                let text = serde_json::to_string(&object).expect("JSON");
                found.push((
                    format!("{} {namespace}/{}", resource.kind, object.name_any()),
                    text,
                ));
            }
        }
    }
    found
}

//! The `FlickrHub` resource as a platform team uses it: refused when it cannot work, repaired when it drifts, gone when
//! it is deleted.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_e2e::cluster::{self, condition, hubs, ready};
use flickrhub_e2e::eventually;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

const REPAIRED_WITHIN: Duration = Duration::from_secs(20);

fn resource(name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "flickrhub.dev/v1alpha1",
        "kind": "FlickrHub",
        "metadata": {"name": name},
        "spec": spec,
    }))
    .expect("an object")
}

fn flickr(secret: &str) -> Value {
    json!({"apps": [{"name": "default", "credentialsSecretRef": {"name": secret}}]})
}

async fn new_namespace(client: &Client, name: &str) {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    // The namespace of an earlier run on a lab that was kept serves as well.
    let _ = namespaces.create(&PostParams::default(), &namespace).await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn the_api_server_refuses_what_cannot_work_with_a_sentence() {
    let client = cluster::client().await;
    let hubs = hubs(&client, &cluster::namespace());
    let strict = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let table = [
        (json!({"flickr": flickr("a"), "mongodb": {"members": 2}}), "odd"),
        (json!({"flickr": flickr("a"), "rabbitmq": {"replicas": 4}}), "odd"),
        (json!({"flickr": {"apps": []}}), "apps"),
        (json!({}), "flickr"),
        (
            json!({"flickr": flickr("a"), "queues": {"rest": {"minReplicas": 5, "maxReplicas": 2}}}),
            "minReplicas",
        ),
        (
            json!({"flickr": flickr("a"), "vault": {"managed": {}, "external": {"address": "https://vault.example"}}}),
            "managed",
        ),
    ];
    for (spec, expected) in table {
        let error = hubs
            .create(&strict, &resource("refused", spec.clone()))
            .await
            .expect_err("refused");
        assert!(error.to_string().contains(expected), "{spec}: {error}");
    }
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_missing_credentials_secret_is_told_and_creating_it_heals() {
    let client = cluster::client().await;
    let namespace = "flickrhub-test-secret";
    new_namespace(&client, namespace).await;
    let hubs = hubs(&client, namespace);
    let spec = json!({"flickr": flickr("absent")});
    let _ = hubs.delete("waiting", &DeleteParams::default()).await;
    hubs.create(&PostParams::default(), &resource("waiting", spec))
        .await
        .expect("accepted");
    let waiting = eventually(
        "a condition names the Secret",
        Duration::from_secs(30),
        || async {
            let hub = hubs.get("waiting").await.ok()?;
            condition(&hub, "Ready")
                .filter(|(status, _)| status == "False")
                .map(|_| hub)
        },
    )
    .await;
    assert!(
        waiting.data["status"]["conditions"]
            .to_string()
            .contains("absent"),
        "{}",
        waiting.data["status"]
    );
    // The operator goes on serving the hub under test.
    let served = cluster::hubs(&client, &cluster::namespace());
    ready(&served, &cluster::hub(), Duration::from_secs(30)).await;
    hubs.delete("waiting", &DeleteParams::default())
        .await
        .expect("deleted");
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_deleted_or_edited_child_is_repaired() {
    let client = cluster::client().await;
    let (namespace, hub) = (cluster::namespace(), cluster::hub());
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let name = format!("{hub}-api");
    let before = services.get(&name).await.expect("the Service");
    services
        .delete(&name, &DeleteParams::default())
        .await
        .expect("deleted");
    eventually("the Service is back", REPAIRED_WITHIN, || async {
        services
            .get(&name)
            .await
            .ok()
            .filter(|after| after.uid() != before.uid())
    })
    .await;

    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let name = format!("{hub}-config");
    let before = configs.get(&name).await.expect("the ConfigMap");
    let edit = Patch::Merge(json!({"data": {"config.yaml": "edited: true"}}));
    configs
        .patch(&name, &PatchParams::default(), &edit)
        .await
        .expect("edited");
    eventually("the ConfigMap is as before", REPAIRED_WITHIN, || async {
        configs
            .get(&name)
            .await
            .ok()
            .filter(|after| after.data == before.data)
    })
    .await;

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let name = format!("{hub}-dispatcher");
    let before = deployments
        .get(&name)
        .await
        .expect("the Deployment")
        .spec
        .and_then(|spec| spec.replicas);
    let edit = Patch::Merge(json!({"spec": {"replicas": 0}}));
    deployments
        .patch(&name, &PatchParams::default(), &edit)
        .await
        .expect("edited");
    eventually("the replicas are as before", REPAIRED_WITHIN, || async {
        let after = deployments.get(&name).await.ok()?.spec?.replicas;
        (after == before).then_some(())
    })
    .await;
    ready(&hubs(&client, &namespace), &hub, Duration::from_secs(120)).await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn every_container_has_requests_limits_and_a_restricted_security_context() {
    let client = cluster::client().await;
    let pods: Api<Pod> = Api::namespaced(client, &cluster::namespace());
    let selector = format!("app.kubernetes.io/instance={}", cluster::hub());
    let pods = pods
        .list(&ListParams::default().labels(&selector))
        .await
        .expect("pods")
        .items;
    assert!(pods.len() >= 15, "{} pods", pods.len());
    for pod in pods {
        for container in pod.spec.as_ref().expect("a spec").containers.iter() {
            let place = format!("{}/{}", pod.name_any(), container.name);
            let resources = container.resources.as_ref().expect("resources");
            let requests = resources
                .requests
                .as_ref()
                .unwrap_or_else(|| panic!("{place}: no requests"));
            assert!(
                requests.contains_key("cpu") && requests.contains_key("memory"),
                "{place}"
            );
            let limits = resources
                .limits
                .as_ref()
                .unwrap_or_else(|| panic!("{place}: no limits"));
            assert!(limits.contains_key("memory"), "{place}");
            let security = container
                .security_context
                .as_ref()
                .unwrap_or_else(|| panic!("{place}"));
            assert_eq!(security.allow_privilege_escalation, Some(false), "{place}");
        }
    }
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_small_hub_becomes_ready_and_deletion_by_policy_delete_leaves_nothing() {
    let client = cluster::client().await;
    let namespace = "flickrhub-test-small";
    new_namespace(&client, namespace).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let credentials = Secret {
        metadata: ObjectMeta {
            name: Some("flickr-app".to_owned()),
            ..ObjectMeta::default()
        },
        string_data: Some(BTreeMap::from([
            (
                "consumerKey".to_owned(),
                "0123456789abcdef0123456789abcdef".to_owned(),
            ),
            ("consumerSecret".to_owned(), "0123456789abcdef".to_owned()),
        ])),
        ..Secret::default()
    };
    let _ = secrets.create(&PostParams::default(), &credentials).await;
    let hubs = hubs(&client, namespace);
    // It has to find room on a small node beside the hub under test.
    let little = json!({"requests": {"cpu": "5m"}});
    let queue = json!({"minReplicas": 1, "resources": little});
    let spec = json!({
        "flickr": flickr("flickr-app"),
        "deletionPolicy": "Delete",
        "api": {"replicas": 1, "resources": little},
        "dispatcher": {"replicas": 1, "resources": little},
        "callbacks": {"replicas": 1, "resources": little},
        "queues": {"rest": queue, "upload": queue, "replace": queue},
        "redis": {"replicas": 1},
        "mongodb": {"members": 1},
        "rabbitmq": {"replicas": 1},
        "vault": {"managed": {"replicas": 1}},
    });
    hubs.create(&PostParams::default(), &resource("small", spec))
        .await
        .expect("accepted");
    ready(&hubs, "small", Duration::from_secs(300)).await;

    hubs.delete("small", &DeleteParams::default())
        .await
        .expect("deleted");
    let instance = ListParams::default().labels("app.kubernetes.io/instance=small");
    eventually("nothing of the hub is left", Duration::from_secs(180), || async {
        let gone = hubs.get_opt("small").await.ok()?.is_none();
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let left = sets.list(&instance).await.ok()?.items.len()
            + claims.list(&ListParams::default()).await.ok()?.items.len()
            + secrets.list(&instance).await.ok()?.items.len();
        (gone && left == 0).then_some(())
    })
    .await;
}

//! The `FlickrHub` resource as a platform team uses it: refused when it cannot work, repaired when it drifts, gone when
//! it is deleted.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_e2e::cluster::{self, condition, hubs, ready};
use flickrhub_e2e::{eventually, scene};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

const REPAIRED_WITHIN: Duration = Duration::from_secs(20);

fn resource(name: &str, spec: &Value) -> DynamicObject {
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

/// The Secret with the credentials of a Flickr application.
async fn create_credentials(client: &Client, namespace: &str, name: &str) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let credentials = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
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
    secrets
        .create(&PostParams::default(), &credentials)
        .await
        .expect("a new Secret");
}

/// Creates a hub as `kubectl create --validate=strict` does.
async fn create_strictly(
    client: &Client,
    namespace: &str,
    hub: &DynamicObject,
) -> kube::Result<DynamicObject> {
    let path = format!("/apis/flickrhub.dev/v1alpha1/namespaces/{namespace}/flickrhubs");
    let body = serde_json::to_vec(hub).expect("JSON");
    let mut request = Request::new(path)
        .create(&PostParams::default(), body)
        .expect("a request");
    let address = request.uri().to_string();
    let separator = if address.contains('?') { '&' } else { '?' };
    *request.uri_mut() = format!(
        "{}{separator}fieldValidation=Strict",
        address.trim_end_matches('&')
    )
    .parse()
    .expect("an address");
    client.request(request).await
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn the_api_server_refuses_what_cannot_work_with_a_sentence() {
    let client = cluster::client().await;
    let hubs = hubs(&client, &cluster::namespace());
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let with = |part: &str, settings: Value| json!({"flickr": flickr("a"), part: settings});
    let table = [
        (
            with("mongodb", json!({"members": 2})),
            "mongodb.members must be odd, so that a majority is unambiguous; use 1, 3, 5 or 7",
        ),
        (
            with("rabbitmq", json!({"replicas": 4})),
            "rabbitmq.replicas must be odd, so that quorum queues have an unambiguous majority; use 1, 3, 5 or 7",
        ),
        (
            with("redis", json!({"replicas": 2})),
            "redis.replicas must be odd, so that the Sentinels beside them can form a majority; use 1, 3, 5 or 7",
        ),
        (
            json!({"flickr": {"apps": []}}),
            "spec.flickr.apps in body should have at least 1 items",
        ),
        // Not `flickr` alone, which the name of the resource has in it.
        (json!({}), "spec.flickr: Required value"),
        (
            with("queues", json!({"rest": {"minReplicas": 5, "maxReplicas": 2}})),
            "minReplicas must not be greater than maxReplicas; raise maxReplicas or lower minReplicas",
        ),
        (
            with("api", json!({"publicUrl": "photos.example.org"})),
            "publicUrl must be an http or https URL, for example https://photos.example.org",
        ),
        (
            with("callbacks", json!({"allowedNetworks": ["10.20.0.0"]})),
            "each of allowedNetworks must be a network in CIDR notation, for example 10.20.0.0/16",
        ),
        (
            with(
                "vault",
                json!({"managed": {}, "external": {"address": "https://vault.example"}}),
            ),
            "set exactly one of vault.managed (the operator runs OpenBao) and vault.external \
             (you run Vault or OpenBao)",
        ),
    ];
    for (spec, sentence) in table {
        let error = hubs
            .create(&dry, &resource("refused", &spec))
            .await
            .expect_err("refused");
        assert!(error.to_string().contains(sentence), "{spec}: {error}");
    }
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_strict_create_refuses_a_field_that_does_not_exist_and_names_it() {
    scene::play(|scene| async move {
        let namespace = scene.namespace("strict").await;
        let hubs = hubs(&scene.client, &namespace);
        for (spec, field) in [
            (
                json!({"flickr": flickr("a"), "mongodb": {"membres": 3}}),
                "spec.mongodb.membres",
            ),
            (json!({"flickr": flickr("a"), "replicas": 3}), "spec.replicas"),
        ] {
            let hub = resource("misspelt", &spec);
            let error = create_strictly(&scene.client, &namespace, &hub)
                .await
                .expect_err("refused");
            let text = error.to_string();
            assert!(
                text.contains(&format!("unknown field \"{field}\"")),
                "{spec}: {text}"
            );
            let stored = hubs.get_opt("misspelt").await.expect("an answer");
            assert!(stored.is_none(), "{spec}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_missing_credentials_secret_is_told_and_creating_it_heals() {
    scene::play(|scene| async move {
        let client = &scene.client;
        let namespace = scene.namespace("secret").await;
        let hubs = hubs(client, &namespace);
        hubs.create(
            &PostParams::default(),
            &resource("waiting", &scene::small_hub("absent")),
        )
        .await
        .expect("accepted");
        let sentence = "Secret \"absent\" with the credentials of Flickr application \"default\" does not exist: \
                        create it in this namespace with the keys consumerKey and consumerSecret.";
        for (kind, status) in [("Ready", "False"), ("Stalled", "True")] {
            let told = eventually("a condition tells", Duration::from_secs(30), || async {
                let found = condition(&hubs.get("waiting").await.ok()?, kind)?;
                (found.status == status && found.reason == "CredentialsSecretMissing").then_some(found)
            })
            .await;
            assert_eq!(told.message, sentence, "{kind}");
        }

        // The operator goes on serving the hub under test: what somebody deletes there comes back.
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), &cluster::namespace());
        let name = format!("{}-callbacks", cluster::hub());
        let before = budgets.get(&name).await.expect("the budget").uid();
        budgets
            .delete(&name, &DeleteParams::default())
            .await
            .expect("deleted");
        eventually("the budget is back", REPAIRED_WITHIN, || async {
            budgets.get(&name).await.ok().filter(|after| after.uid() != before)
        })
        .await;
        let served = cluster::hubs(client, &cluster::namespace());
        ready(&served, &cluster::hub(), Duration::from_mins(1)).await;

        create_credentials(client, &namespace, "absent").await;
        eventually("the operator goes on", Duration::from_mins(1), || async {
            let stalled = condition(&hubs.get("waiting").await.ok()?, "Stalled")?;
            (stalled.status == "False").then_some(())
        })
        .await;
    })
    .await;
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

    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), &namespace);
    let name = format!("{hub}-default-deny");
    let before = policies.get(&name).await.expect("the policy").uid();
    policies
        .delete(&name, &DeleteParams::default())
        .await
        .expect("deleted");
    eventually("the policy is back", REPAIRED_WITHIN, || async {
        policies
            .get(&name)
            .await
            .ok()
            .filter(|after| after.uid() != before)
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
    ready(&hubs(&client, &namespace), &hub, Duration::from_mins(2)).await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn every_container_has_requests_limits_and_a_restricted_security_context() {
    let client = cluster::client().await;
    // The API server lets no other pods into it: that all run shows that all meet the standard.
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces.get(&cluster::namespace()).await.expect("it is there");
    let enforced = namespace.labels().get("pod-security.kubernetes.io/enforce");
    assert_eq!(enforced.map(String::as_str), Some("restricted"));
    let pods: Api<Pod> = Api::namespaced(client, &cluster::namespace());
    let selector = format!("app.kubernetes.io/instance={}", cluster::hub());
    let pods = pods
        .list(&ListParams::default().labels(&selector))
        .await
        .expect("pods")
        .items;
    assert!(pods.len() >= 15, "{} pods", pods.len());
    for pod in pods {
        for container in &pod.spec.as_ref().expect("a spec").containers {
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
            assert_eq!(security.read_only_root_filesystem, Some(true), "{place}");
        }
    }
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_small_hub_becomes_ready_and_deletion_by_policy_delete_leaves_nothing() {
    scene::play(|scene| async move {
        let client = &scene.client;
        let namespace = scene.namespace("small").await;
        create_credentials(client, &namespace, "flickr-app").await;
        let hubs = hubs(client, &namespace);
        hubs.create(
            &PostParams::default(),
            &resource("small", &scene::small_hub("flickr-app")),
        )
        .await
        .expect("accepted");
        ready(&hubs, "small", Duration::from_mins(5)).await;

        hubs.delete("small", &DeleteParams::default())
            .await
            .expect("deleted");
        let instance = ListParams::default().labels("app.kubernetes.io/instance=small");
        eventually("nothing of the hub is left", Duration::from_mins(3), || async {
            let gone = hubs.get_opt("small").await.ok()?.is_none();
            let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
            let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
            let left = sets.list(&instance).await.ok()?.items.len()
                + claims.list(&ListParams::default()).await.ok()?.items.len()
                + secrets.list(&instance).await.ok()?.items.len();
            (gone && left == 0).then_some(())
        })
        .await;
    })
    .await;
}

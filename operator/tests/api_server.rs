//! The definition of `FlickrHub` against a real API server: what it accepts, what it refuses, and with which words.
//!
//! Needs a cluster that `KUBECONFIG` names; nothing has to run in it but the API server.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use flickrhub_operator::crd::{FlickrHub, FlickrHubClient, definitions};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;

const NAMESPACE: &str = "flickrhub-definition-test";
const MANAGER: &str = "definition-test";

/// A hub with only what is needed.
fn minimal() -> Value {
    json!({
        "apiVersion": "flickrhub.dev/v1alpha1",
        "kind": "FlickrHub",
        "metadata": {"name": "gallery", "namespace": NAMESPACE},
        "spec": {
            "paused": true,
            "flickr": {"apps": [{"name": "main", "credentialsSecretRef": {"name": "flickr-app"}}]},
        },
    })
}

/// The hub with `value` at `path` in its spec, for example `/mongodb/members`.
fn with(path: &str, value: Value) -> Value {
    let mut hub = minimal();
    let mut at = &mut hub["spec"];
    for name in path.trim_start_matches('/').split('/') {
        at = &mut at[name];
    }
    *at = value;
    hub
}

async fn install() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.unwrap();
    let params = PatchParams::apply(MANAGER).force();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions().unwrap() {
        let name = definition.name_any();
        api.patch(&name, &params, &Patch::Apply(&definition))
            .await
            .unwrap();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        timeout(Duration::from_secs(20), established)
            .await
            .unwrap()
            .unwrap();
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(NAMESPACE, &params, &Patch::Apply(namespace))
        .await
        .unwrap();
    client
}

fn hubs(client: &Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::erase::<FlickrHub>(&()))
}

/// Applies as `kubectl` does, with unknown fields refused; `Err` with the words of the refusal.
async fn apply(client: &Client, hub: &Value, dry_run: bool) -> Result<Value, String> {
    let params = PatchParams {
        dry_run,
        force: true,
        field_manager: Some(MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let name = hub["metadata"]["name"].as_str().unwrap();
    match hubs(client).patch(name, &params, &Patch::Apply(hub)).await {
        Ok(hub) => Ok(serde_json::to_value(hub).unwrap()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

/// What is refused at creation: where, what, and a part of the words.
fn refused() -> Vec<(&'static str, Value, &'static str)> {
    let token = json!({"token": {"secretRef": {"name": "vault-token"}}});
    vec![
        ("/flickr/apps", json!([]), "should have at least 1 items"),
        (
            "/flickr/apps",
            json!([
                {"name": "main", "credentialsSecretRef": {"name": "a"}},
                {"name": "main", "credentialsSecretRef": {"name": "b"}},
            ]),
            "duplicate",
        ),
        (
            "/flickr/endpoints/rest",
            json!("ftp://flickr.com"),
            "rest must be an http or https URL",
        ),
        ("/mongodb/members", json!(2), "mongodb.members must be odd"),
        ("/mongodb/members", json!(9), "should be less than or equal to 7"),
        ("/redis/replicas", json!(4), "redis.replicas must be odd"),
        ("/rabbitmq/replicas", json!(2), "rabbitmq.replicas must be odd"),
        (
            "/vault",
            json!({"managed": {"replicas": 2}}),
            "vault.managed.replicas must be odd",
        ),
        ("/vault", json!({}), "set exactly one of vault.managed"),
        (
            "/vault",
            json!({"managed": {}, "external": {"address": "https://vault:8200", "auth": token}}),
            "set exactly one of vault.managed",
        ),
        (
            "/vault",
            json!({"external": {"address": "https://vault:8200", "auth": {}}}),
            "set exactly one of auth.kubernetes",
        ),
        (
            "/vault",
            json!({"external": {"address": "vault:8200", "auth": token}}),
            "vault.external.address must be an https URL",
        ),
        (
            "/vault",
            json!({"external": {"address": "http://vault:8200"}}),
            "vault.external.address must be an https URL",
        ),
        (
            "/vault",
            json!({"external": {"address": "http://vault:8200", "auth": token}}),
            "vault.external.address must be an https URL",
        ),
        (
            "/vault",
            json!({"external": {"address": "https://vault:8200", "auth": {"kubernetes": {"audience": ""}}}}),
            "audience",
        ),
        (
            "/queues/rest",
            json!({"minReplicas": 5, "maxReplicas": 2}),
            "minReplicas must not be greater than maxReplicas",
        ),
        (
            "/queues/upload",
            json!({"concurrency": 8, "prefetch": 4}),
            "prefetch must be at least concurrency",
        ),
        (
            "/queues/rest",
            json!({"concurrency": 100, "prefetch": 100}),
            "window must be at least concurrency",
        ),
        (
            "/redis/storage",
            json!({"size": "1Mi"}),
            "size must be at least 64Mi",
        ),
        ("/redis/storage", json!({"size": "lots"}), "should match"),
        (
            "/api/publicUrl",
            json!("photos"),
            "publicUrl must be an http or https URL",
        ),
        (
            "/api/ingress",
            json!({"host": "Photos.example.org"}),
            "should match",
        ),
        (
            "/api/ingress",
            json!({"host": "10.0.0.1"}),
            "must be a name and no IP address",
        ),
        (
            "/api/ingress",
            json!({"host": "photos.example.org", "className": "my class"}),
            "should match",
        ),
        (
            "/api/ingress",
            json!({"host": "photos.example.org", "tlsSecretName": "photos_tls"}),
            "should match",
        ),
        ("/api/cors/allowedOrigins", json!(["*"]), "must be one origin"),
        ("/callbacks/allowedNetworks", json!(["10.0.0.0"]), "CIDR notation"),
        (
            "/networkPolicy/apiFrom",
            json!([{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]),
            "each of apiFrom must be either an ipBlock",
        ),
        (
            "/networkPolicy/metricsFrom",
            json!([{}]),
            "each of metricsFrom must be either an ipBlock",
        ),
        ("/deletionPolicy", json!("Keep"), "Unsupported value"),
        ("/api/replicass", json!(2), "replicass"),
    ]
}

/// What is refused of a hub that exists: its settings, the change, and a part of the words.
fn refused_changes() -> Vec<(&'static str, Value, Value, &'static str)> {
    let external = json!({"external": {
        "address": "https://vault:8200", "auth": {"token": {"secretRef": {"name": "vault-token"}}},
    }});
    vec![
        (
            "/mongodb/storage",
            json!({"size": "8Gi", "className": "fast"}),
            json!({"size": "8Gi", "className": "slow"}),
            "className cannot be changed",
        ),
        (
            "/mongodb/members",
            json!(3),
            json!(1),
            "mongodb.members cannot go down to 1",
        ),
        (
            "/redis/replicas",
            json!(3),
            json!(1),
            "redis.replicas cannot go down to 1",
        ),
        (
            "/rabbitmq/replicas",
            json!(3),
            json!(1),
            "rabbitmq.replicas cannot go down to 1",
        ),
        (
            "/vault",
            json!({"managed": {"replicas": 5}}),
            json!({"managed": {"replicas": 3}}),
            "vault.managed.replicas cannot be reduced",
        ),
        (
            "/vault",
            json!({"managed": {}}),
            external,
            "cannot move between managed and external",
        ),
    ]
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_definition_accepts_and_refuses_what_it_says() {
    let client = install().await;

    let accepted = apply(&client, &minimal(), true).await.unwrap();
    assert_eq!(
        accepted["spec"]["mongodb"]["members"], 3,
        "defaults are filled in"
    );
    assert_eq!(accepted["spec"]["vault"]["managed"]["replicas"], 3);
    for (path, value) in [
        ("/api/resources", json!({"limits": {"cpu": 2, "memory": "1Gi"}})),
        ("/redis/storage", json!({"size": 1_073_741_824})),
        ("/api/cors/allowedOrigins", json!(["https://app.example.org"])),
        ("/callbacks/allowedNetworks", json!(["10.20.0.0/16", "fd00::/8"])),
        (
            "/networkPolicy/apiFrom",
            json!([{"namespaceSelector": {}}, {"podSelector": {}}]),
        ),
    ] {
        apply(&client, &with(path, value), true).await.unwrap();
    }
    let sample = include_str!("../../manifests/samples/flickrhub-full.yaml");
    let mut sample: Value = serde_yaml_ng::from_str(sample).unwrap();
    sample["metadata"]["namespace"] = json!(NAMESPACE);
    apply(&client, &sample, true).await.unwrap();

    for (path, value, words) in refused() {
        let refusal = apply(&client, &with(path, value.clone()), true)
            .await
            .expect_err(path);
        assert!(refusal.contains(words), "{path} {value}: {refusal}");
    }

    let mut misnamed = minimal();
    misnamed["metadata"]["name"] = json!("1st");
    let refusal = apply(&client, &misnamed, true).await.unwrap_err();
    assert!(refusal.contains("must start with a letter"), "{refusal}");
}

fn api_client() -> Value {
    json!({
        "apiVersion": "flickrhub.dev/v1alpha1",
        "kind": "FlickrHubClient",
        "metadata": {"name": "photo-app", "namespace": NAMESPACE},
        "spec": {"hubRef": {"name": "gallery"}, "scopes": ["jobs:read"]},
    })
}

/// Applies a client as `kubectl` does, with unknown fields refused; `Err` with the words of the refusal.
async fn apply_client(client: &Client, resource: &Value, dry_run: bool) -> Result<Value, String> {
    let api: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        NAMESPACE,
        &ApiResource::erase::<FlickrHubClient>(&()),
    );
    let params = PatchParams {
        dry_run,
        force: true,
        field_manager: Some(MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let name = resource["metadata"]["name"].as_str().unwrap();
    match api.patch(name, &params, &Patch::Apply(resource)).await {
        Ok(resource) => Ok(serde_json::to_value(resource).unwrap()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_definition_of_a_client_accepts_and_refuses_what_it_says() {
    let client = install().await;
    let accepted = apply_client(&client, &api_client(), true).await.unwrap();
    assert_eq!(
        accepted["spec"]["rotation"],
        json!({"days": 90, "overlapHours": 24})
    );
    let with = |field: &str, value: Value| {
        let mut resource = api_client();
        resource["spec"][field] = value;
        resource
    };
    let addresses = json!(["10.0.0.0/8", "203.0.113.7", "2001:db8::/32"]);
    apply_client(&client, &with("allowedAddresses", addresses), true)
        .await
        .unwrap();
    for (field, value, words) in [
        ("scopes", json!([]), "should have at least 1 items"),
        ("scopes", json!(["jobs:read", "jobs:read"]), "duplicate"),
        ("scopes", json!(["jobs:delete"]), "Unsupported value"),
        (
            "allowedAddresses",
            json!(["example.org"]),
            "takes IP addresses and networks",
        ),
        (
            "rotation",
            json!({"days": 1, "overlapHours": 24}),
            "overlapHours must be less",
        ),
        (
            "rotation",
            json!({"days": 0}),
            "should be greater than or equal to 1",
        ),
        ("hubRef", json!({}), "Required value"),
    ] {
        let refusal = apply_client(&client, &with(field, value.clone()), true)
            .await
            .expect_err(field);
        assert!(refusal.contains(words), "{field} {value}: {refusal}");
    }
    for (name, words) in [
        ("default", "take another name"),
        ("photo.app", "the id of the client"),
    ] {
        let mut resource = api_client();
        resource["metadata"]["name"] = json!(name);
        let refusal = apply_client(&client, &resource, true).await.unwrap_err();
        assert!(refusal.contains(words), "{refusal}");
    }

    apply_client(&client, &api_client(), false).await.unwrap();
    let refusal = apply_client(&client, &with("hubRef", json!({"name": "another"})), true).await;
    assert!(refusal.unwrap_err().contains("hubRef cannot be changed"));
    let api: Api<FlickrHubClient> = Api::namespaced(client.clone(), NAMESPACE);
    api.delete("photo-app", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn changes_that_would_lose_data_are_refused() {
    let client = install().await;
    for (path, before, after, words) in refused_changes() {
        let name = format!("change{}", path.replace('/', "-"));
        let named = |mut hub: Value| {
            hub["metadata"]["name"] = json!(name);
            hub
        };
        apply(&client, &named(with(path, before)), false).await.unwrap();
        let refusal = apply(&client, &named(with(path, after)), true)
            .await
            .expect_err(path);
        assert!(refusal.contains(words), "{path}: {refusal}");
        hubs(&client)
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
    }

    for (path, before, after) in [
        ("/mongodb/members", 1, 3),
        ("/mongodb/members", 7, 3),
        ("/redis/replicas", 5, 3),
        ("/rabbitmq/replicas", 3, 7),
    ] {
        let named = |members: u32| {
            let mut hub = with(path, json!(members));
            hub["metadata"]["name"] = json!("scales");
            hub
        };
        apply(&client, &named(before), false).await.unwrap();
        apply(&client, &named(after), true).await.unwrap();
        hubs(&client)
            .delete("scales", &DeleteParams::default())
            .await
            .unwrap();
    }

    let grown = |size: &str| {
        let mut hub = with("/mongodb/storage", json!({"size": size}));
        hub["metadata"]["name"] = json!("grows");
        hub
    };
    apply(&client, &grown("8Gi"), false).await.unwrap();
    apply(&client, &grown("16Gi"), false).await.unwrap();
    // Where no volume could grow, that is how it goes on; else the operator refuses it.
    apply(&client, &grown("8Gi"), true).await.unwrap();
    hubs(&client)
        .delete("grows", &DeleteParams::default())
        .await
        .unwrap();
}

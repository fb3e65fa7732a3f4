//! The operator has the rights that it needs and no others: everything that it does at the Kubernetes API is done here,
//! against an API server in memory that permits what the role says. A right that is missing is denied; one that is never
//! used could be dropped from the role.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod api_server;
mod cert_manager;
mod request;
mod role;

use std::collections::BTreeSet;
use std::time::Duration;

use flickrhub_operator::api_client::{self, key_secret::KeySecrets};
use flickrhub_operator::autoscaling::scaler;
use flickrhub_operator::context::{Context, Settings};
use flickrhub_operator::controller;
use flickrhub_operator::crd::{FlickrHub, FlickrHubClient};
use flickrhub_operator::engine::vault::{KeyStore as _, Keys, SecretKeyStore};
use flickrhub_operator::external_metrics::ServiceAddress;
use flickrhub_operator::external_metrics::access::Access;
use flickrhub_operator::external_metrics::front_proxy::User;
use flickrhub_operator::external_metrics::registration::Registration;
use flickrhub_operator::external_metrics::request::Asked;
use flickrhub_operator::leader::Candidate;
use flickrhub_operator::metrics::Metrics;
use flickrhub_operator::reconcile::reconcile;
use flickrhub_operator::validate::{References, Surroundings, validate};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use prometheus::Registry;
use serde_json::{Value, json};

use api_server::ApiServer;
use role::Permission;

const NAMESPACE: &str = "photos";
const UID: &str = "7d1f3c52-9f0e-4c61-9a35-0d5a4d3f2b10";

fn surroundings() -> Surroundings {
    Surroundings {
        // No such names resolve (RFC 6761), so the engines are away.
        cluster_domain: "invalid".to_owned(),
        operator_namespace: "flickrhub-system".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

/// The Service of the operator.
fn service() -> ServiceAddress {
    ServiceAddress {
        namespace: "flickrhub-system".to_owned(),
        name: "flickrhub-operator".to_owned(),
    }
}

fn context(server: &ApiServer) -> Context {
    let reporter = Reporter {
        controller: "flickrhub-operator".to_owned(),
        instance: None,
    };
    let settings = Settings {
        surroundings: surroundings(),
        namespace: None,
        concurrency: 1,
        external_metrics: Some(service()),
    };
    let client = server.client();
    let recorder = Recorder::new(client.clone(), reporter);
    Context::new(client.clone(), client, recorder, settings)
}

/// A hub that needs every kind of object.
fn hub() -> Value {
    json!({
        "apiVersion": "flickrhub.dev/v1alpha1",
        "kind": "FlickrHub",
        "metadata": {"name": "gallery", "namespace": NAMESPACE, "uid": UID, "generation": 1},
        "spec": {
            "flickr": {"apps": [{"name": "main", "credentialsSecretRef": {"name": "flickr-app"}}]},
            "api": {"ingress": {"host": "photos.example.org"}},
        },
    })
}

fn put_hub(server: &ApiServer, hub: Value) {
    server.put("flickrhub.dev", "v1alpha1", "flickrhubs", hub);
}

/// The labels of what the operator made.
fn labels(component: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "flickrhub",
        "app.kubernetes.io/instance": "gallery",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "flickrhub-operator",
    })
}

/// A volume of a member, as the StatefulSet controller makes it.
fn put_claim(server: &ApiServer, name: &str) {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "labels": labels("redis"),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "gallery-redis", "uid": "1"}],
        },
        "spec": {"resources": {"requests": {"storage": "1Gi"}}},
    });
    server.put("", "v1", "persistentvolumeclaims", claim);
}

/// The operator fails at the engines here, and goes on nonetheless.
async fn bring_on(ctx: &Context) {
    let _ = Box::pin(reconcile(ctx, NAMESPACE, "gallery")).await;
}

/// A hub is made, its first part of the way: what exists before the data tier works.
async fn begins(server: &ApiServer, ctx: &Context) {
    let credentials = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "flickr-app", "namespace": NAMESPACE},
        "data": {"consumerKey": "a2V5", "consumerSecret": "c2VjcmV0"}});
    server.put("", "v1", "secrets", credentials);
    put_hub(server, hub());
    bring_on(ctx).await;
    assert_eq!(server.names("statefulsets").len(), 4);
}

/// The data tier has worked: the processes are made, and those of a queue are fewer than they should be.
async fn works(server: &ApiServer, ctx: &Context) {
    let ready = json!({"RedisReady": 1, "MongoDBReady": 1, "RabbitMQReady": 1, "VaultReady": 1});
    server.change("flickrhubs", "gallery", |hub| {
        hub["status"]["readyGenerations"] = ready;
    });
    bring_on(ctx).await;
    assert_eq!(server.names("deployments").len(), 6);
    server.change("deployments", "gallery-worker-rest", |deployment| {
        deployment["spec"]["replicas"] = json!(0);
    });
    bring_on(ctx).await;
}

/// The hub goes to sleep, which counts its pods, and wakes.
async fn sleeps(server: &ApiServer, ctx: &Context) {
    server.change("flickrhubs", "gallery", |hub| {
        hub["spec"]["hibernated"] = json!(true);
    });
    bring_on(ctx).await;
    server.change("statefulsets", "gallery-redis", |set| {
        assert_eq!(set["spec"]["replicas"], 0);
    });
    server.change("flickrhubs", "gallery", |hub| {
        hub["spec"]["hibernated"] = json!(false);
    });
    bring_on(ctx).await;
    server.change("statefulsets", "gallery-redis", |set| {
        assert_eq!(set["spec"]["replicas"], 3);
    });
}

/// A change is planned that an annotation holds; nothing but the status is another one afterwards.
async fn plans(server: &ApiServer, ctx: &Context) {
    let change = r#"{"api": {"replicas": 5}}"#;
    server.change("flickrhubs", "gallery", |hub| {
        hub["metadata"]["annotations"] = json!({"flickrhub.dev/plan": change});
    });
    bring_on(ctx).await;
    server.change("deployments", "gallery-api", |deployment| {
        assert_eq!(deployment["spec"]["replicas"], 2);
    });
    server.change("flickrhubs", "gallery", |hub| {
        assert_eq!(hub["spec"].get("api").and_then(|api| api.get("replicas")), None);
        let plan = hub["status"]["plan"]["text"].as_str().unwrap_or_default();
        assert!(plan.contains("change Deployment gallery-api"), "{plan}");
        hub["metadata"]["annotations"] = json!({});
    });
    bring_on(ctx).await;
}

/// A client of the hub is declared; the operator fails at MongoDB, after which it would make the Secret.
async fn declares_a_client(server: &ApiServer, ctx: &Context) {
    let client = json!({
        "apiVersion": "flickrhub.dev/v1alpha1",
        "kind": "FlickrHubClient",
        "metadata": {"name": "acme", "namespace": NAMESPACE, "uid": "2", "generation": 1},
        "spec": {"hubRef": {"name": "gallery"}, "scopes": ["jobs:read"]},
    });
    server.put("flickrhub.dev", "v1alpha1", "flickrhubclients", client.clone());
    let _ = Box::pin(api_client::reconcile::reconcile(ctx, NAMESPACE, "acme")).await;
    let client: FlickrHubClient = serde_json::from_value(client).expect("a client");
    let secrets = KeySecrets::new(server.client(), &client);
    secrets.create(None).await.expect("a Secret");
}

/// One object of every kind is there that no hub has any more.
async fn prunes(server: &ApiServer, ctx: &Context) {
    let kinds = [
        ("", "v1", "configmaps"),
        ("", "v1", "services"),
        ("", "v1", "serviceaccounts"),
        ("apps", "v1", "statefulsets"),
        ("apps", "v1", "deployments"),
        ("autoscaling", "v2", "horizontalpodautoscalers"),
        ("keda.sh", "v1alpha1", "scaledobjects"),
        ("keda.sh", "v1alpha1", "triggerauthentications"),
        ("policy", "v1", "poddisruptionbudgets"),
        ("networking.k8s.io", "v1", "ingresses"),
        ("networking.k8s.io", "v1", "networkpolicies"),
    ];
    for (group, version, resource) in kinds {
        let stray = json!({"metadata": {
            "name": "gallery-stray", "namespace": NAMESPACE, "labels": labels("stray"),
            "ownerReferences": [{"apiVersion": "flickrhub.dev/v1alpha1", "kind": "FlickrHub", "name": "gallery", "uid": UID}],
        }});
        server.put(group, version, resource, stray);
    }
    bring_on(ctx).await;
    for (group, _, resource) in kinds {
        let names = server.names(resource);
        assert!(group == "autoscaling" || !names.is_empty(), "{resource}");
        assert!(!names.contains(&"gallery-stray".to_owned()), "{resource}");
    }
}

/// A pod runs an old template and does not work, so it is replaced whatever its engine says.
async fn replaces(server: &ApiServer, ctx: &Context) {
    server.change("statefulsets", "gallery-redis", |set| {
        set["status"] = json!({"updateRevision": "new", "replicas": 3, "updatedReplicas": 2});
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "gallery-redis-2", "namespace": NAMESPACE, "labels": labels("redis"),
    }});
    server.put("", "v1", "pods", pod);
    bring_on(ctx).await;
    assert!(!server.names("pods").contains(&"gallery-redis-2".to_owned()));
}

/// Volumes grow, which makes a set anew.
async fn grows(server: &ApiServer, ctx: &Context) {
    put_claim(server, "data-gallery-redis-0");
    server.change("flickrhubs", "gallery", |hub| {
        hub["spec"]["redis"] = json!({"storage": {"size": "64Gi"}});
    });
    bring_on(ctx).await;
}

/// The hub goes with its data, or leaves it.
async fn goes(server: &ApiServer, ctx: &Context, policy: &str) {
    server.change("flickrhubs", "gallery", |hub| {
        hub["spec"]["deletionPolicy"] = json!(policy);
        hub["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    });
    for _ in 0..3 {
        bring_on(ctx).await;
    }
}

/// A Vault of the user that is logged in to by a service account.
async fn logs_in(server: &ApiServer, ctx: &Context) {
    let mut hub = hub();
    hub["metadata"]["uid"] = json!("another");
    hub["spec"]["vault"] =
        json!({"external": {"address": "https://127.0.0.1:1", "auth": {"kubernetes": {}}}});
    put_hub(server, hub);
    // The account is made in the first and used in the second.
    bring_on(ctx).await;
    bring_on(ctx).await;
}

/// A set of a version that let it take its volumes along.
fn put_former_set(server: &ApiServer) {
    server.change("statefulsets", "gallery-redis", |set| {
        set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = json!("Delete");
        set["metadata"]["generation"] = json!(1);
        set["status"] = json!({"observedGeneration": 1});
    });
}

/// An OpenBao is initialised.
async fn keeps_keys(ctx: &Context) {
    let hub: FlickrHub = serde_json::from_value(hub()).expect("a hub");
    let hub = validate(&hub, &References::default(), &surroundings()).expect("valid");
    let store = SecretKeyStore::of(ctx, &hub);
    store.record_intent().await.expect("an intent");
    let keys = Keys {
        unseal_key: "key".to_owned().into(),
        root_token: "token".to_owned().into(),
    };
    store.save(&keys).await.expect("kept");
}

/// The same event happens twice.
async fn tells(ctx: &Context) {
    let event = Event {
        type_: EventType::Normal,
        reason: "Ready".to_owned(),
        note: None,
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let hub: FlickrHub = serde_json::from_value(hub()).expect("a hub");
    for _ in 0..2 {
        let about = kube::Resource::object_ref(&hub, &());
        ctx.recorder.publish(&event, &about).await.expect("published");
    }
}

/// It registers its external metrics, asks whether a user may read them, tells them as far as it gets without a Redis, and
/// withdraws them. Then another adapter serves metrics.
async fn serves_metrics(server: &ApiServer, ctx: &Context) {
    let published = json!({
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "requestheader-client-ca-file": certificate_authority(),
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
        },
    });
    server.put("", "v1", "configmaps", published);
    let role = json!({"metadata": {"name": "flickrhub-operator"}});
    server.put("rbac.authorization.k8s.io", "v1", "clusterroles", role);
    let registration = Registration::new(server.client(), service(), "flickrhub-operator");
    registration.establish().await.expect("registered");
    // The certificate is lost.
    server.change("secrets", "flickrhub-operator-tls", |secret| {
        secret["data"] = json!({});
    });
    registration.establish().await.expect("registered anew");
    let asked = Asked::Discovery;
    let access = Access::new(server.client());
    assert!(access.allows(&User::default(), &asked).await.expect("an answer"));
    assert!(ctx.backlogs.of(NAMESPACE, "gallery").await.is_err());
    assert_eq!(server.names("apiservices"), ["v1beta1.external.metrics.k8s.io"]);
    registration.withdraw().await.expect("withdrawn");
    assert_eq!(server.names("apiservices"), [""; 0]);
}

fn certificate_authority() -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::default().self_signed(&key);
    certificate.expect("a certificate").pem()
}

/// KEDA scales the workers, of which some run jobs.
async fn is_scaled_by_keda(server: &ApiServer, ctx: &Context) {
    server.change("flickrhubs", "gallery", |hub| {
        hub["spec"]["autoscaling"] = json!({"provider": "KEDA"});
    });
    bring_on(ctx).await;
    assert_eq!(server.names("scaledobjects").len(), 3);
    let pod = json!({"metadata": {"name": "gallery-worker-rest-1", "namespace": NAMESPACE}});
    server.put("", "v1", "pods", pod);
    let workers = [(String::from("gallery-worker-rest-1"), 4)];
    scaler::mark_pods(ctx, NAMESPACE, &workers.into())
        .await
        .expect("marked");
}

/// It is elected, renews its lease and gives it back.
async fn leads(server: &ApiServer) {
    let candidate = Candidate::new(server.client(), "flickrhub-system", "flickrhub-operator", "me");
    candidate.acquire().await;
    candidate.release().await;
}

/// It watches everything, for as long as it takes to begin.
async fn watches(server: &ApiServer) {
    let metrics = Metrics::new(&Registry::new()).expect("metrics");
    let for_a_moment = tokio::time::sleep(Duration::from_secs(2));
    controller::run(context(server), metrics, for_a_moment).await;
}

fn difference(left: &BTreeSet<Permission>, right: &BTreeSet<Permission>) -> Vec<String> {
    left.difference(right)
        .map(|permission| format!("{permission:?}"))
        .collect()
}

#[test]
fn the_chart_and_the_manifests_allow_the_same() {
    let (chart, manifests) = (role::of_chart(), role::of_manifests());
    assert!(chart.len() > 50, "{} rights are read", chart.len());
    assert_eq!(difference(&chart, &manifests), [""; 0], "only in the chart");
    assert_eq!(difference(&manifests, &chart), [""; 0], "only in the manifests");
}

#[tokio::test]
async fn every_right_is_used_and_no_other_is_needed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let role = role::of_manifests();
    let server = ApiServer::new(role.clone());
    let ctx = context(&server);

    leads(&server).await;
    keeps_keys(&ctx).await;
    tells(&ctx).await;
    begins(&server, &ctx).await;
    works(&server, &ctx).await;
    plans(&server, &ctx).await;
    declares_a_client(&server, &ctx).await;
    serves_metrics(&server, &ctx).await;
    is_scaled_by_keda(&server, &ctx).await;
    cert_manager::is_asked(&server, &ctx).await;
    prunes(&server, &ctx).await;
    sleeps(&server, &ctx).await;
    replaces(&server, &ctx).await;
    grows(&server, &ctx).await;
    bring_on(&ctx).await;
    put_former_set(&server);
    goes(&server, &ctx, "Retain").await;
    put_hub(&server, hub());
    bring_on(&ctx).await;
    goes(&server, &ctx, "Delete").await;
    logs_in(&server, &ctx).await;
    watches(&server).await;

    assert_eq!(server.denied(), BTreeSet::new(), "denied, but needed");
    assert_eq!(
        difference(&role, &server.used()),
        [""; 0],
        "allowed, but never used: drop it from the role"
    );
}

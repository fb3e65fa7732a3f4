//! Scaling of workers as a platform team sees it: by their backlog, from none and back to none, and without a job that
//! suffers from it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use flickrhub_e2e::cluster::{self, condition, hubs, ready};
use flickrhub_e2e::eventually;
use flickrhub_e2e::gateway::{job_id, photo, photo_form, send};
use flickrhub_e2e::scene::{self, Scene};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, GetParams, ListParams, Patch, PatchParams};
use kube::core::Request;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// The most workers of the queue in this test.
const MOST: i32 = 3;
/// How long Flickr takes for a job.
const CALL: Duration = Duration::from_secs(6);
/// The same for a job that is looked at while it runs.
const LONG_CALL: Duration = Duration::from_secs(25);
/// The longest that anything here may take: the first worker, another one, the last one that goes.
const LIMIT: Duration = Duration::from_mins(2);

/// What the aggregated API answers about the queue.
async fn metric(client: &Client, namespace: &str) -> kube::Result<Value> {
    let selector = format!("hub%3D{}%2Cqueue%3Dflickr_upload", cluster::hub());
    let metrics = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}");
    let request = Request::new(metrics).get("flickrhub_queue_backlog", &GetParams::default());
    let mut request = request.expect("a request");
    let selected = format!("{}?labelSelector={selector}", request.uri().path());
    *request.uri_mut() = selected.parse().expect("an address");
    client.request(request).await
}

async fn backlog(client: &Client) -> u64 {
    eventually("the backlog is told", LIMIT, || async {
        let list = metric(client, &cluster::namespace()).await.ok()?;
        list["items"][0]["value"].as_str()?.parse().ok()
    })
    .await
}

fn workers(client: &Client) -> (Api<Deployment>, String) {
    let deployments = Api::namespaced(client.clone(), &cluster::namespace());
    (deployments, format!("{}-worker-upload", cluster::hub()))
}

/// Waits until the Deployment is to have so many workers.
async fn scaled_to(client: &Client, what: &str, is_reached: impl Fn(i32) -> bool) {
    let (deployments, name) = workers(client);
    eventually(what, LIMIT, || async {
        let deployment = deployments.get(&name).await.ok()?;
        is_reached(deployment.spec?.replicas?).then_some(())
    })
    .await;
}

/// The pods of the queue that are not on their way out, each with its deletion cost.
async fn pods(client: &Client) -> Vec<(String, i32)> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &cluster::namespace());
    let selector = format!(
        "app.kubernetes.io/instance={},app.kubernetes.io/component=worker-upload",
        cluster::hub()
    );
    let found = pods.list(&ListParams::default().labels(&selector)).await;
    let found = found.map(|list| list.items).unwrap_or_default();
    let staying = found
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    staying
        .map(|pod| {
            let cost = pod
                .annotations()
                .get("controller.kubernetes.io/pod-deletion-cost");
            (
                pod.name_any(),
                cost.and_then(|cost| cost.parse().ok()).unwrap_or_default(),
            )
        })
        .collect()
}

async fn set(client: &Client, spec: Value) {
    let hubs = hubs(client, &cluster::namespace());
    let patch = Patch::Merge(json!({"spec": spec}));
    hubs.patch(&cluster::hub(), &PatchParams::default(), &patch)
        .await
        .expect("the resource is changed");
}

/// Has Flickr take so long for each upload.
async fn slow_down(scene: &Scene, call: Duration) {
    let milliseconds = u64::try_from(call.as_millis()).expect("not that long");
    let rules = json!([{"match": {"method": "upload"}, "kind": "slow", "ms": milliseconds}]);
    scene.mock.fail(rules).await;
}

/// Uploads so many photos; the jobs.
async fn upload(scene: &Scene, user: &str, photos: usize) -> Vec<String> {
    let mut jobs = Vec::new();
    for index in 0..photos {
        let form = photo_form(user, photo(2000 + index));
        let answer = send(scene.gateway.post("/api/v1/uploads").multipart(form)).await;
        jobs.push(job_id(&answer));
    }
    jobs
}

async fn all_succeed_at_once(scene: &Scene, jobs: &[String]) {
    for job in jobs {
        let job = scene.gateway.finished(job).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        assert_eq!(job["attempts"], 1, "{job}");
    }
}

async fn from_none_and_back(scene: &Scene) {
    let client = &scene.client;
    let hubs = hubs(client, &cluster::namespace());
    let hub: DynamicObject = ready(&hubs, &cluster::hub(), LIMIT).await;
    let scaled = condition(&hub, "WorkersAutoscaled").expect("the condition");
    assert_eq!(
        (scaled.status.as_str(), scaled.reason.as_str()),
        ("True", "ExternalMetrics"),
        "{}",
        scaled.message
    );

    // Without jobs the last worker goes, and the hub stays Ready.
    scaled_to(client, "the last worker goes", |replicas| replicas == 0).await;
    assert_eq!(backlog(client).await, 0);
    ready(&hubs, &cluster::hub(), LIMIT).await;

    // The first job brings a worker, and many bring more.
    let user = scene.authorise("scaled", "write").await;
    slow_down(scene, CALL).await;
    let mut jobs = upload(scene, &user, 1).await;
    scaled_to(client, "the first worker comes", |replicas| replicas > 0).await;
    all_succeed_at_once(scene, &jobs).await;
    // Long enough for a look at workers that are too many.
    set(client, json!({"autoscaling": {"scaleInDelaySeconds": 120}})).await;
    jobs = upload(scene, &user, 24).await;
    assert!(backlog(client).await > 0);
    scaled_to(client, "more workers come by the backlog", |replicas| {
        replicas == MOST
    })
    .await;
    all_succeed_at_once(scene, &jobs).await;

    // While there are workers too many, those that run jobs are marked, and the others are not.
    assert_eq!(pods(client).await.len(), 3, "the delay keeps them");
    scene.mock.clear_faults().await;
    slow_down(scene, LONG_CALL).await;
    jobs = upload(scene, &user, 1).await;
    eventually("the busy worker is marked", LONG_CALL, || async {
        let costs: Vec<i32> = pods(client).await.into_iter().map(|(_, cost)| cost).collect();
        (costs.iter().filter(|cost| **cost > 0).count() == 1).then_some(())
    })
    .await;
    set(client, json!({"autoscaling": {"scaleInDelaySeconds": 5}})).await;
    all_succeed_at_once(scene, &jobs).await;
    scene.mock.clear_faults().await;
    scaled_to(client, "the last worker goes again", |replicas| replicas == 0).await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn workers_follow_their_backlog_from_none_and_back() {
    scene::play(|scene| async move {
        let hubs = hubs(&scene.client, &cluster::namespace());
        let before = hubs.get(&cluster::hub()).await.expect("the hub").data["spec"].take();
        let upload = json!({
            "minReplicas": 0, "maxReplicas": MOST, "jobsPerReplica": 4,
        });
        let autoscaling = json!({"scaleInDelaySeconds": 5});
        set(
            &scene.client,
            json!({"queues": {"upload": upload}, "autoscaling": autoscaling}),
        )
        .await;
        let test = std::panic::AssertUnwindSafe(from_none_and_back(&scene));
        let outcome = futures::FutureExt::catch_unwind(test).await;
        scene.mock.clear_faults().await;
        let fields = ["minReplicas", "maxReplicas", "jobsPerReplica"];
        let upload: Value = fields
            .iter()
            .map(|field| ((*field).to_owned(), before["queues"]["upload"][*field].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let autoscaling = json!({"scaleInDelaySeconds": before["autoscaling"]["scaleInDelaySeconds"]});
        set(
            &scene.client,
            json!({"queues": {"upload": upload}, "autoscaling": autoscaling}),
        )
        .await;
        ready(&hubs, &cluster::hub(), LIMIT).await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn metrics_are_told_to_whom_the_cluster_allows_and_to_nobody_else() {
    let client = cluster::client().await;
    backlog(&client).await;
    let refused = metric(&as_nobody(), &cluster::namespace()).await;
    let Err(kube::Error::Api(status)) = refused else {
        panic!("a user without rights is answered: {refused:?}");
    };
    assert_eq!(status.code, 403, "{}", status.message);
}

/// A client that acts as a user without rights.
fn as_nobody() -> Client {
    let kubeconfig = kube::config::Kubeconfig::read().expect("KUBECONFIG");
    let options = kube::config::KubeConfigOptions::default();
    let config = futures::executor::block_on(kube::Config::from_custom_kubeconfig(kubeconfig, &options));
    let mut config = config.expect("a configuration");
    config.auth_info.impersonate = Some("nobody".to_owned());
    Client::try_from(config).expect("a client")
}

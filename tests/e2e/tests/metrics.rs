//! Every process of the hub tells Prometheus what it does, under the names that dashboards and alerts rely on.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use flickrhub_e2e::eventually;
use flickrhub_e2e::gateway::{job_id, photo, photo_form, send};
use flickrhub_e2e::processes::{COMPONENTS, metrics, pods};
use flickrhub_e2e::scene::{self, Scene};
use serde_json::json;

/// What some pod of a component tells once it has had work.
const AFTER_WORK: [(&str, &[&str]); 6] = [
    (
        "api",
        &[
            "api_request_latency_seconds_count",
            "flickrhub_jobs_accepted_total",
        ],
    ),
    ("dispatcher", &["flickrhub_lane_jobs"]),
    ("callbacks", &["flickrhub_callbacks_total"]),
    (
        "worker-rest",
        &[
            "worker_processing_time_seconds_count",
            "job_lifecycle_duration_seconds_count",
            "flickr_api_call_duration_seconds_count",
            "flickr_api_error_rate_by_code_total",
        ],
    ),
    (
        "worker-upload",
        &[
            "worker_processing_time_seconds_count",
            "job_lifecycle_duration_seconds_count",
            "flickr_api_call_duration_seconds_count",
        ],
    ),
    (
        "worker-replace",
        &[
            "worker_processing_time_seconds_count",
            "job_lifecycle_duration_seconds_count",
            "flickr_api_call_duration_seconds_count",
        ],
    ),
];

/// Gives each process something to do: an upload, its replacement, a call that Flickr refuses, and a callback.
async fn work(scene: &Scene) {
    let (gateway, mock) = (&scene.gateway, &scene.mock);
    let user = scene.authorise("measured", "write").await;
    let form = photo_form(&user, photo(10_000));
    let answer = send(gateway.post("/api/v1/uploads").multipart(form)).await;
    let uploaded = gateway.finished(&job_id(&answer)).await;
    let id = uploaded["result"]["photo_id"].as_str().expect("the photo's id");
    let form = photo_form(&user, photo(10_001));
    let path = format!("/api/v1/photos/{id}/replace");
    let answer = send(gateway.post(&path).multipart(form)).await;
    gateway.finished(&job_id(&answer)).await;

    let sink = scene.sink("measured");
    let refused = json!({
        "user_id": user, "method": "flickr.photos.getInfo", "params": {"photo_id": "1"},
        "callback_url": mock.sink(&sink),
    });
    let job = gateway.finished(&gateway.submit(refused).await).await;
    assert_eq!(job["state"], "failed", "{job}");
    eventually("the callback arrives", Duration::from_secs(30), || async {
        mock.callbacks(&sink).await.into_iter().next()
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn every_process_tells_prometheus_what_it_did() {
    scene::play(|scene| async move {
        work(&scene).await;
        let named: Vec<_> = AFTER_WORK.iter().map(|(component, _)| *component).collect();
        assert_eq!(named, COMPONENTS, "each component has its row");
        for (component, expected) in AFTER_WORK {
            let what = format!("{component} tells {expected:?}");
            // Gauges of the lanes are set every ten seconds.
            eventually(&what, Duration::from_secs(30), || async {
                let mut counted = BTreeSet::new();
                for pod in pods(&scene.client, component).await {
                    let samples = metrics(&scene.client, &pod).await;
                    let has = |name: &str| samples.iter().any(|sample| sample.name == name);
                    assert!(has("process_resident_memory_bytes"), "{component}: {samples:?}");
                    let told = samples.into_iter().filter(|sample| {
                        // A counter that stands at nothing says that nothing was counted; a gauge may.
                        sample.value > 0.0 || sample.name == "flickrhub_lane_jobs"
                    });
                    counted.extend(told.map(|sample| sample.name));
                }
                expected.iter().all(|name| counted.contains(*name)).then_some(())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn the_latency_of_a_request_is_told_by_route_and_not_by_address() {
    scene::play(|scene| async move {
        let path = "/api/v1/jobs/0190a0a0-0000-7000-8000-000000000000";
        let answer = send(scene.gateway.get(path)).await;
        assert_eq!(answer.code(), "job_not_found");
        let mut routes = BTreeSet::new();
        for pod in pods(&scene.client, "api").await {
            let samples = metrics(&scene.client, &pod).await.into_iter();
            let counts = samples.filter(|sample| sample.name == "api_request_latency_seconds_count");
            routes.extend(counts.map(|sample| sample.labels["route"].clone()));
        }
        assert!(routes.contains("/api/v1/jobs/{id}"), "{routes:?}");
        assert!(!routes.contains(path), "{routes:?}");
    })
    .await;
}

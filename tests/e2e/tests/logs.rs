//! What happened to a job can be found in the logs, by its trace id, in every process that had it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flickrhub_e2e::gateway::{job_id, send};
use flickrhub_e2e::processes::{COMPONENTS, log, pods};
use flickrhub_e2e::{cluster, eventually, scene};
use kube::Client;
use serde_json::{Map, Value, json};

/// How far back a job is looked for, in seconds: longer than its test takes.
const RECENT: i64 = 300;

/// A trace id that no run before this one has used: 16 bytes in hexadecimal, not all zero.
fn new_trace() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:032x}", since_epoch.as_nanos())
}

/// What all pods of a component have logged, in the last `seconds` or ever.
async fn logged(client: &Client, component: &str, seconds: Option<i64>) -> Vec<Map<String, Value>> {
    let mut lines = Vec::new();
    for pod in pods(client, component).await {
        lines.extend(log(client, &pod, component, seconds).await);
    }
    lines
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_job_is_found_in_the_logs_by_its_trace() {
    scene::play(|scene| async move {
        let (gateway, trace) = (&scene.gateway, new_trace());
        let user = scene.authorise("logged", "read").await;
        let request = gateway.post("/api/v1/jobs").header("X-Trace-Id", &trace);
        let body = json!({"user_id": user, "method": "flickr.test.login"});
        let answer = send(request.json(&body)).await;
        let id = job_id(&answer);
        let job = gateway.finished(&id).await;
        assert_eq!(job["state"], "succeeded", "{job}");

        for (component, event) in [
            ("api", "job_enqueued"),
            ("worker-rest", "flickr_api_call"),
            ("worker-rest", "job_completed"),
        ] {
            // The job is finished a moment before its worker has written that.
            let found = eventually(event, Duration::from_secs(15), || async {
                let lines = logged(&scene.client, component, Some(RECENT)).await.into_iter();
                let of_the_job: Vec<_> = lines
                    .filter(|line| line.get("event").is_some_and(|name| name == event))
                    .filter(|line| line.get("trace_id").is_some_and(|id| *id == trace))
                    .collect();
                (!of_the_job.is_empty()).then_some(of_the_job)
            })
            .await;
            let [line] = found.as_slice() else {
                panic!("{event} is logged once, not as {found:?}");
            };
            assert_eq!(line["job_id"], id.as_str(), "{line:?}");
            assert_eq!(line["user_id"], user.as_str(), "{line:?}");
            assert_eq!(line["method"], "flickr.test.login", "{line:?}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn every_process_logs_json_lines_that_say_where_they_are_from() {
    let client = cluster::client().await;
    for component in COMPONENTS {
        // Reading refuses what is no JSON object. Every process says at its start what it is connected to.
        let lines = logged(&client, component, None).await;
        assert!(!lines.is_empty(), "{component} has logged nothing");
        for line in lines {
            for field in ["timestamp", "level", "component", "target"] {
                let text = line.get(field).and_then(Value::as_str);
                assert!(
                    text.is_some_and(|text| !text.is_empty()),
                    "{component}, {field}: {line:?}"
                );
            }
            assert_eq!(line["hub"], cluster::hub().as_str(), "{component}: {line:?}");
        }
    }
}

//! Clients that submit jobs while something is done to the hub, and try again as the headers of an answer say.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::gateway::{Gateway, send};
use crate::{eventually, scene};

const CLIENTS: usize = 3;
/// Between two submissions of a client.
const PACE: Duration = Duration::from_millis(700);

/// Clients that submit until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Submitted>>,
}

/// What became of the submissions of a client.
#[derive(Default)]
struct Submitted {
    accepted: Vec<String>,
    /// Answers that asked for another try, which was made.
    deferred: usize,
    failed: Vec<String>,
    /// The longest that a submission took until it was accepted.
    slowest: Duration,
}

impl Load {
    /// Begins to submit calls for a user.
    pub fn start(gateway: &Gateway, user: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients =
            (0..CLIENTS).map(|_| tokio::spawn(submit(gateway.clone(), user.to_owned(), Arc::clone(&stop))));
        Self {
            clients: clients.collect(),
            stop,
        }
    }

    /// Stops, and checks that no submission failed and every job succeeds.
    pub async fn end(self, gateway: &Gateway) {
        self.stop.store(true, Ordering::Relaxed);
        let mut accepted = Vec::new();
        let mut failed = Vec::new();
        for client in self.clients {
            let submitted = client.await.expect("a client does not panic");
            eprintln!(
                "accepted {}, deferred {}, failed {}, slowest {:?}",
                submitted.accepted.len(),
                submitted.deferred,
                submitted.failed.len(),
                submitted.slowest,
            );
            accepted.extend(submitted.accepted);
            failed.extend(submitted.failed);
        }
        assert!(failed.is_empty(), "{failed:?}");
        for job in &accepted {
            let job = finished(gateway, job).await;
            assert_eq!(job["state"], "succeeded", "{job}");
        }
    }
}

async fn finished(gateway: &Gateway, job: &str) -> Value {
    eventually(
        &format!("job {job} is finished"),
        Duration::from_mins(2),
        || async {
            let job = send(gateway.get(&format!("/api/v1/jobs/{job}"))).await.body;
            let goes_on = ["queued", "dispatched", "running"]
                .iter()
                .any(|state| job["state"] == *state);
            (!goes_on && job["state"].is_string()).then_some(job)
        },
    )
    .await
}

async fn submit(gateway: Gateway, user: String, stop: Arc<AtomicBool>) -> Submitted {
    let mut submitted = Submitted::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        match submit_one(&gateway, &user, &mut submitted.deferred).await {
            Ok(job) => submitted.accepted.push(job),
            Err(why) => submitted.failed.push(why),
        }
        submitted.slowest = submitted.slowest.max(began.elapsed());
        sleep(PACE).await;
    }
    submitted
}

/// Submits until the job is accepted, or an answer comes that asks for no other try.
async fn submit_one(gateway: &Gateway, user: &str, deferred: &mut usize) -> Result<String, String> {
    // Another call each time, so that none is answered from the cache.
    let text = scene::unique("load");
    let job = json!({"user_id": user, "method": "flickr.photos.search", "params": {"text": text}});
    loop {
        let answer = gateway.post("/api/v1/jobs").json(&job).send().await;
        let answer = answer.map_err(chain)?;
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        match (status, retry_after) {
            (StatusCode::ACCEPTED, _) => {
                let body: Value = answer.json().await.map_err(chain)?;
                return Ok(body["job_id"].as_str().unwrap_or_default().to_owned());
            }
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(seconds)) => {
                *deferred += 1;
                sleep(Duration::from_secs(seconds)).await;
            }
            _ => return Err(format!("{status}: {}", answer.text().await.unwrap_or_default())),
        }
    }
}

/// What went wrong, and why: that no answer came says little.
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
fn chain(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

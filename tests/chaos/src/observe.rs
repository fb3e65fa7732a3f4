//! What the API and the mock say.

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_e2e::gateway::Gateway;
use flickrhub_e2e::mock::{Mock, delivered_header};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::history::{Call, Delivery, SeenJob};

/// How long one answer is waited for, with repetitions.
const PATIENCE: Duration = Duration::from_mins(1);

/// Reads at a time.
const AT_A_TIME: usize = 16;

/// Calls that are fetched of the mock at a time.
const PAGE: usize = 5_000;

/// What a single read says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The job.
    Job(SeenJob),
    /// The API does not know it.
    NotFound,
    /// The API does not answer at the moment.
    NoAnswer,
}

/// Reads one job, once.
pub async fn read(gateway: &Gateway, job_id: &str) -> Read {
    match get(gateway, &format!("/api/v1/jobs/{job_id}")).await {
        Some((StatusCode::OK, body)) => Read::Job(seen(&body)),
        Some((StatusCode::NOT_FOUND, _)) => Read::NotFound,
        _ => Read::NoAnswer,
    }
}

/// Reads jobs until each read is answered; those that the API does not know are left out.
pub async fn read_all(gateway: &Gateway, job_ids: &[String]) -> BTreeMap<String, SeenJob> {
    let mut jobs = BTreeMap::new();
    for some in job_ids.chunks(AT_A_TIME) {
        let mut reads = JoinSet::new();
        for job_id in some {
            let (gateway, job_id) = (gateway.clone(), job_id.clone());
            reads.spawn(async move {
                patiently(|| async {
                    match read(&gateway, &job_id).await {
                        Read::Job(job) => Some(Some(job)),
                        Read::NotFound => Some(None),
                        Read::NoAnswer => None,
                    }
                })
                .await
            });
        }
        let read = reads.join_all().await;
        jobs.extend(read.into_iter().flatten().map(|job| (job.id.clone(), job)));
    }
    jobs
}

/// The list of a user's jobs, page after page.
pub async fn list(gateway: &Gateway, user: &str) -> Vec<SeenJob> {
    let mut jobs = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/jobs?user_id={user}&limit=100{cursor}");
        let page = patiently(|| async {
            let (status, body) = get(gateway, &path).await?;
            (status == StatusCode::OK).then_some(body)
        })
        .await;
        jobs.extend(page["jobs"].as_array().into_iter().flatten().map(seen));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return jobs,
        }
    }
}

/// Every call that the mock has seen since the one numbered `after`.
pub async fn calls(mock: &Mock, after: u64) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut last = after;
    loop {
        let page = mock.log_after(last, PAGE).await;
        let Some(end) = page.last().and_then(|entry| entry["seq"].as_u64()) else {
            return calls;
        };
        last = end;
        calls.extend(page.iter().map(call));
    }
}

/// The callbacks that came to a sink.
pub async fn deliveries(mock: &Mock, sink: &str) -> Vec<Delivery> {
    let received = mock.callbacks(sink).await;
    received.iter().map(delivery).collect()
}

async fn get(gateway: &Gateway, path: &str) -> Option<(StatusCode, Value)> {
    let request = gateway.get(path).timeout(Duration::from_secs(15));
    let response = request.send().await.ok()?;
    let status = response.status();
    Some((status, response.json().await.ok()?))
}

/// Asks until there is an answer.
async fn patiently<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "the API does not answer for {PATIENCE:?}"
        );
        sleep(Duration::from_millis(500)).await;
    }
}

fn seen(job: &Value) -> SeenJob {
    SeenJob {
        id: string(&job["job_id"]),
        trace_id: string(&job["trace_id"]),
        user: string(&job["user_id"]),
        state: string(&job["state"]),
        error: job["error"]["code"].as_str().map(str::to_owned),
        attempts: job["attempts"].as_u64().unwrap_or_default(),
        result: match &job["result"] {
            Value::Null => String::new(),
            result => result.to_string(),
        },
        callback: job["callback"]["state"].as_str().map(str::to_owned),
    }
}

fn call(entry: &Value) -> Call {
    let arguments = entry["arguments"].as_object().into_iter().flatten();
    Call {
        time_ms: entry["time_ms"].as_i64().unwrap_or_default(),
        method: string(&entry["method"]),
        user: entry["user"].as_str().map(str::to_owned),
        app: entry["consumer_key"].as_str().map(str::to_owned),
        trace_id: entry["trace_id"].as_str().map(str::to_owned),
        arguments: arguments.map(|(_, value)| string(value)).collect(),
        content: entry["content_sha256"].as_str().map(str::to_owned),
        status: entry["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or_default(),
        effect: entry["effect"].as_str().map(str::to_owned),
    }
}

fn delivery(received: &Value) -> Delivery {
    let body: Value = received["body"]
        .as_str()
        .and_then(|body| serde_json::from_str(body).ok())
        .unwrap_or_default();
    Delivery {
        job_id: string(&body["data"]["job_id"]),
        webhook_id: delivered_header(received, "webhook-id")
            .unwrap_or_default()
            .to_owned(),
        state: string(&body["data"]["state"]),
        status: received["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or_default(),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

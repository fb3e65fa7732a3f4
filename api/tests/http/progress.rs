//! Waiting for jobs, following and cancelling them.

use std::time::{Duration, Instant};

use flickrhub_job::model::JobId;
use flickrhub_job::store::AttemptEnd;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::hub::{Answer, Hub};

fn job(user_id: &str) -> Value {
    json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5}})
}

async fn asked_with(hub: &Hub, line: &str, prefer: &str) -> (Answer, Duration) {
    let start = Instant::now();
    let response = hub.request(line).header("Prefer", prefer).send().await.unwrap();
    (Answer::of(response).await, start.elapsed())
}

/// Ends a running job well, a moment from now.
async fn succeed_soon(hub: &Hub, id: JobId, with_notice: bool) {
    tokio::time::sleep(Duration::from_millis(700)).await;
    let result = json!({"stat": "ok"});
    let over = hub.end(id, AttemptEnd::Succeeded(&result)).await;
    if with_notice {
        hub.tell_over(&over).await;
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_request_that_waits_is_answered_when_the_job_is_over() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = hub.running_job(&user_id).await;
    let line = format!("GET /api/v1/jobs/{id}");
    let ((answer, took), ()) = tokio::join!(asked_with(&hub, &line, "wait=30"), succeed_soon(&hub, id, true));
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("succeeded")));
    assert_eq!(answer.body["result"], json!({"stat": "ok"}));
    assert_eq!(answer.header("preference-applied"), "wait=30");
    assert_eq!(answer.header("x-trace-id").len(), 32);
    assert!(took < Duration::from_secs(3), "{took:?}: the notice did not come");

    let (answer, took) = asked_with(&hub, &line, "wait=30").await;
    assert_eq!(
        (answer.status, answer.header("preference-applied")),
        (200, "wait=30")
    );
    assert!(took < Duration::from_secs(2), "it was over before");
    assert_eq!(
        hub.state.data().unwrap().progress.watched(),
        0,
        "nobody watches any more"
    );
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_notice_that_is_lost_delays_and_loses_nothing() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = hub.running_job(&user_id).await;
    let line = format!("GET /api/v1/jobs/{id}");
    let ((answer, took), ()) =
        tokio::join!(asked_with(&hub, &line, "wait=30"), succeed_soon(&hub, id, false));
    assert_eq!(answer.body["state"], "succeeded");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_wait_ends_with_its_time_and_what_is_malformed_is_ignored() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = hub.running_job(&user_id).await;
    let line = format!("GET /api/v1/jobs/{id}");
    let (answer, took) = asked_with(&hub, &line, "respond-async, WAIT=2").await;
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("running")));
    assert_eq!(answer.header("preference-applied"), "wait=2");
    assert!((2..4).contains(&took.as_secs()), "{took:?}");
    for prefer in ["wait", "wait=-3", "wait=\"3", "return=minimal"] {
        let (answer, took) = asked_with(&hub, &line, prefer).await;
        assert_eq!(
            (answer.status, answer.header("preference-applied")),
            (200, ""),
            "{prefer}"
        );
        assert!(took < Duration::from_secs(2), "{prefer}");
    }
    let (_, other) = hub.add_client(&["jobs:read"]).await;
    let stranger = hub
        .client
        .get(format!("{}/api/v1/jobs/{id}", hub.base))
        .bearer_auth(other);
    let answer = Answer::of(stranger.header("Prefer", "wait=5").send().await.unwrap()).await;
    assert_eq!((answer.status, answer.code()), (404, "job_not_found"));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_submission_waits_too_and_is_answered_with_the_finished_job() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let submit = async |wait: &str| {
        let request = hub.request("POST /api/v1/jobs").header("Prefer", wait);
        Answer::of(request.json(&job(&user_id)).send().await.unwrap()).await
    };
    let works = async {
        let id = loop {
            if let Some(job) = hub.stored_jobs().await.first() {
                break job.id;
            }
        };
        hub.begin(id).await;
        succeed_soon(&hub, id, true).await;
    };
    let (answer, ()) = tokio::join!(submit("wait=20"), works);
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("succeeded")));
    let location = format!("/api/v1/jobs/{}", answer.job_id());
    assert_eq!(answer.header("location"), location);
    assert_eq!(answer.header("preference-applied"), "wait=20");

    let answer = submit("wait=1").await;
    assert_eq!((answer.status, &answer.body["state"]), (202, &json!("queued")));
    assert_eq!(answer.header("preference-applied"), "wait=1");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn who_waits_is_answered_and_streams_end_when_the_process_stops() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = hub.running_job(&user_id).await;
    let stops = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        hub.state.stopping.cancel();
    };
    let line = format!("GET /api/v1/jobs/{id}");
    let events = format!("GET {}", path_of_events(id));
    let stream = async { hub.request(&events).send().await.unwrap().text().await.unwrap() };
    let ((answer, took), text, ()) = tokio::join!(asked_with(&hub, &line, "wait=30"), stream, stops);
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("running")));
    assert_eq!(answer.header("preference-applied"), "");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(text.matches("event: state").count(), 1, "{text}");
}

fn path_of_events(id: JobId) -> String {
    format!("/api/v1/jobs/{id}/events")
}

/// The number, the type and the data of each event of a finished stream.
fn events(text: &str) -> Vec<(u64, String, Value)> {
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    text.split("\n\n")
        .filter(|event| event.contains("data:"))
        .map(|event| {
            let data = serde_json::from_str(&field(event, "data:")).unwrap();
            (field(event, "id:").parse().unwrap(), field(event, "event:"), data)
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_stream_has_every_state_from_now_on_and_ends_with_the_job() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = hub.send("POST /api/v1/jobs", &job(&user_id)).await.job_id();
    let line = format!("GET {}", path_of_events(id));
    let response = hub.request(&line).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let works = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        hub.begin(id).await;
        // Workers tell so; here nobody does, and the stream looks by itself.
        tokio::time::sleep(Duration::from_secs(7)).await;
        succeed_soon(&hub, id, true).await;
    };
    let (text, ()) = tokio::join!(async { response.text().await.unwrap() }, works);
    assert!(text.contains("retry: 3000"), "{text}");
    let seen = events(&text);
    let states: Vec<_> = seen
        .iter()
        .map(|(_, _, data)| data["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["queued", "running", "succeeded"]);
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
    assert!(
        seen.iter()
            .all(|(_, kind, data)| kind == "state" && data.get("result").is_none())
    );

    // Whoever comes back gets what is missing, and no more.
    let again = async |last: u64| {
        let request = hub.request(&line).header("Last-Event-ID", last.to_string());
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            events(&response.text().await.unwrap()),
        )
    };
    assert_eq!(again(seen[1].0).await, (200, vec![seen[2].clone()]));
    assert_eq!(again(seen[2].0).await, (204, vec![]));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn streams_are_the_clients_own_and_bounded() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = hub.running_job(&user_id).await;
    let line = format!("GET {}", path_of_events(id));
    let (_, other) = hub.add_client(&["jobs:read"]).await;
    let stranger = hub
        .client
        .get(format!("{}{}", hub.base, path_of_events(id)))
        .bearer_auth(other);
    let answer = Answer::of(stranger.send().await.unwrap()).await;
    assert_eq!((answer.status, answer.code()), (404, "job_not_found"));

    let mut seats = Vec::new();
    while let Some(seat) = hub.state.streams.take(&hub.client_id) {
        seats.push(seat);
    }
    let answer = hub.ask(&line).await;
    assert_eq!((answer.status, answer.code()), (429, "too_many_event_streams"));
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    seats.pop();
    let mut open = hub.request(&line).send().await.unwrap().bytes_stream();
    assert!(open.next().await.is_some());
    assert_eq!(hub.ask(&line).await.status, 429);
    // A client that goes away leaves its place.
    drop(open);
    for _ in 0..50 {
        if hub.state.streams.take(&hub.client_id).is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the place is not free again");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn requests_that_find_no_place_to_wait_are_answered_at_once() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = hub.running_job(&user_id).await;
    let mut seats = Vec::new();
    while let Some(seat) = hub.state.waits.take(&hub.client_id) {
        seats.push(seat);
    }
    let (answer, took) = asked_with(&hub, &format!("GET /api/v1/jobs/{id}"), "wait=30").await;
    assert_eq!((answer.status, answer.header("preference-applied")), (200, ""));
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_wish_to_cancel_a_running_job_is_accepted_and_shown() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = hub.running_job(&user_id).await;
    let line = format!("DELETE /api/v1/jobs/{id}");
    for _ in 0..2 {
        let asked = hub.ask(&line).await;
        assert_eq!((asked.status, &asked.body["state"]), (202, &json!("running")));
        assert_eq!(asked.body["cancel_requested"], true);
    }
    let worker = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let cancelled = hub.end(id, AttemptEnd::Cancelled { called: true }).await;
        hub.tell_over(&cancelled).await;
    };
    let ((answer, _), ()) = tokio::join!(asked_with(&hub, &line, "wait=20"), worker);
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("cancelled")));

    let over = hub.running_job(&user_id).await;
    succeed_soon(&hub, over, true).await;
    let late = hub.ask(&format!("DELETE /api/v1/jobs/{over}")).await;
    assert_eq!((late.status, late.code()), (409, "job_not_cancellable"));
}

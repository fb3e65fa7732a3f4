//! Dead letters are listed, inspected, and replayed one by one and in bulk.

use std::collections::BTreeSet;

use flickrhub_job::model::JobId;
use serde_json::{Value, json};

use crate::hub::Hub;

/// So many dead jobs of the user, the oldest first.
async fn dead_jobs(hub: &Hub, user_id: &str, count: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = hub.running_job(user_id).await;
        hub.kill(id).await;
        ids.push(id);
    }
    ids
}

const BULK: &str = "POST /api/v1/dead-letters/replay";

fn replays(body: &Value) -> Vec<String> {
    let items = body["items"].as_array().unwrap().iter();
    items
        .filter_map(|item| item["replayed_as"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_dead_letter_is_listed_and_shown_with_its_history() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let ids = dead_jobs(&hub, &user_id, 3).await;
    let running = hub.running_job(&user_id).await;

    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let line = format!("GET /api/v1/dead-letters?limit=2&code=flickr_unavailable{cursor}");
        let page = hub.ask(&line).await;
        assert_eq!(page.status, 200, "{page:?}");
        for letter in page.body["dead_letters"].as_array().unwrap() {
            listed.push(letter["job_id"].as_str().unwrap().to_owned());
            assert_eq!(letter["error"]["code"], "flickr_unavailable");
            assert!(letter["dead_since"].is_string());
        }
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    let expected: Vec<_> = ids.iter().rev().map(ToString::to_string).collect();
    assert_eq!(listed, expected);
    let none = hub.ask("GET /api/v1/dead-letters?queue=replace").await;
    assert_eq!(none.body["dead_letters"], json!([]));

    let shown = hub.ask(&format!("GET /api/v1/dead-letters/{}", ids[0])).await;
    assert_eq!(shown.body["params"], json!({"photo_id": "5"}));
    let attempt = &shown.body["history"][0];
    assert_eq!(
        (&attempt["number"], &attempt["error"]),
        (&json!(1), &json!("flickr_unavailable"))
    );
    assert!(
        attempt["started_at"].is_string() && attempt["ended_at"].is_string(),
        "{attempt}"
    );
    let alive = hub.ask(&format!("GET /api/v1/dead-letters/{running}")).await;
    assert_eq!((alive.status, alive.code()), (404, "dead_letter_not_found"));
    let wrong = hub.ask("GET /api/v1/dead-letters?cursor=x&code=NO&limit=0").await;
    assert_eq!(
        (wrong.status, wrong.fields()),
        (422, vec!["cursor", "code", "limit"])
    );
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_has_one_replay_however_often_it_is_asked_for() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = dead_jobs(&hub, &user_id, 1).await[0];
    let line = format!("POST /api/v1/jobs/{id}/replay");
    let answers = futures::future::join_all((0..8).map(|_| hub.ask(&line))).await;
    let replays: BTreeSet<_> = answers.iter().map(|answer| answer.job_id().to_string()).collect();
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    assert_eq!(replays.len(), 1, "{replays:?}");
    assert_eq!(hub.stored_jobs().await.len(), 2);
    let old = hub.ask(&format!("GET /api/v1/jobs/{id}")).await;
    assert_eq!(
        old.body["replayed_as"].as_str(),
        replays.first().map(String::as_str)
    );
    // Only the new job has a place among the user's unfinished ones.
    let depth = hub
        .state
        .data()
        .unwrap()
        .lanes
        .depth(flickrhub_job::queue::Queue::Rest)
        .await
        .unwrap();
    assert_eq!((depth.queued, depth.reserved), (1, 0));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_replay_that_broke_off_is_gone_on_with() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let id = dead_jobs(&hub, &user_id, 1).await[0];
    let chosen = JobId::new();
    hub.jobs.begin_replay(&hub.client_id, id, chosen).await.unwrap();
    let answer = hub.send(BULK, &json!({})).await;
    assert_eq!(replays(&answer.body), [chosen.to_string()], "{answer:?}");
    assert_eq!(
        hub.ask(&format!("GET /api/v1/jobs/{chosen}")).await.body["state"],
        "queued"
    );
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn two_bulks_at_once_replay_each_dead_letter_once() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let ids = dead_jobs(&hub, &user_id, 20).await;
    let body = json!({"queue": "rest", "user_id": user_id, "code": "flickr_unavailable"});
    let (one, two) = tokio::join!(hub.send(BULK, &body), hub.send(BULK, &body));
    let all: BTreeSet<_> = replays(&one.body).into_iter().chain(replays(&two.body)).collect();
    assert_eq!(all.len(), 20, "{one:?} {two:?}");
    assert_eq!(hub.stored_jobs().await.len(), 40);
    let again = hub.send(BULK, &body).await;
    assert_eq!(
        (&again.body["items"], &again.body["more"]),
        (&json!([]), &json!(false))
    );
    // Named, it is answered with the job that replays it already.
    let named = hub.send(BULK, &json!({"ids": [ids[0], JobId::new()]})).await;
    let items = named.body["items"].as_array().unwrap();
    assert!(all.contains(items[0]["replayed_as"].as_str().unwrap()));
    assert_eq!(items[1]["problem"]["code"], "dead_letter_not_found");
    assert_eq!(hub.stored_jobs().await.len(), 40);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_bulk_stops_where_there_is_no_room_and_the_rest_stays() {
    let hub = Hub::start(|_| {}).await;
    hub.limit(|limits| limits.pending_per_user = 3);
    let (user_id, other) = (hub.add_user("read").await, hub.add_user("read").await);
    dead_jobs(&hub, &user_id, 5).await;
    dead_jobs(&hub, &other, 1).await;
    let answer = hub.send(BULK, &json!({})).await;
    assert_eq!(replays(&answer.body).len(), 4, "{answer:?}");
    let refused = answer.body["items"].as_array().unwrap().iter();
    let refused: Vec<_> = refused
        .filter(|item| item["problem"]["code"] == "too_many_pending")
        .collect();
    assert_eq!(refused.len(), 2);
    // When there is room again the same request does the rest.
    for job in hub.stored_jobs().await {
        hub.ask(&format!("DELETE /api/v1/jobs/{}", job.id)).await;
    }
    let rest = hub.send(BULK, &json!({})).await;
    assert_eq!(replays(&rest.body).len(), 2, "{rest:?}");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_bulk_is_of_the_clients_own_dead_letters_and_wants_the_scope() {
    let mut hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let ids = dead_jobs(&hub, &user_id, 1).await;
    let wrong = hub
        .send(BULK, &json!({"ids": ["x"], "limit": 0, "before": "now"}))
        .await;
    assert_eq!(
        (wrong.status, wrong.fields()),
        (422, vec!["ids[0]", "limit", "before"])
    );
    let unknown = hub.send(BULK, &json!({"state": "dead"})).await;
    assert_eq!((unknown.status, unknown.code()), (422, "invalid_request"));
    let early = hub.send(BULK, &json!({"before": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(early.body["items"], json!([]));

    (_, hub.api_key) = hub.add_client(&["jobs:read", "jobs:write"]).await;
    let stranger = hub.send(BULK, &json!({"ids": ids})).await;
    assert_eq!(
        stranger.body["items"][0]["problem"]["code"],
        "dead_letter_not_found"
    );
    let stranger = hub.ask(&format!("GET /api/v1/dead-letters/{}", ids[0])).await;
    assert_eq!((stranger.status, stranger.code()), (404, "dead_letter_not_found"));
    (_, hub.api_key) = hub.add_client(&["jobs:read"]).await;
    assert_eq!(hub.send(BULK, &json!({})).await.code(), "scope_missing");
}

//! The webhook secret is replaced, addresses are disabled and enabled, tries are listed, callbacks are retried.

use flickrhub_job::callback::TryOutcome;
use flickrhub_job::model::JobId;
use flickrhub_job::store::{Delivery, DeliveryId, DeliveryStore, EndpointStore, time};
use mongodb::bson::{self, Document, doc};
use serde_json::{Value, json};
use url::Url;

use crate::hub::{Answer, Hub};

const HOOK: &str = "https://acme.example/hook?token=secret";
const ROTATE: &str = "POST /api/v1/callbacks/secret/rotate";
const ENABLE: &str = "POST /api/v1/callbacks/endpoints/enable";

async fn hub() -> Hub {
    Hub::start(|_| {}).await
}

fn job(user_id: &str) -> Value {
    json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5}, "callback_url": HOOK})
}

/// Ends a job, and gives its callback up.
async fn give_up(hub: &Hub, id: JobId) {
    let id = bson::Uuid::from_bytes(uuid::Uuid::from(id).into_bytes());
    let now = bson::DateTime::now();
    let given_up = doc! { "$set": {
        "state": "succeeded",
        "finished_at": now,
        "callback.state": "failed",
        "callback.failure": "exhausted",
    } };
    let jobs = hub.database.collection::<Document>("jobs");
    let updated = jobs.update_one(doc! { "_id": id }, given_up).await.unwrap();
    assert_eq!(updated.matched_count, 1);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_secret_is_told_once_and_the_one_before_it_stays_valid_for_a_while() {
    let hub = hub().await;
    let first = hub.ask(ROTATE).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert!(first.body["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(first.header("cache-control"), "no-store");
    let until: jiff::Timestamp = first.body["previous_valid_until"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let day = until.duration_since(time::now()).as_hours();
    assert!((23..=24).contains(&day), "{until}");

    let second = hub.send(ROTATE, &json!({"overlap_seconds": 0})).await;
    assert_eq!(
        (second.status, &second.body["previous_valid_until"]),
        (200, &Value::Null)
    );
    assert_ne!(first.body["secret"], second.body["secret"]);
    for (body, field) in [
        (json!({"overlap_seconds": 604_801}), "overlap_seconds"),
        (json!({"overlap_seconds": "day"}), "overlap_seconds"),
    ] {
        let refused = hub.send(ROTATE, &body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (422, "invalid_request"),
            "{body}"
        );
        assert_eq!(refused.fields(), [field]);
    }
    let plain = hub
        .request(ROTATE)
        .header("Content-Type", "text/plain")
        .body("{}");
    let plain = Answer::of(plain.send().await.unwrap()).await;
    assert_eq!((plain.status, plain.code()), (415, "unsupported_media_type"));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_two_that_replace_a_secret_at_once_one_is_told_that_it_came_too_late() {
    let hub = hub().await;
    for _ in 0..20 {
        let answers = futures::future::join_all((0..8).map(|_| hub.ask(ROTATE))).await;
        assert!(answers.iter().any(|answer| answer.status == 200), "{answers:?}");
        let late = answers.iter().find(|answer| answer.status != 200);
        let Some(late) = late else { continue };
        assert_eq!((late.status, late.code()), (409, "secret_rotated_meanwhile"));
        assert_eq!(late.body["secret"], Value::Null);
        return;
    }
    panic!("every one of them replaced it");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn only_a_client_with_the_scope_replaces_its_secret() {
    let mut hub = hub().await;
    (_, hub.api_key) = hub.add_client(&["jobs:read", "jobs:write"]).await;
    for line in [ROTATE, ENABLE] {
        let refused = hub.send(line, &json!({})).await;
        assert_eq!((refused.status, refused.code()), (403, "scope_missing"), "{line}");
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_names_a_disabled_address_is_refused_until_it_is_enabled() {
    let hub = hub().await;
    let user_id = hub.add_user("read").await;
    let url = Url::parse(HOOK).unwrap();
    let accepted = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let endpoints = EndpointStore::open(&hub.database).await.unwrap();
    endpoints
        .disable(&hub.client_id, &url, accepted.job_id())
        .await
        .unwrap();
    // The API may believe for five seconds what it knew before.
    tokio::time::sleep(std::time::Duration::from_millis(5_100)).await;

    let refused = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!((refused.status, refused.code()), (422, "callback_disabled"));
    assert_eq!(refused.fields(), ["callback_url"]);
    assert_eq!(hub.stored_jobs().await.len(), 1);

    let listed = hub.ask("GET /api/v1/callbacks/endpoints").await;
    let shown = &listed.body["endpoints"][0];
    assert_eq!(shown["url"], "https://acme.example/hook", "{listed:?}");
    assert_eq!(shown["reason"], "gone");
    assert_eq!(shown["job_id"], accepted.body["job_id"]);
    assert!(shown["disabled_at"].is_string());

    give_up(&hub, accepted.job_id()).await;
    let retry = format!("POST /api/v1/jobs/{}/callback/retry", accepted.job_id());
    let refused = hub.ask(&retry).await;
    assert_eq!((refused.status, refused.code()), (422, "callback_disabled"));

    assert_eq!(hub.send(ENABLE, &json!({"url": HOOK})).await.status, 204);
    let again = hub.send(ENABLE, &json!({"id": shown["id"]})).await;
    assert_eq!((again.status, again.code()), (404, "callback_endpoint_not_found"));
    assert_eq!(hub.send("POST /api/v1/jobs", &job(&user_id)).await.status, 202);
    assert_eq!(hub.ask(&retry).await.status, 202);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_callback_that_was_given_up_is_retried_once_at_a_time() {
    let mut hub = hub().await;
    let user_id = hub.add_user("read").await;
    let id = hub.send("POST /api/v1/jobs", &job(&user_id)).await.job_id();
    let retry = format!("POST /api/v1/jobs/{id}/callback/retry");
    let early = hub.ask(&retry).await;
    assert_eq!((early.status, early.code()), (409, "callback_not_failed"));
    give_up(&hub, id).await;
    let shown = hub.ask(&format!("GET /api/v1/jobs/{id}")).await;
    assert_eq!(
        shown.body["callback"],
        json!({"state": "failed", "attempts": 0, "failure": "exhausted"})
    );
    let due = hub.ask(&retry).await;
    assert_eq!(
        (due.status, &due.body["callback"]["failure"]),
        (202, &Value::Null),
        "{due:?}"
    );

    let mut silent = job(&user_id);
    silent["callback_url"] = Value::Null;
    let silent = hub.send("POST /api/v1/jobs", &silent).await.job_id();
    let refused = hub
        .ask(&format!("POST /api/v1/jobs/{silent}/callback/retry"))
        .await;
    assert_eq!((refused.status, refused.code()), (409, "job_without_callback"));

    (_, hub.api_key) = hub.add_client(&["callbacks:write", "jobs:read"]).await;
    for line in [retry, format!("GET /api/v1/jobs/{id}/deliveries")] {
        let foreign = hub.ask(&line).await;
        assert_eq!((foreign.status, foreign.code()), (404, "job_not_found"), "{line}");
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_delivery_log_is_the_clients_own_and_walked_page_by_page() {
    let mut hub = hub().await;
    let user_id = hub.add_user("read").await;
    let id = hub.send("POST /api/v1/jobs", &job(&user_id)).await.job_id();
    let none = hub.ask(&format!("GET /api/v1/jobs/{id}/deliveries")).await;
    assert_eq!((none.status, &none.body["deliveries"]), (200, &json!([])));

    let log = DeliveryStore::open(&hub.database, 30).await.unwrap();
    for attempt in 1..=5 {
        let delivery = Delivery {
            id: DeliveryId::new(),
            client_id: hub.client_id.clone(),
            job_id: id,
            url: "https://acme.example/hook".to_owned(),
            attempt,
            at: time::now(),
            duration_ms: 20,
            outcome: if attempt == 3 {
                TryOutcome::Timeout
            } else {
                TryOutcome::Status
            },
            status: (attempt != 3).then_some(503),
            next_at: Some(time::now()),
        };
        log.append(&delivery).await.unwrap();
    }
    // The log is written without waiting for the majority, and read as the majority has it.
    let written = format!("GET /api/v1/jobs/{id}/deliveries");
    while hub.ask(&written).await.body["deliveries"]
        .as_array()
        .unwrap()
        .len()
        < 5
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for path in [
        "/api/v1/callbacks/deliveries".to_owned(),
        format!("/api/v1/jobs/{id}/deliveries"),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = hub.ask(&format!("GET {path}?limit=2{cursor}")).await;
            let entries = page.body["deliveries"].as_array().unwrap().iter();
            seen.extend(entries.map(|entry| entry["attempt"].as_u64().unwrap()));
            let Some(next) = page.body["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, [5, 4, 3, 2, 1], "{path}");
        let timeouts = hub.ask(&format!("GET {path}?outcome=timeout")).await;
        assert_eq!(timeouts.body["deliveries"].as_array().unwrap().len(), 1);
        assert_eq!(timeouts.body["deliveries"][0]["status"], Value::Null);
        let wrong = hub.ask(&format!("GET {path}?outcome=lost&page=1")).await;
        assert_eq!(wrong.fields(), ["outcome", "page"]);
    }
    (_, hub.api_key) = hub.add_client(&["jobs:read"]).await;
    let foreign = hub.ask("GET /api/v1/callbacks/deliveries").await;
    assert_eq!(foreign.body["deliveries"], json!([]));
}

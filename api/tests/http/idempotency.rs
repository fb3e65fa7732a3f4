//! A request that is sent again has one effect: at the same time, after a failover, after a crash between two steps.

use flickrhub_api::idempotency::IdempotencyKey;
use flickrhub_job::lane::{Admission, AdmissionLimits, LaneEntry, Submission};
use flickrhub_job::limits::{Limits, RequestClass};
use flickrhub_job::model::{Idempotency, Job, JobId, JobState};
use flickrhub_job::store::StoreError;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use mongodb::bson::{Document, doc};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::hub::{Answer, Hub};

fn job(user_id: &str) -> Value {
    json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5}})
}

async fn send(hub: &Hub, key: &str, body: &Value) -> Answer {
    let request = hub.request("POST /api/v1/jobs").header("Idempotency-Key", key);
    Answer::of(request.json(body).send().await.unwrap()).await
}

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

/// What is stored of the key; the payload is read from the job that was accepted with it.
fn hashed(hub: &Hub, key: &str) -> String {
    let headers = HeaderMap::from_iter([("idempotency-key".parse().unwrap(), key.parse().unwrap())]);
    let key = IdempotencyKey::of_headers(&headers).unwrap().unwrap();
    key.of_request(&hub.client_id, &Value::Null).key
}

/// Redis loses everything that it knows of the key.
async fn lose_mark(hub: &Hub, key: &str) {
    let lost = Idempotency {
        key: hashed(hub, key),
        payload: String::new(),
    };
    hub.lanes.forget(&lost).await.unwrap();
}

/// As `job`, with another id, by another process: its admission.
async fn admit_elsewhere(hub: &Hub, job: &Job) -> Admission {
    let entry = LaneEntry::from(job);
    let submission = Submission {
        entry: &entry,
        client_id: &job.client_id,
        class: RequestClass::Read,
        idempotency: job.idempotency.as_ref(),
    };
    let limits = AdmissionLimits::of(&Limits::default(), RequestClass::Read);
    hub.lanes.admit(&submission, &limits).await.unwrap().0
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn fifty_at_the_same_time_make_one_job() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let body = job(&user_id);
    let answers = join_all((0..50).map(|_| send(&hub, "fifty", &body))).await;
    let mut accepted = Vec::new();
    for answer in answers {
        match answer.status {
            202 => accepted.push(answer),
            409 => {
                assert_eq!(answer.code(), "idempotency_key_in_flight");
                assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(accepted.iter().filter(|answer| !replayed(answer)).count(), 1);
    let last = send(&hub, "fifty", &body).await;
    assert!(replayed(&last));
    for answer in &accepted {
        assert_eq!(answer.body, last.body);
        assert_eq!(answer.header("location"), last.header("location"));
    }
    assert_eq!(hub.stored_jobs().await.len(), 1);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_key_belongs_to_one_request_of_one_client() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let first = send(&hub, "k", &job(&user_id)).await;
    assert_eq!((first.status, replayed(&first)), (202, false));
    let mut other = job(&user_id);
    other["params"]["photo_id"] = json!(6);
    for lost in [false, true] {
        if lost {
            lose_mark(&hub, "k").await;
        }
        let refused = send(&hub, "k", &other).await;
        assert_eq!((refused.status, refused.code()), (422, "idempotency_key_reused"));
    }
    assert_eq!(send(&hub, "l", &other).await.status, 202);
    assert_eq!(hub.stored_jobs().await.len(), 2);

    for (headers, code) in [
        (vec![("Idempotency-Key", "a b")], "idempotency_key_invalid"),
        (
            vec![("Idempotency-Key", "a"), ("X-Idempotency-Key", "b")],
            "idempotency_keys_differ",
        ),
    ] {
        let mut request = hub.request("POST /api/v1/jobs").json(&job(&user_id));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let refused = Answer::of(request.send().await.unwrap()).await;
        assert_eq!((refused.status, refused.code()), (400, code));
        assert_eq!(refused.fields()[0], "Idempotency-Key");
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_went_on_is_told_as_it_was_accepted() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let first = send(&hub, "k", &job(&user_id)).await;
    let cancelled = hub.ask(&format!("DELETE /api/v1/jobs/{}", first.job_id())).await;
    assert_eq!(cancelled.body["state"], "cancelled");
    for lost in [false, true] {
        if lost {
            lose_mark(&hub, "k").await;
        }
        let again = send(&hub, "k", &job(&user_id)).await;
        assert_eq!(
            (again.status, replayed(&again), &again.body),
            (202, true, &first.body)
        );
    }
    assert_eq!(hub.stored_jobs().await.len(), 1);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn after_a_crash_at_any_step_the_request_has_one_effect() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let body = job(&user_id);

    // Admitted, never stored: in flight until the mark is over, then as if it had never been.
    let template = send(&hub, "template", &body).await;
    let template = hub.jobs.get(template.job_id()).await.unwrap().unwrap();
    let dead = |key: &str| Job {
        id: JobId::new(),
        idempotency: Some(Idempotency {
            key: hashed(&hub, key),
            payload: template.idempotency.clone().unwrap().payload,
        }),
        ..template.clone()
    };
    let first = dead("admitted");
    assert!(matches!(
        admit_elsewhere(&hub, &first).await,
        Admission::Admitted(_)
    ));
    assert_eq!(
        send(&hub, "admitted", &body).await.code(),
        "idempotency_key_in_flight"
    );
    lose_mark(&hub, "admitted").await;
    let accepted = send(&hub, "admitted", &body).await;
    assert_eq!((accepted.status, replayed(&accepted)), (202, false));

    // Stored, neither pushed nor remembered, with the mark still there and without it.
    let first = dead("stored");
    assert!(matches!(
        admit_elsewhere(&hub, &first).await,
        Admission::Admitted(_)
    ));
    hub.jobs.insert(&first).await.unwrap();
    assert_eq!(
        send(&hub, "stored", &body).await.code(),
        "idempotency_key_in_flight"
    );
    lose_mark(&hub, "stored").await;
    for _ in 0..2 {
        let again = send(&hub, "stored", &body).await;
        assert_eq!(
            (again.status, replayed(&again), again.job_id()),
            (202, true, first.id)
        );
    }

    // The mark is over before the first request's insertion comes: the index lets only one in.
    let late = dead("late");
    let accepted = send(&hub, "late", &body).await;
    let outcome = hub.jobs.insert(&late).await;
    assert!(
        matches!(outcome, Err(StoreError::Duplicate { .. })),
        "{outcome:?}"
    );
    assert_eq!(send(&hub, "late", &body).await.job_id(), accepted.job_id());

    // What was given back counts nowhere: template, the crash, two accepted ones and the crash that was stored.
    let counted = send(&hub, "count", &body).await;
    let left: u32 = counted
        .header("ratelimit")
        .split(['=', ';'])
        .nth(2)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(left, 3500 - 6, "{}", counted.header("ratelimit"));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_key_is_free_again_after_a_day() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let first = send(&hub, "k", &job(&user_id)).await.job_id();
    let jobs = hub.database.collection::<Document>("jobs");
    let old = Timestamp::now() - SignedDuration::from_hours(25);
    let old = mongodb::bson::DateTime::from_millis(old.as_millisecond());
    let id = mongodb::bson::Uuid::from_bytes(uuid::Uuid::from(first).into_bytes());
    jobs.update_one(doc! { "_id": id }, doc! { "$set": { "created_at": old } })
        .await
        .unwrap();
    // Whether or not Redis remembers it.
    let second = send(&hub, "k", &job(&user_id)).await;
    assert_eq!((second.status, replayed(&second)), (202, false));
    assert_ne!(second.job_id(), first);
    assert_eq!(send(&hub, "k", &job(&user_id)).await.job_id(), second.job_id());
    assert_eq!(hub.stored_jobs().await.len(), 2);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_refusal_is_not_remembered_and_a_repetition_is_not_refused() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    hub.limit(|limits| limits.pending_per_user = 0);
    let refused = send(&hub, "k", &job(&user_id)).await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_pending"));
    hub.limit(|limits| limits.pending_per_user = 1);
    let first = send(&hub, "k", &job(&user_id)).await;
    assert_eq!(first.status, 202);
    assert_eq!(send(&hub, "l", &job(&user_id)).await.status, 429);
    assert_eq!(send(&hub, "k", &job(&user_id)).await.body, first.body);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_replay_that_is_sent_again_is_one_job() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let dead = send(&hub, "k", &job(&user_id)).await.job_id();
    let jobs = hub.database.collection::<Document>("jobs");
    let id = mongodb::bson::Uuid::from_bytes(uuid::Uuid::from(dead).into_bytes());
    let set = doc! { "$set": { "state": JobState::Dead.name() } };
    jobs.update_one(doc! { "_id": id }, set).await.unwrap();
    let replay = || async {
        let request = hub.request(&format!("POST /api/v1/jobs/{dead}/replay"));
        Answer::of(request.header("X-Idempotency-Key", "r").send().await.unwrap()).await
    };
    let (first, second) = (replay().await, replay().await);
    assert_eq!((first.status, replayed(&first)), (202, false), "{first:?}");
    assert_eq!((second.status, replayed(&second)), (202, true));
    assert_eq!(first.body, second.body);
    assert_eq!(hub.stored_jobs().await.len(), 2);
}

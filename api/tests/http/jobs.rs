//! Jobs are accepted, shown, listed, cancelled, replayed, and limited.

use flickrhub_job::model::JobState;
use serde_json::{Value, json};

use crate::hub::Hub;

fn job(user_id: &str) -> Value {
    json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5}})
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_accepted_job_is_stored_and_shown() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let accepted = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.body["state"], "queued");
    assert_eq!(accepted.body["queue"], "flickr_rest");
    assert_eq!(
        accepted.body["trace_id"].as_str(),
        Some(accepted.header("x-trace-id"))
    );

    let location = accepted.header("location").to_owned();
    let shown = hub.ask(&format!("GET {location}")).await;
    assert_eq!(shown.status, 200);
    assert_eq!(shown.body["job_id"], accepted.body["job_id"]);
    assert_eq!(shown.body["created_at"], accepted.body["created_at"]);

    let stored = hub.stored_jobs().await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].params["photo_id"], "5");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_list_is_walked_page_by_page_without_gaps_or_repeats() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let mut submitted = Vec::new();
    for _ in 0..5 {
        submitted.push(
            hub.send("POST /api/v1/jobs", &job(&user_id))
                .await
                .job_id()
                .to_string(),
        );
    }
    submitted.reverse();

    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = hub.ask(&format!("GET /api/v1/jobs?limit=2{cursor}")).await;
        let ids = page.body["jobs"].as_array().unwrap().iter();
        listed.extend(ids.map(|job| job["job_id"].as_str().unwrap().to_owned()));
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, submitted);
    assert_eq!(
        hub.ask("GET /api/v1/jobs?state=dead").await.body["jobs"],
        json!([])
    );
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_is_cancelled_once_and_for_all() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let path = format!(
        "/api/v1/jobs/{}",
        hub.send("POST /api/v1/jobs", &job(&user_id)).await.job_id()
    );
    for _ in 0..2 {
        let cancelled = hub.ask(&format!("DELETE {path}")).await;
        assert_eq!(
            (cancelled.status, &cancelled.body["state"]),
            (200, &json!("cancelled"))
        );
    }
    let replayed = hub.ask(&format!("POST {path}/replay")).await;
    assert_eq!((replayed.status, replayed.code()), (409, "job_not_replayable"));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_user_has_only_so_many_unfinished_jobs_and_a_cancelled_one_makes_room() {
    let hub = Hub::start(|_| {}).await;
    hub.limit(|limits| limits.pending_per_user = 2);
    let (user_id, other) = (hub.add_user("read").await, hub.add_user("read").await);
    let first = hub.send("POST /api/v1/jobs", &job(&user_id)).await.job_id();
    assert_eq!(hub.send("POST /api/v1/jobs", &job(&user_id)).await.status, 202);
    let refused = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_pending"));
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(hub.send("POST /api/v1/jobs", &job(&other)).await.status, 202);
    assert_eq!(hub.stored_jobs().await.len(), 3);

    assert_eq!(hub.ask(&format!("DELETE /api/v1/jobs/{first}")).await.status, 200);
    assert_eq!(hub.send("POST /api/v1/jobs", &job(&user_id)).await.status, 202);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn each_rate_refuses_with_a_problem_of_its_own_and_the_headers_say_what_is_left() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("write").await;
    hub.limit(|limits| limits.classes.read = 1);
    let accepted = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    let policies = "\"client\";q=6000;w=60, \"user\";q=3500;w=3600, \"user-read\";q=1;w=3600";
    assert_eq!(accepted.header("ratelimit-policy"), policies);
    assert_eq!(accepted.header("ratelimit"), "\"user-read\";r=0;t=3600");

    let of_class = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!((of_class.status, of_class.code()), (429, "class_rate_exceeded"));
    assert_eq!(of_class.header("ratelimit-policy"), policies);
    let wait = of_class.header("retry-after");
    assert!((3590..=3600).contains(&wait.parse::<u32>().unwrap()), "{wait}");
    assert!(of_class.header("ratelimit").ends_with(&format!(";t={wait}")));

    // Another class has a window of its own, and a changed limit holds at once.
    let write = json!({"user_id": user_id, "method": "flickr.photos.setTags", "params": {"photo_id": 5, "tags": "a"}});
    assert_eq!(hub.send("POST /api/v1/jobs", &write).await.status, 202);
    hub.limit(|limits| limits.per_user_per_hour = 2);
    let of_user = hub.send("POST /api/v1/jobs", &write).await;
    assert_eq!((of_user.status, of_user.code()), (429, "user_rate_exceeded"));
    hub.limit(|limits| limits.per_client_per_minute = 2);
    let of_client = hub.send("POST /api/v1/jobs", &write).await;
    assert_eq!(
        (of_client.status, of_client.code()),
        (429, "client_rate_exceeded")
    );
    assert_eq!(hub.stored_jobs().await.len(), 2);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_takes_the_weight_and_the_lifetime_that_hold_when_it_is_accepted() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    hub.limit(|limits| {
        limits.weights.insert(user_id.clone(), 9);
        limits.default_expires_in_seconds = 60;
    });
    let id = hub.send("POST /api/v1/jobs", &job(&user_id)).await.job_id();
    let job = hub.jobs.get(id).await.unwrap().unwrap();
    assert_eq!(job.weight, 9);
    assert_eq!(job.expires_at.duration_since(job.created_at).as_secs(), 60);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_full_queue_takes_no_job_and_says_when_to_come_back() {
    let hub = Hub::start(|_| {}).await;
    hub.limit(|limits| limits.buffer_per_queue = 0);
    let user_id = hub.add_user("read").await;
    let refused = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!((refused.status, refused.code()), (503, "queue_full"));
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert!(hub.stored_jobs().await.is_empty());
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_the_user_did_not_grant_is_not_accepted() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let body = json!({"user_id": user_id, "method": "flickr.photos.delete", "params": {"photo_id": 5}});
    let refused = hub.send("POST /api/v1/jobs", &body).await;
    assert_eq!((refused.status, refused.code()), (403, "permission_insufficient"));
    assert!(refused.body["detail"].as_str().unwrap().contains("delete"));
    assert!(hub.stored_jobs().await.is_empty());
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_expired_job_is_replayed_as_a_new_one() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let mut body = job(&user_id);
    body["expires_in"] = json!(1);
    let id = hub.send("POST /api/v1/jobs", &body).await.job_id();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let expired = hub.jobs.expire_if_due(id).await.unwrap().map(|job| job.state);
    // A dispatcher that runs meanwhile may have been faster.
    assert!(expired.is_none_or(|state| state == JobState::Expired));

    let replayed = hub.ask(&format!("POST /api/v1/jobs/{id}/replay")).await;
    assert_eq!(replayed.status, 202, "{replayed:?}");
    assert_ne!(replayed.job_id(), id);
    assert_eq!(replayed.body["state"], "queued");
    assert_eq!(
        replayed.body["trace_id"].as_str(),
        Some(replayed.header("x-trace-id"))
    );
}

//! Many jobs in one request.

use std::time::Instant;

use flickrhub_job::queue::Queue;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::hub::{Answer, Hub};

fn job(user_id: &str, photo: usize) -> Value {
    json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": photo}})
}

fn statuses(answer: &Answer) -> Vec<u64> {
    let results = answer.body["results"].as_array().unwrap().iter();
    results.map(|result| result["status"].as_u64().unwrap()).collect()
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_bad_job_does_not_hold_up_the_others() {
    let hub = Hub::start(|_| {}).await;
    let (user, reader) = (hub.add_user("write").await, hub.add_user("read").await);
    let write =
        json!({"user_id": reader, "method": "flickr.photos.setTags", "params": {"photo_id": 5, "tags": "a"}});
    let batch = json!({"jobs": [job(&user, 1), {"user_id": user}, job("1@N01", 2), write, 7, job(&user, 3)]});
    let answer = hub.send("POST /api/v1/jobs/batch", &batch).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(statuses(&answer), [202, 422, 422, 403, 422, 202]);
    let results = &answer.body["results"];
    assert_eq!(results[1]["problem"]["errors"][0]["field"], "method");
    assert_eq!(results[2]["problem"]["code"], "unknown_user");
    assert_eq!(results[3]["problem"]["code"], "permission_insufficient");
    assert!(!answer.header("ratelimit").is_empty());
    let stored = hub.stored_jobs().await;
    assert_eq!(stored.len(), 2);
    for index in [0, 5] {
        let id = results[index]["job"]["job_id"].as_str().unwrap();
        assert!(stored.iter().any(|job| job.id.to_string() == id));
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_limit_refuses_what_is_too_much_of_a_batch() {
    let hub = Hub::start(|_| {}).await;
    let user = hub.add_user("read").await;
    hub.limit(|limits| limits.per_user_per_hour = 3);
    let jobs: Vec<_> = (0..5).map(|photo| job(&user, photo)).collect();
    let answer = hub
        .send("POST /api/v1/jobs/batch", &json!({ "jobs": jobs }))
        .await;
    let statuses = statuses(&answer);
    assert_eq!(
        statuses.iter().filter(|status| **status == 202).count(),
        3,
        "{statuses:?}"
    );
    let refused = statuses.iter().position(|status| *status == 429).unwrap();
    let refused = &answer.body["results"][refused];
    assert_eq!(refused["problem"]["code"], "user_rate_exceeded");
    assert!((3590..=3600).contains(&refused["retry_after"].as_u64().unwrap()));
    assert_eq!(hub.stored_jobs().await.len(), 3);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_batch_that_is_sent_again_accepts_what_was_refused_before() {
    let hub = Hub::start(|_| {}).await;
    let user = hub.add_user("read").await;
    let jobs: Vec<_> = (0..4).map(|photo| job(&user, photo)).collect();
    let batch = json!({ "jobs": jobs });
    let send = || async {
        let request = hub
            .request("POST /api/v1/jobs/batch")
            .header("Idempotency-Key", "b");
        Answer::of(request.json(&batch).send().await.unwrap()).await
    };
    hub.limit(|limits| limits.pending_per_user = 2);
    let first = send().await;
    assert_eq!(
        statuses(&first).iter().filter(|status| **status == 202).count(),
        2
    );
    hub.limit(|limits| limits.pending_per_user = 10);
    let second = send().await;
    assert_eq!(statuses(&second), [202; 4]);
    for index in 0..4 {
        let (before, after) = (&first.body["results"][index], &second.body["results"][index]);
        let replayed = before["status"] == 202;
        assert_eq!(after["idempotent_replayed"] == true, replayed, "{after}");
        if replayed {
            assert_eq!(before["job"], after["job"]);
        }
    }
    assert_eq!(hub.stored_jobs().await.len(), 4);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_thousand_jobs_are_accepted_in_one_request_and_no_more() {
    let hub = Hub::start(|_| {}).await;
    let user = hub.add_user("read").await;
    let jobs: Vec<_> = (0..1000).map(|photo| job(&user, photo)).collect();
    let (started, [commits, stored]) = (Instant::now(), hub.insertions());
    let answer = hub
        .send("POST /api/v1/jobs/batch", &json!({ "jobs": jobs }))
        .await;
    println!("1000 jobs in {} ms", started.elapsed().as_millis());
    assert_eq!(statuses(&answer), [202; 1000]);
    assert_eq!(
        hub.insertions(),
        [commits + 1, stored + 1000],
        "one command, which the majority acknowledges once"
    );
    let jobs: Vec<_> = (0..1001).map(|photo| job(&user, photo)).collect();
    for jobs in [json!([]), json!(jobs)] {
        let refused = hub
            .send("POST /api/v1/jobs/batch", &json!({ "jobs": jobs }))
            .await;
        assert_eq!(
            (refused.status, refused.code(), refused.fields()),
            (422, "batch_size", vec!["jobs"])
        );
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_batch_stays_one_commit_while_others_submit() {
    let hub = Hub::start(|_| {}).await;
    let user = hub.add_user("read").await;
    let [commits, stored] = hub.insertions();
    let singles = (0..40).map(|photo| {
        let body = job(&user, 1000 + photo);
        let hub = &hub;
        async move { hub.send("POST /api/v1/jobs", &body).await.status }
    });
    let jobs: Vec<_> = (0..500).map(|photo| job(&user, photo)).collect();
    let body = json!({ "jobs": jobs });
    let (singles, batch) = tokio::join!(join_all(singles), hub.send("POST /api/v1/jobs/batch", &body));
    assert_eq!(singles, [202; 40]);
    assert_eq!(statuses(&batch), [202; 500]);
    let [commits_now, stored_now] = hub.insertions();
    assert_eq!(stored_now - stored, 540);
    // The worst case is each single job by itself, and the batch.
    assert!(commits_now - commits <= 41, "{commits_now} of {commits}");
}

/// What Redis forgets of idempotency, the index of MongoDB knows, also of some documents of many.
#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn duplicates_in_a_commit_are_told_apart_item_by_item() {
    let hub = Hub::start(|_| {}).await;
    let user = hub.add_user("read").await;
    let send = async |photos: &[usize]| {
        let jobs: Vec<_> = photos.iter().map(|photo| job(&user, *photo)).collect();
        let request = hub
            .request("POST /api/v1/jobs/batch")
            .header("Idempotency-Key", "b");
        Answer::of(request.json(&json!({ "jobs": jobs })).send().await.unwrap()).await
    };
    let first = send(&[0, 1, 2, 3]).await;
    assert_eq!(statuses(&first), [202; 4]);
    for stored in hub.stored_jobs().await {
        hub.lanes.forget(&stored.idempotency.unwrap()).await.unwrap();
    }
    let [commits, stored] = hub.insertions();
    // The third asks for something else under its key, and the last was not there before.
    let again = send(&[0, 1, 7, 3, 4]).await;
    assert_eq!(statuses(&again), [202, 202, 422, 202, 202]);
    assert_eq!(hub.insertions(), [commits + 1, stored + 5]);
    assert_eq!(
        again.body["results"][2]["problem"]["code"],
        "idempotency_key_reused"
    );
    for index in [0, 1, 3] {
        let (before, after) = (&first.body["results"][index], &again.body["results"][index]);
        assert_eq!(before["job"], after["job"]);
        assert_eq!(after["idempotent_replayed"], true);
    }
    assert_eq!(again.body["results"][4]["idempotent_replayed"], Value::Null);
    assert_eq!(hub.stored_jobs().await.len(), 5);
    // What was not stored has given its place back.
    let depth = hub.lanes.depth(Queue::Rest).await.unwrap();
    assert_eq!((depth.queued, depth.reserved), (5, 0));
}

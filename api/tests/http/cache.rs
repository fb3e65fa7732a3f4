//! Answers that are kept: given at once, to those who may have them, until they are forgotten.

use flickrhub_job::cache::{AnswerCache, CacheKey, Flight, Lookup};
use serde_json::{Value, json};

use crate::hub::{Answer, Hub};

const METHOD: &str = "flickr.photos.getInfo";

fn job(user_id: &str) -> Value {
    json!({"user_id": user_id, "method": METHOD, "params": {"photo_id": 5}})
}

/// What a worker does that called Flickr for this question.
async fn keep(cache: &AnswerCache, user_id: &str) {
    let key = CacheKey::new(user_id, METHOD, &[("photo_id".to_owned(), "5".to_owned())].into());
    let (flight, lease) = (Flight::new(), std::time::Duration::from_secs(10));
    let Lookup::Missing(generation) = cache.lead(&key, &flight, lease, false).await.unwrap() else {
        panic!("it is not there yet");
    };
    let answer = json!({"photo": {"id": "5"}});
    assert!(cache.keep(&key, &flight, &generation, &answer).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_cached_answer_completes_a_job_at_once() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    keep(&hub.cache(), &user_id).await;
    let hits = || {
        let lookups = &hub.state.metrics.cache_lookups;
        ["hit", "miss", "bypass"].map(|outcome| lookups.with_label_values(&[outcome]).get())
    };
    assert_eq!(hits(), [0; 3]);

    let mut with_callback = job(&user_id);
    with_callback["callback_url"] = json!("https://example.com/hook");
    let done = hub.send("POST /api/v1/jobs", &with_callback).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.body["state"], "succeeded");
    assert_eq!(done.body["result"]["photo"]["id"], "5");
    assert_eq!(done.body["callback"]["state"], "pending");
    let shown = hub.ask(&format!("GET {}", done.header("location"))).await;
    assert_eq!((shown.status, &shown.body), (200, &done.body));

    let anew = hub
        .request("POST /api/v1/jobs")
        .header("cache-control", "no-cache");
    let anew = Answer::of(anew.json(&job(&user_id)).send().await.unwrap()).await;
    assert_eq!((anew.status, &anew.body["state"]), (202, &json!("queued")));
    // What is not answered here is counted by the worker that looks for it.
    assert_eq!(hits(), [1, 0, 0]);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn one_user_never_has_the_answer_of_another() {
    let hub = Hub::start(|_| {}).await;
    let (user_id, other) = (hub.add_user("read").await, hub.add_user("read").await);
    keep(&hub.cache(), &user_id).await;
    assert_eq!(hub.send("POST /api/v1/jobs", &job(&other)).await.status, 202);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn forgotten_answers_are_not_given() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    for of in [
        format!("user_id={user_id}"),
        format!("user_id={user_id}&method={METHOD}"),
    ] {
        keep(&hub.cache(), &user_id).await;
        let forgotten = hub.ask(&format!("POST /api/v1/cache/invalidate?{of}")).await;
        assert_eq!(forgotten.status, 204, "{forgotten:?}");
        assert_eq!(hub.send("POST /api/v1/jobs", &job(&user_id)).await.status, 202);
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_invalidation_needs_a_right_to_what_it_concerns() {
    let hub = Hub::start(|_| {}).await;
    let invalidate = async |query: &str| hub.ask(&format!("POST /api/v1/cache/invalidate?{query}")).await;
    let nothing = invalidate("").await;
    assert_eq!((nothing.status, nothing.fields()), (422, vec!["user_id"]));
    let wrong = invalidate("method=flickr.photos.steal").await;
    assert_eq!((wrong.status, wrong.fields()), (422, vec!["method"]));
    let of_everybody = invalidate(&format!("method={METHOD}")).await;
    assert_eq!((of_everybody.status, of_everybody.code()), (403, "scope_missing"));
    let stranger = invalidate("user_id=77@N01").await;
    assert_eq!(stranger.code(), "unknown_user", "{stranger:?}");
}

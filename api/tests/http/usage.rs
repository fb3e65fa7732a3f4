//! What clients see of the budgets and circuits: the usage, the header of a job that has to wait, and 503s that end when they
//! said that they would.

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_job::budget::{BudgetSettings, CircuitState, Endpoint, FlickrBudget};
use flickrhub_job::limits::Limits;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::hub::{Answer, Hub};

fn job(user_id: &str) -> Value {
    json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5}})
}

fn budget(hub: &Hub) -> &FlickrBudget {
    &hub.state.data().unwrap().budget
}

/// Our name of the application.
fn application(hub: &Hub) -> &str {
    &hub.state.config.flickr.apps[0].name
}

/// Makes Flickr answer 429 to somebody, and waits until every process can know.
async fn open_circuits(hub: &Hub, retry_after: Duration) {
    let permit = budget(hub)
        .permit(application(hub), None, Endpoint::Rest)
        .await
        .unwrap();
    budget(hub).limited(permit, Some(retry_after));
    let open = async {
        loop {
            let standing = budget(hub).look(application(hub), None).await.unwrap();
            if standing.circuit(Endpoint::Rest).state == CircuitState::Open {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), open).await.unwrap();
}

/// Settings by which an application may make so many requests within the span, and circuits open for a second.
async fn configure(hub: &Hub, span: Duration, per_app: u32) {
    let mut settings = BudgetSettings::of(&hub.state.config, &Limits::default());
    settings.span = span;
    settings.apps = BTreeMap::from([(application(hub).to_owned(), per_app)]);
    settings.breaker.open_seconds = 1;
    budget(hub).configure(&settings).await.unwrap();
}

async fn sign_in(hub: &Hub) -> Answer {
    hub.send("POST /api/v1/oauth/start", &json!({"permission": "read"}))
        .await
}

fn told_wait(answer: &Answer) -> Duration {
    Duration::from_secs(answer.header("retry-after").parse().unwrap())
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_usage_is_that_of_the_application_and_of_a_user_who_authorised_the_client() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let budget = budget(&hub);
    for user in [Some(user_id.as_str()), Some(user_id.as_str()), None] {
        budget.succeeded(
            budget
                .permit(application(&hub), user, Endpoint::Rest)
                .await
                .unwrap(),
        );
    }
    let all = hub.ask("GET /api/v1/usage").await;
    assert_eq!(all.status, 200, "{all:?}");
    assert_eq!(all.body["user"], Value::Null);
    let app = &all.body["apps"][0];
    assert_eq!(
        (&app["name"], &app["budget"]["used"]),
        (&json!(application(&hub)), &json!(3))
    );
    assert!(app["budget"]["resets_at"].is_string(), "{app}");
    let circuits = [("rest", "closed"), ("upload", "closed")]
        .map(|(endpoint, state)| json!({"endpoint": endpoint, "state": state, "until": null}));
    assert_eq!(app["circuits"], json!(circuits));

    let own = hub.ask(&format!("GET /api/v1/usage?user_id={user_id}")).await;
    assert_eq!(own.body["user"]["user_id"], user_id.as_str());
    assert_eq!(own.body["user"]["budget"]["used"], 2);
    assert_eq!(own.body["apps"][0]["budget"]["used"], 3);
    let stranger = hub.ask("GET /api/v1/usage?user_id=77@N01").await;
    assert_eq!((stranger.status, stranger.code()), (422, "unknown_user"));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_has_to_wait_for_flickr_is_accepted_and_its_answer_says_until_when() {
    let hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let before = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!((before.status, before.header("flickrhub-circuit")), (202, ""));
    open_circuits(&hub, Duration::from_mins(5)).await;
    // What was seen of a circuit is told for a second.
    sleep(Duration::from_millis(1100)).await;
    let submitted = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!(submitted.status, 202, "{submitted:?}");
    let usage = hub.ask("GET /api/v1/usage").await;
    let circuit = &usage.body["apps"][0]["circuits"][0];
    assert_eq!(
        (&circuit["endpoint"], &circuit["state"]),
        (&json!("rest"), &json!("open"))
    );
    let until = circuit["until"].as_str().unwrap();
    assert_eq!(
        submitted.header("flickrhub-circuit"),
        format!("open; until=\"{until}\"")
    );
    // A job that is over waits for nothing.
    let path = format!("DELETE /api/v1/jobs/{}", submitted.job_id());
    assert_eq!(hub.ask(&path).await.header("flickrhub-circuit"), "");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn who_waits_for_a_spent_budget_as_told_may_sign_in() {
    let hub = Hub::start(|_| {}).await;
    configure(&hub, Duration::from_millis(3400), 1).await;
    assert_eq!(sign_in(&hub).await.status, 200);
    let refused = sign_in(&hub).await;
    assert_eq!(
        (refused.status, refused.code()),
        (503, "flickr_busy"),
        "{refused:?}"
    );
    assert!(told_wait(&refused) <= Duration::from_secs(4));
    sleep(told_wait(&refused)).await;
    assert_eq!(sign_in(&hub).await.status, 200);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn who_waits_for_an_open_circuit_as_told_may_sign_in() {
    let hub = Hub::start(|_| {}).await;
    configure(&hub, Duration::from_hours(1), 3600).await;
    open_circuits(&hub, Duration::from_millis(2600)).await;
    let refused = sign_in(&hub).await;
    assert_eq!(
        (refused.status, refused.code()),
        (503, "flickr_busy"),
        "{refused:?}"
    );
    assert!(told_wait(&refused) <= Duration::from_secs(3));
    sleep(told_wait(&refused)).await;
    assert_eq!(sign_in(&hub).await.status, 200);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn who_waits_for_a_full_queue_as_told_finds_a_place_where_jobs_end_regularly() {
    let hub = Hub::start(|_| {}).await;
    hub.limit(|limits| limits.buffer_per_queue = 3);
    let user_id = hub.add_user("read").await;
    let pace = Duration::from_millis(1700);
    // As many as there are places, accepted one by one and ending in the same order.
    for place in 0..3 {
        if place > 0 {
            sleep(pace).await;
        }
        assert_eq!(hub.send("POST /api/v1/jobs", &job(&user_id)).await.status, 202);
    }
    let jobs = hub.stored_jobs().await;
    let refused = hub.send("POST /api/v1/jobs", &job(&user_id)).await;
    assert_eq!(
        (refused.status, refused.code()),
        (503, "queue_full"),
        "{refused:?}"
    );
    let oldest = jobs.last().unwrap().id;
    let ends = async {
        sleep(pace).await;
        hub.ask(&format!("DELETE /api/v1/jobs/{oldest}")).await.status
    };
    let obeys = async {
        sleep(told_wait(&refused)).await;
        hub.send("POST /api/v1/jobs", &job(&user_id)).await.status
    };
    assert_eq!(tokio::join!(ends, obeys), (200, 202));
}

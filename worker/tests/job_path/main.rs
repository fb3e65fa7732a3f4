//! The path of a job from its lane to its callback, on a real data tier, with the stand-in for Flickr.
//!
//! Needs `FLICKRHUB_TEST_CONFIG`: a configuration that reaches Redis, MongoDB, RabbitMQ and Vault. The names of the queues
//! are fixed, so no other worker may consume from the virtual host meanwhile; the tests here take turns.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod budgets;
mod bulkheads;
mod cache;
mod callbacks;
mod hub;
mod receiver;

use std::time::Duration;

use flickrhub_flickr_mock::fault::{Kind, Rule};
use flickrhub_job::envelope::Envelope;
use flickrhub_job::model::{Callback, CallbackState, Job, JobState, Trail};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::CancelOutcome;
use futures::StreamExt;
use jiff::{Timestamp, ToSpan};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::sync::Mutex;

use self::hub::{Hub, WEBHOOK_SECRET, eventually};
use self::receiver::Receiver;

static TURN: Mutex<()> = Mutex::const_new(());

const SEARCH: &str = "flickr.photos.search";
const CREATE_SET: &str = "flickr.photosets.create";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_succeeds_with_flickrs_answer_and_its_trace_reaches_flickr() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let job = hub.job(SEARCH, &[("text", "bees")]);
    let over = hub.run(&job).await;
    assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    assert_eq!((over.attempt, over.tries), (1, 1));
    assert_eq!(over.result.unwrap()["stat"], "ok");
    let calls = hub.calls(SEARCH);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].trace_id.as_deref(), Some(job.trace.trace_id.as_str()));
    assert!(
        calls[0]
            .traceparent
            .as_deref()
            .unwrap()
            .contains(&job.trace.trace_id)
    );
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_flickr_could_not_serve_is_tried_again() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let unavailable = Kind::HttpStatus {
        status: 503,
        retry_after: Some(1),
    };
    hub.flickr.add_fault(Rule::new(SEARCH, unavailable).times(1));
    let over = hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    assert_eq!((over.attempt, over.tries), (2, 2));
    let calls = hub.calls(SEARCH);
    assert_eq!(calls.len(), 2);
    assert!(
        calls[1].time_ms - calls[0].time_ms >= 1000,
        "Retry-After was not honoured"
    );
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_flickr_refuses_fails_at_once() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    hub.flickr
        .add_fault(Rule::new(SEARCH, Kind::ErrorCode { code: 3 }));
    let over = hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    assert_eq!(over.state, JobState::Failed);
    let error = over.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.flickr_code),
        ("flickr_error", Some(3))
    );
    assert_eq!(hub.calls(SEARCH).len(), 1);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_of_a_user_without_a_token_fails_at_once() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    hub.users
        .remove_token(&hub.user_id, &hub.client_id)
        .await
        .unwrap();
    let over = hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    assert_eq!(over.state, JobState::Failed);
    assert_eq!(over.error.unwrap().code, "user_not_authorised");
    assert!(hub.calls(SEARCH).is_empty());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_is_dead_after_its_last_attempt_and_its_message_among_the_dead_letters() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    hub.flickr
        .add_fault(Rule::new(SEARCH, Kind::ErrorCode { code: 105 }));
    let over = hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    assert_eq!(over.state, JobState::Dead);
    assert_eq!((over.attempt, over.tries), (3, 3));
    assert_eq!(over.error.unwrap().flickr_code, Some(105));
    assert_eq!(hub.calls(SEARCH).len(), 3);
    assert_eq!(hub.dead_letter(Queue::Rest, over.id).await.attempt, 3);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_killed_its_workers_until_its_last_try_is_dead_and_its_message_among_the_dead_letters() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let lost = Job {
        state: JobState::Running,
        attempt: 5,
        tries: 3,
        lease_until: Some(Timestamp::now() - 1.hour()),
        ..hub.job(SEARCH, &[("text", "bees")])
    };
    // Recovery begins some time after its start, holders go first.
    let over = hub.run(&lost).await;
    assert_eq!(over.state, JobState::Dead);
    assert_eq!(over.error.unwrap().code, "worker_lost");
    assert_eq!(hub.dead_letter(Queue::Rest, over.id).await.attempt, 5);
    assert!(hub.calls(SEARCH).is_empty());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_message_that_is_no_job_is_among_the_dead_letters_and_stands_in_nobodys_way() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let nonsense = b"{\"job_id\": 7}";
    hub.publish_raw(Queue::Rest, nonsense).await;
    let over = hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    assert_eq!(hub.raw_dead_letter(Queue::Rest).await, nonsense);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_message_that_comes_again_does_not_run_its_job_again() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    hub.flickr
        .add_fault(Rule::new(SEARCH, Kind::Slow { ms: 2000 }).times(1));
    let job = hub.job(SEARCH, &[("text", "bees")]);
    hub.submit(&job).await;
    let running = hub.once(job.id, |job| job.state == JobState::Running).await;
    let again = Envelope {
        job_id: job.id,
        attempt: running.attempt,
        user_id: job.user_id.clone(),
        trace: job.trace.clone(),
    };
    hub.publisher.publish(Queue::Rest, &again).await.unwrap();
    let over = hub.once(job.id, |job| job.state.is_final()).await;
    hub.publisher.publish(Queue::Rest, &again).await.unwrap();
    // Another job's end says that the messages before it have been answered for.
    hub.run(&hub.job("flickr.test.echo", &[])).await;
    assert_eq!(over.state, JobState::Succeeded);
    assert_eq!(hub.jobs.get(job.id).await.unwrap().unwrap(), over);
    assert_eq!(hub.calls(SEARCH).len(), 1);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_call_that_would_act_again_is_not_repeated_when_its_answer_was_lost() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    hub.flickr.add_fault(Rule::new(CREATE_SET, Kind::DropConnection));
    let params = [("title", "Bees"), ("primary_photo_id", "1")];
    let over = hub.run(&hub.job(CREATE_SET, &params)).await;
    assert_eq!(over.state, JobState::Failed);
    assert_eq!(over.error.unwrap().code, "outcome_unknown");
    assert_eq!(hub.calls(CREATE_SET).len(), 1);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_photo_reaches_flickr_whole_and_is_then_deleted_here() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let photo: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let job = hub.upload(&photo).await;
    let over = hub.run(&job).await;
    assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    let result = over.result.unwrap();
    let photos = hub.flickr.photos();
    let stored = photos
        .iter()
        .find(|photo| photo.id == result["photo_id"])
        .unwrap();
    assert_eq!(stored.bytes, 3_000_000);
    assert_eq!(stored.owner, hub.user_id);
    let body = job.body.unwrap();
    eventually(async || {
        let mut pieces = Box::pin(hub.bodies.open(&body));
        matches!(pieces.next().await, Some(Err(_))).then_some(())
    })
    .await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_was_not_started_in_time_expires() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let mut job = hub.job(SEARCH, &[("text", "bees")]);
    job.expires_at = Timestamp::now() - 1.second();
    let over = hub.run(&job).await;
    assert_eq!(over.state, JobState::Expired);
    assert!(hub.calls(SEARCH).is_empty());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_finished_job_is_told_to_its_client_with_a_signature_that_verifies() {
    let _turn = TURN.lock().await;
    let (hub, receiver) = (Hub::start().await, Receiver::start().await);
    let mut job = hub.job(SEARCH, &[("text", "bees")]);
    job.callback = Some(Callback::waiting(receiver.url.clone()));
    hub.submit(&job).await;
    let told = |job: &Job| {
        job.callback
            .as_ref()
            .is_some_and(|callback| callback.state == CallbackState::Delivered)
    };
    let told = hub.once(job.id, told).await;
    assert_eq!(told.callback.unwrap().attempts, 1);
    let deliveries = receiver.deliveries();
    assert_eq!(deliveries.len(), 1);
    let delivery = &deliveries[0];
    Webhook::new(WEBHOOK_SECRET)
        .unwrap()
        .verify(&delivery.body, &delivery.headers)
        .unwrap();
    assert_eq!(delivery.headers["webhook-id"], job.id.to_string());
    let payload: Value = serde_json::from_slice(&delivery.body).unwrap();
    assert_eq!(payload["type"], "job.completed");
    assert_eq!(payload["data"]["job_id"], job.id.to_string());
    assert_eq!(payload["data"]["state"], "succeeded");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_worker_that_is_stopped_finishes_the_job_it_holds() {
    let _turn = TURN.lock().await;
    let mut hub = Hub::start().await;
    hub.flickr.add_fault(Rule::new(SEARCH, Kind::Slow { ms: 3000 }));
    let job = hub.job(SEARCH, &[("text", "bees")]);
    hub.submit(&job).await;
    hub.once(job.id, |job| job.state == JobState::Running).await;
    tokio::time::timeout(Duration::from_secs(30), hub.stop_roles())
        .await
        .unwrap();
    let over = hub.jobs.get(job.id).await.unwrap().unwrap();
    assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    hub.stop().await;
}

/// The next notices of a job, until MongoDB says what was wished.
async fn told(hub: &Hub, job: &Job, wished: impl Fn(&Job) -> bool) -> Duration {
    let mut watch = hub.progress.watch(job.id);
    let start = std::time::Instant::now();
    loop {
        let stored = hub.jobs.get(job.id).await.unwrap();
        if stored.is_some_and(|job| wished(&job)) {
            return start.elapsed();
        }
        // Only a notice ends this in time.
        watch.moved(Duration::from_secs(20)).await;
        assert!(start.elapsed() < Duration::from_secs(20), "no notice came");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn whoever_watches_a_job_hears_when_it_runs_and_when_it_is_over() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    // The subscription begins in the background.
    hub.run(&hub.job("flickr.test.echo", &[])).await;
    hub.flickr.add_fault(Rule::new(SEARCH, Kind::Slow { ms: 1000 }));
    let job = hub.job(SEARCH, &[("text", "bees")]);
    hub.submit(&job).await;
    told(&hub, &job, |job| job.state == JobState::Running).await;
    told(&hub, &job, |job| job.state == JobState::Succeeded).await;
    let over = hub.jobs.get(job.id).await.unwrap().unwrap();
    assert_eq!(over.trail.attempts.len(), 1);
    let attempt = &over.trail.attempts[0];
    assert_eq!((attempt.number, attempt.error.as_deref()), (1, None));
    assert_eq!(attempt.worker.as_deref(), Some("test-worker"));
    assert_eq!(attempt.started_at, over.started_at);
    hub.stop().await;
}

/// Cancels a job a moment after it began to run; how long it then took to end, and as what.
async fn cancelled_while_it_runs(hub: &Hub, job: &Job) -> (JobState, Duration) {
    hub.submit(job).await;
    hub.once(job.id, |job| job.state == JobState::Running).await;
    // By now its call is under way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = hub.jobs.cancel(&hub.client_id, job.id).await.unwrap();
    assert!(matches!(outcome, CancelOutcome::Requested(_)), "{outcome:?}");
    hub.progress.announce_cancellation(job.id).await.unwrap();
    let asked = std::time::Instant::now();
    let over = hub.once(job.id, |job| job.state.is_final()).await;
    (over.state, asked.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_call_that_reads_is_dropped_when_its_client_cancels_and_one_that_acts_goes_on() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    hub.run(&hub.upload(b"a bee").await).await;
    let photo = hub.flickr.photos()[0].id.clone();
    hub.flickr
        .add_fault(Rule::new("flickr.photos.*", Kind::Slow { ms: 5000 }));

    let read = hub.job("flickr.photos.getInfo", &[("photo_id", &photo)]);
    let (state, took) = cancelled_while_it_runs(&hub, &read).await;
    assert_eq!(state, JobState::Cancelled);
    assert!(took < Duration::from_secs(3), "{took:?}");

    let write = hub.job("flickr.photos.addTags", &[("photo_id", &photo), ("tags", "bee")]);
    let (state, took) = cancelled_while_it_runs(&hub, &write).await;
    assert_eq!(state, JobState::Succeeded);
    assert!(took > Duration::from_secs(2), "{took:?}");
    assert_eq!(hub.flickr.photos()[0].tags, ["bee"]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_would_be_tried_again_is_cancelled_instead_if_its_client_wishes_so() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let method = "flickr.photos.addTags";
    // Longer than an attempt may take.
    hub.flickr.add_fault(Rule::new(method, Kind::Slow { ms: 60_000 }));
    let slow = hub.job(method, &[("photo_id", "1"), ("tags", "bee")]);
    let lost = Job {
        state: JobState::Running,
        attempt: 1,
        tries: 1,
        lease_until: Some(Timestamp::now() - 1.hour()),
        ..hub.job(SEARCH, &[("text", "bees")])
    };
    hub.submit(&lost).await;
    hub.jobs.cancel(&hub.client_id, lost.id).await.unwrap();
    let (state, _) = cancelled_while_it_runs(&hub, &slow).await;
    assert_eq!(state, JobState::Cancelled);
    let over = hub.jobs.get(slow.id).await.unwrap().unwrap();
    assert_eq!(
        (over.tries, hub.calls(method).len()),
        (1, 0),
        "it was not tried again"
    );
    // The one whose worker was lost is not queued again either.
    let over = hub.once(lost.id, |job| job.state.is_final()).await;
    assert_eq!(over.state, JobState::Cancelled);
    assert!(hub.calls(SEARCH).is_empty());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn an_upload_whose_answer_was_lost_makes_one_photo() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let lost = Rule::new("upload", Kind::DropConnection).after_effect();
    hub.flickr.add_fault(lost.times(1));
    let over = hub.run(&hub.upload(b"a bee").await).await;
    assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    let photos = hub.flickr.photos();
    assert_eq!(photos.len(), 1);
    assert_eq!(over.result.unwrap()["photo_id"], photos[0].id);
    assert_eq!(over.tries, 2);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn an_upload_whose_worker_died_with_its_ticket_is_asked_about_and_not_sent_again() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let sent = hub.run(&hub.upload(b"a bee").await).await;
    let ticket = sent.trail.ticket.clone().expect("the ticket is kept");
    let died = Job {
        state: JobState::Running,
        attempt: 1,
        tries: 1,
        lease_until: Some(Timestamp::now() - 1.hour()),
        trail: Trail {
            sent_by: Some(1),
            ticket: Some(ticket),
            ..Trail::default()
        },
        ..hub.upload(b"another bee").await
    };
    let over = hub.run(&died).await;
    assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    assert_eq!(over.result, sent.result);
    assert_eq!(hub.flickr.photos().len(), 1);
    assert_eq!(
        over.trail
            .attempts
            .first()
            .and_then(|attempt| attempt.error.as_deref()),
        Some("worker_lost")
    );
    hub.stop().await;
}

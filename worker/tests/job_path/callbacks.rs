//! What becomes of a callback: rotation of the secret, refusals, an address that is gone, the delivery log.

use flickrhub_job::callback::{TryOutcome, new_secret};
use flickrhub_job::model::{Callback, CallbackFailure, CallbackState, Job};
use flickrhub_job::store::{Delivery, DeliveryFilter, EndpointId, RetryOutcome, Rotation};
use jiff::{Timestamp, ToSpan};
use secrecy::ExposeSecret;
use standardwebhooks::Webhook;
use url::Url;

use crate::hub::{Hub, WEBHOOK_SECRET, eventually};
use crate::receiver::Receiver;
use crate::{SEARCH, TURN};

/// Runs a job that is told to `url`, and waits until its callback is in `state`.
async fn told(hub: &Hub, url: &str, state: CallbackState) -> Job {
    let mut job = hub.job(SEARCH, &[("text", "bees")]);
    job.callback = Some(Callback::waiting(url));
    hub.submit(&job).await;
    reached(hub, &job, state).await
}

async fn reached(hub: &Hub, job: &Job, state: CallbackState) -> Job {
    let wished = |job: &Job| {
        job.callback
            .as_ref()
            .is_some_and(|callback| callback.state == state)
    };
    hub.once(job.id, wished).await
}

/// The log of a job, the first try first, once it has `count` entries.
async fn log(hub: &Hub, job: &Job, count: usize) -> Vec<Delivery> {
    let filter = DeliveryFilter {
        client_id: hub.client_id.clone(),
        job_id: Some(job.id),
        outcome: None,
        before: None,
        limit: 100,
    };
    eventually(async || {
        let mut log = hub.deliveries.list(&filter).await.unwrap().deliveries;
        log.reverse();
        (log.len() == count).then_some(log)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn during_a_rotation_receivers_verify_with_the_old_and_with_the_new_secret() {
    let _turn = TURN.lock().await;
    let (hub, receiver) = (Hub::start().await, Receiver::start().await);
    let new = new_secret();
    let ciphertext = hub.encrypt_webhook_secret(&new).await;
    let present = hub
        .clients
        .webhook_secrets(&hub.client_id)
        .await
        .unwrap()
        .unwrap()
        .present;
    let until = Timestamp::now() + 1.hour();
    let rotation = hub
        .clients
        .rotate_webhook_secret(&hub.client_id, &present, &ciphertext, Some(until))
        .await
        .unwrap();
    assert!(matches!(rotation, Rotation::Done(_)), "{rotation:?}");

    told(&hub, &receiver.url, CallbackState::Delivered).await;
    let delivery = &receiver.deliveries()[0];
    for secret in [new.expose_secret(), WEBHOOK_SECRET] {
        let webhook = Webhook::new(secret).unwrap();
        webhook.verify(&delivery.body, &delivery.headers).unwrap();
    }
    let signatures = delivery.headers["webhook-signature"].to_str().unwrap();
    assert_eq!(signatures.split(' ').count(), 2, "{signatures}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_receiver_that_is_gone_gets_no_more_until_its_address_is_enabled() {
    let _turn = TURN.lock().await;
    let (hub, receiver) = (Hub::start().await, Receiver::start().await);
    receiver.answer_next(410);
    let first = told(&hub, &receiver.url, CallbackState::Failed).await;
    assert_eq!(
        first.callback.as_ref().unwrap().failure,
        Some(CallbackFailure::Gone)
    );
    let second = told(&hub, &receiver.url, CallbackState::Failed).await;
    assert_eq!(
        second.callback.as_ref().unwrap().failure,
        Some(CallbackFailure::Disabled)
    );
    assert_eq!(receiver.deliveries().len(), 1, "nothing more was sent");
    let entries = [log(&hub, &first, 1).await, log(&hub, &second, 1).await].concat();
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (entry.outcome, entry.status))
        .collect();
    assert_eq!(
        seen,
        [(TryOutcome::Gone, Some(410)), (TryOutcome::Disabled, None)]
    );
    assert!(entries.iter().all(|entry| entry.next_at.is_none()));

    let url = Url::parse(&receiver.url).unwrap();
    let id = EndpointId::of(&hub.client_id, &url);
    assert!(hub.endpoints.enable(&hub.client_id, &id).await.unwrap());
    let retried = hub
        .jobs
        .retry_callback_of(&hub.client_id, second.id)
        .await
        .unwrap();
    assert!(matches!(retried, RetryOutcome::Due(_)), "{retried:?}");
    reached(&hub, &second, CallbackState::Delivered).await;
    assert_eq!(receiver.deliveries().len(), 2);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn each_try_is_in_the_log_without_what_may_be_secret() {
    let _turn = TURN.lock().await;
    let (hub, receiver) = (Hub::start().await, Receiver::start().await);
    receiver.answer_next(503);
    receiver.answer_next(302);
    let url = format!("{}?token=secret", receiver.url);
    let job = told(&hub, &url, CallbackState::Pending).await;
    let tried = log(&hub, &job, 1).await;
    assert_eq!(
        (tried[0].outcome, tried[0].status),
        (TryOutcome::Status, Some(503))
    );
    assert!(
        tried[0]
            .next_at
            .is_some_and(|at| at <= tried[0].at + 11.seconds())
    );

    // The pauses after the first two tries are at most 10 s and a minute.
    reached(&hub, &job, CallbackState::Delivered).await;
    let tried = log(&hub, &job, 3).await;
    let seen: Vec<_> = tried
        .iter()
        .map(|entry| (entry.attempt, entry.outcome, entry.status))
        .collect();
    assert_eq!(
        seen,
        [
            (1, TryOutcome::Status, Some(503)),
            (2, TryOutcome::Redirect, Some(302)),
            (3, TryOutcome::Delivered, Some(204)),
        ]
    );
    assert!(tried.iter().all(|entry| entry.url == receiver.url), "{tried:?}");
    assert!(tried.is_sorted_by_key(|entry| entry.at));
    assert_eq!(tried[2].next_at, None);
    let ids: Vec<_> = receiver
        .deliveries()
        .iter()
        .map(|delivery| delivery.headers["webhook-id"].clone())
        .collect();
    assert_eq!(ids, vec![job.id.to_string(); 3], "one event");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_private_address_is_refused_by_the_delivery_too() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    // The loopback network alone is listed here, and plain http goes only into listed networks.
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://[::1]/",
    ] {
        let job = told(&hub, url, CallbackState::Pending).await;
        let tried = log(&hub, &job, 1).await;
        assert_eq!(tried[0].outcome, TryOutcome::RefusedAddress, "{url}");
    }
    hub.stop().await;
}

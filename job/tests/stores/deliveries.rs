//! The delivery log.

use bson::{Document, doc};
use flickrhub_job::callback::TryOutcome;
use flickrhub_job::model::JobId;
use flickrhub_job::store::{Delivery, DeliveryFilter, DeliveryId, DeliveryStore, time};
use jiff::SignedDuration;

use crate::database;

fn delivery(client_id: &str, job_id: JobId, attempt: u32, outcome: TryOutcome) -> Delivery {
    Delivery {
        id: DeliveryId::new(),
        client_id: client_id.to_owned(),
        job_id,
        url: "https://acme.example/hook".to_owned(),
        attempt,
        at: time::now(),
        duration_ms: 12,
        outcome,
        status: Some(503),
        next_at: Some(time::now()),
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_log_is_walked_page_by_page_and_shows_a_client_its_own() {
    let database = database::create().await;
    let log = DeliveryStore::open(&database, 30).await.expect("the log opens");
    let (job, other) = (JobId::new(), JobId::new());
    let mut written = Vec::new();
    for attempt in 1..=5 {
        let outcome = if attempt == 5 {
            TryOutcome::Delivered
        } else {
            TryOutcome::Status
        };
        written.push(delivery("acme", job, attempt, outcome));
    }
    written.push(delivery("acme", other, 1, TryOutcome::Timeout));
    for entry in &written {
        log.append(entry).await.expect("appended");
    }
    let foreign = delivery("other", JobId::new(), 1, TryOutcome::Gone);
    log.append(&foreign).await.expect("appended");
    written.reverse();

    let all = DeliveryFilter {
        client_id: "acme".to_owned(),
        job_id: None,
        outcome: None,
        before: None,
        limit: 4,
    };
    let list = async |filter: &DeliveryFilter| log.list(filter).await.expect("MongoDB answers");
    // What is written without waiting for the majority is read only when the majority has it.
    let whole = DeliveryFilter {
        limit: 100,
        ..all.clone()
    };
    while list(&whole).await.deliveries.len() < written.len() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let first = list(&all).await;
    assert!(first.more);
    let second = list(&DeliveryFilter {
        before: first.deliveries.last().map(|last| last.id),
        ..all.clone()
    })
    .await;
    assert!(!second.more);
    assert_eq!([first.deliveries, second.deliveries].concat(), written);

    let of_job = list(&DeliveryFilter {
        job_id: Some(job),
        limit: 10,
        ..all.clone()
    })
    .await;
    assert_eq!(of_job.deliveries, written[1..]);
    let timeouts = list(&DeliveryFilter {
        outcome: Some(TryOutcome::Timeout),
        ..all
    })
    .await;
    assert_eq!(timeouts.deliveries, written[..1]);

    let log = database.collection::<Document>("callback_deliveries");
    let purged = log.count_documents(
        doc! { "purge_at": { "$gt": time::to_bson(time::now() + SignedDuration::from_hours(29 * 24)) } },
    );
    assert_eq!(purged.await.expect("MongoDB answers"), 7);
    database.drop().await.expect("dropped");
}

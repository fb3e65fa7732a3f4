//! The callbacks of finished jobs.

use bson::{Document, doc};
use flickrhub_job::model::{CallbackFailure, JobState};
use flickrhub_job::store::time;
use serde_json::Value;

use crate::fixture::{LEASE, drop_database, error, job, running, store, with_callback};

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_without_a_callback_ends_without_one() {
    let (database, store) = store().await;
    let job = running(&store, &job()).await;
    let dead = store
        .fail(job.id, 1, JobState::Dead, &error())
        .await
        .expect("MongoDB answers")
        .expect("dead");
    assert_eq!(
        (dead.state, dead.callback, dead.error),
        (JobState::Dead, None, Some(error()))
    );
    assert_eq!(store.claim_callback(LEASE).await.expect("MongoDB answers"), None);
    let jobs = database.collection::<Document>("jobs");
    let purged = jobs.count_documents(doc! { "purge_at": { "$type": "date" } });
    assert_eq!(
        purged.await.expect("MongoDB answers"),
        1,
        "it is purged in due time"
    );
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_callback_is_tried_by_one_process_at_a_time_until_it_is_settled() {
    let (database, store) = store().await;
    let job = running(&store, &with_callback()).await;
    assert_eq!(
        store.claim_callback(LEASE).await.expect("MongoDB answers"),
        None,
        "not before the job is final"
    );
    store
        .succeed(job.id, 1, &Value::Null)
        .await
        .expect("MongoDB answers")
        .expect("succeeded");

    let first = store
        .claim_callback(LEASE)
        .await
        .expect("MongoDB answers")
        .expect("due");
    assert_eq!(first.result, Some(Value::Null), "the receiver is told");
    assert!(first.params.is_empty(), "nobody is told of these");
    let first = first.callback.expect("it has a callback");
    assert_eq!(first.attempts, 0, "no try is made yet");
    let until = first.next_at.expect("the end of the lease");
    assert!(
        !store
            .begin_callback_try(job.id, until + LEASE)
            .await
            .expect("MongoDB answers"),
        "of another claim"
    );
    assert!(
        store
            .begin_callback_try(job.id, until)
            .await
            .expect("MongoDB answers")
    );
    assert_eq!(
        store.claim_callback(LEASE).await.expect("MongoDB answers"),
        None,
        "leased"
    );
    assert!(
        store
            .callback_retry(job.id, time::now())
            .await
            .expect("MongoDB answers")
    );
    let second = store
        .claim_callback(LEASE)
        .await
        .expect("MongoDB answers")
        .expect("due again");
    assert_eq!(second.callback.map(|callback| callback.attempts), Some(1));
    assert!(store.callback_delivered(job.id).await.expect("MongoDB answers"));
    assert!(
        !store.callback_failed(job.id, CallbackFailure::Gone).await.expect("MongoDB answers"),
        "it is settled"
    );
    assert_eq!(store.claim_callback(LEASE).await.expect("MongoDB answers"), None);
    drop_database(database).await;
}

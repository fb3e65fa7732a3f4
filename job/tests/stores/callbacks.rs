//! The callbacks of finished jobs.

use bson::{Document, doc};
use flickrhub_job::model::{CallbackFailure, CallbackState, JobId, JobState};
use flickrhub_job::store::{JobStore, RetryOutcome, time};
use jiff::Timestamp;
use serde_json::Value;

use crate::fixture::{Ends, LEASE, drop_database, error, job, running, store, with_callback};

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
        !store
            .callback_failed(job.id, CallbackFailure::Gone)
            .await
            .expect("MongoDB answers"),
        "it is settled"
    );
    assert_eq!(store.claim_callback(LEASE).await.expect("MongoDB answers"), None);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn only_a_callback_that_was_given_up_is_retried_and_only_for_its_client() {
    let (database, store) = store().await;
    let job = running(&store, &with_callback()).await;
    let retry = async |client: &str, id| {
        let outcome = store.retry_callback_of(client, id).await;
        outcome.expect("MongoDB answers")
    };
    let waiting = RetryOutcome::NotFailed(CallbackState::Waiting);
    assert_eq!(retry("acme", job.id).await, waiting);
    store
        .succeed(job.id, 1, &Value::Null)
        .await
        .expect("MongoDB answers")
        .expect("succeeded");
    let until = claimed(&store).await;
    assert!(
        store
            .begin_callback_try(job.id, until)
            .await
            .expect("MongoDB answers")
    );
    let failed = store.callback_failed(job.id, CallbackFailure::Exhausted).await;
    assert!(failed.expect("MongoDB answers"));
    let stored = store.get(job.id).await.expect("MongoDB answers");
    let stored = stored.and_then(|job| job.callback).expect("it has a callback");
    assert_eq!(
        (stored.state, stored.failure, stored.attempts),
        (CallbackState::Failed, Some(CallbackFailure::Exhausted), 1)
    );

    assert_eq!(retry("other", job.id).await, RetryOutcome::NotFound);
    assert_eq!(retry("acme", JobId::new()).await, RetryOutcome::NotFound);
    let RetryOutcome::Due(due) = retry("acme", job.id).await else {
        panic!("it was given up");
    };
    let due = due.callback.expect("it has a callback");
    assert_eq!(
        (due.state, due.failure, due.attempts),
        (CallbackState::Pending, None, 0)
    );
    assert!(due.retried_at.is_some());
    let pending = RetryOutcome::NotFailed(CallbackState::Pending);
    assert_eq!(retry("acme", job.id).await, pending, "two wishes are one");
    claimed(&store).await;

    let silent = running(&store, &self::job()).await;
    assert_eq!(retry("acme", silent.id).await, RetryOutcome::NoCallback);
    drop_database(database).await;
}

/// Claims the callback that is due; the end of the lease.
async fn claimed(store: &JobStore) -> Timestamp {
    let due = store.claim_callback(LEASE).await.expect("MongoDB answers");
    let callback = due.and_then(|job| job.callback).expect("one is due");
    callback.next_at.expect("the end of the lease")
}

//! What is known of the requests to Flickr that jobs may have made.

use flickrhub_job::model::{Job, JobState};
use flickrhub_job::store::{ClaimsOfJob, Holder, JobStore, time};
use jiff::SignedDuration;
use serde_json::Value;

use crate::fixture::{Ends, LEASE, drop_database, error, job, running, store};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn claims_of(store: &JobStore, job: &Job) -> Option<ClaimsOfJob> {
    let all = store.claims(HOUR).await.expect("MongoDB answers");
    all.into_iter().find(|claims| claims.app == job.app)
}

/// A job of an application of its own.
fn own() -> Job {
    let job = job();
    Job {
        app: job.id.to_string(),
        ..job
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn every_claim_is_known_wherever_the_job_stands() {
    let (database, store) = store().await;
    let job = own();
    store.insert(&job).await.expect("stored");
    assert_eq!(claims_of(&store, &job).await, None, "nobody has claimed it");
    let other = own();
    let first = running(&store, &other).await;
    let claims = claims_of(&store, &other).await.expect("it runs");
    assert_eq!(claims.state, JobState::Running);
    assert_eq!(
        claims.times().collect::<Vec<_>>(),
        [first.started_at.expect("claimed")]
    );

    let retried = store.retry(other.id, 1, &error(), time::now()).await;
    retried.expect("MongoDB answers").expect("retried");
    let holder = Holder::new();
    store
        .dispatch(other.id, holder, LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    let second = store.claim(other.id, 2, holder, LEASE).await;
    let second = second.expect("MongoDB answers").expect("claimed");
    // The answer was lost: the same holder asks again.
    let again = store.claim(other.id, 2, holder, LEASE).await;
    again.expect("MongoDB answers").expect("claimed already");
    store
        .succeed(other.id, 2, &Value::Null)
        .await
        .expect("MongoDB answers")
        .expect("succeeded");
    let claims = claims_of(&store, &other).await.expect("it is finished");
    assert_eq!(claims.state, JobState::Succeeded);
    let times = [first.started_at, second.started_at].map(|time| time.expect("claimed"));
    assert_eq!(claims.times().collect::<Vec<_>>(), times);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_attempt_that_did_not_call_flickr_is_forgotten_and_one_that_began_is_not() {
    let (database, store) = store().await;
    for (called, known) in [(false, 0), (true, 1)] {
        let job = own();
        running(&store, &job).await;
        let postponed = if called {
            store.postpone(job.id, 1, &error(), time::now()).await
        } else {
            store.postpone_uncalled(job.id, 1, &error(), time::now()).await
        };
        let postponed = postponed.expect("MongoDB answers").expect("postponed");
        assert_eq!((postponed.state, postponed.tries), (JobState::Queued, 0));
        let claims = claims_of(&store, &job).await;
        assert_eq!(claims.map_or(0, |claims| claims.times().count()), known);

        let job = own();
        running(&store, &job).await;
        store
            .cancel(&job.client_id, job.id)
            .await
            .expect("MongoDB answers");
        let cancelled = if called {
            store.abandon(job.id, 1).await
        } else {
            store.abandon_uncalled(job.id, 1).await
        };
        let cancelled = cancelled.expect("MongoDB answers").expect("cancelled");
        assert_eq!(cancelled.state, JobState::Cancelled);
        let claims = claims_of(&store, &job).await;
        assert_eq!(claims.map_or(0, |claims| claims.times().count()), known);
    }
    drop_database(database).await;
}

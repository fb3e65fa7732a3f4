//! How jobs move.

use flickrhub_job::model::{CallbackState, Job, JobId, JobState};
use flickrhub_job::store::{CancelOutcome, Holder, time};
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::fixture::{
    Ends, LEASE, NO_LEASE, drop_database, error, job, let_the_majority_have_it, running, store, stored,
    with_callback,
};

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_runs_once_and_ends_with_its_result_and_a_due_callback() {
    let (database, store) = store().await;
    let job = with_callback();
    let running = running(&store, &job).await;
    assert_eq!((running.state, running.attempt), (JobState::Running, 1));
    assert!(running.started_at.is_some() && running.lease_until.is_some());

    let redelivered = store
        .claim(job.id, 1, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers");
    assert_eq!(
        redelivered, None,
        "a redelivered message does not run the job again"
    );

    let result =
        json!({ "$set": { "a.b": [u64::MAX, i64::MIN, 0.1, null, "$$ROOT"] }, "": {}, "_content": "x" });
    let done = store
        .succeed(job.id, 1, &result)
        .await
        .expect("MongoDB answers")
        .expect("succeeded");
    assert_eq!(done.state, JobState::Succeeded);
    assert_eq!(done.result, None, "who brought it knows it");
    let stored = store.get(job.id).await.expect("MongoDB answers");
    assert_eq!(stored.and_then(|job| job.result), Some(result));
    assert_eq!(done.lease_until, None);
    assert_eq!(done.finished_at, Some(done.updated_at));
    assert_eq!(
        done.callback.as_ref().map(|callback| callback.state),
        Some(CallbackState::Pending)
    );

    let again = store
        .succeed(job.id, 1, &Value::Null)
        .await
        .expect("MongoDB answers");
    assert_eq!(again, None, "a final state is never left");
    assert!(
        !store
            .extend_lease(job.id, 1, LEASE)
            .await
            .expect("MongoDB answers")
            .is_held()
    );
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_many_dispatchers_one_gets_the_job() {
    let (database, store) = store().await;
    let job = job();
    store.insert(&job).await.expect("stored");
    let tries = futures::stream::iter(0..16).map(|_| store.dispatch(job.id, Holder::new(), LEASE));
    let won: Vec<Option<Job>> = tries
        .buffer_unordered(16)
        .try_collect()
        .await
        .expect("MongoDB answers");
    assert_eq!(won.iter().flatten().count(), 1);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_holder_that_did_not_hear_the_answer_gets_the_same_attempt_again() {
    let (database, store) = store().await;
    let job = job();
    store.insert(&job).await.expect("stored");

    let dispatcher = Holder::new();
    for _ in 0..2 {
        let dispatched = store
            .dispatch(job.id, dispatcher, LEASE)
            .await
            .expect("MongoDB answers")
            .expect("dispatched");
        assert_eq!((dispatched.state, dispatched.attempt), (JobState::Dispatched, 1));
        assert!(dispatched.params.is_empty(), "a dispatcher has no use for them");
    }
    let other = store
        .dispatch(job.id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers");
    assert_eq!(other, None, "another dispatcher is refused");

    let worker = Holder::new();
    let mut started = Vec::new();
    for _ in 0..2 {
        let claimed = store
            .claim(job.id, 1, worker, LEASE)
            .await
            .expect("MongoDB answers")
            .expect("claimed");
        assert_eq!((claimed.state, claimed.attempt), (JobState::Running, 1));
        assert_eq!(claimed.params, job.params);
        started.push(claimed.started_at);
    }
    assert_eq!(started[0], started[1], "it began once");
    for (holder, attempt) in [(Holder::new(), 1), (worker, 2)] {
        let refused = store
            .claim(job.id, attempt, holder, LEASE)
            .await
            .expect("MongoDB answers");
        assert_eq!(refused, None);
    }
    let too_late = store
        .dispatch(job.id, dispatcher, LEASE)
        .await
        .expect("MongoDB answers");
    assert_eq!(too_late, None, "a worker has it");

    store
        .succeed(job.id, 1, &Value::Null)
        .await
        .expect("MongoDB answers")
        .expect("succeeded");
    let over = store
        .claim(job.id, 1, worker, LEASE)
        .await
        .expect("MongoDB answers");
    assert_eq!(over, None, "a final state is never left");
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_retried_job_waits_until_it_is_available() {
    let (database, store) = store().await;
    let job = running(&store, &job()).await;
    let later = time::now() + SignedDuration::from_secs(600);
    let queued = store
        .retry(job.id, 1, &error(), later)
        .await
        .expect("MongoDB answers")
        .expect("queued");
    assert_eq!((queued.state, queued.available_at), (JobState::Queued, later));
    assert_eq!(queued.error, Some(error()), "texts are stored literally");
    assert_eq!(
        store
            .dispatch(job.id, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers"),
        None
    );
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_try_counts_unless_its_call_could_not_be_made() {
    let (database, store) = store().await;
    let id = running(&store, &job()).await.id;
    let now = time::now();
    let postponed = store
        .postpone(id, 1, &error(), now)
        .await
        .expect("MongoDB answers")
        .expect("queued");
    assert_eq!((postponed.attempt, postponed.tries), (1, 0));
    let holder = Holder::new();
    for attempt in [2, 3] {
        store
            .dispatch(id, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers")
            .expect("dispatched");
        for _ in 0..2 {
            let claimed = store
                .claim(id, attempt, holder, LEASE)
                .await
                .expect("MongoDB answers")
                .expect("claimed");
            assert_eq!(claimed.tries, attempt - 1, "a claim that is repeated counts once");
        }
        store
            .retry(id, attempt, &error(), now)
            .await
            .expect("MongoDB answers")
            .expect("queued");
    }
    store
        .dispatch(id, Holder::new(), NO_LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    let queued = store
        .requeue_overdue(id, 4)
        .await
        .expect("MongoDB answers")
        .expect("queued");
    assert_eq!((queued.attempt, queued.tries), (4, 2), "no worker had it");
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_is_due_within_the_tolerance_of_clocks_is_dispatched() {
    let (database, store) = store().await;
    let soon = Job {
        available_at: time::now() + SignedDuration::from_millis(1_900),
        ..job()
    };
    let later = Job {
        available_at: time::now() + SignedDuration::from_secs(30),
        ..job()
    };
    for (job, dispatched) in [(soon, true), (later, false)] {
        store.insert(&job).await.expect("stored");
        let answer = store
            .dispatch(job.id, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers");
        assert_eq!(answer.is_some(), dispatched);
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_is_taken_back_until_a_worker_has_claimed_it() {
    let (database, store) = store().await;
    let (waiting, claimed) = (job(), job());
    store.insert(&waiting).await.expect("stored");
    store
        .dispatch(waiting.id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    let early = store
        .retry(waiting.id, 1, &error(), time::now())
        .await
        .expect("MongoDB answers");
    assert_eq!(early, None, "nobody runs it yet");
    let queued = store
        .take_back(waiting.id, 1, &error())
        .await
        .expect("MongoDB answers")
        .expect("taken back");
    assert_eq!((queued.state, queued.lease_until), (JobState::Queued, None));

    let claimed = running(&store, &claimed).await;
    let taken = store
        .take_back(claimed.id, 1, &error())
        .await
        .expect("MongoDB answers");
    assert_eq!(taken, None, "it would be sent twice");
    assert_eq!(
        store.get(claimed.id).await.expect("MongoDB answers"),
        Some(claimed)
    );
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_earlier_attempt_cannot_move_the_job() {
    let (database, store) = store().await;
    let job = running(&store, &job()).await;
    store
        .retry(job.id, 1, &error(), time::now())
        .await
        .expect("MongoDB answers")
        .expect("queued");
    store
        .dispatch(job.id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched again");
    assert_eq!(
        store
            .claim(job.id, 1, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers"),
        None
    );
    store
        .claim(job.id, 2, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("claimed");
    assert_eq!(
        store
            .succeed(job.id, 1, &Value::Null)
            .await
            .expect("MongoDB answers"),
        None
    );
    let failed = store
        .fail(job.id, 1, JobState::Failed, &error())
        .await
        .expect("MongoDB answers");
    assert_eq!(failed, None);
    assert!(
        !store
            .extend_lease(job.id, 1, LEASE)
            .await
            .expect("MongoDB answers")
            .is_held()
    );
    assert!(
        store
            .extend_lease(job.id, 2, LEASE)
            .await
            .expect("MongoDB answers")
            .is_held()
    );
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_whose_holder_died_is_queued_again_when_its_lease_is_over() {
    let (database, store) = store().await;
    let (held, lost) = (job(), job());
    for job in [&held, &lost] {
        store.insert(job).await.expect("stored");
    }
    store
        .dispatch(held.id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    store
        .dispatch(lost.id, Holder::new(), NO_LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    let_the_majority_have_it(&database).await;
    let overdue = store.overdue(10).await.expect("MongoDB answers");
    assert_eq!(overdue.iter().map(|job| job.id).collect::<Vec<_>>(), [lost.id]);
    assert_eq!(
        store.requeue_overdue(held.id, 1).await.expect("MongoDB answers"),
        None
    );
    let queued = store
        .requeue_overdue(lost.id, 1)
        .await
        .expect("MongoDB answers")
        .expect("queued");
    assert_eq!((queued.state, queued.lease_until), (JobState::Queued, None));
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_running_job_is_ended_for_its_holder_only_when_no_sign_of_life_came() {
    let (database, store) = store().await;
    let job = job();
    store.insert(&job).await.expect("stored");
    store
        .dispatch(job.id, Holder::new(), NO_LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    store
        .claim(job.id, 1, Holder::new(), NO_LEASE)
        .await
        .expect("MongoDB answers")
        .expect("claimed");
    let overdue = store.overdue(10).await.expect("MongoDB answers");
    assert_eq!(overdue.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
    assert!(store.is_overdue(job.id, 1).await.expect("MongoDB answers"));
    assert!(!store.is_overdue(job.id, 2).await.expect("MongoDB answers"));

    // The holder is back between the look and the deed.
    assert!(
        store
            .extend_lease(job.id, 1, LEASE)
            .await
            .expect("MongoDB answers")
            .is_held()
    );
    assert!(!store.is_overdue(job.id, 1).await.expect("MongoDB answers"));
    for state in [JobState::Failed, JobState::Dead] {
        let ended = store
            .fail_overdue(job.id, 1, state, &error())
            .await
            .expect("MongoDB answers");
        assert_eq!(ended, None);
    }
    store
        .succeed(job.id, 1, &Value::Null)
        .await
        .expect("MongoDB answers")
        .expect("the holder ends it");
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_running_job_whose_holder_is_lost_is_ended() {
    let (database, store) = store().await;
    let job = job();
    store.insert(&job).await.expect("stored");
    store
        .dispatch(job.id, Holder::new(), NO_LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    store
        .claim(job.id, 1, Holder::new(), NO_LEASE)
        .await
        .expect("MongoDB answers")
        .expect("claimed");
    let failed = store
        .fail_overdue(job.id, 1, JobState::Failed, &error())
        .await
        .expect("MongoDB answers")
        .expect("failed");
    assert_eq!((failed.state, failed.lease_until), (JobState::Failed, None));
    assert_eq!(failed.error, Some(error()));
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_was_not_started_in_time_expires_and_is_replayed_as_a_new_one() {
    let (database, store) = store().await;
    let (punctual, late) = (job(), job());
    let late = Job {
        expires_at: late.created_at,
        ..late
    };
    for job in [&punctual, &late] {
        store.insert(job).await.expect("stored");
    }
    assert_eq!(
        store
            .dispatch(late.id, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers"),
        None
    );
    assert_eq!(
        store.expire_if_due(punctual.id).await.expect("MongoDB answers"),
        None
    );
    let expired = store
        .expire_if_due(late.id)
        .await
        .expect("MongoDB answers")
        .expect("expired");
    assert_eq!(expired.state, JobState::Expired);
    assert!(expired.params.is_empty(), "a dispatcher has no use for them");
    let brief = store.get_in_brief(late.id).await.expect("MongoDB answers");
    assert_eq!(brief, Some(expired));

    let chosen = JobId::new();
    let refused = store.begin_replay("other", late.id, chosen).await;
    assert_eq!(refused.expect("MongoDB answers"), None, "it is another client's");
    let refused = store.begin_replay("acme", punctual.id, chosen).await;
    assert_eq!(refused.expect("MongoDB answers"), None, "it was not given up");
    for other in [chosen, JobId::new(), JobId::new()] {
        let agreed = store.begin_replay("acme", late.id, other).await;
        assert_eq!(agreed.expect("MongoDB answers"), Some(chosen));
    }
    store.end_replay(late.id, chosen).await.expect("MongoDB answers");
    let old = stored(&store, late.id).await;
    assert_eq!(old.trail.replayed_as, Some(chosen));
    assert!(old.trail.replayed_at.is_some());
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_is_cancelled_by_its_client_and_only_before_it_runs() {
    let (database, store) = store().await;
    let waiting = with_callback();
    store.insert(&waiting).await.expect("stored");
    let stranger = store.cancel("other", waiting.id).await.expect("MongoDB answers");
    assert_eq!(stranger, CancelOutcome::NotFound);
    let outcome = store.cancel("acme", waiting.id).await.expect("MongoDB answers");
    assert!(matches!(outcome, CancelOutcome::Cancelled(job) if job.state == JobState::Cancelled));
    drop_database(database).await;
}

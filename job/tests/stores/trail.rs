//! What jobs keep of their way: attempts, wishes to cancel them, photos on their way, replays.

use flickrhub_job::model::{Job, JobId, JobState};
use flickrhub_job::store::{CancelOutcome, Hold, Holder, time};
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;
use serde_json::Value;

use crate::fixture::{Ends, LEASE, NO_LEASE, drop_database, error, job, running, store, stored};

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_many_replays_of_one_job_all_agree_on_one_new_job() {
    let (database, store) = store().await;
    let dead = running(&store, &job()).await;
    store
        .fail(dead.id, 1, JobState::Dead, &error())
        .await
        .expect("MongoDB answers")
        .expect("dead");
    let tries = futures::stream::iter(0..16).map(|_| store.begin_replay("acme", dead.id, JobId::new()));
    let agreed: Vec<Option<JobId>> = tries
        .buffer_unordered(16)
        .try_collect()
        .await
        .expect("MongoDB answers");
    assert!(agreed[0].is_some());
    assert!(agreed.iter().all(|id| *id == agreed[0]), "{agreed:?}");
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_wish_to_cancel_a_running_job_is_noted_and_its_holder_finds_it() {
    let (database, store) = store().await;
    let job = running(&store, &job()).await;
    let held = store.hold(job.id, 1).await.expect("MongoDB answers");
    assert_eq!(held, Hold::Held);
    let early = store.abandon(job.id, 1).await.expect("MongoDB answers");
    assert_eq!(early, None, "nobody wished so");
    let stranger = store.cancel("other", job.id).await.expect("MongoDB answers");
    assert_eq!(stranger, CancelOutcome::NotFound);

    let mut asked = Vec::new();
    for _ in 0..2 {
        let CancelOutcome::Requested(job) = store.cancel("acme", job.id).await.expect("MongoDB answers")
        else {
            panic!("it runs");
        };
        assert_eq!(job.state, JobState::Running);
        asked.push(job.trail.cancel_requested_at);
    }
    assert_eq!(asked[0], asked[1], "the first wish counts");
    for hold in [
        store.hold(job.id, 1).await,
        store.extend_lease(job.id, 1, LEASE).await,
    ] {
        assert_eq!(hold.expect("MongoDB answers"), Hold::CancelRequested);
    }
    assert_eq!(store.hold(job.id, 2).await.expect("MongoDB answers"), Hold::Lost);
    let cancelled = store
        .abandon(job.id, 1)
        .await
        .expect("MongoDB answers")
        .expect("cancelled");
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(stored(&store, job.id).await.trail.attempts.len(), 1);
    let outcome = store.cancel("acme", job.id).await.expect("MongoDB answers");
    assert!(matches!(outcome, CancelOutcome::TooLate(job) if job.state == JobState::Cancelled));
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_whose_client_wants_it_cancelled_is_not_queued_again() {
    let (database, store) = store().await;
    let now = time::now();
    for with_photo in [false, true] {
        let expected = if with_photo {
            JobState::Queued
        } else {
            JobState::Cancelled
        };
        let (retried, postponed) = (running(&store, &job()).await.id, running(&store, &job()).await.id);
        let lost = job();
        store.insert(&lost).await.expect("stored");
        store
            .dispatch(lost.id, Holder::new(), NO_LEASE)
            .await
            .expect("MongoDB answers")
            .expect("dispatched");
        store
            .claim(lost.id, 1, Holder::new(), NO_LEASE)
            .await
            .expect("MongoDB answers")
            .expect("claimed");
        for id in [retried, postponed, lost.id] {
            if with_photo {
                assert!(store.mark_sent(id, 1).await.expect("MongoDB answers"));
            }
            let outcome = store.cancel("acme", id).await.expect("MongoDB answers");
            assert!(matches!(outcome, CancelOutcome::Requested(_)), "{outcome:?}");
        }
        for moved in [
            store.retry(retried, 1, &error(), now).await,
            store.postpone(postponed, 1, &error(), now).await,
            store.requeue_overdue(lost.id, 1).await,
        ] {
            let moved = moved.expect("MongoDB answers").expect("moved");
            assert_eq!(moved.state, expected, "with photo: {with_photo}");
        }
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_remembers_its_last_ten_attempts() {
    let (database, store) = store().await;
    let store = store.for_worker("$worker-1");
    let id = job().id;
    let job = Job { id, ..job() };
    store.insert(&job).await.expect("stored");
    for attempt in 1..=12 {
        store
            .dispatch(id, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers")
            .expect("dispatched");
        store
            .claim(id, attempt, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers")
            .expect("claimed");
        if attempt < 12 {
            store
                .retry(id, attempt, &error(), time::now())
                .await
                .expect("MongoDB answers")
                .expect("queued");
        }
    }
    store
        .succeed(id, 12, &Value::Null)
        .await
        .expect("MongoDB answers")
        .expect("succeeded");
    let attempts = stored(&store, id).await.trail.attempts;
    let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (3..=12).collect::<Vec<_>>());
    assert_eq!(attempts[0].error.as_deref(), Some("$code"), "stored literally");
    assert_eq!(
        attempts[0].worker.as_deref(),
        Some("$worker-1"),
        "stored literally"
    );
    assert_eq!(attempts[9].error, None);
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.started_at.is_some_and(|start| start <= attempt.ended_at))
    );
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn how_far_a_photo_came_is_kept_by_whoever_holds_the_job() {
    let (database, store) = store().await;
    let id = running(&store, &job()).await.id;
    assert!(
        !store.mark_sent(id, 2).await.expect("MongoDB answers"),
        "not its attempt"
    );
    assert!(store.mark_sent(id, 1).await.expect("MongoDB answers"));
    assert!(
        store
            .keep_ticket(id, 1, Some("$ticket"))
            .await
            .expect("MongoDB answers")
    );
    store
        .retry(id, 1, &error(), time::now())
        .await
        .expect("MongoDB answers")
        .expect("queued");
    assert!(
        !store.mark_sent(id, 1).await.expect("MongoDB answers"),
        "it does not run"
    );
    store
        .dispatch(id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    let again = store
        .claim(id, 2, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("claimed");
    assert_eq!(
        (again.trail.sent_by, again.trail.ticket.as_deref()),
        (Some(1), Some("$ticket"))
    );
    // The mark of the first attempt is not the second one's to take back.
    assert!(store.mark_sent(id, 2).await.expect("MongoDB answers"));
    store.clear_sent(id, 2).await.expect("MongoDB answers");
    assert_eq!(stored(&store, id).await.trail.sent_by, Some(1));
    assert!(store.keep_ticket(id, 2, None).await.expect("MongoDB answers"));
    assert_eq!(stored(&store, id).await.trail.ticket, None);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_past_its_time_is_not_started_whoever_comes_first() {
    let (database, store) = store().await;
    for _ in 0..10 {
        let job = Job {
            expires_at: time::now() + SignedDuration::from_secs(2),
            ..job()
        };
        store.insert(&job).await.expect("stored");
        store
            .dispatch(job.id, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers")
            .expect("dispatched in time");
        let before = job.expires_at - SignedDuration::from_millis(5);
        tokio::time::sleep(before.duration_since(time::now()).unsigned_abs()).await;
        // A worker and whoever expires jobs, around the very moment.
        let expire = async {
            loop {
                if let Some(job) = store.expire_if_due(job.id).await.expect("MongoDB answers") {
                    return Some(job);
                }
                if stored(&store, job.id).await.state == JobState::Running {
                    return None;
                }
            }
        };
        let claim = async {
            store
                .claim(job.id, 1, Holder::new(), LEASE)
                .await
                .expect("MongoDB answers")
        };
        let (expired, claimed) = tokio::join!(expire, claim);
        assert_ne!(expired.is_some(), claimed.is_some(), "exactly one of them has it");
        if let Some(claimed) = claimed {
            assert!(claimed.started_at.is_some_and(|start| start < job.expires_at));
        }
    }
    drop_database(database).await;
}

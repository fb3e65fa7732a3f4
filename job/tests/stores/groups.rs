//! Many jobs at once: each caller gets its own outcome, whatever the others want.

use std::collections::BTreeMap;

use bson::doc;
use flickrhub_job::model::{Job, JobError, JobId, JobState};
use flickrhub_job::store::{AttemptEnd, CancelOutcome, Holder, JobStore, StoreError, time};
use futures::future::join_all;
use jiff::SignedDuration;
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};
use serde_json::{Value, json};

use crate::fixture::{
    LEASE, NO_LEASE, drop_database, error, job, running, store, with_callback, without_trail,
};

/// More than one command takes.
const MANY: usize = 250;

/// Stores jobs and dispatches them.
async fn dispatched(store: &JobStore, jobs: &[Job]) {
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    for stored in store.insert_many(jobs).await {
        stored.expect("stored");
    }
    let dispatched = store
        .dispatch_many(&ids, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers");
    for (dispatched, id) in dispatched.into_iter().zip(ids) {
        assert_eq!(
            dispatched
                .expect("MongoDB answers")
                .map(|job| (job.id, job.attempt)),
            Some((id, 1))
        );
    }
}

/// An index as the one that idempotency needs.
async fn unique_user(database: &Database) {
    let options = IndexOptions::builder()
        .unique(true)
        .name("one_per_user".to_owned())
        .build();
    let index = IndexModel::builder()
        .keys(doc! { "user_id": 1 })
        .options(options)
        .build();
    let jobs = database.collection::<bson::Document>("jobs");
    jobs.create_index(index).await.expect("the index is made");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_many_jobs_that_are_stored_together_only_the_bad_ones_are_refused() {
    let (database, store) = store().await;
    unique_user(&database).await;
    let of = |user: &str| Job {
        user_id: user.to_owned(),
        ..job()
    };
    let first = of("a");
    store.insert(&first).await.expect("stored");
    let nul = Job {
        params: BTreeMap::from([("a\0b".to_owned(), String::new())]),
        ..of("nul")
    };
    let large = Job {
        params: BTreeMap::from([("text".to_owned(), "x".repeat(17 << 20))]),
        ..of("large")
    };
    let batch = [first.clone(), of("a"), of("b"), nul, large, of("c")];
    let outcomes = store.insert_many(&batch).await;
    assert!(
        matches!(
            outcomes.as_slice(),
            [
                Ok(()),
                Err(StoreError::Duplicate { index }),
                Ok(()),
                Err(StoreError::Unstorable(_)),
                Err(StoreError::Unstorable(_)),
                Ok(()),
            ] if index == "one_per_user"
        ),
        "{outcomes:?}"
    );
    for (job, outcome) in batch.iter().zip(outcomes) {
        let stored = store.get(job.id).await.expect("MongoDB answers");
        assert_eq!(stored.is_some(), outcome.is_ok());
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_thousand_jobs_are_stored_in_one_call_and_again_without_harm() {
    let (database, store) = store().await;
    let jobs: Vec<Job> = (0..1_000).map(|_| job()).collect();
    for _ in 0..2 {
        let outcomes = store.insert_many(&jobs).await;
        assert_eq!(outcomes.len(), jobs.len());
        assert!(outcomes.iter().all(Result::is_ok));
    }
    let stored = database.collection::<bson::Document>("jobs");
    let count = stored.count_documents(doc! {}).await.expect("MongoDB answers");
    assert_eq!(count, 1_000);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_hundreds_of_concurrent_claims_on_a_job_one_wins() {
    let (database, store) = store().await;
    let jobs = [job(), job(), job()];
    dispatched(&store, &jobs).await;
    let claims = (0..3 * MANY).map(|number| {
        let id = jobs[number % 3].id;
        store.claim(id, 1, Holder::new(), LEASE)
    });
    let mut winners: Vec<Job> = join_all(claims)
        .await
        .into_iter()
        .filter_map(|claimed| claimed.expect("MongoDB answers"))
        .collect();
    winners.sort_by_key(|job| job.id);
    assert_eq!(
        winners.iter().map(|job| job.id).collect::<Vec<_>>(),
        jobs.each_ref().map(|job| job.id)
    );
    for (winner, job) in winners.iter().zip(&jobs) {
        assert_eq!((winner.state, winner.tries), (JobState::Running, 1));
        assert_eq!(winner.params, job.params, "it comes whole");
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn claims_in_a_group_that_did_not_hear_the_answer_get_their_jobs_again_and_count_once() {
    let (database, store) = store().await;
    let jobs: Vec<Job> = (0..MANY).map(|_| job()).collect();
    dispatched(&store, &jobs).await;
    let holders: Vec<Holder> = jobs.iter().map(|_| Holder::new()).collect();
    for round in 0..3 {
        // The second time only every other asks again; the rest are asked for by strangers.
        let claims = jobs
            .iter()
            .zip(&holders)
            .enumerate()
            .map(|(number, (job, &holder))| {
                let holder = if round == 1 && number % 2 == 1 {
                    Holder::new()
                } else {
                    holder
                };
                store.claim(job.id, 1, holder, LEASE)
            });
        for (number, claimed) in join_all(claims).await.into_iter().enumerate() {
            let claimed = claimed.expect("MongoDB answers");
            let stranger = round == 1 && number % 2 == 1;
            assert_eq!(claimed.map(|job| job.tries), (!stranger).then_some(1));
        }
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn one_claimed_job_that_cannot_be_read_is_its_own_callers_trouble() {
    let (database, store) = store().await;
    let jobs: Vec<Job> = (0..20).map(|_| job()).collect();
    dispatched(&store, &jobs).await;
    database
        .collection::<bson::Document>("jobs")
        .update_one(
            doc! { "_id": bson::Uuid::from_bytes(uuid::Uuid::from(jobs[7].id).into_bytes()) },
            doc! { "$set": { "priority": "urgent" } },
        )
        .await
        .expect("MongoDB answers");
    let claims = jobs
        .iter()
        .map(|job| store.claim(job.id, 1, Holder::new(), LEASE));
    for (number, claimed) in join_all(claims).await.into_iter().enumerate() {
        if number == 7 {
            assert!(matches!(claimed, Err(StoreError::Unreadable(_))), "{claimed:?}");
        } else {
            assert!(matches!(claimed, Ok(Some(_))), "{claimed:?}");
        }
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn attempts_that_end_together_end_each_in_its_own_way() {
    let (database, store) = store().await;
    let later = time::now() + SignedDuration::from_secs(600);
    let (result, error) = (json!({ "$set": 1 }), error());
    let ends = [
        AttemptEnd::Succeeded(&result),
        AttemptEnd::Failed(&error),
        AttemptEnd::Dead(&error),
        AttemptEnd::Retried {
            error: &error,
            at: later,
        },
        AttemptEnd::Postponed {
            called: true,
            error: &error,
            at: later,
        },
    ];
    let states = [
        (JobState::Succeeded, 1),
        (JobState::Failed, 1),
        (JobState::Dead, 1),
        (JobState::Queued, 1),
        (JobState::Queued, 0),
    ];
    let mut held = Vec::new();
    for number in 0..20 {
        let job = if number % 2 == 0 { job() } else { with_callback() };
        held.push((running(&store, &job).await, Holder::new()));
    }
    // One of them was moved by somebody else meanwhile.
    let taken = store
        .end(&held[11].0, AttemptEnd::Failed(&error), Holder::new())
        .await
        .expect("MongoDB answers");
    assert!(taken.is_some());
    // And the answers of the first round are lost.
    for round in 0..2 {
        let all = held
            .iter()
            .enumerate()
            .map(|(number, (job, by))| store.end(job, ends[number % 5], *by));
        for (number, ended) in join_all(all).await.into_iter().enumerate() {
            let ended = ended.expect("MongoDB answers");
            let stored = store
                .get_in_brief(held[number].0.id)
                .await
                .expect("MongoDB answers");
            if number == 11 {
                assert_eq!(ended, None, "somebody else's failure is not our own");
                continue;
            }
            let as_told = ended.as_ref().map(|job| (job.state, job.tries));
            assert_eq!(as_told, Some(states[number % 5]), "round {round}");
            if round == 0 {
                assert_eq!(ended, stored.map(without_trail), "the answer is what is stored");
            }
        }
    }
    let succeeded = store.get(held[0].0.id).await.expect("MongoDB answers");
    assert_eq!(succeeded.and_then(|job| job.result), Some(result));
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_end_whose_answer_was_lost_is_nobody_elses() {
    let (database, store) = store().await;
    let job = running(&store, &job()).await;
    let by = Holder::new();
    let error = JobError {
        code: "timeout".to_owned(),
        ..error()
    };
    let retried = AttemptEnd::Retried {
        error: &error,
        at: time::now(),
    };
    for _ in 0..2 {
        let queued = store.end(&job, retried, by).await.expect("MongoDB answers");
        assert_eq!(
            queued.map(|job| (job.state, job.tries)),
            Some((JobState::Queued, 1))
        );
    }
    let other = store
        .end(&job, AttemptEnd::Succeeded(&Value::Null), Holder::new())
        .await;
    assert_eq!(other.expect("MongoDB answers"), None);
    store
        .dispatch(job.id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    let late = store.end(&job, retried, by).await.expect("MongoDB answers");
    assert_eq!(late, None, "a later attempt has begun");
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn attempts_that_end_together_are_cancelled_where_a_client_wishes_so_and_say_so() {
    let (database, store) = store().await;
    let (result, error) = (json!(1), error());
    let (retried, postponed) = (
        AttemptEnd::Retried {
            error: &error,
            at: time::now(),
        },
        AttemptEnd::Postponed {
            error: &error,
            called: false,
            at: time::now(),
        },
    );
    let ends = [
        (retried, JobState::Queued, JobState::Cancelled),
        (postponed, JobState::Queued, JobState::Cancelled),
        (
            AttemptEnd::Succeeded(&result),
            JobState::Succeeded,
            JobState::Succeeded,
        ),
    ];
    let mut held = Vec::new();
    for number in 0..18 {
        let job = running(&store, &with_callback()).await;
        let is_wished = number % 2 == 0;
        // The holder claimed it before, and knows of no wish.
        if is_wished {
            let outcome = store.cancel("acme", job.id).await.expect("MongoDB answers");
            assert!(matches!(outcome, CancelOutcome::Requested(_)), "{outcome:?}");
        }
        held.push((job, Holder::new(), is_wished));
    }
    // The answers of the first round are lost.
    for round in 0..2 {
        let all = held
            .iter()
            .enumerate()
            .map(|(number, (job, by, _))| store.end(job, ends[number % 3].0, *by));
        for (number, ended) in join_all(all).await.into_iter().enumerate() {
            let (job, _, is_wished) = &held[number];
            let (_, otherwise, if_wished) = ends[number % 3];
            let ended = ended.expect("MongoDB answers");
            let state = if *is_wished { if_wished } else { otherwise };
            assert_eq!(
                ended.as_ref().map(|job| job.state),
                Some(state),
                "{number}, round {round}"
            );
            let stored = store.get_in_brief(job.id).await.expect("MongoDB answers");
            let attempts = stored.as_ref().map(|job| job.trail.attempts.len());
            assert_eq!(attempts, Some(1), "it ended once");
            if round == 0 {
                assert_eq!(
                    ended,
                    stored.map(without_trail),
                    "the answer is what is stored: {number}"
                );
            }
        }
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_was_queued_again_and_cancelled_is_not_told_to_be_queued() {
    let (database, store) = store().await;
    let error = error();
    let retried = AttemptEnd::Retried {
        error: &error,
        at: time::now(),
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push((running(&store, &job()).await, Holder::new()));
    }
    for (number, state) in [JobState::Queued, JobState::Cancelled].into_iter().enumerate() {
        let all = held.iter().map(|(job, by)| store.end(job, retried, *by));
        for ended in join_all(all).await {
            assert_eq!(
                ended.expect("MongoDB answers").map(|job| job.state),
                Some(state),
                "{number}"
            );
        }
        for (job, _) in &held {
            store.cancel("acme", job.id).await.expect("MongoDB answers");
        }
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_a_batch_those_are_dispatched_that_may_be() {
    let (database, store) = store().await;
    let now = time::now();
    let fit: Vec<Job> = (0..60).map(|_| job()).collect();
    let waits = Job {
        available_at: now + SignedDuration::from_secs(600),
        ..job()
    };
    let expired = Job {
        expires_at: now,
        ..job()
    };
    let taken = job();
    let mut jobs = fit.clone();
    jobs.extend([waits, expired, taken.clone()]);
    for stored in store.insert_many(&jobs).await {
        stored.expect("stored");
    }
    store
        .dispatch(taken.id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("another dispatcher has it");
    let mut ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    ids.push(JobId::new());
    let holder = Holder::new();
    // The first answer is lost.
    for (round, lease) in [(0, NO_LEASE), (1, LEASE)] {
        let outcomes = store
            .dispatch_many(&ids, holder, lease)
            .await
            .expect("MongoDB answers");
        assert_eq!(outcomes.len(), ids.len());
        for (place, outcome) in outcomes.into_iter().enumerate() {
            let attempt = outcome.expect("MongoDB answers").map(|job| (job.id, job.attempt));
            let expected = (place < fit.len()).then(|| (ids[place], 1));
            assert_eq!(attempt, expected, "round {round}");
        }
    }
    assert!(
        !store.is_overdue(ids[0], 1).await.expect("MongoDB answers"),
        "its lease began anew"
    );
    assert_eq!(
        store
            .dispatch_many(&[], holder, LEASE)
            .await
            .expect("nothing to do")
            .len(),
        0
    );
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_many_dispatchers_each_job_has_one() {
    let (database, store) = store().await;
    let jobs: Vec<Job> = (0..64).map(|_| job()).collect();
    for stored in store.insert_many(&jobs).await {
        stored.expect("stored");
    }
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let batches = (0..8).map(|_| store.dispatch_many(&ids, Holder::new(), LEASE));
    let mut dispatched: Vec<JobId> = join_all(batches)
        .await
        .into_iter()
        .flat_map(|outcomes| outcomes.expect("MongoDB answers"))
        .filter_map(|outcome| outcome.expect("MongoDB answers"))
        .map(|job| job.id)
        .collect();
    dispatched.sort();
    assert_eq!(dispatched, ids);
    drop_database(database).await;
}

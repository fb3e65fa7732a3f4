//! What is stored of jobs, and how it is found.

use std::collections::BTreeMap;

use bson::{DateTime, Document, doc};
use flickrhub_job::model::{Job, JobId, JobState};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{Holder, JobFilter, JobStore, MAX_RESULT_BYTES, StoreError, id, time};
use futures::TryStreamExt;
use serde_json::Value;

use crate::fixture::{
    Ends, LEASE, NO_LEASE, drop_database, job, let_the_majority_have_it, running, store, with_callback,
};

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_is_read_back_as_it_was_stored() {
    let (database, store) = store().await;
    let job = with_callback();
    store.insert(&job).await.expect("stored");
    store.insert(&job).await.expect("storing it again does nothing");
    assert_eq!(
        store.get(job.id).await.expect("MongoDB answers"),
        Some(job.clone())
    );
    assert_eq!(
        store
            .get_for_client("acme", job.id)
            .await
            .expect("MongoDB answers"),
        Some(job.clone())
    );
    assert_eq!(
        store
            .get_for_client("other", job.id)
            .await
            .expect("MongoDB answers"),
        None
    );
    JobStore::open(&database, 30)
        .await
        .expect("opening again changes nothing");
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn jobs_are_listed_newest_first_page_by_page() {
    let (database, store) = store().await;
    let jobs: Vec<Job> = (0..5).map(|_| job()).collect();
    let other_user = Job {
        user_id: "1@N01".to_owned(),
        ..job()
    };
    let other_client = Job {
        client_id: "other".to_owned(),
        ..job()
    };
    for job in jobs.iter().chain([&other_user, &other_client]) {
        store.insert(job).await.expect("stored");
    }
    let mut filter = JobFilter {
        client_id: "acme".to_owned(),
        user_id: Some(jobs[0].user_id.clone()),
        state: Some(JobState::Queued),
        queue: Some(Queue::Rest),
        limit: 3,
        ..JobFilter::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = store.list(&filter).await.expect("MongoDB answers");
        filter.before = page.jobs.last().map(|job| job.job_id);
        seen.extend(page.jobs.into_iter().map(|job| job.job_id));
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, jobs.iter().rev().map(|job| job.id).collect::<Vec<_>>());
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_page_has_the_results_of_its_jobs_and_ends_before_they_are_too_many() {
    let (database, store) = store().await;
    let result = Value::from("x".repeat(MAX_RESULT_BYTES - 2));
    let mut ids = Vec::new();
    for _ in 0..5 {
        let id = running(&store, &job()).await.id;
        store
            .succeed(id, 1, &result)
            .await
            .expect("MongoDB answers")
            .expect("succeeded");
        ids.push(id);
    }
    ids.reverse();
    let mut filter = JobFilter {
        client_id: "acme".to_owned(),
        limit: 100,
        ..JobFilter::default()
    };
    let mut lengths = Vec::new();
    let mut seen = Vec::new();
    loop {
        let page = store.list(&filter).await.expect("MongoDB answers");
        assert!(page.jobs.iter().all(|job| job.result.as_ref() == Some(&result)));
        filter.before = page.jobs.last().map(|job| job.job_id);
        lengths.push(page.jobs.len());
        seen.extend(page.jobs.into_iter().map(|job| job.job_id));
        if !page.more {
            break;
        }
    }
    assert_eq!(lengths, [2, 2, 1]);
    assert_eq!(seen, ids);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_is_withdrawn_until_it_is_dispatched() {
    let (database, store) = store().await;
    let (waiting, dispatched) = (with_callback(), job());
    for job in [&waiting, &dispatched] {
        store.insert(job).await.expect("stored");
    }
    store
        .dispatch(dispatched.id, Holder::new(), NO_LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    for _ in 0..2 {
        assert!(store.withdraw(waiting.id).await.expect("MongoDB answers"));
    }
    assert_eq!(store.get(waiting.id).await.expect("MongoDB answers"), None);
    assert!(!store.withdraw(dispatched.id).await.expect("MongoDB answers"));
    store
        .requeue_overdue(dispatched.id, 1)
        .await
        .expect("MongoDB answers")
        .expect("queued");
    assert!(
        !store.withdraw(dispatched.id).await.expect("MongoDB answers"),
        "it may have been told of meanwhile"
    );
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn every_queued_job_is_streamed_oldest_first_and_without_its_content() {
    let (database, store) = store().await;
    let jobs: Vec<Job> = (0..450).map(|_| job()).collect();
    for job in &jobs {
        store.insert(job).await.expect("stored");
    }
    store
        .dispatch(jobs[3].id, Holder::new(), LEASE)
        .await
        .expect("MongoDB answers")
        .expect("dispatched");
    let_the_majority_have_it(&database).await;
    let queued: Vec<Job> = store.queued().try_collect().await.expect("MongoDB answers");
    assert!(queued.iter().all(|job| job.params.is_empty()));
    let queued: Vec<JobId> = queued.into_iter().map(|job| job.id).collect();
    let expected: Vec<JobId> = jobs
        .iter()
        .map(|job| job.id)
        .filter(|id| *id != jobs[3].id)
        .collect();
    assert_eq!(queued, expected);
    let held: Vec<Job> = store
        .unfinished(JobState::Dispatched)
        .try_collect()
        .await
        .expect("MongoDB answers");
    assert_eq!(held.iter().map(|job| job.id).collect::<Vec<_>>(), [jobs[3].id]);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_cannot_be_read_stands_in_nobodys_way() {
    let (database, store) = store().await;
    let (queued, lost, strange_queued, strange_lost) = (job(), job(), job(), job());
    for job in [&strange_queued, &queued, &strange_lost, &lost] {
        store.insert(job).await.expect("stored");
    }
    for job in [&strange_lost, &lost] {
        store
            .dispatch(job.id, Holder::new(), NO_LEASE)
            .await
            .expect("MongoDB answers")
            .expect("dispatched");
    }
    let strange = [strange_queued.id, strange_lost.id].map(id::to_bson);
    database
        .collection::<Document>("jobs")
        .update_many(
            doc! { "_id": { "$in": strange.as_slice() } },
            doc! { "$set": { "priority": "urgent" } },
        )
        .await
        .expect("changed");

    let seen: Vec<Job> = store.queued().try_collect().await.expect("MongoDB answers");
    assert_eq!(seen.iter().map(|job| job.id).collect::<Vec<_>>(), [queued.id]);
    let overdue = store.overdue(1).await.expect("MongoDB answers");
    assert_eq!(overdue.iter().map(|job| job.id).collect::<Vec<_>>(), [lost.id]);
    let refused = store.get(strange_queued.id).await;
    assert!(matches!(refused, Err(StoreError::Unreadable(_))), "{refused:?}");
    let refused = store.dispatch(strange_queued.id, Holder::new(), NO_LEASE).await;
    assert!(matches!(refused, Err(StoreError::Unreadable(_))), "{refused:?}");
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_is_too_large_is_refused_with_an_error_of_its_own() {
    let (database, store) = store().await;
    let job = running(&store, &job()).await;
    let result = Value::from("x".repeat(MAX_RESULT_BYTES));
    let refused = store.succeed(job.id, 1, &result).await;
    assert!(
        matches!(refused, Err(StoreError::ResultTooLarge { .. })),
        "{refused:?}"
    );
    let unchanged = store
        .get(job.id)
        .await
        .expect("MongoDB answers")
        .expect("still there");
    assert_eq!(unchanged.state, JobState::Running);

    let params = BTreeMap::from([("text".to_owned(), "x".repeat(17 * 1024 * 1024))]);
    let refused = store
        .insert(&Job {
            params,
            ..crate::fixture::job()
        })
        .await;
    assert!(matches!(refused, Err(StoreError::Unstorable(_))), "{refused:?}");
    let params = BTreeMap::from([("a\0b".to_owned(), String::new())]);
    let refused = store
        .insert(&Job {
            params,
            ..crate::fixture::job()
        })
        .await;
    assert!(matches!(refused, Err(StoreError::Unstorable(_))), "{refused:?}");
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_runs_all_the_time_is_answered_from_an_index() {
    let (database, store) = store().await;
    store.insert(&job()).await.expect("stored");
    let date = time::to_bson(time::now());
    let epoch = DateTime::from_millis(0);
    let queries = [
        (doc! { "state": "queued", "finished_at": null }, doc! { "_id": 1 }),
        (
            doc! { "lease_until": { "$gt": epoch, "$lt": date } },
            doc! { "lease_until": 1 },
        ),
        (
            doc! { "callback.state": "pending", "callback.next_at": { "$lte": date } },
            doc! { "callback.next_at": 1 },
        ),
        (
            doc! { "body.file_id": "0123", "state": { "$nin": ["succeeded", "cancelled"] } },
            doc! {},
        ),
    ];
    for (filter, sort) in queries {
        let find = doc! { "find": "jobs", "filter": filter.clone(), "sort": sort };
        let plan = database
            .run_command(doc! { "explain": find, "verbosity": "queryPlanner" })
            .await
            .expect("MongoDB explains");
        let winning = plan
            .get_document("queryPlanner")
            .and_then(|planner| planner.get_document("winningPlan"));
        let winning = winning.expect("a plan").to_string();
        assert!(winning.contains("IXSCAN"), "{filter} → {winning}");
        assert!(
            !winning.contains("\"SORT\""),
            "{filter} is sorted in memory: {winning}"
        );
    }
    drop_database(database).await;
}

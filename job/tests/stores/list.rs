//! Lists: every filter is answered from an index, and pages stay right while jobs move.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use flickrhub_job::model::{Job, JobId, JobState};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{Holder, JobFilter, JobStore, id, time};
use jiff::{SignedDuration, Timestamp};
use mongodb::Database;

use crate::fixture::{Ends, LEASE, drop_database, error, job, store};

/// Jobs of one client that succeeded, without going their way.
async fn many_successes(database: &Database, count: usize) {
    let jobs: Vec<Job> = (0..count)
        .map(|_| Job {
            state: JobState::Succeeded,
            finished_at: Some(time::now()),
            ..job()
        })
        .collect();
    let jobs_of = database.collection::<Job>("jobs");
    jobs_of.insert_many(&jobs).await.expect("stored");
}

/// How many documents and keys the query looks at, and whether it scans or sorts.
async fn cost(database: &Database, filter: &Document) -> (i64, i64, String) {
    let find = doc! { "find": "jobs", "filter": filter.clone(), "sort": { "_id": -1 }, "limit": 51 };
    let plan = database
        .run_command(doc! { "explain": find, "verbosity": "executionStats" })
        .await
        .expect("MongoDB explains");
    let stats = plan.get_document("executionStats").expect("statistics");
    let number = |name| match stats.get(name) {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        other => panic!("{name}: {other:?}"),
    };
    let winning = plan
        .get_document("queryPlanner")
        .and_then(|planner| planner.get_document("winningPlan"))
        .expect("a plan")
        .to_string();
    (number("totalDocsExamined"), number("totalKeysExamined"), winning)
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn every_filter_is_answered_from_an_index_and_looks_at_little_more_than_it_finds() {
    let (database, store) = store().await;
    many_successes(&database, 2000).await;
    let user = Some("1@N01".to_owned());
    for _ in 0..3 {
        let rare = Job {
            user_id: "1@N01".to_owned(),
            queue: Queue::Replace,
            method: "replace".to_owned(),
            ..job()
        };
        store.insert(&rare).await.expect("stored");
    }
    let dead = Job {
        state: JobState::Dead,
        finished_at: Some(time::now()),
        error: Some(error()),
        ..job()
    };
    store.insert(&dead).await.expect("stored");
    many_successes(&database, 2000).await;

    let late = Some(Timestamp::now() + SignedDuration::from_hours(1));
    for user_id in [None, user] {
        for state in JobState::ALL.map(Some).into_iter().chain([None]) {
            for (queue, method) in [
                (None, None),
                (Some(Queue::Rest), None),
                (Some(Queue::Replace), None),
                (None, Some("flickr.photos.search")),
                (Some(Queue::Rest), Some("flickr.photos.search")),
                (None, Some("flickr.photos.getInfo")),
                (None, Some("replace")),
            ] {
                for created_after in [None, late] {
                    let filter = JobFilter {
                        client_id: "acme".to_owned(),
                        user_id: user_id.clone(),
                        state,
                        queue,
                        method: method.map(str::to_owned),
                        created_after,
                        before: Some(JobId::new()),
                        limit: 50,
                        ..JobFilter::default()
                    };
                    let (documents, keys, plan) = cost(&database, &filter.document()).await;
                    assert!(!plan.contains("COLLSCAN"), "{filter:?}: {plan}");
                    assert!(
                        !plan.contains("\"SORT\""),
                        "{filter:?} is sorted in memory: {plan}"
                    );
                    assert!(
                        documents <= 60 && keys <= 120,
                        "{filter:?}: {documents}, {keys}: {plan}"
                    );
                }
            }
        }
    }
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_jobs_of_a_method_are_listed_page_by_page_without_those_of_others() {
    let (database, store) = store().await;
    let mut expected = Vec::new();
    for number in 0..30 {
        let method = [
            "flickr.photos.search",
            "flickr.photos.getInfo",
            "flickr.photos.getSizes",
        ][number % 3];
        let job = Job {
            method: method.to_owned(),
            ..job()
        };
        store.insert(&job).await.expect("stored");
        if number % 3 == 1 {
            expected.push(job.id);
        }
    }
    expected.reverse();
    let mut filter = JobFilter {
        client_id: "acme".to_owned(),
        method: Some("flickr.photos.getInfo".to_owned()),
        limit: 4,
        ..JobFilter::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = store.list(&filter).await.expect("MongoDB answers");
        filter.before = page.jobs.last().map(|job| job.job_id);
        pages.push(page.jobs.iter().map(|job| job.job_id).collect::<Vec<_>>());
        if !page.more {
            break;
        }
        // One that comes during the walk is newer than its first page.
        let newer = Job {
            method: "flickr.photos.getInfo".to_owned(),
            ..job()
        };
        store.insert(&newer).await.expect("stored");
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(pages.concat(), expected);
    let of_another_queue = JobFilter {
        queue: Some(Queue::Upload),
        before: None,
        ..filter
    };
    let none = store.list(&of_another_queue).await.expect("it need not be asked");
    assert!(none.jobs.is_empty() && !none.more);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_range_of_times_has_the_jobs_accepted_in_it() {
    let (database, store) = store().await;
    let start = time::now();
    let at = |seconds| start + SignedDuration::from_secs(seconds);
    let mut jobs = Vec::new();
    for seconds in 0..5 {
        let created_at = at(seconds);
        // As ids are made: with the time of acceptance, and a clock that is a little ahead.
        let id = JobId::first_at(created_at + SignedDuration::from_millis(700));
        let job = Job {
            id,
            created_at,
            ..job()
        };
        store.insert(&job).await.expect("stored");
        jobs.push(id);
    }
    let filter = JobFilter {
        client_id: "acme".to_owned(),
        created_after: Some(at(1)),
        created_before: Some(at(4)),
        limit: 10,
        ..JobFilter::default()
    };
    let page = store.list(&filter).await.expect("MongoDB answers");
    let ids: Vec<_> = page.jobs.iter().map(|job| job.job_id).collect();
    assert_eq!(ids, [jobs[3], jobs[2], jobs[1]]);
    drop_database(database).await;
}

/// Lets every job go its way, as fast as MongoDB allows.
async fn move_all(store: &JobStore, jobs: &[JobId]) {
    for (n, id) in jobs.iter().enumerate() {
        store
            .dispatch(*id, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers");
        store
            .claim(*id, 1, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers");
        if n % 2 == 0 {
            store
                .retry(*id, 1, &error(), time::now())
                .await
                .expect("MongoDB answers");
        } else {
            store
                .fail(*id, 1, JobState::Dead, &error())
                .await
                .expect("MongoDB answers");
        }
    }
}

async fn walk(store: &JobStore, state: Option<JobState>) -> Vec<JobId> {
    let mut filter = JobFilter {
        client_id: "acme".to_owned(),
        state,
        limit: 7,
        ..JobFilter::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = store.list(&filter).await.expect("MongoDB answers");
        filter.before = page.jobs.last().map(|job| job.job_id);
        seen.extend(page.jobs.into_iter().map(|job| job.job_id));
        if !page.more {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn pages_show_each_job_once_while_jobs_move_and_others_come() {
    let (database, store) = store().await;
    let jobs: Vec<Job> = (0..200).map(|_| job()).collect();
    for job in &jobs {
        store.insert(job).await.expect("stored");
    }
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    // Some stay where they are all the time.
    let (still, moving) = ids.split_at(100);
    let moves = move_all(&store, moving);
    let comes = async {
        for _ in 0..50 {
            store.insert(&job()).await.expect("stored");
        }
    };
    let walks = async {
        for _ in 0..4 {
            let all = walk(&store, None).await;
            let queued = walk(&store, Some(JobState::Queued)).await;
            for seen in [&all, &queued] {
                let distinct: BTreeSet<_> = seen.iter().collect();
                assert_eq!(distinct.len(), seen.len(), "a job is shown twice");
                assert!(seen.is_sorted_by(|a, b| a > b), "newest first");
            }
            let all: BTreeSet<_> = all.into_iter().collect();
            assert!(
                ids.iter().all(|id| all.contains(id)),
                "a job vanished from the list"
            );
            let queued: BTreeSet<_> = queued.into_iter().collect();
            assert!(
                still.iter().all(|id| queued.contains(id)),
                "a job vanished for another's moves"
            );
        }
    };
    tokio::join!(moves, comes, walks);
    let dead = walk(&store, Some(JobState::Dead)).await;
    assert_eq!(dead.len(), 50);
    // The form of the ids in MongoDB is what pages compare.
    assert!(ids.is_sorted_by_key(|job| id::to_bson(*job).bytes()));
    drop_database(database).await;
}

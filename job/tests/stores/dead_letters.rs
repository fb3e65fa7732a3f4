//! Dead letters: what is listed, and what a replay in bulk finds.

use flickrhub_job::model::{Job, JobError, JobId, JobState};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{DeadLetterFilter, JobStore};
use jiff::{SignedDuration, Timestamp};

use crate::fixture::{Ends, drop_database, error, job, running, store};

async fn dead(store: &JobStore, job: &Job, code: &str) -> JobId {
    let job = running(store, job).await;
    let error = JobError {
        code: code.to_owned(),
        ..error()
    };
    store
        .fail(job.id, 1, JobState::Dead, &error)
        .await
        .expect("MongoDB answers")
        .expect("dead");
    job.id
}

fn filter() -> DeadLetterFilter {
    DeadLetterFilter {
        client_id: "acme".to_owned(),
        ..DeadLetterFilter::default()
    }
}

async fn listed(store: &JobStore, filter: &DeadLetterFilter) -> Vec<JobId> {
    let list = store
        .dead_letters(filter, None, 10)
        .await
        .expect("MongoDB answers");
    list.letters.iter().map(|job| job.id).collect()
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn dead_letters_are_found_by_every_filter_and_nobody_elses() {
    let (database, store) = store().await;
    let first = job();
    let upload = Job {
        queue: Queue::Upload,
        ..job()
    };
    let other_user = Job {
        user_id: "1@N01".to_owned(),
        ..job()
    };
    let other_client = Job {
        client_id: "other".to_owned(),
        ..job()
    };
    let one = dead(&store, &first, "timeout").await;
    let two = dead(&store, &upload, "timeout").await;
    let three = dead(&store, &other_user, "flickr_error").await;
    dead(&store, &other_client, "timeout").await;
    running(&store, &job()).await;

    assert_eq!(listed(&store, &filter()).await, [three, two, one], "newest first");
    let soon = Some(Timestamp::now() + SignedDuration::from_secs(60));
    let cases = [
        (
            DeadLetterFilter {
                queue: Some(Queue::Upload),
                ..filter()
            },
            vec![two],
        ),
        (
            DeadLetterFilter {
                user_id: Some("1@N01".to_owned()),
                ..filter()
            },
            vec![three],
        ),
        (
            DeadLetterFilter {
                code: Some("timeout".to_owned()),
                ..filter()
            },
            vec![two, one],
        ),
        (
            DeadLetterFilter {
                dead_before: Some(Timestamp::UNIX_EPOCH),
                ..filter()
            },
            vec![],
        ),
        (
            DeadLetterFilter {
                dead_before: soon,
                ids: vec![one, JobId::new()],
                ..filter()
            },
            vec![one],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(listed(&store, &filter).await, expected, "{filter:?}");
    }
    let page = store
        .dead_letters(&filter(), Some(three), 1)
        .await
        .expect("MongoDB answers");
    assert_eq!((page.letters[0].id, page.more), (two, true));
    assert_eq!(
        page.letters[0].error.as_ref().map(|error| error.code.as_str()),
        Some("timeout")
    );
    assert_eq!(page.letters[0].trail.attempts.len(), 1);
    drop_database(database).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_bulk_finds_what_is_not_replayed_yet_also_where_a_replay_broke_off() {
    let (database, store) = store().await;
    let done = dead(&store, &job(), "timeout").await;
    let broken_off = dead(&store, &job(), "timeout").await;
    let untouched = dead(&store, &job(), "timeout").await;
    for id in [done, broken_off] {
        let chosen = store.begin_replay("acme", id, JobId::new()).await;
        let chosen = chosen.expect("MongoDB answers").expect("dead");
        if id == done {
            store.end_replay(id, chosen).await.expect("MongoDB answers");
        }
    }
    let found = store.replayable_letters(&filter(), 10).await;
    assert_eq!(
        found.expect("MongoDB answers"),
        [broken_off, untouched],
        "oldest first"
    );
    let found = store.replayable_letters(&filter(), 1).await;
    assert_eq!(found.expect("MongoDB answers"), [broken_off]);
    drop_database(database).await;
}

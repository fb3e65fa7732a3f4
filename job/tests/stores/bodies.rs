//! The bodies of uploads.

use std::io;
use std::time::Duration;

use bson::{Document, doc};
use bytes::Bytes;
use flickrhub_job::model::Body;
use flickrhub_job::store::{BodyStore, BodyWriter, JobStore, time};
use futures::TryStreamExt;
use jiff::SignedDuration;
use mongodb::Database;

use crate::database;

/// Bytes that do not repeat at the length of a stored piece.
fn photo(length: usize) -> Vec<u8> {
    (0..251_u8).cycle().take(length).collect()
}

async fn begin(store: &BodyStore) -> BodyWriter {
    store
        .create("lighthouse.jpg", "image/jpeg")
        .await
        .expect("MongoDB answers")
}

async fn stored(store: &BodyStore, content: &[u8], piece: usize) -> Body {
    let mut writer = begin(store).await;
    for part in content.chunks(piece) {
        writer.write(Bytes::copy_from_slice(part)).await.expect("written");
    }
    writer.finish().await.expect("finished")
}

async fn read(store: &BodyStore, body: &Body) -> io::Result<Vec<u8>> {
    let pieces: Vec<Bytes> = store.open(body).try_collect().await?;
    Ok(pieces.concat())
}

async fn count(database: &Database, collection: &str) -> u64 {
    let all = database.collection::<Document>(collection);
    all.count_documents(doc! {}).await.expect("MongoDB answers")
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_body_of_any_length_is_read_back() {
    let database = database::create().await;
    let store = BodyStore::new(&database);
    for (length, piece) in [
        (0, 1),
        (1, 1),
        (1 << 20, 70_000),
        ((5 << 20) + 17, 999_983),
        (3 << 20, 3 << 20),
    ] {
        let content = photo(length);
        let body = stored(&store, &content, piece).await;
        assert_eq!(body.length, content.len() as u64);
        assert_eq!(
            (body.file_name.as_str(), body.content_type.as_str()),
            ("lighthouse.jpg", "image/jpeg")
        );
        assert!(
            read(&store, &body).await.expect("readable") == content,
            "{length} bytes are read back"
        );
    }
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_aborted_or_forgotten_body_leaves_nothing() {
    let database = database::create().await;
    let store = BodyStore::new(&database);
    let mut aborted = begin(&store).await;
    aborted.write(Bytes::from(photo(3 << 20))).await.expect("written");
    assert!(count(&database, "uploads.chunks").await > 0);
    aborted.abort().await.expect("aborted");
    assert_eq!(count(&database, "uploads.chunks").await, 0);

    let mut forgotten = begin(&store).await;
    forgotten
        .write(Bytes::from(photo(3 << 20)))
        .await
        .expect("written");
    drop(forgotten);
    for _ in 0..100 {
        if count(&database, "uploads.chunks").await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count(&database, "uploads.chunks").await, 0);
    assert_eq!(count(&database, "uploads.files").await, 0);
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_body_that_is_not_complete_is_an_error_and_never_a_short_photo() {
    let database = database::create().await;
    let store = BodyStore::new(&database);
    let body = stored(&store, &photo(3 << 20), 1 << 20).await;
    let chunks = database.collection::<Document>("uploads.chunks");
    chunks.delete_one(doc! { "n": 2 }).await.expect("MongoDB answers");
    assert_eq!(
        read(&store, &body).await.expect_err("the end is missing").kind(),
        io::ErrorKind::NotFound
    );
    assert!(store.has(&body).await.expect("MongoDB answers"));
    store.delete(&body.file_id).await.expect("deleted");
    assert!(!store.has(&body).await.expect("MongoDB answers"));
    let nonsense = Body {
        file_id: "../etc".to_owned(),
        ..body.clone()
    };
    assert!(!store.has(&nonsense).await.expect("no question at all"));
    store
        .delete(&body.file_id)
        .await
        .expect("deleting it again does nothing");
    assert_eq!(
        read(&store, &body).await.expect_err("it is gone").kind(),
        io::ErrorKind::NotFound
    );
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn only_bodies_that_no_job_needs_are_orphans() {
    let database = database::create().await;
    let store = BodyStore::new(&database);
    let jobs = JobStore::open(&database, 30).await.expect("the store opens");
    let (needed, sent, lost) = (
        stored(&store, b"needed", 6).await,
        stored(&store, b"sent", 4).await,
        stored(&store, b"lost", 4).await,
    );
    let raw = database.collection::<Document>("jobs");
    raw.insert_many([
        doc! { "state": "dead", "body": { "file_id": &needed.file_id } },
        doc! { "state": "succeeded", "body": { "file_id": &sent.file_id } },
    ])
    .await
    .expect("MongoDB answers");
    // The remains of a process that died: chunks without a file.
    let unfinished = stored(&store, b"unfinished", 10).await;
    let files = database.collection::<Document>("uploads.files");
    files
        .delete_one(doc! { "length": 10 })
        .await
        .expect("MongoDB answers");

    let hour = SignedDuration::from_hours(1);
    let young = store
        .delete_orphans(&jobs, time::now() - hour)
        .await
        .expect("MongoDB answers");
    assert_eq!(young, 0, "a body may be younger than its job");
    let deleted = store
        .delete_orphans(&jobs, time::now() + hour)
        .await
        .expect("MongoDB answers");
    assert_eq!(deleted, 3);
    assert_eq!(read(&store, &needed).await.expect("still there"), b"needed");
    for gone in [sent, lost, unfinished] {
        assert!(read(&store, &gone).await.is_err());
    }
    assert_eq!(count(&database, "uploads.chunks").await, 1);
    database.drop().await.expect("dropped");
}

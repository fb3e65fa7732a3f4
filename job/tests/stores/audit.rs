//! The audit log in MongoDB: what is added stays as it was hashed, and what is done to it behind the hub's back shows.

use flickrhub_job::audit::{AuditEntry, AuditEvent, Chain, FaultKind, SealedEntry};
use flickrhub_job::store::{AuditFilter, AuditId, AuditStore, time};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use mongodb::Database;
use mongodb::bson::{Document, doc};

use crate::database;

fn at(second: i64) -> Timestamp {
    // Of the last hour, so that nothing is too old to be kept, and to the millisecond, as it is stored.
    time::now() - SignedDuration::from_secs(3600 - second)
}

fn entry(second: i64, client: &str, event: AuditEvent) -> AuditEntry {
    AuditEntry {
        client_id: Some(client.to_owned()),
        key_id: Some(format!("key-of-{client}")),
        status: Some(202),
        route: Some("/api/v1/jobs/{id}".to_owned()),
        ..AuditEntry::of_log(event, at(second), None)
    }
}

async fn store() -> (Database, AuditStore) {
    let database = database::create().await;
    let store = AuditStore::open(&database).await.expect("the log opens");
    (database, store)
}

/// Two chains of three entries; the second one notes where the first stands.
async fn written(store: &AuditStore) -> [Vec<SealedEntry>; 2] {
    let (mut first, mut second) = (Chain::new(), Chain::new());
    let one: Vec<_> = [
        AuditEvent::ChainStarted,
        AuditEvent::ApiCall,
        AuditEvent::AdminAction,
    ]
    .into_iter()
    .zip(0..)
    .map(|(event, number)| first.seal(entry(number, "acme", event)))
    .collect();
    let head = one.last().expect("entries").head().to_string();
    let mut two = vec![second.seal(AuditEntry::of_log(AuditEvent::Checkpoint, at(10), Some(head)))];
    two.extend((11..13).map(|number| second.seal(entry(number, "other", AuditEvent::ApiCall))));
    let all: Vec<_> = one.iter().chain(&two).cloned().collect();
    store.append(&all).await.expect("MongoDB takes them");
    [one, two]
}

async fn faults(store: &AuditStore) -> Vec<FaultKind> {
    let report = store.verify(Timestamp::now()).await.expect("MongoDB answers");
    report.faults.into_iter().map(|fault| fault.kind).collect()
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn entries_that_are_written_again_are_there_once_and_as_they_were_hashed() {
    let (database, store) = store().await;
    let [one, two] = written(&store).await;
    // A lost answer: the whole batch comes again, with one more.
    store.append(&one).await.expect("what is there stays");
    let report = store.verify(Timestamp::now()).await.expect("MongoDB answers");
    assert_eq!(
        (report.chains, report.entries, report.faults.len()),
        (2, 6, 0),
        "{report:?}"
    );
    let listed = store
        .list(&AuditFilter::default(), 100)
        .await
        .expect("MongoDB answers");
    let newest_first: Vec<_> = one.iter().chain(&two).rev().cloned().collect();
    assert_eq!(listed.entries, newest_first);
    assert!(!listed.more);
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn pages_and_filters_and_the_export_agree() {
    let (database, store) = store().await;
    let [one, two] = written(&store).await;
    let filtered = async |filter: AuditFilter| {
        let listed = store.list(&filter, 100).await.expect("MongoDB answers").entries;
        let exported = store.export(&filter).await.expect("MongoDB answers");
        let exported: Vec<SealedEntry> = exported.try_collect().await.expect("MongoDB answers");
        assert_eq!(listed, exported, "{filter:?}");
        listed.len()
    };
    let of = |client: &str| AuditFilter {
        client_id: Some(client.to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(filtered(AuditFilter::default()).await, 6);
    assert_eq!(filtered(of("acme")).await, 3);
    assert_eq!(filtered(of("nobody")).await, 0);
    let admin = AuditFilter {
        event: Some(AuditEvent::AdminAction),
        ..AuditFilter::default()
    };
    assert_eq!(filtered(admin).await, 1);
    let from_the_second = AuditFilter {
        after: one.get(1).map(|sealed| sealed.entry.at),
        before: two.first().map(|sealed| sealed.entry.at),
        ..AuditFilter::default()
    };
    assert_eq!(filtered(from_the_second).await, 2, "the end is not included");

    let mut seen = Vec::new();
    let mut filter = AuditFilter::default();
    loop {
        let page = store.list(&filter, 4).await.expect("MongoDB answers");
        filter.cursor = page.entries.last().map(AuditId::of);
        seen.extend(page.entries);
        if !page.more {
            break;
        }
    }
    let newest_first: Vec<_> = one.iter().chain(&two).rev().cloned().collect();
    assert_eq!(seen, newest_first);
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_is_changed_or_removed_behind_the_hub_shows() {
    let (database, store) = store().await;
    let [one, _] = written(&store).await;
    let documents = database.collection::<Document>("audit");
    let id = |number: usize| doc! { "_id": AuditId::of(&one[number]).to_string() };
    assert_eq!(faults(&store).await, []);

    let change = async |status: i32| {
        documents
            .update_one(id(1), doc! { "$set": { "status": status } })
            .await
            .expect("MongoDB answers");
    };
    change(204).await;
    assert!(!faults(&store).await.is_empty(), "an entry says something else");
    change(202).await;
    assert_eq!(faults(&store).await, []);

    let removed = documents
        .find_one_and_delete(id(1))
        .await
        .expect("MongoDB answers");
    assert!(!faults(&store).await.is_empty(), "an entry is gone from within");
    documents
        .insert_one(removed.expect("it was there"))
        .await
        .expect("MongoDB answers");

    documents.delete_one(id(2)).await.expect("MongoDB answers");
    assert_eq!(
        faults(&store).await,
        [FaultKind::NotAsNoted],
        "the end is cut off"
    );
    let chain = doc! { "chain": one[0].chain.to_string() };
    documents.delete_many(chain).await.expect("MongoDB answers");
    assert_eq!(
        faults(&store).await,
        [FaultKind::NotAsNoted],
        "a whole chain is gone"
    );
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn heads_are_the_last_entries_of_chains_that_wrote_lately() {
    let (database, store) = store().await;
    let [one, two] = written(&store).await;
    let heads = store.heads(Timestamp::now()).await.expect("MongoDB answers");
    let expected = [&two, &one].map(|chain| chain.last().expect("entries").head());
    assert_eq!(heads, expected, "the one that wrote last comes first");
    let in_a_week = Timestamp::now() + SignedDuration::from_hours(24 * 7);
    assert_eq!(store.heads(in_a_week).await.expect("MongoDB answers"), []);
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn mongodb_deletes_entries_by_their_age_alone() {
    let (database, _) = store().await;
    let indexes = database.collection::<Document>("audit").list_indexes().await;
    let indexes: Vec<_> = indexes.expect("indexes").try_collect().await.expect("indexes");
    let ends: Vec<_> = indexes
        .iter()
        .filter_map(|index| {
            let after = index.options.as_ref()?.expire_after?;
            Some((index.keys.clone(), after.as_secs()))
        })
        .collect();
    assert_eq!(ends, [(doc! { "at": 1 }, 365 * 24 * 3600)]);
    database.drop().await.expect("dropped");
}

//! The audit log over the real data tier: written, read, exported, verified.

use std::time::Duration;

use flickrhub_job::store::{AuditFilter, time};
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::hub::Hub;

/// The entries that the client sees, when there are so many.
async fn entries(hub: &Hub, query: &str, at_least: usize) -> Vec<Value> {
    for _ in 0..50 {
        let answer = hub.ask(&format!("GET /api/v1/audit?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let entries = answer.body["entries"].as_array().unwrap().clone();
        if entries.len() >= at_least {
            return entries;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the entries do not come");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_a_client_does_is_noted_and_read_by_it_alone() {
    let mut hub = Hub::start(|_| {}).await;
    (hub.client_id, hub.api_key) = hub.add_client(&["jobs:read", "audit:read"]).await;
    let key_id = hub.api_key.split('_').nth(1).unwrap().to_owned();
    assert_eq!(hub.ask("GET /api/v1/jobs").await.status, 200);
    assert_eq!(hub.ask("DELETE /api/v1/users/1@N01/token").await.status, 403);
    let good = hub.api_key.clone();
    hub.api_key = format!("{good}x");
    assert_eq!(hub.ask("GET /api/v1/jobs").await.status, 401);
    hub.api_key = good;

    let call = &entries(&hub, "event=api_call", 1).await[0];
    assert_eq!(
        (&call["route"], &call["status"]),
        (&"/api/v1/jobs".into(), &200.into())
    );
    assert_eq!(
        (&call["client_id"], &call["key_id"]),
        (&hub.client_id.as_str().into(), &key_id.as_str().into())
    );
    assert_eq!(call["address"], "127.0.0.1");
    let failed = &entries(&hub, "event=authentication_failed", 1).await[0];
    assert_eq!(
        (&failed["code"], &failed["key_id"]),
        (&"unauthenticated".into(), &key_id.as_str().into())
    );
    let refused = &entries(&hub, "event=authorisation_failed", 1).await[0];
    assert_eq!(refused["route"], "/api/v1/users/{user_id}/token");
    assert!(
        !entries(&hub, "event=admin_action", 1).await.is_empty(),
        "reading the log is noted too"
    );

    let pages = hub.ask("GET /api/v1/audit?limit=1").await;
    let cursor = pages.body["next_cursor"].as_str().unwrap();
    let next = hub
        .ask(&format!("GET /api/v1/audit?limit=1&cursor={cursor}"))
        .await;
    assert_ne!(next.body["entries"][0]["hash"], pages.body["entries"][0]["hash"]);

    let (_, other) = hub.add_client(&["audit:read"]).await;
    let of_the_first = format!("GET /api/v1/audit?client_id={}", hub.client_id);
    hub.api_key = other;
    assert_eq!(hub.ask(&of_the_first).await.code(), "scope_missing");
    for entry in entries(&hub, "", 1).await {
        assert_ne!(entry["client_id"].as_str(), Some(hub.client_id.as_str()));
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_export_has_one_entry_in_a_line() {
    let mut hub = Hub::start(|_| {}).await;
    (hub.client_id, hub.api_key) = hub.add_client(&["audit:read"]).await;
    entries(&hub, "", 3).await;
    let request = hub
        .request("GET /api/v1/audit")
        .header("Accept", "application/x-ndjson");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let text = answer.text().await.unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() >= 3, "{text}");
    assert!(
        lines
            .iter()
            .all(|line| line["client_id"] == hub.client_id.as_str())
    );
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_process_that_stops_leaves_a_whole_chain_and_a_removed_entry_shows() {
    let hub = Hub::start(|_| {}).await;
    for _ in 0..10 {
        assert_eq!(hub.ask("GET /api/v1/jobs").await.status, 200);
    }
    hub.state.finish_tasks().await;
    let store = &hub.state.data().unwrap().audit;
    let filter = AuditFilter {
        client_id: Some(hub.client_id.clone()),
        ..AuditFilter::default()
    };
    let entries = store.list(&filter, 100).await.unwrap().entries;
    assert_eq!(entries.len(), 10);
    let chain = entries[0].chain;
    let faults = async || {
        let report = store.verify(time::now()).await.unwrap();
        let faults = report.faults.into_iter().filter(|fault| fault.chain == chain);
        faults.map(|fault| fault.seq).collect::<Vec<_>>()
    };
    assert!(faults().await.is_empty());
    let collection = hub.database.collection::<Document>("audit");
    let removed = i64::try_from(entries[5].seq).unwrap();
    let remove = doc! { "chain": chain.to_string(), "seq": removed };
    assert_eq!(collection.delete_one(remove).await.unwrap().deleted_count, 1);
    assert_eq!(faults().await, [entries[5].seq + 1]);
    // The database is shared with other tests, which verify it too.
    collection
        .delete_many(doc! { "chain": chain.to_string() })
        .await
        .unwrap();
}

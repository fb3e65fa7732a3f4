//! What a request is authenticated with, read from the documents that the operator writes.

use flickrhub_job::store::ClientStore;
use jiff::Timestamp;
use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};

use crate::database;

async fn store() -> (Database, ClientStore) {
    let database = database::create().await;
    let clients = ClientStore::open(&database).await.expect("the store opens");
    let documents = database.collection::<Document>("clients");
    documents
        .insert_many([
            doc! {
                "_id": "acme", "scopes": ["jobs:read", "jobs:write"], "allowed_networks": ["10.0.0.0/8"],
                "requests_per_minute": 600,
                "keys": [
                    { "id": "old", "hash": "hash of old", "not_after": DateTime::from_millis(1_800_000_000_000) },
                    { "id": "new", "hash": "hash of new", "hmac_secret": "vault:v1:a", "hmac_fingerprint": "f" },
                ],
            },
            doc! { "_id": "other", "scopes": ["admin"], "keys": [{ "id": "o1", "hash": "hash of o1" }] },
            doc! { "_id": "revoked", "scopes": ["admin"], "keys": [] },
        ])
        .await
        .expect("stored");
    (database, clients)
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_key_is_found_by_its_id_with_what_its_own_client_may_do() {
    let (database, clients) = store().await;
    let key = async |id: &str| clients.api_key(id).await.expect("MongoDB answers");

    let new = key("new").await.expect("it is there");
    assert_eq!(
        (new.client_id.as_str(), new.hash.as_str()),
        ("acme", "hash of new")
    );
    assert_eq!(new.scopes, ["jobs:read", "jobs:write"]);
    assert_eq!(new.hmac_secret.as_deref(), Some("vault:v1:a"));
    assert_eq!((new.requests_per_minute, new.not_after), (Some(600), None));
    let networks = new.allowed_networks.unwrap_or_default();
    assert_eq!(
        networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8"]
    );

    let old = key("old").await.expect("it is there");
    assert_eq!(
        (old.client_id.as_str(), old.hash.as_str()),
        ("acme", "hash of old")
    );
    assert_eq!(old.not_after, Some(Timestamp::constant(1_800_000_000, 0)));
    assert_eq!(old.hmac_secret, None, "of a key, not of its client");

    let other = key("o1").await.expect("it is there");
    assert_eq!(
        (other.client_id.as_str(), other.allowed_networks),
        ("other", None)
    );
    for nobody in ["", "acme", "OLD", "old ", "$ne"] {
        assert_eq!(key(nobody).await, None, "{nobody:?}");
    }
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_key_that_was_taken_out_is_found_no_more() {
    let (database, clients) = store().await;
    let documents = database.collection::<Document>("clients");
    let revoke = doc! { "$pull": { "keys": { "id": "new" } } };
    documents
        .update_one(doc! { "_id": "acme" }, revoke)
        .await
        .expect("MongoDB answers");
    assert_eq!(clients.api_key("new").await.expect("MongoDB answers"), None);
    assert!(clients.api_key("old").await.expect("MongoDB answers").is_some());
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_key_id_belongs_to_one_client() {
    let (database, _) = store().await;
    let documents = database.collection::<Document>("clients");
    let twin = doc! { "_id": "twin", "keys": [{ "id": "new", "hash": "another" }] };
    assert!(
        documents.insert_one(twin).await.is_err(),
        "an index keeps ids apart"
    );
    database.drop().await.expect("dropped");
}

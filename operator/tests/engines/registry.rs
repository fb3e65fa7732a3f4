//! The document of a declared client in a real MongoDB.

use flickrhub_operator::api_client::decide::{ClientSeen, StoredKey};
use flickrhub_operator::api_client::key_secret::ApiKey;
use flickrhub_operator::api_client::registry::{
    ClientRegistry as _, Registry, SealedKey, SealedWebhookSecret, SecretKey, Settings,
};
use jiff::Timestamp;
use mongodb::bson::{Document, doc};

use crate::database::database;
use crate::servers::Folder;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn settings(scope: &str) -> Settings {
    Settings {
        scopes: vec![scope.to_owned()],
        networks: vec!["10.0.0.0/8".to_owned()],
        requests_per_minute: None,
    }
}

/// A key whose signing key is told by `f`.
fn sealed(id: &str, hash: &str) -> SealedKey {
    SealedKey {
        id: id.to_owned(),
        hash: hash.to_owned(),
        signing_key: format!("vault:v1:{id}"),
        signing_fingerprint: "f".to_owned(),
    }
}

fn key(id: &str, created: i64, not_after: Option<i64>) -> StoredKey {
    StoredKey {
        id: id.to_owned(),
        created_at: at(created),
        not_after: not_after.map(at),
        matches: true,
    }
}

async fn seen(registry: &Registry) -> ClientSeen {
    let found = registry.find("acme").await.expect("MongoDB answers");
    let key = SecretKey {
        key: ApiKey::parse("fh_k1_secret").expect("a key"),
        signing_fingerprint: Some("f".to_owned()),
    };
    found.seen(&settings("jobs:read"), true, &[key])
}

async fn keys(registry: &Registry) -> Vec<StoredKey> {
    match seen(registry).await {
        ClientSeen::Ours { keys, .. } => keys,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn keys_come_and_go_and_every_step_can_be_repeated() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let folder = Folder::new("registry");
    let (_mongod, database) = database(&folder).await;
    let registry = Registry::new(&database);
    assert_eq!(seen(&registry).await, ClientSeen::Absent);

    let webhook_secret = SealedWebhookSecret {
        ciphertext: "vault:v1:a".to_owned(),
        hash: "h".to_owned(),
        vault: "v".to_owned(),
    };
    let write = async |scope: &str, sealed: Option<&SealedWebhookSecret>| {
        let settings = settings(scope);
        registry.write_settings("acme", &settings, sealed, at(1)).await
    };
    for _ in 0..2 {
        write("jobs:write", Some(&webhook_secret)).await.expect("written");
        write("jobs:read", None).await.expect("written");
    }
    let found = registry.find("acme").await.expect("MongoDB answers");
    assert!(found.has_webhook_secret("v", |hash| hash == "h"));

    let slow = Settings {
        requests_per_minute: Some(60),
        ..settings("jobs:read")
    };
    for wanted in [slow, settings("jobs:read")] {
        let written = registry.write_settings("acme", &wanted, None, at(2)).await;
        written.expect("written");
        let found = registry.find("acme").await.expect("MongoDB answers");
        let seen = found.seen(&wanted, true, &[]);
        assert!(
            matches!(seen, ClientSeen::Ours { is_current: true, .. }),
            "{seen:?}"
        );
    }

    let hash = bcrypt::hash("secret", 4).expect("a hash");
    for now in [10, 20] {
        registry
            .register("acme", &sealed("k1", &hash), at(now))
            .await
            .expect("registered");
    }
    registry
        .register("acme", &sealed("k2", "x"), at(30))
        .await
        .expect("registered");
    assert_eq!(keys(&registry).await, [key("k1", 10, None), key("k2", 30, None)]);
    let other = SealedKey {
        signing_fingerprint: "of another signing key".to_owned(),
        ..sealed("k1", &hash)
    };
    registry
        .register("acme", &other, at(31))
        .await
        .expect("registered");
    assert!(
        keys(&registry)
            .await
            .iter()
            .any(|key| key.id == "k1" && !key.matches)
    );
    registry
        .register("acme", &sealed("k1", &hash), at(32))
        .await
        .expect("registered");
    assert_eq!(
        keys(&registry).await,
        [key("k1", 10, None), key("k2", 30, None)],
        "a key that is registered again keeps its age"
    );

    // The first end counts, and only what has ended is taken out.
    for until in [100, 200] {
        let ids = ["k1".to_owned()];
        registry.retire("acme", &ids, at(until)).await.expect("retired");
    }
    assert_eq!(
        keys(&registry).await,
        [key("k1", 10, Some(100)), key("k2", 30, None)]
    );
    let both = ["k1".to_owned(), "k2".to_owned()];
    registry
        .remove("acme", &both, at(99))
        .await
        .expect("nothing to remove");
    assert_eq!(keys(&registry).await.len(), 2);
    registry.remove("acme", &both, at(100)).await.expect("removed");
    assert_eq!(keys(&registry).await, [key("k2", 30, None)]);

    registry
        .retire("acme", &["k2".to_owned()], at(300))
        .await
        .expect("retired");
    registry
        .register("acme", &sealed("k2", "y"), at(40))
        .await
        .expect("registered");
    assert_eq!(
        keys(&registry).await,
        [key("k2", 30, None)],
        "what the Secret holds does not end"
    );

    registry.revoke("acme", at(50)).await.expect("revoked");
    assert_eq!(keys(&registry).await, []);
    write("jobs:read", None).await.expect("written");
    registry
        .register("acme", &sealed("k3", "z"), at(60))
        .await
        .expect("registered");
    assert_eq!(keys(&registry).await, [key("k3", 60, None)]);
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn a_client_that_somebody_else_made_is_never_changed() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let folder = Folder::new("foreign");
    let (_mongod, database) = database(&folder).await;
    let foreign = doc! { "_id": "acme", "scopes": ["admin"], "keys": [{ "id": "k1", "hash": "h" }] };
    let clients = database.collection::<Document>("clients");
    clients.insert_one(&foreign).await.expect("a client");
    let registry = Registry::new(&database);
    assert_eq!(seen(&registry).await, ClientSeen::Foreign);
    let settings = settings("jobs:read");
    assert!(
        registry
            .write_settings("acme", &settings, None, at(1))
            .await
            .is_err()
    );
    registry
        .register("acme", &sealed("k2", "x"), at(2))
        .await
        .expect("nothing to change");
    registry
        .retire("acme", &["k1".to_owned()], at(3))
        .await
        .expect("nothing to change");
    registry
        .remove("acme", &["k1".to_owned()], at(4))
        .await
        .expect("nothing to change");
    registry.revoke("acme", at(5)).await.expect("nothing to change");
    let found = clients.find_one(doc! {}).await.expect("an answer");
    assert_eq!(found, Some(foreign));
}

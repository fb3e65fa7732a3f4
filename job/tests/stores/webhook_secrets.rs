//! The rotation of webhook secrets.

use flickrhub_job::store::{Client, ClientStore, Rotation, WebhookSecrets, time};
use jiff::{SignedDuration, Timestamp};
use mongodb::Database;

use crate::database;

async fn client() -> (Database, ClientStore, Client) {
    let database = database::create().await;
    let clients = ClientStore::open(&database).await.expect("the store opens");
    let client = Client {
        id: "acme".to_owned(),
        name: "Acme".to_owned(),
        keys: Vec::new(),
        webhook_secret: "vault:v1:a".to_owned(),
        scopes: Vec::new(),
        created_at: time::now(),
    };
    clients.upsert(&client).await.expect("stored");
    (database, clients, client)
}

async fn secrets(clients: &ClientStore) -> WebhookSecrets {
    let found = clients.webhook_secrets("acme").await.expect("MongoDB answers");
    found.expect("the client is there")
}

async fn rotate(clients: &ClientStore, present: &str, new: &str, until: Option<Timestamp>) -> Rotation {
    let rotation = clients.rotate_webhook_secret("acme", present, new, until).await;
    rotation.expect("MongoDB answers")
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn at_most_two_secrets_are_valid_and_the_oldest_goes() {
    let (database, clients, client) = client().await;
    let until = time::now() + SignedDuration::from_hours(1);
    assert_eq!(secrets(&clients).await.previous, None);

    for (present, new) in [("vault:v1:a", "vault:v1:b"), ("vault:v1:b", "vault:v1:c")] {
        let Rotation::Done(rotated) = rotate(&clients, present, new, Some(until)).await else {
            panic!("nobody came between");
        };
        assert_eq!(rotated, secrets(&clients).await);
        assert_eq!(rotated.present, new);
        assert_eq!(rotated.previous_at(time::now()), Some(present));
        assert_eq!(rotated.previous_at(until), None, "its time is over");
        // Whoever did not see the answer may ask again.
        let again = rotate(&clients, present, new, Some(until)).await;
        assert_eq!(again, Rotation::Done(rotated));
    }
    rotate(&clients, "vault:v1:c", "vault:v1:d", None).await;
    assert_eq!(secrets(&clients).await.previous, None, "without an overlap");
    let stored = clients.get("acme").await.expect("MongoDB answers");
    assert_eq!(
        stored,
        Some(Client {
            webhook_secret: "vault:v1:d".to_owned(),
            ..client
        })
    );
    let stranger = clients.rotate_webhook_secret("stranger", "a", "b", None).await;
    assert_eq!(stranger.expect("MongoDB answers"), Rotation::Overtaken);
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_rotations_that_come_at_once_one_is_applied() {
    let (database, clients, _) = client().await;
    let until = time::now() + SignedDuration::from_hours(1);
    let mut rotations = tokio::task::JoinSet::new();
    for number in 0..16 {
        let clients = clients.clone();
        rotations.spawn(async move {
            let new = format!("vault:v1:new{number}");
            (
                new.clone(),
                rotate(&clients, "vault:v1:a", &new, Some(until)).await,
            )
        });
    }
    let done: Vec<_> = rotations
        .join_all()
        .await
        .into_iter()
        .filter(|(_, rotation)| *rotation != Rotation::Overtaken)
        .collect();
    let stored = secrets(&clients).await;
    assert_eq!(done, [(stored.present.clone(), Rotation::Done(stored.clone()))]);
    assert_eq!(
        stored.previous_at(time::now()),
        Some("vault:v1:a"),
        "the one that receivers know"
    );
    database.drop().await.expect("dropped");
}

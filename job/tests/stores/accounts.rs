//! Users, clients and OAuth requests.

use std::time::{Duration, Instant};

use flickrhub_job::store::{
    Client, ClientKey, ClientStore, NewToken, OauthRequest, OauthRequestStore, StoreError, UserStore, time,
};

use tokio::time::sleep;

use crate::database;

fn token(token: &str, permission: &str) -> NewToken {
    NewToken {
        user_id: "12037949754@N01".to_owned(),
        username: "cal".to_owned(),
        full_name: String::new(),
        app: "main".to_owned(),
        permission: permission.to_owned(),
        token: token.to_owned(),
        token_secret: "vault:v1:secret".to_owned(),
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_client_acts_only_for_users_that_authorised_it() {
    let database = database::create().await;
    let users = UserStore::open(&database).await.expect("the store opens");
    let id = token("", "").user_id;
    for (text, permission, client) in [
        ("vault:v1:a", "read", "acme"),
        ("vault:v1:b", "write", "acme"),
        ("vault:v1:c", "write", "other"),
    ] {
        users
            .upsert_token(&token(text, permission), client)
            .await
            .expect("stored");
    }
    let user = users
        .authorised_for(&id, "acme")
        .await
        .expect("MongoDB answers")
        .expect("authorised");
    assert_eq!((user.token.as_str(), user.grants.len()), ("vault:v1:c", 2));
    assert_eq!(
        users.authorised_for(&id, "third").await.expect("MongoDB answers"),
        None
    );

    let elsewhere = UserStore::open(&database).await.expect("the store opens");
    let seen_elsewhere = async || {
        let user = elsewhere.authorised_for(&id, "acme").await;
        user.expect("MongoDB answers").is_some()
    };
    assert!(seen_elsewhere().await);
    assert!(users.remove_token(&id, "acme").await.expect("MongoDB answers"));
    let removed_at = Instant::now();
    while seen_elsewhere().await {
        assert!(
            removed_at.elapsed() < Duration::from_secs(5),
            "it is still believed"
        );
        sleep(Duration::from_millis(50)).await;
    }
    let seen = elsewhere.authorised_now(&id, "acme").await;
    assert_eq!(seen.expect("MongoDB answers"), None);
    users
        .upsert_token(&token("vault:v1:c", "write"), "third")
        .await
        .expect("stored");
    let seen = elsewhere.authorised_for(&id, "third").await;
    assert!(
        seen.expect("MongoDB answers").is_some(),
        "a right is seen at once by those who know the user without it"
    );
    assert!(users.remove_token(&id, "third").await.expect("MongoDB answers"));
    assert!(!users.remove_token(&id, "acme").await.expect("MongoDB answers"));
    assert_eq!(
        users.authorised_for(&id, "acme").await.expect("MongoDB answers"),
        None
    );
    assert!(
        users.get(&id).await.expect("MongoDB answers").is_some(),
        "the other client still needs it"
    );
    assert!(users.remove_token(&id, "other").await.expect("MongoDB answers"));
    assert_eq!(
        users.get(&id).await.expect("MongoDB answers"),
        None,
        "nobody needs the token"
    );
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_a_user_grants_to_one_client_is_no_grant_to_another() {
    let database = database::create().await;
    let users = UserStore::open(&database).await.expect("the store opens");
    let odd = NewToken {
        username: "$token_secret".to_owned(),
        ..token("vault:v1:strong", "delete")
    };
    users.upsert_token(&odd, "strong").await.expect("stored");
    users
        .upsert_token(&token("vault:v1:weak", "read"), "weak")
        .await
        .expect("stored");
    let stored = async || {
        let user = users.get(&odd.user_id).await.expect("MongoDB answers");
        user.expect("the user is there")
    };
    let user = stored().await;
    assert_eq!(
        (user.token.as_str(), user.permission.as_str()),
        ("vault:v1:strong", "delete"),
        "a weaker token does not take its place"
    );
    assert_eq!(user.grant_of("strong"), Some("delete"));
    assert_eq!(user.grant_of("weak"), Some("read"));
    assert_eq!(user.grant_of("none"), None);
    assert_eq!(user.username, "cal");

    users
        .upsert_token(&token("vault:v1:less", "write"), "strong")
        .await
        .expect("stored");
    let user = stored().await;
    assert_eq!(
        (user.token.as_str(), user.grant_of("strong"), user.grants.len()),
        ("vault:v1:strong", Some("write"), 2)
    );

    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_id_of_a_key_belongs_to_one_client() {
    let database = database::create().await;
    let clients = ClientStore::open(&database).await.expect("the store opens");
    let client = |id: &str, keys: &[&str]| Client {
        id: id.to_owned(),
        name: id.to_owned(),
        keys: keys
            .iter()
            .map(|key| ClientKey {
                id: (*key).to_owned(),
                hash: "$2b$12$".to_owned(),
                created_at: time::now(),
            })
            .collect(),
        webhook_secret: "vault:v1:webhook".to_owned(),
        scopes: vec!["jobs:read".to_owned()],
        created_at: time::now(),
    };
    let acme = client("acme", &["old", "new"]);
    for stored in [&acme, &acme, &client("keyless", &[]), &client("keyless too", &[])] {
        clients.upsert(stored).await.expect("stored");
    }
    assert_eq!(
        clients.by_key_id("new").await.expect("MongoDB answers"),
        Some(acme.clone())
    );
    assert_eq!(clients.by_key_id("unknown").await.expect("MongoDB answers"), None);
    assert_eq!(clients.get("acme").await.expect("MongoDB answers"), Some(acme));
    let thief = clients.upsert(&client("thief", &["new"])).await;
    assert!(
        matches!(&thief, Err(StoreError::Duplicate { index }) if index == "key_id"),
        "{thief:?}"
    );
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_oauth_request_works_once_and_for_an_hour() {
    let database = database::create().await;
    let requests = OauthRequestStore::open(&database).await.expect("the store opens");
    let fresh = OauthRequest {
        token: "fresh".to_owned(),
        secret: "vault:v1:secret".to_owned(),
        client_id: "acme".to_owned(),
        app: "main".to_owned(),
        permission: "read".to_owned(),
        return_url: None,
        created_at: time::now(),
    };
    let old = OauthRequest {
        token: "old".to_owned(),
        created_at: time::now() - Duration::from_secs(3601),
        ..fresh.clone()
    };
    for request in [&fresh, &fresh, &old] {
        requests.insert(request).await.expect("stored");
    }
    assert_eq!(requests.get("old").await.expect("MongoDB answers"), None);
    assert_eq!(requests.take("old").await.expect("MongoDB answers"), None);
    // To read it does not use it up.
    for _ in 0..2 {
        let found = requests.get("fresh").await.expect("MongoDB answers");
        assert_eq!(found.as_ref(), Some(&fresh));
    }
    assert_eq!(
        requests.take("fresh").await.expect("MongoDB answers"),
        Some(fresh)
    );
    assert_eq!(requests.take("fresh").await.expect("MongoDB answers"), None);
    database.drop().await.expect("dropped");
}

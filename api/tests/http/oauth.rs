//! A user authorises a client, which then acts for the user.

use serde_json::json;

use crate::hub::{ALL_SCOPES, Answer, Hub};

/// Starts an authorisation and walks through Flickr's page as `username`; gives the address that Flickr sends the
/// browser back to.
async fn visit_flickr(hub: &Hub, body: &serde_json::Value, username: &str, extra: &str) -> String {
    let started = hub.send("POST /api/v1/oauth/start", body).await;
    assert_eq!(started.status, 200, "{started:?}");
    let page = started.body["authorize_url"].as_str().unwrap().to_owned();
    let answer = hub
        .client
        .get(format!("{page}&as={username}{extra}"))
        .send()
        .await
        .unwrap();
    Answer::of(answer).await.header("location").to_owned()
}

async fn browse(hub: &Hub, address: &str) -> Answer {
    Answer::of(hub.client.get(address).send().await.unwrap()).await
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_user_authorises_a_client_which_then_submits_jobs_and_is_forgotten() {
    let hub = Hub::start(|_| {}).await;
    let address = visit_flickr(&hub, &json!({"permission": "write"}), "wasps", "").await;
    let authorised = browse(&hub, &address).await;
    assert_eq!(authorised.status, 200, "{authorised:?}");
    assert_eq!(authorised.body["username"], "wasps");
    assert_eq!(authorised.body["permission"], "write");
    let user_id = authorised.body["user_id"].as_str().unwrap();

    let stored = hub.users.get(user_id).await.unwrap().unwrap();
    assert!(stored.token.starts_with("vault:") && stored.token_secret.starts_with("vault:"));
    assert_eq!(stored.grant_of(&hub.client_id), Some("write"));

    let job = json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5}});
    assert_eq!(hub.send("POST /api/v1/jobs", &job).await.status, 202);

    let path = format!("/api/v1/users/{user_id}/token");
    assert_eq!(hub.ask(&format!("DELETE {path}")).await.status, 204);
    assert_eq!(hub.ask(&format!("DELETE {path}")).await.code(), "user_not_found");
    assert_eq!(hub.send("POST /api/v1/jobs", &job).await.code(), "unknown_user");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_callback_works_once() {
    let hub = Hub::start(|_| {}).await;
    let address = visit_flickr(&hub, &json!({"permission": "read"}), "ants", "").await;
    assert_eq!(browse(&hub, &address).await.status, 200);
    let again = browse(&hub, &address).await;
    assert_eq!((again.status, again.code()), (404, "authorisation_unknown"));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_browser_goes_back_to_the_client_with_the_outcome() {
    let hub = Hub::start(|_| {}).await;
    let body = json!({"permission": "read", "return_url": "https://example.com/done?a=1"});
    let address = visit_flickr(&hub, &body, "moths", "").await;
    let answer = browse(&hub, &address).await;
    assert_eq!(answer.status, 303);
    assert!(
        answer
            .header("location")
            .starts_with("https://example.com/done?a=1&status=authorised&user_id=")
    );

    let address = visit_flickr(&hub, &body, "moths", "&deny=1").await;
    let answer = browse(&hub, &address).await;
    assert_eq!(
        answer.header("location"),
        "https://example.com/done?a=1&status=refused"
    );
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_wrong_verifier_stores_nothing() {
    let hub = Hub::start(|_| {}).await;
    let address = visit_flickr(&hub, &json!({"permission": "read"}), "gnats", "").await;
    let answer = browse(&hub, &format!("{}x", address)).await;
    assert_eq!((answer.status, answer.code()), (403, "authorisation_refused"));
    assert_eq!(hub.users_of_client().await, 0);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_a_user_grants_to_one_client_is_no_grant_to_another() {
    let mut hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("delete").await;
    let strong = hub.api_key.clone();
    (hub.client_id, hub.api_key) = hub.add_client(&ALL_SCOPES).await;
    hub.grant(&user_id, "read").await;
    let job = json!({"user_id": user_id, "method": "flickr.photos.delete", "params": {"photo_id": 5}});
    let refused = hub.send("POST /api/v1/jobs", &job).await;
    assert_eq!((refused.status, refused.code()), (403, "permission_insufficient"));
    hub.api_key = strong;
    assert_eq!(hub.send("POST /api/v1/jobs", &job).await.status, 202);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn one_clients_authorisation_is_not_anothers() {
    let mut hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("read").await;
    let job = json!({"user_id": user_id, "method": "flickr.test.login"});
    let accepted = hub.send("POST /api/v1/jobs", &job).await;
    assert_eq!(accepted.status, 202);

    (hub.client_id, hub.api_key) = hub.add_client(&ALL_SCOPES).await;
    let refused = hub.send("POST /api/v1/jobs", &job).await;
    assert_eq!(
        (refused.status, refused.code(), refused.fields()),
        (422, "unknown_user", vec!["user_id"])
    );
    let path = format!("/api/v1/jobs/{}", accepted.job_id());
    for line in [
        format!("GET {path}"),
        format!("DELETE {path}"),
        format!("POST {path}/replay"),
    ] {
        let answer = hub.ask(&line).await;
        assert_eq!((answer.status, answer.code()), (404, "job_not_found"), "{line}");
    }
    assert_eq!(hub.ask("GET /api/v1/jobs").await.body["jobs"], json!([]));
}

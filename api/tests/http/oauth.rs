//! A user authorises a client, which then acts for the user.

use std::collections::BTreeMap;

use flickrhub_flickr_mock::fault::Rule;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use standardwebhooks::Webhook;
use url::Url;

use crate::hub::{ALL_SCOPES, Answer, Hub, WEBHOOK_SECRET};

/// Starts an authorisation and walks through Flickr's page as `username`; gives the address that Flickr sends the
/// browser back to.
async fn visit_flickr(hub: &Hub, body: &serde_json::Value, username: &str, extra: &str) -> String {
    let page = flickrs_page(hub, body).await;
    browse(hub, &format!("{page}&as={username}{extra}"))
        .await
        .header("location")
        .to_owned()
}

/// Starts an authorisation; gives the address of the page at Flickr.
async fn flickrs_page(hub: &Hub, body: &serde_json::Value) -> String {
    let started = hub.send("POST /api/v1/oauth/start", body).await;
    assert_eq!(started.status, 200, "{started:?}");
    started.body["authorize_url"].as_str().unwrap().to_owned()
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

/// The query of the client's page, if the hub signed it: verified as a client does, with a library of its own.
fn verified(address: &str) -> BTreeMap<String, String> {
    let address = Url::parse(address).unwrap();
    let (message, _) = address.query().unwrap().split_once("&webhook_id=").unwrap();
    let query: BTreeMap<String, String> = address.query_pairs().into_owned().collect();
    let mut headers = HeaderMap::new();
    for (header, parameter) in [
        ("webhook-id", "webhook_id"),
        ("webhook-timestamp", "webhook_timestamp"),
        ("webhook-signature", "webhook_signature"),
    ] {
        let value = HeaderValue::from_str(&query[parameter]).unwrap();
        headers.insert(HeaderName::from_static(header), value);
    }
    let webhook = Webhook::new(WEBHOOK_SECRET).unwrap();
    webhook.verify(message.as_bytes(), &headers).unwrap();
    query
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_browser_goes_back_to_the_client_with_the_outcome_and_a_signature() {
    let hub = Hub::start(|_| {}).await;
    let body = json!({"permission": "read", "return_url": "https://example.com/done?a=1"});
    let address = visit_flickr(&hub, &body, "moths", "").await;
    let answer = browse(&hub, &address).await;
    assert_eq!(answer.status, 303);
    let location = answer.header("location");
    assert!(
        location.starts_with("https://example.com/done?a=1&status=authorised&user_id="),
        "{location}"
    );
    let query = verified(location);
    assert_eq!(query["permission"], "read");
    let user = hub.users.get(&query["user_id"]).await.unwrap().unwrap();
    assert_eq!(user.grant_of(&hub.client_id), Some("read"));

    let address = visit_flickr(&hub, &body, "moths", "&deny=1").await;
    let answer = browse(&hub, &address).await;
    let query = verified(answer.header("location"));
    assert_eq!((query["a"].as_str(), query["status"].as_str()), ("1", "refused"));
    assert!(!query.contains_key("user_id"));
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_callback_lies_below_the_path_of_the_public_address() {
    let hub =
        Hub::start(|config| config.api.public_url = Url::parse("https://example.com/hub/").unwrap()).await;
    let address = visit_flickr(&hub, &json!({"permission": "read"}), "mayflies", "").await;
    assert!(
        address.starts_with("https://example.com/hub/api/v1/oauth/callback?oauth_token="),
        "{address}"
    );
    // What a proxy makes of it that takes the path away.
    let own = address.replace("https://example.com/hub", &hub.base);
    assert_eq!(browse(&hub, &own).await.status, 200);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_is_stored_is_what_flickr_says_was_granted() {
    let hub = Hub::start(|_| {}).await;
    for (username, asked, granted, stored) in [
        ("crickets", "write", "read", "read"),
        ("locusts", "read", "delete", "read"),
    ] {
        let page = flickrs_page(&hub, &json!({"permission": asked})).await;
        // The permission stands in the address of Flickr's page, where the user's browser can change it.
        let page = page.replace(&format!("perms={asked}"), &format!("perms={granted}"));
        let back = browse(&hub, &format!("{page}&as={username}")).await;
        let authorised = browse(&hub, back.header("location")).await;
        assert_eq!(authorised.status, 200, "{authorised:?}");
        assert_eq!(authorised.body["permission"], stored, "{username}");
        let user_id = authorised.body["user_id"].as_str().unwrap();
        let user = hub.users.get(user_id).await.unwrap().unwrap();
        assert_eq!(user.grant_of(&hub.client_id), Some(stored), "{username}");
        let job = json!({"user_id": user_id, "method": "flickr.photos.setMeta", "params": {"photo_id": 5, "title": "x"}});
        let refused = hub.send("POST /api/v1/jobs", &job).await;
        assert_eq!(
            (refused.status, refused.code()),
            (403, "permission_insufficient"),
            "{username}"
        );
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_token_that_flickr_does_not_tell_about_is_not_stored() {
    let hub = Hub::start(|_| {}).await;
    let matching = json!({"method": "flickr.auth.oauth.checkToken"});
    for (fault, status, code) in [
        (
            json!({"match": matching, "kind": "error_code", "code": 105, "times": 1}),
            502,
            "flickr_unavailable",
        ),
        (
            json!({"match": matching, "kind": "drop_connection", "times": 1}),
            502,
            "flickr_unavailable",
        ),
        (
            json!({"match": matching, "kind": "oauth_problem", "problem": "token_rejected", "times": 1}),
            403,
            "authorisation_refused",
        ),
    ] {
        hub.flickr
            .add_fault(serde_json::from_value::<Rule>(fault).unwrap());
        let address = visit_flickr(&hub, &json!({"permission": "read"}), "beetles", "").await;
        let failed = browse(&hub, &address).await;
        assert_eq!((failed.status, failed.code()), (status, code));
        assert_eq!(hub.users_of_client().await, 0);
        // What is used up is used up; the user starts again.
        assert_eq!(browse(&hub, &address).await.code(), "authorisation_unknown");
    }
    let address = visit_flickr(&hub, &json!({"permission": "read"}), "beetles", "").await;
    assert_eq!(browse(&hub, &address).await.status, 200);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_wrong_verifier_stores_nothing() {
    let hub = Hub::start(|_| {}).await;
    let address = visit_flickr(&hub, &json!({"permission": "read"}), "gnats", "").await;
    let answer = browse(&hub, &format!("{address}x")).await;
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
async fn whoever_finishes_an_authorisation_it_is_that_of_the_client_that_began_it() {
    let mut hub = Hub::start(|_| {}).await;
    let owner = (hub.client_id.clone(), hub.api_key.clone());
    for (scopes, username) in [(&ALL_SCOPES[..], "hornets"), (&["admin"][..], "cicadas")] {
        let read = json!({"permission": "read"});
        let address = visit_flickr(&hub, &read, username, "").await;
        let unfinished = visit_flickr(&hub, &read, username, "").await;
        (hub.client_id, hub.api_key) = hub.add_client(scopes).await;
        // A stolen token without its verifier is of no use, and is used up by the try.
        let (token, _) = unfinished.split_once("&oauth_verifier=").unwrap();
        let guess = hub
            .client
            .get(format!("{token}&oauth_verifier=guess"))
            .bearer_auth(&hub.api_key);
        let refused = Answer::of(guess.send().await.unwrap()).await;
        assert_eq!((refused.status, refused.code()), (403, "authorisation_refused"));
        assert_eq!(browse(&hub, &unfinished).await.code(), "authorisation_unknown");

        let finish = hub.client.get(&address).bearer_auth(&hub.api_key);
        let finished = Answer::of(finish.send().await.unwrap()).await;
        assert_eq!(finished.status, 200, "{finished:?}");
        let user_id = finished.body["user_id"].as_str().unwrap();
        let user = hub.users.get(user_id).await.unwrap().unwrap();
        assert_eq!(user.grant_of(&owner.0), Some("read"));
        assert_eq!(user.grant_of(&hub.client_id), None);
        assert_eq!(hub.users_of_client().await, 0);
        let job = json!({"user_id": user_id, "method": "flickr.test.login"});
        assert_eq!(hub.send("POST /api/v1/jobs", &job).await.code(), "unknown_user");
        (hub.client_id, hub.api_key) = owner.clone();
    }
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

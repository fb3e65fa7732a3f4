use flickrhub_flickr::{
    Disposition, Endpoints, Failure, FlickrClient, OAuthProblem, Permission, TraceHeaders, UserToken,
};
use reqwest::{Client, Url, redirect::Policy};
use secrecy::ExposeSecret;

use crate::fixture::{Fixture, TIMEOUTS, answering};

const CALLBACK: &str = "https://hub.example/api/v1/oauth/callback?state=a%20b";

/// The query that a browser brings to the callback after visiting `page`.
async fn redirected(page: Url) -> Vec<(String, String)> {
    let browser = Client::builder().redirect(Policy::none()).build().unwrap();
    let answer = browser.get(page).send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let location: Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
    assert_eq!(location.host_str(), Some("hub.example"));
    location.query_pairs().into_owned().collect()
}

fn value<'a>(query: &'a [(String, String)], name: &str) -> &'a str {
    query
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
        .unwrap()
}

#[tokio::test]
async fn a_user_authorizes_and_the_token_works() {
    let fixture = Fixture::start().await;
    let (client, app, trace) = (&fixture.client, &fixture.app, TraceHeaders::none());

    let request_token = client.request_token(app, CALLBACK, &trace).await.unwrap();
    let public = request_token.0.token.expose_secret().to_owned();
    let mut page = client.authorize_url(&public, Permission::Write);
    page.query_pairs_mut().append_pair("as", "mäusi");
    let query = redirected(page).await;
    assert_eq!(value(&query, "state"), "a b");
    assert_eq!(value(&query, "oauth_token"), public);

    let verifier = value(&query, "oauth_verifier");
    let grant = client
        .access_token(app, &request_token, verifier, &trace)
        .await
        .unwrap();
    assert_eq!(grant.username, "mäusi");
    assert_eq!(grant.fullname, "mäusi of the mock");
    assert!(grant.user_nsid.ends_with("@N01"));

    let login = fixture
        .call_as(Some(&grant.token), "flickr.test.login", &[])
        .await
        .unwrap();
    assert_eq!(login["user"]["id"], grant.user_nsid.as_str());

    let info = client.check_token(app, &grant.token, &trace).await.unwrap();
    assert_eq!(info.permission, Permission::Write);
    assert_eq!(info.user_nsid, grant.user_nsid);

    // A request token buys one access token.
    let again = client
        .access_token(app, &request_token, verifier, &trace)
        .await
        .unwrap_err();
    assert_eq!(again.failure(), &Failure::OAuth(OAuthProblem::TokenRejected));
    assert_eq!(again.disposition(), Disposition::Permanent);
}

#[tokio::test]
async fn a_user_who_changes_the_address_grants_less_and_the_token_says_so() {
    let fixture = Fixture::start().await;
    let (client, app, trace) = (&fixture.client, &fixture.app, TraceHeaders::none());
    let request_token = client.request_token(app, CALLBACK, &trace).await.unwrap();
    let page = client.authorize_url(request_token.0.token.expose_secret(), Permission::Delete);
    let page = page
        .as_str()
        .replace("perms=delete", "perms=read")
        .parse()
        .unwrap();
    let query = redirected(page).await;
    let verifier = value(&query, "oauth_verifier");
    let grant = client
        .access_token(app, &request_token, verifier, &trace)
        .await
        .unwrap();
    let info = client.check_token(app, &grant.token, &trace).await.unwrap();
    assert_eq!(info.permission, Permission::Read);
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_not_told_about() {
    let fixture = Fixture::start().await;
    let check = async |token: &UserToken| {
        let trace = TraceHeaders::none();
        fixture.client.check_token(&fixture.app, token, &trace).await
    };
    let refused = check(&UserToken::new("nobody", "knows")).await.unwrap_err();
    assert_eq!(refused.failure(), &Failure::OAuth(OAuthProblem::TokenRejected));

    // The right token with the wrong secret: the mock verifies this call's signature as that of any other.
    let forged = UserToken::new(fixture.user.oauth_token.as_str(), "guessed");
    let refused = check(&forged).await.unwrap_err();
    assert_eq!(refused.failure(), &Failure::OAuth(OAuthProblem::SignatureInvalid));
}

#[tokio::test]
async fn a_wrong_verifier_is_refused() {
    let fixture = Fixture::start().await;
    let (client, app, trace) = (&fixture.client, &fixture.app, TraceHeaders::none());
    let request_token = client.request_token(app, CALLBACK, &trace).await.unwrap();
    let page = client.authorize_url(request_token.0.token.expose_secret(), Permission::Read);
    redirected(page).await;
    let error = client
        .access_token(app, &request_token, "guessed", &trace)
        .await
        .unwrap_err();
    assert_eq!(error.failure(), &Failure::OAuth(OAuthProblem::VerifierInvalid));
}

#[tokio::test]
async fn an_authorization_that_was_not_given_buys_nothing() {
    let fixture = Fixture::with(|builder| builder.auto_approve(false), TIMEOUTS).await;
    let (client, app, trace) = (&fixture.client, &fixture.app, TraceHeaders::none());
    let request_token = client.request_token(app, CALLBACK, &trace).await.unwrap();
    let page = client.authorize_url(request_token.0.token.expose_secret(), Permission::Read);
    let asked = reqwest::get(page.clone()).await.unwrap();
    assert!(asked.text().await.unwrap().contains("authorize it"));
    let error = client
        .access_token(app, &request_token, "none", &trace)
        .await
        .unwrap_err();
    assert_eq!(error.disposition(), Disposition::Permanent);

    let mut denied = page;
    denied.query_pairs_mut().append_pair("deny", "1");
    assert_eq!(value(&redirected(denied).await, "oauth_problem"), "user_refused");
}

#[tokio::test]
async fn unknown_credentials_are_refused() {
    let mut fixture = Fixture::start().await;
    fixture.app.secret = "another".into();
    let trace = TraceHeaders::none();
    let refused = fixture
        .client
        .request_token(&fixture.app, CALLBACK, &trace)
        .await
        .unwrap_err();
    assert_eq!(refused.failure(), &Failure::OAuth(OAuthProblem::SignatureInvalid));
    assert_eq!(refused.label(), "oauth_signature_invalid");

    fixture.app.key = "unknown".into();
    let refused = fixture
        .client
        .request_token(&fixture.app, CALLBACK, &trace)
        .await
        .unwrap_err();
    assert_eq!(
        refused.failure(),
        &Failure::OAuth(OAuthProblem::ConsumerKeyUnknown)
    );
}

#[tokio::test]
async fn an_unknown_token_is_refused_and_asks_for_authorization() {
    let fixture = Fixture::start().await;
    let stranger = UserToken::new("nobody", "knows");
    let error = fixture
        .call_as(Some(&stranger), "flickr.test.login", &[])
        .await
        .unwrap_err();
    assert_eq!(error.failure(), &Failure::OAuth(OAuthProblem::TokenRejected));
    assert!(error.needs_authorization());
    // The answer repeats the whole request; the error does not.
    assert!(!format!("{error} {error:?}").contains("nobody"));
}

#[tokio::test]
async fn a_step_of_the_flow_tells_that_its_body_is_empty() {
    let fixture = Fixture::start().await;
    let (origin, head) = answering("HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n").await;
    let client = FlickrClient::new(Endpoints::under(&origin).unwrap(), TIMEOUTS).unwrap();
    client
        .request_token(&fixture.app, CALLBACK, &TraceHeaders::none())
        .await
        .unwrap_err();
    let head = head.await.unwrap().to_ascii_lowercase();
    assert_eq!(head.matches("content-length: 0\r\n").count(), 1, "{head}");
}

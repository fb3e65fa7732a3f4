//! Users of Flickr's stand-in who let the default client act for them: as the OAuth flow would make them, without it,
//! because thousands are wanted.

use flickrhub_e2e::cluster;
use flickrhub_job::store::NewToken;
use flickrhub_job::vault::TransitKey;
use futures::{StreamExt, TryStreamExt};
use mongodb::bson::{Document, doc};
use reqwest::Client;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::Failure;
use crate::tier::Tier;

/// The client that the operator registers with every hub.
pub(crate) const DEFAULT_CLIENT: &str = "default";
/// Users that are made at a time.
const AT_A_TIME: usize = 16;

/// Makes `count` users; answers their ids. Those of an earlier run are taken up again.
///
/// # Errors
/// When the stand-in, Vault or MongoDB does not answer.
pub(crate) async fn make(tier: &Tier, count: usize) -> Result<Vec<String>, Failure> {
    let http = Client::new();
    let app = tier.hub.flickr.apps.first().ok_or("the hub has no application")?;
    futures::stream::iter(0..count)
        .map(|index| one(tier, &http, &app.name, index))
        .buffered(AT_A_TIME)
        .try_collect()
        .await
}

async fn one(tier: &Tier, http: &Client, app: &str, index: usize) -> Result<String, Failure> {
    let user = json!({"username": format!("bench-{index}"), "perms": "read"});
    let answer = http.post(mock("users")).json(&user).send().await?;
    let user: Value = answer.error_for_status()?.json().await?;
    let text = |field: &str| user[field].as_str().unwrap_or_default().to_owned();
    let user_id = text("user_nsid");
    let encrypted = async |field: &str| {
        let plain = SecretString::from(text(field));
        tier.vault.encrypt(TransitKey::UserTokens, &user_id, &plain).await
    };
    let token = NewToken {
        user_id: user_id.clone(),
        username: text("username"),
        full_name: text("fullname"),
        app: app.to_owned(),
        permission: text("perms"),
        token: encrypted("oauth_token").await?,
        token_secret: encrypted("oauth_token_secret").await?,
    };
    tier.users.upsert_token(&token, DEFAULT_CLIENT).await?;
    Ok(user_id)
}

/// Takes the users away again, here and at the stand-in.
///
/// # Errors
/// When the stand-in or MongoDB does not answer.
pub(crate) async fn remove(tier: &Tier, users: &[String]) -> Result<(), Failure> {
    let stored = tier.database.collection::<Document>("users");
    stored.delete_many(doc! { "_id": { "$in": users } }).await?;
    let http = Client::new();
    let revoked =
        futures::stream::iter(users).map(|user| http.delete(mock(&format!("users/{user}/tokens"))).send());
    revoked
        .buffer_unordered(AT_A_TIME)
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok(())
}

/// An address of the control side of Flickr's stand-in.
pub(crate) fn mock(path: &str) -> String {
    format!(
        "http://flickr-mock.{}.svc:8080/_mock/{path}",
        cluster::namespace()
    )
}

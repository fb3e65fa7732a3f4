//! OAuth requests that wait for their user to come back from Flickr (OAuth 1.0, RFC 5849 section 2).

use bson::{Document, doc};
use jiff::Timestamp;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::collections::CollectionName;
use super::error::within;
use super::index::{self, OAUTH_REQUEST_LIFETIME};
use super::time::{now, to_bson};

/// A request token (RFC 5849 section 2.1) and what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthRequest {
    /// The request token.
    #[serde(rename = "_id")]
    pub token: String,
    /// Its secret, encrypted by Vault with the client's id as context.
    pub secret: String,
    /// The client that will act for the user.
    pub client_id: String,
    /// The name of the Flickr application.
    pub app: String,
    /// What the user is asked for: `read`, `write` or `delete`.
    pub permission: String,
    /// Where the user's browser goes in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
    /// When it was made; it works for one hour.
    #[serde(with = "crate::store::time")]
    pub created_at: Timestamp,
}

/// The OAuth requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OauthRequestStore {
    requests: Collection<OauthRequest>,
}

impl OauthRequestStore {
    /// Opens the store and creates the indexes that are missing.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let requests = CollectionName::OauthRequests.of(database);
        within(requests.create_indexes(index::oauth_requests())).await?;
        Ok(Self { requests })
    }

    /// Stores a request. Storing the same token again does nothing.
    pub async fn insert(&self, request: &OauthRequest) -> Result<(), StoreError> {
        match within(self.requests.insert_one(request)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_same_id() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A request that still works. `None`: unknown, used, or older than an hour.
    pub async fn get(&self, token: &str) -> Result<Option<OauthRequest>, StoreError> {
        within(self.requests.find_one(working(token))).await
    }

    /// Takes a request out, so that it works once. `None`: unknown, used, or older than an hour.
    pub async fn take(&self, token: &str) -> Result<Option<OauthRequest>, StoreError> {
        within(self.requests.find_one_and_delete(working(token))).await
    }
}

/// The request of this token, unless it is too old.
fn working(token: &str) -> Document {
    // The index deletes old requests about once a minute, which is not exact enough for a credential.
    let oldest = now()
        .checked_sub(OAUTH_REQUEST_LIFETIME)
        .unwrap_or(Timestamp::MIN);
    doc! { "_id": token, "created_at": { "$gt": to_bson(oldest) } }
}

//! The Flickr users whose token we hold, and the clients that each of them authorised.

use bson::doc;
use jiff::Timestamp;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::error::within;
use super::time::{now, to_bson};
use super::{StoreError, index};

/// A Flickr user. The token is encrypted by Vault with the user's id as context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Flickr's id of the user (NSID), for example `12037949754@N01`.
    #[serde(rename = "_id")]
    pub id: String,
    /// The user's name at Flickr.
    pub username: String,
    /// The user's full name; may be empty.
    pub full_name: String,
    /// The name of the Flickr application that the token belongs to.
    pub app: String,
    /// What the token allows: `read`, `write` or `delete`.
    pub permission: String,
    /// The OAuth token, as ciphertext.
    pub token: String,
    /// The secret of the OAuth token, as ciphertext.
    pub token_secret: String,
    /// The clients that may act for the user.
    pub clients: Vec<String>,
    /// When the user first authorised a client.
    #[serde(with = "crate::store::time")]
    pub created_at: Timestamp,
    /// When the token was stored last.
    #[serde(with = "crate::store::time")]
    pub updated_at: Timestamp,
}

/// A token that Flickr just gave us; see the fields of [`User`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Flickr's id of the user (NSID).
    pub user_id: String,
    /// The user's name at Flickr.
    pub username: String,
    /// The user's full name; may be empty.
    pub full_name: String,
    /// The name of the Flickr application that the token belongs to.
    pub app: String,
    /// What the token allows: `read`, `write` or `delete`.
    pub permission: String,
    /// The OAuth token, as ciphertext.
    pub token: String,
    /// The secret of the OAuth token, as ciphertext.
    pub token_secret: String,
}

/// The users. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UserStore {
    users: Collection<User>,
}

impl UserStore {
    /// Opens the store and creates the indexes that are missing.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let users = database.collection("users");
        within(users.create_indexes(index::users())).await?;
        Ok(Self { users })
    }

    /// One user, for processes that act on jobs which were authorised when they were accepted.
    pub async fn get(&self, user_id: &str) -> Result<Option<User>, StoreError> {
        within(self.users.find_one(doc! { "_id": user_id })).await
    }

    /// The user, if the client may act for them.
    pub async fn authorised_for(&self, user_id: &str, client_id: &str) -> Result<Option<User>, StoreError> {
        within(self.users.find_one(doc! { "_id": user_id, "clients": client_id })).await
    }

    /// Stores a user's token in place of the one before, and lets the client act for the user.
    pub async fn upsert_token(&self, token: &NewToken, client_id: &str) -> Result<(), StoreError> {
        let update = doc! {
            "$set": {
                "username": &token.username,
                "full_name": &token.full_name,
                "app": &token.app,
                "permission": &token.permission,
                "token": &token.token,
                "token_secret": &token.token_secret,
                "updated_at": to_bson(now()),
            },
            "$addToSet": { "clients": client_id },
            "$setOnInsert": { "created_at": to_bson(now()) },
        };
        let upsert = self
            .users
            .update_one(doc! { "_id": &token.user_id }, update)
            .upsert(true);
        within(upsert).await?;
        Ok(())
    }

    /// Takes the client's right to act for the user, and deletes the token when no other client has it.
    /// `false`: the client had no such right.
    ///
    /// If the process dies between the two, a token is left that no client can use, until its user is removed or
    /// authorises a client again.
    pub async fn remove_token(&self, user_id: &str, client_id: &str) -> Result<bool, StoreError> {
        let pull = self.users.update_one(
            doc! { "_id": user_id, "clients": client_id },
            doc! { "$pull": { "clients": client_id }, "$set": { "updated_at": to_bson(now()) } },
        );
        let removed = within(pull).await?.matched_count == 1;
        // Also without a match: an earlier call may have died in between.
        within(
            self.users
                .delete_one(doc! { "_id": user_id, "clients": { "$size": 0 } }),
        )
        .await?;
        Ok(removed)
    }
}

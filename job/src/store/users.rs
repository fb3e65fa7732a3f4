//! The Flickr users whose token we hold, and what each of them granted to which client.
//!
//! There is one token for each user, and it allows as much as the greatest of the grants. What a client may do is its own
//! grant alone: what the user agreed to for one client is no consent for another.
//!
//! Who a user granted what is asked for with every job, so the answer is kept for [`KEPT`]: a right that is taken away is
//! gone from every process after that time at the latest, and at once from the one that took it. That there is no right is
//! never kept: a user who has just authorised a client is known everywhere.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use jiff::Timestamp;
use moka::future::Cache;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::collections::CollectionName;
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
    /// The clients that may act for the user, each once.
    pub grants: Vec<Grant>,
    /// When the user first authorised a client.
    #[serde(with = "crate::store::time")]
    pub created_at: Timestamp,
    /// When the token was stored last.
    #[serde(with = "crate::store::time")]
    pub updated_at: Timestamp,
}

/// What a user agreed to for one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The client.
    pub client_id: String,
    /// `read`, `write` or `delete`.
    pub permission: String,
}

impl User {
    /// What the user agreed to for this client.
    pub fn grant_of(&self, client_id: &str) -> Option<&str> {
        self.grants
            .iter()
            .find(|grant| grant.client_id == client_id)
            .map(|grant| grant.permission.as_str())
    }
}

/// What a token can allow; each includes those before it.
const PERMISSIONS: [&str; 4] = ["none", "read", "write", "delete"];

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

/// How long a user is believed to be as it was read. With the time that the reading takes it stays under five seconds.
const KEPT: Duration = Duration::from_secs(4);

/// The most users that are kept.
const MOST_KEPT: u64 = 10_000;

/// The users. Cheap to clone; clones share what they keep.
#[derive(Clone, Debug)]
pub struct UserStore {
    users: Collection<User>,
    kept: Cache<String, Arc<User>>,
}

impl UserStore {
    /// Opens the store and creates the indexes that are missing.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let users = CollectionName::Users.of(database);
        within(users.create_indexes(index::users())).await?;
        let kept = Cache::builder()
            .max_capacity(MOST_KEPT)
            .time_to_live(KEPT)
            .build();
        Ok(Self { users, kept })
    }

    /// One user, for processes that act on jobs which were authorised when they were accepted.
    pub async fn get(&self, user_id: &str) -> Result<Option<User>, StoreError> {
        within(self.users.find_one(doc! { "_id": user_id })).await
    }

    /// The user, if the client may act for them; how far, says [`User::grant_of`]. As it was up to [`KEPT`] ago.
    ///
    /// Of many that ask for one user at once, one reads.
    pub async fn authorised_for(
        &self,
        user_id: &str,
        client_id: &str,
    ) -> Result<Option<Arc<User>>, StoreError> {
        if let Some(user) = self.kept.get(user_id).await {
            return if user.grant_of(client_id).is_some() {
                Ok(Some(user))
            } else {
                self.authorised_now(user_id, client_id).await
            };
        }
        let read = async {
            let user = self.get(user_id).await.map_err(Some)?;
            user.map(Arc::new).ok_or(None)
        };
        match self.kept.try_get_with_by_ref(user_id, read).await {
            Ok(user) => Ok(Some(user).filter(|user| user.grant_of(client_id).is_some())),
            Err(error) => Arc::unwrap_or_clone(error).map_or(Ok(None), Err),
        }
    }

    /// [`UserStore::authorised_for`] as it is now, for whoever has reason to believe that it has changed.
    pub async fn authorised_now(
        &self,
        user_id: &str,
        client_id: &str,
    ) -> Result<Option<Arc<User>>, StoreError> {
        let Some(user) = self.get(user_id).await?.map(Arc::new) else {
            self.kept.invalidate(user_id).await;
            return Ok(None);
        };
        self.kept.insert(user_id.to_owned(), Arc::clone(&user)).await;
        Ok(Some(user).filter(|user| user.grant_of(client_id).is_some()))
    }

    /// Lets the client act for the user as far as the token goes, and stores the token, unless the one before allows
    /// more: other clients may need that.
    pub async fn upsert_token(&self, token: &NewToken, client_id: &str) -> Result<(), StoreError> {
        let upsert = self
            .users
            .update_one(doc! { "_id": &token.user_id }, upsert(token, client_id))
            .upsert(true);
        within(upsert).await?;
        self.kept.invalidate(&token.user_id).await;
        Ok(())
    }

    /// Takes the client's right to act for the user, and deletes the token when no other client has it.
    /// `false`: the client had no such right.
    ///
    /// If the process dies between the two, a token is left that no client can use, until a client is removed from the
    /// user again or the user authorises one.
    pub async fn remove_token(&self, user_id: &str, client_id: &str) -> Result<bool, StoreError> {
        let pull = self.users.update_one(
            doc! { "_id": user_id, "grants.client_id": client_id },
            doc! {
                "$pull": { "grants": { "client_id": client_id } },
                "$set": { "updated_at": to_bson(now()) },
            },
        );
        let pulled = within(pull).await;
        self.kept.invalidate(user_id).await;
        let removed = pulled?.matched_count == 1;
        // Also without a match: an earlier call may have died in between.
        within(
            self.users
                .delete_one(doc! { "_id": user_id, "grants": { "$size": 0 } }),
        )
        .await?;
        Ok(removed)
    }
}

/// The update of [`UserStore::upsert_token`], as a pipeline: whether the token is replaced depends on the one before.
/// Expressions see the document as it was. Texts from outside are `$literal`, because one that begins with `$` would be
/// an expression.
fn upsert(token: &NewToken, client_id: &str) -> Vec<Document> {
    let text = |text: &str| doc! { "$literal": text };
    // A permission without a rank allows nothing, on either side.
    let rank = PERMISSIONS
        .iter()
        .position(|name| *name == token.permission)
        .and_then(|rank| i32::try_from(rank).ok())
        .unwrap_or(0);
    let stored_rank =
        doc! { "$indexOfArray": [PERMISSIONS.as_slice(), { "$ifNull": ["$permission", "none"] }] };
    let stored_is_greater = doc! { "$gt": [stored_rank, rank] };
    let unless_greater = |field: &str, new: &str| {
        doc! { "$cond": [stored_is_greater.clone(), field, text(new)] }
    };
    let others = doc! { "$filter": {
        "input": { "$ifNull": ["$grants", []] },
        "cond": { "$ne": ["$$this.client_id", text(client_id)] },
    } };
    let own = doc! { "client_id": text(client_id), "permission": text(&token.permission) };
    vec![doc! { "$set": {
        "username": text(&token.username),
        "full_name": text(&token.full_name),
        "app": unless_greater("$app", &token.app),
        "permission": unless_greater("$permission", &token.permission),
        "token": unless_greater("$token", &token.token),
        "token_secret": unless_greater("$token_secret", &token.token_secret),
        "grants": { "$concatArrays": [others, [own]] },
        "created_at": { "$ifNull": ["$created_at", to_bson(now())] },
        "updated_at": to_bson(now()),
    } }]
}

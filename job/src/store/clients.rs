//! The clients of the HTTP API.

use bson::doc;
use jiff::Timestamp;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::collections::CollectionName;
use super::error::within;
use super::{StoreError, index};

/// A client of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Identity.
    #[serde(rename = "_id")]
    pub id: String,
    /// A name for people.
    pub name: String,
    /// The API keys that work; more than one while a key is being rotated.
    pub keys: Vec<ClientKey>,
    /// The secret that signs callbacks (`whsec_…`), encrypted by Vault with the client's id as context.
    pub webhook_secret: String,
    /// What the client may do.
    pub scopes: Vec<String>,
    /// When it was made.
    #[serde(with = "crate::store::time")]
    pub created_at: Timestamp,
}

/// One API key of a client: `fh_<id>_<secret>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey {
    /// The part of the key that is no secret; unique over all clients.
    pub id: String,
    /// The bcrypt hash of the secret part.
    pub hash: String,
    /// When it was made.
    #[serde(with = "crate::store::time")]
    pub created_at: Timestamp,
}

/// The clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientStore {
    pub(super) clients: Collection<Client>,
}

impl ClientStore {
    /// Opens the store and creates the indexes that are missing.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let clients = CollectionName::Clients.of(database);
        within(clients.create_indexes(index::clients())).await?;
        Ok(Self { clients })
    }

    /// The client that an API key belongs to; the caller verifies the key's secret.
    pub async fn by_key_id(&self, key_id: &str) -> Result<Option<Client>, StoreError> {
        within(self.clients.find_one(doc! { "keys.id": key_id })).await
    }

    /// One client.
    pub async fn get(&self, client_id: &str) -> Result<Option<Client>, StoreError> {
        within(self.clients.find_one(doc! { "_id": client_id })).await
    }

    /// Stores a client in place of the one with the same id; fields that this version does not know stay.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when another client has a key of the same id.
    pub async fn upsert(&self, client: &Client) -> Result<(), StoreError> {
        let mut fields =
            bson::serialize_to_document(client).map_err(|error| StoreError::Unstorable(error.to_string()))?;
        fields.remove("_id");
        let update = doc! { "$set": fields };
        within(
            self.clients
                .update_one(doc! { "_id": &client.id }, update)
                .upsert(true),
        )
        .await?;
        Ok(())
    }
}

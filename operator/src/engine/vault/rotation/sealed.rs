//! Where ciphertexts of the transit keys are stored, and how they are exchanged.
//!
//! Which version of its key a ciphertext is of stands at its beginning (`vault:v3:…`), so what is left to do can be seen in
//! the data itself and needs no record that could be wrong.

use std::time::Duration;

use flickrhub_job::store::CollectionName;
use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{CollectionOptions, ReadConcern};
use mongodb::{Collection, Database};

use super::TransitKey;

/// How long MongoDB may take for one answer: a count reads the whole collection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Where ciphertexts of a key stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The collection.
    pub collection: &'static str,
    /// The field with the context of the key.
    pub context: &'static str,
    /// The fields with ciphertexts.
    pub fields: &'static [Field],
}

/// A field with a ciphertext, or without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A path in the document.
    At(&'static str),
    /// A field in each element of an array.
    Each {
        /// The array.
        array: &'static str,
        /// The field.
        field: &'static str,
    },
}

const USERS: Place = Place {
    collection: CollectionName::Users.name(),
    context: "_id",
    fields: &[Field::At("token"), Field::At("token_secret")],
};
const CLIENTS: Place = Place {
    collection: CollectionName::Clients.name(),
    context: "_id",
    fields: &[
        Field::At("webhook_secret"),
        Field::At("previous_webhook_secret.ciphertext"),
        Field::Each {
            array: "keys",
            field: "hmac_secret",
        },
    ],
};
/// They live for an hour, and are exchanged all the same: one rule for everything.
const OAUTH_REQUESTS: Place = Place {
    collection: CollectionName::OauthRequests.name(),
    context: "client_id",
    fields: &[Field::At("secret")],
};

impl Field {
    /// The path that a projection takes.
    fn projection(self) -> String {
        match self {
            Self::At(path) => path.to_owned(),
            Self::Each { array, field } => format!("{array}.{field}"),
        }
    }

    /// That a ciphertext of a version before `latest` is there.
    fn older(self, latest: u32) -> Document {
        let older = doc! { "$type": "string", "$not": { "$regex": format!("^{}", prefix(latest)) } };
        match self {
            Self::At(path) => doc! { path: older },
            Self::Each { array, field } => doc! { array: { "$elemMatch": { field: older } } },
        }
    }

    /// Each ciphertext with its path. The place in an array is part of it, and of the guard of its exchange.
    fn read(self, document: &Document) -> Vec<(String, String)> {
        let text = |document: &Document, path: &str| match lookup(document, path)? {
            Bson::String(text) => Some(text.clone()),
            _ => None,
        };
        match self {
            Self::At(path) => text(document, path)
                .map(|found| (path.to_owned(), found))
                .into_iter()
                .collect(),
            Self::Each { array, field } => {
                let elements = document.get_array(array).map(Vec::as_slice).unwrap_or_default();
                let found = elements.iter().enumerate().filter_map(|(index, element)| {
                    let found = text(element.as_document()?, field)?;
                    Some((format!("{array}.{index}.{field}"), found))
                });
                found.collect()
            }
        }
    }
}

/// Everything that is encrypted with a key.
pub const fn places(key: TransitKey) -> &'static [Place] {
    match key {
        TransitKey::UserTokens => &[USERS],
        TransitKey::AppCredentials => &[CLIENTS, OAUTH_REQUESTS],
    }
}

/// The ciphertexts of older versions in one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The id of the document.
    pub id: String,
    /// The context of the key.
    pub context: String,
    /// The path of each ciphertext with the ciphertext.
    pub ciphertexts: Vec<(String, String)>,
}

/// The exchange of ciphertexts in one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The id of the document.
    pub id: String,
    /// Each path with the ciphertext that it must still have, and the one that it gets.
    pub fields: Vec<(String, String, String)>,
}

/// MongoDB failed.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// MongoDB refused, or did not answer.
    // The driver's text can hold the whole answer of the server, its kind alone says enough.
    #[error("MongoDB: {}", .0.kind)]
    MongoDb(#[from] mongodb::error::Error),
    /// MongoDB did not answer in time.
    #[error("MongoDB did not answer in {} s", ANSWER_TIMEOUT.as_secs())]
    TimedOut,
    /// Some updates of a batch failed.
    #[error("MongoDB did not take {0} updates of a batch")]
    Updates(usize),
}

/// What is stored, as a rewrap needs it.
pub trait Stored {
    /// Documents with ciphertexts of versions before `latest`, in the order of their ids, behind the id `after`, at most
    /// `limit`.
    fn older(
        &self,
        place: &Place,
        latest: u32,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Sealed>, StoredError>> + Send;

    /// Exchanges ciphertexts in documents that still have the old ones; others are left alone. The number of documents
    /// that changed.
    fn exchange(
        &self,
        place: &Place,
        exchanges: &[Exchange],
    ) -> impl Future<Output = Result<u64, StoredError>> + Send;

    /// The number of documents with ciphertexts of versions before `latest`.
    fn count(&self, place: &Place, latest: u32) -> impl Future<Output = Result<u64, StoredError>> + Send;
}

/// The database of a hub.
pub struct HubDatabase(Database);

impl HubDatabase {
    /// What is in `database`.
    pub const fn new(database: Database) -> Self {
        Self(database)
    }

    /// Read is only what a majority has: what a failover takes back would be counted as not there.
    fn collection(&self, place: &Place) -> Collection<Document> {
        let majority = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .build();
        self.0.collection_with_options(place.collection, majority)
    }
}

impl Stored for HubDatabase {
    async fn older(
        &self,
        place: &Place,
        latest: u32,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Sealed>, StoredError> {
        let mut filter = older(place, latest);
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after });
        }
        let mut projection = doc! { "_id": 1, place.context: 1 };
        projection.extend(
            place
                .fields
                .iter()
                .map(|field| (field.projection(), Bson::Int32(1))),
        );
        let collection = self.collection(place);
        let found = collection
            .find(filter)
            .sort(doc! { "_id": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .projection(projection);
        let documents: Vec<Document> = within(async { found.await?.try_collect().await }).await?;
        Ok(documents
            .iter()
            .filter_map(|document| read(place, latest, document))
            .collect())
    }

    async fn exchange(&self, place: &Place, exchanges: &[Exchange]) -> Result<u64, StoredError> {
        let updates: Vec<Document> = exchanges.iter().map(update).collect();
        if updates.is_empty() {
            return Ok(0);
        }
        let command = doc! {
            "update": place.collection,
            "updates": updates,
            "ordered": false,
            "writeConcern": { "w": "majority" },
        };
        let update = self.0.run_command(command);
        let answer = within(async { update.await }).await?;
        let failed = answer.get_array("writeErrors").map_or(0, Vec::len);
        if failed > 0 {
            return Err(StoredError::Updates(failed));
        }
        let changed = answer.get_i32("nModified").unwrap_or_default();
        Ok(u64::try_from(changed).unwrap_or_default())
    }

    async fn count(&self, place: &Place, latest: u32) -> Result<u64, StoredError> {
        let collection = self.collection(place);
        let count = collection.count_documents(older(place, latest));
        within(async { count.await }).await
    }
}

async fn within<T>(call: impl Future<Output = mongodb::error::Result<T>>) -> Result<T, StoredError> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, call).await;
    Ok(answer.map_err(|_| StoredError::TimedOut)??)
}

/// Documents that have a ciphertext of a version before `latest`.
fn older(place: &Place, latest: u32) -> Document {
    let fields = place.fields.iter().map(|field| field.older(latest));
    doc! { "$or": fields.collect::<Vec<_>>() }
}

/// What ciphertexts of a version begin with.
fn prefix(version: u32) -> String {
    format!("vault:v{version}:")
}

/// The ciphertexts of older versions in a document.
fn read(place: &Place, latest: u32, document: &Document) -> Option<Sealed> {
    let current = prefix(latest);
    let text = |field: &str| document.get_str(field).ok().map(str::to_owned);
    let ciphertexts = place.fields.iter().flat_map(|field| field.read(document));
    Some(Sealed {
        id: text("_id")?,
        context: text(place.context)?,
        ciphertexts: ciphertexts
            .filter(|(_, ciphertext)| !ciphertext.starts_with(&current))
            .collect(),
    })
}

/// The value at a path with dots.
fn lookup<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.split_once('.') {
        None => document.get(path),
        Some((first, rest)) => lookup(document.get_document(first).ok()?, rest),
    }
}

/// One document's part of a batch: it changes what is as it was read, and nothing else.
fn update(exchange: &Exchange) -> Document {
    let mut unchanged = doc! { "_id": &exchange.id };
    let mut set = Document::new();
    for (field, old, new) in &exchange.fields {
        unchanged.insert(field, old);
        set.insert(field, new);
    }
    doc! { "q": unchanged, "u": { "$set": set } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ciphertexts_of_older_versions_are_read() {
        let client = doc! {
            "_id": "acme",
            "webhook_secret": "vault:v3:new",
            "previous_webhook_secret": { "ciphertext": "vault:v2:old", "valid_until": 0 },
            "keys": [{ "id": "k1" }, { "hmac_secret": "vault:v3:key" }, { "hmac_secret": "vault:v1:key" }],
        };
        let found = |path: &str, ciphertext: &str| (path.to_owned(), ciphertext.to_owned());
        let expected = Sealed {
            id: "acme".to_owned(),
            context: "acme".to_owned(),
            ciphertexts: vec![
                found("previous_webhook_secret.ciphertext", "vault:v2:old"),
                found("keys.2.hmac_secret", "vault:v1:key"),
            ],
        };
        assert_eq!(read(&CLIENTS, 3, &client), Some(expected));
        // Version 3 is not version 30.
        assert_eq!(
            read(&CLIENTS, 30, &client).map(|sealed| sealed.ciphertexts.len()),
            Some(4)
        );
    }

    #[test]
    fn a_request_is_bound_to_its_client() {
        let request = doc! { "_id": "token", "client_id": "acme", "secret": "vault:v1:a" };
        let read = read(&OAUTH_REQUESTS, 2, &request);
        assert_eq!(read.map(|sealed| sealed.context).as_deref(), Some("acme"));
    }

    #[test]
    fn an_exchange_is_guarded_by_every_ciphertext_that_it_replaces() {
        let exchange = Exchange {
            id: "1@N01".to_owned(),
            fields: vec![
                (
                    "token".to_owned(),
                    "vault:v1:a".to_owned(),
                    "vault:v2:b".to_owned(),
                ),
                (
                    "token_secret".to_owned(),
                    "vault:v1:c".to_owned(),
                    "vault:v2:d".to_owned(),
                ),
            ],
        };
        let expected = doc! {
            "q": { "_id": "1@N01", "token": "vault:v1:a", "token_secret": "vault:v1:c" },
            "u": { "$set": { "token": "vault:v2:b", "token_secret": "vault:v2:d" } },
        };
        assert_eq!(update(&exchange), expected);
    }
}

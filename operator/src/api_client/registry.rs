//! The client's document in MongoDB: hashes of its keys, its scopes and addresses, its encrypted signing keys and webhook
//! secret.
//!
//! Every change is one update, guarded by what it relies on, so that it can be repeated and cannot undo what came between.

use async_trait::async_trait;
use flickrhub_job::store::CollectionName;
use jiff::Timestamp;
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};
use secrecy::SecretString;

use super::decide::{ClientSeen, StoredKey};
use super::key_secret::{ApiKey, verify};
use crate::engine::ACTION_TIMEOUT;
use crate::engine::client::fingerprint;

/// The field that tells our clients from others, and its value.
const MADE_BY: (&str, &str) = ("made_by", "FlickrHubClient");

/// MongoDB failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It refused, or did not answer.
    // The driver's text can hold the whole answer of the server, its kind alone says enough.
    #[error("MongoDB: {}", .0.kind)]
    MongoDb(#[from] mongodb::error::Error),
    /// It did not answer in time.
    #[error("MongoDB did not answer in {} s", ACTION_TIMEOUT.as_secs())]
    TimedOut,
}

/// What a client may do, and by what its webhook secret is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What it may do, sorted.
    pub scopes: Vec<String>,
    /// The networks that it may call from; any where it is empty.
    pub networks: Vec<String>,
    /// What one of its keys may ask of one API process in a minute; the default of the API without it.
    pub requests_per_minute: Option<u32>,
}

/// A webhook secret as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedWebhookSecret {
    /// Its ciphertext.
    pub ciphertext: String,
    /// The bcrypt hash of its digest.
    pub hash: String,
    /// What tells the Vault that encrypted it.
    pub vault: String,
}

/// A key in the Secret, and what tells its signing key.
#[derive(Clone, Debug)]
pub struct SecretKey {
    /// The key.
    pub key: ApiKey,
    /// What tells its signing key, and the Vault that encrypts it; see [`signing_fingerprint`].
    pub signing_fingerprint: Option<String>,
}

/// A key as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    /// Its id.
    pub id: String,
    /// The bcrypt hash of its secret.
    pub hash: String,
    /// The ciphertext of its signing key.
    pub signing_key: String,
    /// What tells its signing key.
    pub signing_fingerprint: String,
}

/// Tells the signing key of a key, and the Vault that encrypts it, from others: the operator may encrypt and not decrypt.
pub fn signing_fingerprint(key: &ApiKey, signing_key: &SecretString, vault: &str) -> Option<String> {
    fingerprint(&key.secret, signing_key, vault)
}

/// The document as it was found.
#[derive(Clone, Debug, Default)]
pub struct Found(Option<Document>);

impl Found {
    /// This document; `None` if there is none.
    pub const fn new(document: Option<Document>) -> Self {
        Self(document)
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.as_ref()?.get_str(field).ok()
    }

    fn is_ours(&self) -> bool {
        self.text(MADE_BY.0) == Some(MADE_BY.1)
    }

    fn has(&self, settings: &Settings) -> bool {
        let list = |field: &str| {
            let found = self
                .0
                .as_ref()
                .and_then(|document| document.get_array(field).ok());
            let mut texts: Vec<String> = found
                .into_iter()
                .flatten()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            texts.sort();
            texts
        };
        let rate = self
            .0
            .as_ref()
            .and_then(|document| document.get_i64("requests_per_minute").ok());
        list("scopes") == settings.scopes
            && list("allowed_networks") == settings.networks
            && rate == settings.requests_per_minute.map(i64::from)
    }

    /// Whether the webhook secret was encrypted by this Vault, and was last written from the Secret as it is: the client may
    /// have replaced it by the API since, which counts until the Secret is changed.
    pub fn has_webhook_secret(&self, vault: &str, matches: impl FnOnce(&str) -> bool) -> bool {
        self.text("webhook_secret").is_some()
            && self.text("webhook_secret_vault") == Some(vault)
            && self.text("webhook_secret_hash").is_some_and(matches)
    }

    /// What is decided by. `present` and `next` are the keys in the Secret. Takes tens of milliseconds of computation.
    pub fn seen(&self, settings: &Settings, has_webhook_secret: bool, keys: &[SecretKey]) -> ClientSeen {
        match &self.0 {
            None => ClientSeen::Absent,
            Some(_) if !self.is_ours() => ClientSeen::Foreign,
            Some(document) => ClientSeen::Ours {
                keys: stored_keys(document, keys),
                is_current: has_webhook_secret && self.has(settings),
            },
        }
    }
}

fn stored_keys(document: &Document, in_secret: &[SecretKey]) -> Vec<StoredKey> {
    let keys = document.get_array("keys").map(Vec::as_slice).unwrap_or_default();
    let read = |key: &Bson| {
        let key = key.as_document()?;
        let id = key.get_str("id").ok()?.to_owned();
        let text = |field: &str| key.get_str(field).ok();
        let signs = |same: &SecretKey| {
            same.signing_fingerprint.is_some()
                && same.signing_fingerprint.as_deref() == text("hmac_fingerprint")
                && text("hmac_secret").is_some()
        };
        let same = in_secret.iter().find(|in_secret| in_secret.key.id == id);
        Some(StoredKey {
            created_at: key
                .get_datetime("created_at")
                .map_or(Timestamp::UNIX_EPOCH, |time| timestamp(*time)),
            not_after: key.get_datetime("not_after").ok().map(|time| timestamp(*time)),
            matches: same
                .is_none_or(|same| signs(same) && verify(&same.key, text("hash").unwrap_or_default())),
            id,
        })
    };
    keys.iter().filter_map(read).collect()
}

fn timestamp(time: DateTime) -> Timestamp {
    Timestamp::from_millisecond(time.timestamp_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn datetime(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millisecond())
}

/// The clients of a hub. Every error says that MongoDB failed, or that somebody else changed the client meanwhile.
#[async_trait]
pub trait ClientRegistry: Send + Sync {
    /// The client.
    async fn find(&self, client: &str) -> Result<Found, RegistryError>;

    /// Writes scopes and addresses, the webhook secret where there is a new one, and the client if there is none.
    async fn write_settings(
        &self,
        client: &str,
        settings: &Settings,
        webhook_secret: Option<&SealedWebhookSecret>,
        now: Timestamp,
    ) -> Result<(), RegistryError>;

    /// Lets a key hold, without an end.
    async fn register(&self, client: &str, key: &SealedKey, now: Timestamp) -> Result<(), RegistryError>;

    /// Lets keys end; those that end already stay as they are.
    async fn retire(&self, client: &str, ids: &[String], until: Timestamp) -> Result<(), RegistryError>;

    /// Takes keys out that have ended.
    async fn remove(&self, client: &str, ids: &[String], now: Timestamp) -> Result<(), RegistryError>;

    /// Takes every key of the client. What it has in the hub stays: a client of the same name finds it again.
    async fn revoke(&self, client: &str, now: Timestamp) -> Result<(), RegistryError>;

    /// Ends the connection.
    async fn close(self: Box<Self>);
}

/// The clients in MongoDB.
pub struct Registry {
    clients: Collection<Document>,
}

impl Registry {
    /// The clients in `database`.
    pub fn new(database: &mongodb::Database) -> Self {
        Self {
            clients: database.collection(CollectionName::Clients.name()),
        }
    }
}

#[async_trait]
impl ClientRegistry for Registry {
    async fn find(&self, client: &str) -> Result<Found, RegistryError> {
        let find = self.clients.find_one(doc! { "_id": client });
        within(async { find.await }).await.map(Found)
    }

    async fn write_settings(
        &self,
        client: &str,
        settings: &Settings,
        webhook_secret: Option<&SealedWebhookSecret>,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        let mut set = doc! { "scopes": &settings.scopes, "allowed_networks": &settings.networks };
        let mut unset = doc! { "revoked_at": "" };
        match settings.requests_per_minute {
            Some(rate) => set.insert("requests_per_minute", i64::from(rate)),
            None => unset.insert("requests_per_minute", ""),
        };
        if let Some(sealed) = webhook_secret {
            set.insert("webhook_secret", &sealed.ciphertext);
            set.insert("webhook_secret_hash", &sealed.hash);
            set.insert("webhook_secret_vault", &sealed.vault);
            // The secret of the Secret counts again, and alone.
            unset.insert("previous_webhook_secret", "");
            unset.insert("webhook_secret_rotated_at", "");
        }
        let first = doc! { "name": client, "created_at": datetime(now), "keys": [] };
        let ours = doc! { "_id": client, MADE_BY.0: MADE_BY.1 };
        let update = doc! { "$set": set, "$unset": unset, "$setOnInsert": first };
        let update = self.clients.update_one(ours, update).upsert(true);
        within(async { update.await }).await.map(drop)
    }

    async fn register(&self, client: &str, key: &SealedKey, now: Timestamp) -> Result<(), RegistryError> {
        let known = doc! { "_id": client, MADE_BY.0: MADE_BY.1, "keys.id": &key.id };
        let written = doc! {
            "keys.$.hash": &key.hash,
            "keys.$.hmac_secret": &key.signing_key,
            "keys.$.hmac_fingerprint": &key.signing_fingerprint,
        };
        let again = doc! { "$set": written, "$unset": { "keys.$.not_after": "" } };
        let again = self.clients.update_one(known, again);
        if within(async { again.await }).await?.matched_count > 0 {
            return Ok(());
        }
        let unknown = doc! { "_id": client, MADE_BY.0: MADE_BY.1, "keys.id": { "$ne": &key.id } };
        let key = doc! {
            "id": &key.id,
            "hash": &key.hash,
            "hmac_secret": &key.signing_key,
            "hmac_fingerprint": &key.signing_fingerprint,
            "created_at": datetime(now),
        };
        let first = self
            .clients
            .update_one(unknown, doc! { "$push": { "keys": key } });
        within(async { first.await }).await.map(drop)
    }

    async fn retire(&self, client: &str, ids: &[String], until: Timestamp) -> Result<(), RegistryError> {
        let update = doc! { "$set": { "keys.$[old].not_after": datetime(until) } };
        let old = doc! { "old.id": { "$in": ids }, "old.not_after": null };
        let update = self
            .clients
            .update_one(doc! { "_id": client, MADE_BY.0: MADE_BY.1 }, update)
            .array_filters(vec![old]);
        within(async { update.await }).await.map(drop)
    }

    async fn remove(&self, client: &str, ids: &[String], now: Timestamp) -> Result<(), RegistryError> {
        let ended = doc! { "id": { "$in": ids }, "not_after": { "$lte": datetime(now) } };
        let update = doc! { "$pull": { "keys": ended } };
        let ours = doc! { "_id": client, MADE_BY.0: MADE_BY.1 };
        let update = self.clients.update_one(ours, update);
        within(async { update.await }).await.map(drop)
    }

    async fn revoke(&self, client: &str, now: Timestamp) -> Result<(), RegistryError> {
        let ours = doc! { "_id": client, MADE_BY.0: MADE_BY.1 };
        let update = doc! { "$set": { "keys": [], "revoked_at": datetime(now) } };
        let update = self.clients.update_one(ours, update);
        within(async { update.await }).await.map(drop)
    }

    async fn close(self: Box<Self>) {
        let client = self.clients.client().clone();
        client.shutdown().immediate(true).await;
    }
}

async fn within<T>(call: impl Future<Output = mongodb::error::Result<T>>) -> Result<T, RegistryError> {
    let answer = tokio::time::timeout(ACTION_TIMEOUT, call).await;
    Ok(answer.map_err(|_| RegistryError::TimedOut)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            scopes: vec!["jobs:read".to_owned(), "jobs:write".to_owned()],
            networks: Vec::new(),
            requests_per_minute: None,
        }
    }

    fn secret_key(text: &str, signing_fingerprint: Option<&str>) -> SecretKey {
        let Some(key) = ApiKey::parse(text) else {
            panic!("the text is a key");
        };
        SecretKey {
            key,
            signing_fingerprint: signing_fingerprint.map(str::to_owned),
        }
    }

    fn found() -> Document {
        doc! {
            "_id": "acme", "made_by": "FlickrHubClient",
            "scopes": ["jobs:write", "jobs:read"],
            "webhook_secret": "vault:v1:a", "webhook_secret_vault": "v", "webhook_secret_hash": "h",
            "keys": [
                { "id": "k1", "hash": "not of this key", "created_at": DateTime::from_millis(1000) },
                { "id": "k0", "hash": "h", "created_at": DateTime::from_millis(0), "not_after": DateTime::from_millis(2000) },
            ],
        }
    }

    #[test]
    fn a_document_is_read() {
        let seen = Found(Some(found())).seen(&settings(), true, &[secret_key("fh_k1_secret", Some("f"))]);
        let expected = ClientSeen::Ours {
            keys: vec![
                StoredKey {
                    id: "k1".to_owned(),
                    created_at: Timestamp::constant(1, 0),
                    not_after: None,
                    matches: false,
                },
                StoredKey {
                    id: "k0".to_owned(),
                    created_at: Timestamp::UNIX_EPOCH,
                    not_after: Some(Timestamp::constant(2, 0)),
                    matches: true,
                },
            ],
            is_current: true,
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_key_holds_as_it_is_in_the_secret_with_its_signing_key() {
        let key = |signing_fingerprint| secret_key("fh_k1_secret", signing_fingerprint);
        let hash = bcrypt::hash("secret", 4).unwrap_or_default();
        let stored = doc! { "id": "k1", "hash": hash, "hmac_secret": "vault:v1:a", "hmac_fingerprint": "f" };
        let matches = |stored: &Document, key: SecretKey| {
            let document = doc! { "keys": [stored.clone()] };
            stored_keys(&document, &[key]).first().map(|key| key.matches)
        };
        assert_eq!(matches(&stored, key(Some("f"))), Some(true));
        assert_eq!(
            matches(&stored, key(Some("g"))),
            Some(false),
            "another signing key"
        );
        assert_eq!(matches(&stored, key(None)), Some(false));
        for field in ["hmac_secret", "hmac_fingerprint", "hash"] {
            let mut without = stored.clone();
            without.remove(field);
            assert_eq!(matches(&without, key(Some("f"))), Some(false), "{field}");
        }
        assert_eq!(
            matches(&stored, secret_key("fh_k1_other", Some("f"))),
            Some(false)
        );
    }

    #[test]
    fn a_client_of_somebody_else_is_foreign() {
        let mut document = found();
        document.remove("made_by");
        assert_eq!(
            Found(Some(document)).seen(&settings(), true, &[]),
            ClientSeen::Foreign
        );
        assert_eq!(Found(None).seen(&settings(), true, &[]), ClientSeen::Absent);
    }

    #[test]
    fn other_settings_are_not_current() {
        let other = Settings {
            networks: vec!["10.0.0.0/8".to_owned()],
            ..settings()
        };
        let is_current = |settings: &Settings, webhook: bool| {
            let seen = Found(Some(found())).seen(settings, webhook, &[]);
            matches!(seen, ClientSeen::Ours { is_current: true, .. })
        };
        assert!(is_current(&settings(), true));
        assert!(!is_current(&other, true) && !is_current(&settings(), false));
        let slower = Settings {
            requests_per_minute: Some(60),
            ..settings()
        };
        assert!(!is_current(&slower, true));
    }

    #[test]
    fn a_webhook_secret_of_another_vault_or_another_secret_is_none() {
        let found = Found(Some(found()));
        assert!(found.has_webhook_secret("v", |hash| hash == "h"));
        assert!(!found.has_webhook_secret("w", |_| true));
        assert!(!found.has_webhook_secret("v", |_| false));
    }
}

//! The API client that every hub starts with: its document in MongoDB, from the values in its Secret.
//!
//! The document is written in one update, so a process that dies leaves either the old or the new one. Stored are the
//! bcrypt hash of the key's secret part, its signing key and the webhook secret encrypted by Vault, and fingerprints of them
//! and of the Vault,
//! because the operator may encrypt and not decrypt: by the fingerprint it sees whether the ciphertext is current, and of
//! the keys that the hub has now. A ciphertext of other keys is as good as none. Which Vault it is must be known first;
//! until then nothing is written.
//!
//! A client may have the API replace its webhook secret; the Secret does not learn of that. From then on the document's
//! secret is the one that counts: it stays when the API key changes, and whenever the operator looks. It gives way only when
//! the webhook secret in the Secret is changed, which a person or a new Secret does, or when the keys of the hub are others,
//! so that no stored secret can be decrypted. Both are told by what is stored beside the secret when it is written from the
//! Secret: a bcrypt hash of it, and the Vault. A rotation that comes between the look and the write is not overwritten: the
//! write is guarded by the time of the last rotation.

use std::collections::BTreeSet;

use flickrhub_job::config::Login;
use flickrhub_job::scope::ScopeName;
use flickrhub_job::signing_key::signing_key_bytes;
use flickrhub_job::store::CollectionName;
use hmac::{Hmac, KeyInit, Mac};
use mongodb::Collection;
use mongodb::bson::{Bson, DateTime, Document, doc};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::hub_database::{self, ConnectError};
use super::vault::{self, AccessError};
use super::{ACTION_TIMEOUT, LATER, SOON, STEADY};
use crate::context::Context;
use crate::names;
use crate::part::PartStatus;
use crate::passed::{Against, Check};
use crate::secrets::{DefaultClient, SecretLoss, Secrets};
use crate::validate::ValidatedHub;

/// The cost of the hash. The secret is drawn at random, so the hash needs no more to keep it.
const BCRYPT_COST: u32 = 10;
/// What the client may do.
const SCOPES: [ScopeName; 7] = ScopeName::ALL;

/// The client cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The key in the Secret is none.
    #[error("api-key in Secret {0} is not fh_<key id>_<secret>; delete the Secret and a new one is made")]
    Key(String),
    /// The signing key in the Secret is none.
    #[error(
        "signing-key in Secret {0} is not 32 to 64 bytes in base64; correct it, or delete the Secret and a new one is made"
    )]
    SigningKey(String),
    /// There is no way into MongoDB.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// MongoDB refused, or did not answer.
    // The driver's text can hold the whole answer of the server, its kind alone says enough.
    #[error("MongoDB: {}", .0.kind)]
    MongoDb(#[from] mongodb::error::Error),
    /// MongoDB did not answer in time.
    #[error("MongoDB did not answer in {} s", ACTION_TIMEOUT.as_secs())]
    TimedOut,
    /// The webhook secret or the signing key cannot be encrypted.
    #[error("the secrets of the client cannot be encrypted: {0}")]
    Encrypt(#[from] AccessError),
    /// The Vault does not say which it is.
    #[error("Vault does not say which cluster it is: {0}")]
    VaultUnknown(#[source] AccessError),
    /// The secret of the key cannot be hashed.
    #[error("the key cannot be hashed: {0}")]
    Hash(#[from] bcrypt::BcryptError),
    /// The task that hashes was stopped with the process.
    #[error("the operator was stopped while it hashed the key")]
    Stopped,
}

/// A signing key.
#[derive(Clone, Debug)]
pub struct Signing {
    /// 32 to 64 bytes in base64.
    pub key: SecretString,
    /// Tells one signing key, and one Vault, from another without giving it away.
    pub fingerprint: String,
}

/// The client that is wanted.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The id of its key.
    pub key_id: String,
    /// The secret part of its key.
    pub key_secret: SecretString,
    /// What signs requests in the place of its key; `None`: the key does not sign.
    pub signing: Option<Signing>,
    /// What signs its callbacks.
    pub webhook_secret: SecretString,
    /// Tells one webhook secret, and one Vault, from another without giving it away.
    pub fingerprint: String,
    /// Tells one Vault from another.
    pub vault: String,
}

impl Desired {
    /// Reads `fh_<key id>_<secret>`; `None` if it is something else. `vault` tells whose keys encrypt the webhook secret,
    /// see [`vault::transit_identity`].
    pub fn new(api_key: &SecretString, webhook_secret: &SecretString, vault: &str) -> Option<Self> {
        let (key_id, key_secret) = api_key.expose_secret().strip_prefix("fh_")?.split_once('_')?;
        if key_id.is_empty() || key_secret.is_empty() {
            return None;
        }
        Some(Self {
            key_id: key_id.to_owned(),
            key_secret: SecretString::from(key_secret),
            signing: None,
            webhook_secret: webhook_secret.clone(),
            fingerprint: fingerprint(api_key, webhook_secret, vault)?,
            vault: vault.to_owned(),
        })
    }

    /// With a key that signs; `None` if it cannot.
    pub fn signing_by(self, signing_key: &SecretString) -> Option<Self> {
        signing_key_bytes(signing_key).ok()?;
        let signing = Signing {
            key: signing_key.clone(),
            fingerprint: fingerprint(&self.key_secret, signing_key, &self.vault)?,
        };
        Some(Self {
            signing: Some(signing),
            ..self
        })
    }
}

/// A key in the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredKey {
    /// Its id.
    pub id: String,
    /// The bcrypt hash of its secret.
    pub hash: String,
    /// See [`Signing::fingerprint`].
    pub signing_fingerprint: Option<String>,
}

/// What the document says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The keys.
    pub keys: Vec<StoredKey>,
    /// See [`Desired::fingerprint`].
    pub fingerprint: Option<String>,
    /// What the client may do.
    pub scopes: BTreeSet<String>,
    /// When the API replaced the webhook secret last; `None`: it is the one of the Secret.
    pub rotated_at: Option<DateTime>,
    /// The bcrypt hash of the Secret's webhook secret, see [`digest`].
    pub secret_hash: Option<String>,
    /// See [`Desired::vault`].
    pub vault: Option<String>,
}

impl Stored {
    /// Whether the API replaced the webhook secret, and the Secret and the Vault are as they were then.
    fn was_rotated(&self, desired: &Desired, secret_matches: impl FnOnce(&str) -> bool) -> bool {
        self.rotated_at.is_some()
            && self.vault.as_ref() == Some(&desired.vault)
            && self.secret_hash.as_deref().is_some_and(secret_matches)
    }
}

/// What to write of the webhook secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretChange {
    /// Nothing.
    #[default]
    Stays,
    /// The fingerprint alone: another key beside a secret that stays.
    Fingerprint,
    /// The Secret's webhook secret, with what tells it.
    Written,
}

/// What to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: bool,
    /// The webhook secret.
    pub webhook_secret: SecretChange,
    /// The scopes.
    pub scopes: bool,
}

/// What differs; `key_matches` and `secret_matches` tell whether a hash is the one of the wanted key and of the Secret's
/// webhook secret.
pub fn decide(
    stored: Option<&Stored>,
    desired: &Desired,
    key_matches: impl FnOnce(&str) -> bool,
    secret_matches: impl FnOnce(&str) -> bool,
) -> Change {
    let Some(stored) = stored else {
        return Change {
            key: true,
            webhook_secret: SecretChange::Written,
            scopes: true,
        };
    };
    let key = match stored.keys.as_slice() {
        [key] => {
            let signing = desired.signing.as_ref().map(|signing| &signing.fingerprint);
            key.id != desired.key_id || key.signing_fingerprint.as_ref() != signing || !key_matches(&key.hash)
        }
        _ => true,
    };
    let current = stored.fingerprint.as_ref() == Some(&desired.fingerprint);
    let webhook_secret = match (current, stored.rotated_at) {
        // Written by a version that stored no hash, which a later rotation would lack.
        (true, None) if stored.secret_hash.is_none() => SecretChange::Written,
        (true, _) => SecretChange::Stays,
        (false, _) if stored.was_rotated(desired, secret_matches) => SecretChange::Fingerprint,
        (false, _) => SecretChange::Written,
    };
    Change {
        key,
        webhook_secret,
        scopes: stored.scopes != BTreeSet::from(SCOPES.map(|scope| scope.name().to_owned())),
    }
}

/// Registers the client of a hub whose MongoDB and Vault are ready.
pub async fn reconcile(context: &Context, hub: &ValidatedHub, secrets: &Secrets) -> PartStatus {
    let (wanted, app) = match usable(secrets) {
        Ok(known) => known,
        Err(loss) => return loss.lack().status(),
    };
    let signing_key = wanted.signing_key.as_ref().map_or("", |key| key.expose_secret());
    let inputs = [&wanted.api_key, &wanted.webhook_secret, &app.password].map(ExposeSecret::expose_secret);
    let inputs = inputs.into_iter().chain([signing_key, app.username.as_str()]);
    let check = Against::new(hub, Check::DefaultClient, inputs);
    let registered = || PartStatus {
        requeue_after: Some(STEADY),
        ..PartStatus::ready("The default API client is registered.")
    };
    if context.passed.holds(&check) {
        return registered();
    }
    match register(context, hub, wanted, app).await {
        Ok(()) => {
            context.passed.note(check);
            registered()
        }
        Err(error) => {
            let message = format!("The default API client cannot be registered: {error}.");
            if matches!(error, ClientError::Key(_) | ClientError::SigningKey(_)) {
                PartStatus::stalled("ClientNotRegistered", message, LATER)
            } else {
                PartStatus::waiting("ClientNotRegistered", message, 2 * SOON)
            }
        }
    }
}

/// What the client is registered with, and MongoDB's user.
fn usable(secrets: &Secrets) -> Result<(&DefaultClient, &Login), &SecretLoss> {
    let client = secrets.default_client.as_ref()?;
    let mongodb = secrets.mongodb.as_ref()?;
    Ok((client, &mongodb.app))
}

async fn register(
    context: &Context,
    hub: &ValidatedHub,
    wanted: &DefaultClient,
    app: &Login,
) -> Result<(), ClientError> {
    let vault = vault::transit_identity(context, hub).await;
    let vault = vault.map_err(ClientError::VaultUnknown)?;
    let desired = Desired::new(&wanted.api_key, &wanted.webhook_secret, &vault)
        .ok_or_else(|| ClientError::Key(hub.names.default_client()))?;
    let desired = match &wanted.signing_key {
        None => desired,
        Some(signing_key) => desired
            .signing_by(signing_key)
            .ok_or_else(|| ClientError::SigningKey(hub.names.default_client()))?,
    };
    let mongodb = hub_database::connect(hub, app)?;
    let clients = mongodb
        .database(names::MONGODB_DATABASE)
        .collection::<Document>(CollectionName::Clients.name());
    let stored = find(&clients).await?;
    let rotated_at = stored.as_ref().and_then(|stored| stored.rotated_at);
    let change = compare(stored, desired.clone()).await?;
    if change != Change::default() {
        let fields = fields(context, hub, &desired, change).await?;
        write(&clients, fields, change, rotated_at).await?;
        tracing::info!(?change, "registered the default API client");
    }
    mongodb.shutdown().immediate(true).await;
    Ok(())
}

/// On a thread of its own: comparing a hash takes tens of milliseconds of computation.
async fn compare(stored: Option<Stored>, desired: Desired) -> Result<Change, ClientError> {
    let task = tokio::task::spawn_blocking(move || {
        let matches = |hash: &str| bcrypt::verify(desired.key_secret.expose_secret(), hash).unwrap_or(false);
        let digest = digest(&desired.webhook_secret);
        let secret_matches = |hash: &str| bcrypt::verify(&digest, hash).unwrap_or(false);
        decide(stored.as_ref(), &desired, matches, secret_matches)
    });
    task.await.map_err(|_| ClientError::Stopped)
}

/// The values of the fields that change.
async fn fields(
    context: &Context,
    hub: &ValidatedHub,
    desired: &Desired,
    change: Change,
) -> Result<Document, ClientError> {
    let mut fields = Document::new();
    if change.key {
        let secret = desired.key_secret.clone();
        let hash = tokio::task::spawn_blocking(move || bcrypt::hash(secret.expose_secret(), BCRYPT_COST));
        let hash = hash.await.map_err(|_| ClientError::Stopped)??;
        let mut key = doc! { "id": &desired.key_id, "hash": hash, "created_at": DateTime::now() };
        if let Some(signing) = &desired.signing {
            let client = names::DEFAULT_CLIENT;
            let ciphertext = vault::encrypt_app_credential(context, hub, client, &signing.key).await?;
            key.insert("hmac_secret", ciphertext);
            key.insert("hmac_fingerprint", &signing.fingerprint);
        }
        fields.insert("keys", vec![Bson::Document(key)]);
    }
    if change.webhook_secret == SecretChange::Written {
        let client = names::DEFAULT_CLIENT;
        let ciphertext = vault::encrypt_app_credential(context, hub, client, &desired.webhook_secret).await?;
        let digest = digest(&desired.webhook_secret);
        let hash = tokio::task::spawn_blocking(move || bcrypt::hash(digest, BCRYPT_COST));
        let hash = hash.await.map_err(|_| ClientError::Stopped)??;
        fields.insert("webhook_secret", ciphertext);
        fields.insert("webhook_secret_hash", hash);
        fields.insert("webhook_secret_vault", &desired.vault);
    }
    if change.webhook_secret != SecretChange::Stays {
        fields.insert("webhook_secret_fingerprint", &desired.fingerprint);
    }
    if change.scopes {
        fields.insert("scopes", SCOPES.map(|scope| Bson::from(scope.name())).to_vec());
    }
    Ok(fields)
}

async fn find(clients: &Collection<Document>) -> Result<Option<Stored>, ClientError> {
    let found = clients.find_one(doc! { "_id": names::DEFAULT_CLIENT });
    let found = tokio::time::timeout(ACTION_TIMEOUT, async { found.await }).await;
    Ok(found.map_err(|_| ClientError::TimedOut)??.as_ref().map(read))
}

/// `rotated_at` as it was found: after a later rotation the update finds no document to change, tries to insert a second
/// one of the same id, and fails; what is to be written is decided anew the next time.
async fn write(
    clients: &Collection<Document>,
    fields: Document,
    change: Change,
    rotated_at: Option<DateTime>,
) -> Result<(), ClientError> {
    let first = doc! { "name": "Default client", "created_at": DateTime::now() };
    let mut update = doc! { "$set": fields, "$setOnInsert": first };
    if change.webhook_secret == SecretChange::Written {
        // The secret of the Secret counts again, and alone: what was valid beside another one is not beside it.
        update.insert(
            "$unset",
            doc! { "previous_webhook_secret": "", "webhook_secret_rotated_at": "" },
        );
    }
    let found = doc! { "_id": names::DEFAULT_CLIENT, "webhook_secret_rotated_at": rotated_at };
    let update = clients.update_one(found, update).upsert(true);
    let written = tokio::time::timeout(ACTION_TIMEOUT, async { update.await }).await;
    written.map_err(|_| ClientError::TimedOut)??;
    Ok(())
}

fn read(document: &Document) -> Stored {
    let list = |name: &str| document.get_array(name).map(Vec::as_slice).unwrap_or_default();
    Stored {
        keys: list("keys")
            .iter()
            .filter_map(|key| {
                let key = key.as_document()?;
                let signing_fingerprint = key
                    .get_str("hmac_fingerprint")
                    .ok()
                    .filter(|_| key.get_str("hmac_secret").is_ok());
                Some(StoredKey {
                    id: key.get_str("id").ok()?.to_owned(),
                    hash: key.get_str("hash").ok()?.to_owned(),
                    signing_fingerprint: signing_fingerprint.map(str::to_owned),
                })
            })
            .collect(),
        fingerprint: document
            .get_str("webhook_secret_fingerprint")
            .ok()
            .map(str::to_owned),
        scopes: list("scopes")
            .iter()
            .filter_map(|scope| scope.as_str().map(str::to_owned))
            .collect(),
        rotated_at: document.get_datetime("webhook_secret_rotated_at").ok().copied(),
        secret_hash: document.get_str("webhook_secret_hash").ok().map(str::to_owned),
        vault: document.get_str("webhook_secret_vault").ok().map(str::to_owned),
    }
}

/// SHA-256 of the webhook secret in hexadecimal, because bcrypt reads only 72 bytes.
fn digest(webhook_secret: &SecretString) -> String {
    hexadecimal(&Sha256::digest(webhook_secret.expose_secret()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC-SHA256 of a secret and of what tells the Vault, in hexadecimal. Its key is the API key, which MongoDB does not hold,
/// so a copy of the database does not help to guess a weak secret.
pub(crate) fn fingerprint(api_key: &SecretString, secret: &SecretString, vault: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(api_key.expose_secret().as_bytes()).ok()?;
    mac.update(secret.expose_secret().as_bytes());
    // In no text of a Secret, so that no two pairs run into the same bytes.
    mac.update(&[0]);
    mac.update(vault.as_bytes());
    Some(hexadecimal(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests;

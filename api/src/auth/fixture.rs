//! A directory of keys for unit tests.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use super::{KeyDirectory, StoredKey};
use crate::problem::Problem;

/// The signing secret of every key that signs: that of RFC 9421 appendix B.1.5.
pub(crate) const SIGNING_SECRET: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

/// Begins with the key `k1` of the client `client`, whose secret is `secret`, which signs and may read jobs; counts the
/// questions it is asked.
pub(crate) struct Directory {
    keys: Mutex<HashMap<String, StoredKey>>,
    nonces: Mutex<HashSet<String>>,
    asked: AtomicU32,
    away: AtomicBool,
    vault_away: AtomicBool,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            keys: Mutex::new(HashMap::from([("k1".to_owned(), key())])),
            nonces: Mutex::default(),
            asked: AtomicU32::new(0),
            away: AtomicBool::new(false),
            vault_away: AtomicBool::new(false),
        }
    }
}

/// The key `k1`.
pub(crate) fn key() -> StoredKey {
    static HASH: OnceLock<String> = OnceLock::new();
    StoredKey {
        client_id: "client".to_owned(),
        scopes: vec!["jobs:read".to_owned(), "from:the:future".to_owned()],
        hash: HASH
            .get_or_init(|| bcrypt::hash("secret", 4).unwrap_or_default())
            .clone(),
        hmac_secret: Some("vault:v1:k1".to_owned()),
        ..StoredKey::default()
    }
}

impl Directory {
    /// Changes what is stored.
    pub(crate) fn change(&self, change: impl FnOnce(&mut HashMap<String, StoredKey>)) {
        change(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How often a key was asked for.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Answers no more.
    pub(crate) fn go_away(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    /// Finds keys, and can decrypt nothing any more.
    pub(crate) fn lose_vault(&self) {
        self.vault_away.store(true, Ordering::Relaxed);
    }

    fn here(&self) -> Result<(), Problem> {
        if self.away.load(Ordering::Relaxed) {
            Err(Problem::Unavailable)
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl KeyDirectory for Directory {
    async fn key(&self, key_id: &str) -> Result<Option<StoredKey>, Problem> {
        self.here()?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(keys.get(key_id).cloned())
    }

    async fn signing_secret(&self, _: &str, _: &str) -> Result<SecretString, Problem> {
        self.here()?;
        if self.vault_away.load(Ordering::Relaxed) {
            return Err(Problem::Unavailable);
        }
        Ok(SIGNING_SECRET.into())
    }

    async fn is_first_use(&self, key_id: &str, nonce: &str, _: Duration) -> Result<bool, Problem> {
        self.here()?;
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(nonces.insert(format!("{key_id} {nonce}")))
    }
}

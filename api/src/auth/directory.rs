//! What is stored about keys, as it was a few seconds ago at most.
//!
//! This bounds how long a key works after it was revoked, and how long a client has a scope that was taken from it: the
//! stored key is read again when what is kept of it was asked for [`KEPT`] ago. That there is no such key is kept too, so
//! that a program which presents a key that does not exist costs MongoDB one read in that time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ipnet::IpNet;
use jiff::Timestamp;
use moka::future::Cache;
use secrecy::SecretString;

use crate::problem::Problem;

/// How long what is stored is believed, from the moment at which it was asked for. With the time that a request then takes
/// to be authenticated it stays under five seconds.
pub const KEPT: Duration = Duration::from_secs(4);
/// The most keys that are kept, of those that exist and of those that do not.
const MOST_KEPT: u64 = 10_000;
/// How often an answer that was asked for too long ago is asked for again.
const ROUNDS: usize = 2;

/// What is stored about one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredKey {
    /// The client it belongs to.
    pub client_id: String,
    /// The scopes of that client, by name.
    pub scopes: Vec<String>,
    /// The bcrypt hash of the key's secret; empty where the key only signs.
    pub hash: String,
    /// The secret that signs, as ciphertext, where the key signs.
    pub hmac_secret: Option<String>,
    /// The key does not hold from then on.
    pub not_after: Option<Timestamp>,
    /// The networks that the client may call from; `None`: any.
    pub allowed_networks: Option<Vec<IpNet>>,
    /// Requests that the key may make of this process in a minute, if it is not the default.
    pub requests_per_minute: Option<u32>,
}

impl StoredKey {
    /// Whether the key holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.not_after.is_none_or(|end| now < end)
    }
}

/// Where keys are looked up, and what else it takes to authenticate.
#[async_trait]
pub trait KeyDirectory: Send + Sync {
    /// The key of this id.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when that cannot be found out at the moment.
    async fn key(&self, key_id: &str) -> Result<Option<StoredKey>, Problem>;

    /// The secret that signs, in base64, from its ciphertext.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when it cannot be decrypted at the moment.
    async fn signing_secret(&self, client_id: &str, ciphertext: &str) -> Result<SecretString, Problem>;

    /// Whether the key signs with this nonce for the first time; it is remembered for `lifetime`.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when that cannot be found out at the moment.
    async fn is_first_use(&self, key_id: &str, nonce: &str, lifetime: Duration) -> Result<bool, Problem>;
}

/// Looks keys up, and keeps what it finds for [`KEPT`].
pub struct KeyRecords {
    directory: Arc<dyn KeyDirectory>,
    kept: Cache<String, Kept>,
    lifetime: Duration,
}

#[derive(Clone)]
struct Kept {
    asked: Instant,
    key: Option<Arc<StoredKey>>,
}

impl KeyRecords {
    /// Looks keys up in `directory` and believes it for `lifetime`.
    pub fn new(directory: Arc<dyn KeyDirectory>, lifetime: Duration) -> Self {
        Self {
            directory,
            kept: Cache::builder()
                .max_capacity(MOST_KEPT)
                .time_to_live(lifetime)
                .build(),
            lifetime,
        }
    }

    /// The key of this id. Of many that ask at once, one reads.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when that cannot be found out at the moment: a key that cannot be asked about does not hold.
    pub async fn get(&self, key_id: &str) -> Result<Option<Arc<StoredKey>>, Problem> {
        let began = Instant::now();
        if let Some(kept) = self.kept.get(key_id).await
            && kept.asked + self.lifetime > began
        {
            return Ok(kept.key);
        }
        for _ in 0..ROUNDS {
            let read = self.kept.try_get_with(key_id.to_owned(), self.read(key_id));
            let kept = read.await.map_err(Arc::unwrap_or_clone)?;
            // A slow read that others began may be older than what this request may believe.
            if kept.asked + self.lifetime > began {
                return Ok(kept.key);
            }
            self.kept.invalidate(key_id).await;
        }
        Err(Problem::Unavailable)
    }

    /// Whether anything is kept about this id, that it does not exist included.
    pub fn knows(&self, key_id: &str) -> bool {
        self.kept.contains_key(key_id)
    }

    async fn read(&self, key_id: &str) -> Result<Kept, Problem> {
        let asked = Instant::now();
        let key = self.directory.key(key_id).await?;
        Ok(Kept {
            asked,
            key: key.map(Arc::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::fixture::Directory;
    use super::*;

    #[tokio::test]
    async fn a_key_is_read_once_in_its_lifetime_and_so_is_one_that_is_not_there() {
        let directory = Arc::new(Directory::default());
        let records = KeyRecords::new(directory.clone(), Duration::from_mins(1));
        for _ in 0..50 {
            assert!(records.get("k1").await.is_ok_and(|key| key.is_some()));
            assert!(records.get("none").await.is_ok_and(|key| key.is_none()));
        }
        assert_eq!(directory.asked(), 2);
    }

    #[tokio::test]
    async fn a_key_that_is_revoked_is_gone_when_its_lifetime_is_over() {
        let directory = Arc::new(Directory::default());
        let records = KeyRecords::new(directory.clone(), Duration::from_millis(50));
        assert!(records.get("k1").await.is_ok_and(|key| key.is_some()));
        directory.change(HashMap::clear);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(records.get("k1").await.is_ok_and(|key| key.is_none()));
    }

    #[tokio::test]
    async fn while_the_directory_is_away_what_is_kept_holds_no_longer_than_its_lifetime() {
        let directory = Arc::new(Directory::default());
        let records = KeyRecords::new(directory.clone(), Duration::from_millis(50));
        assert!(records.get("k1").await.is_ok());
        directory.go_away();
        assert!(records.get("k1").await.is_ok_and(|key| key.is_some()));
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(records.get("k1").await, Err(Problem::Unavailable));
    }

    #[test]
    fn the_lifetime_leaves_time_to_stay_within_five_seconds() {
        assert!(KEPT < Duration::from_secs(5));
    }

    #[test]
    fn a_key_with_an_end_holds_until_then() {
        let end = Timestamp::constant(1_800_000_000, 0);
        let key = StoredKey {
            not_after: Some(end),
            ..StoredKey::default()
        };
        assert!(key.holds(Timestamp::constant(1_799_999_999, 0)) && !key.holds(end));
        assert!(StoredKey::default().holds(end));
    }
}

//! From a presented key to a caller: the cache first, then MongoDB and bcrypt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{Caller, PresentedKey, ScopeName, VerifiedKeys};
use crate::problem::Problem;

/// How many bcrypt runs may be under way at a time, so that wrong keys cannot occupy every processor.
const CONCURRENT_VERIFICATIONS: usize = 2;
/// How long a request waits for its turn to be verified.
const VERIFICATION_PATIENCE: Duration = Duration::from_secs(5);

/// What is stored about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The client it belongs to.
    pub client_id: String,
    /// The scopes of that client, by name.
    pub scopes: Vec<String>,
    /// The bcrypt hash of the key's secret.
    pub hash: String,
}

/// Where keys are looked up.
#[async_trait]
pub trait KeyDirectory: Send + Sync {
    /// The key of this id.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when that cannot be found out at the moment.
    async fn key(&self, key_id: &str) -> Result<Option<StoredKey>, Problem>;
}

/// Turns presented keys into callers.
pub struct Authenticator {
    directory: Arc<dyn KeyDirectory>,
    verified: VerifiedKeys,
    turns: Arc<Semaphore>,
}

impl Authenticator {
    /// Looks keys up in `directory`.
    pub fn new(directory: Arc<dyn KeyDirectory>) -> Self {
        Self {
            directory,
            verified: VerifiedKeys::default(),
            turns: Arc::new(Semaphore::new(CONCURRENT_VERIFICATIONS)),
        }
    }

    /// Who presents this key.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`] when the key does not hold; [`Problem::Unavailable`] when that cannot be found out.
    pub async fn authenticate(&self, key: PresentedKey) -> Result<Arc<Caller>, Problem> {
        if let Some(caller) = self.verified.get(&key.digest, Instant::now()) {
            return Ok(caller);
        }
        let Some(stored) = self.directory.key(&key.key_id).await? else {
            tracing::info!(
                event = "authentication_failed",
                key_id = key.key_id,
                "no such key"
            );
            return Err(Problem::Unauthenticated);
        };
        let (key_id, digest) = (key.key_id.clone(), key.digest);
        if !self.matches(key, stored.hash).await? {
            tracing::info!(event = "authentication_failed", key_id, "wrong secret");
            return Err(Problem::Unauthenticated);
        }
        let caller = Arc::new(Caller {
            client_id: stored.client_id,
            key_id,
            scopes: stored
                .scopes
                .iter()
                .filter_map(|name| ScopeName::from_name(name))
                .collect(),
        });
        self.verified.insert(digest, Arc::clone(&caller), Instant::now());
        Ok(caller)
    }

    async fn matches(&self, key: PresentedKey, hash: String) -> Result<bool, Problem> {
        let turn = tokio::time::timeout(VERIFICATION_PATIENCE, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            tracing::warn!("too many keys wait to be verified");
            return Err(Problem::Unavailable);
        };
        // Requests with the same key may have waited here together: the first verified it for all.
        if self.verified.get(&key.digest, Instant::now()).is_some() {
            return Ok(true);
        }
        let verification = tokio::task::spawn_blocking(move || {
            let matches = key.matches(&hash);
            drop(turn);
            matches
        });
        verification.await.map_err(|error| {
            tracing::error!(%error, "the verification of a key broke off");
            Problem::Internal
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory with the key `k1`, whose secret is `secret`, that counts the questions it is asked.
    #[derive(Default)]
    struct OneKey {
        asked: AtomicU32,
    }

    #[async_trait]
    impl KeyDirectory for OneKey {
        async fn key(&self, key_id: &str) -> Result<Option<StoredKey>, Problem> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok((key_id == "k1").then(|| StoredKey {
                client_id: "client".to_owned(),
                scopes: vec!["jobs:read".to_owned(), "from:the:future".to_owned()],
                hash: bcrypt::hash("secret", 4).unwrap_or_default(),
            }))
        }
    }

    async fn present(authenticator: &Authenticator, key: &str) -> Result<Arc<Caller>, Problem> {
        let key = PresentedKey::from_authorization(&format!("Bearer {key}"));
        authenticator
            .authenticate(key.map_err(|_| Problem::Unauthenticated)?)
            .await
    }

    #[tokio::test]
    async fn a_key_that_holds_gives_its_client_with_the_scopes_that_we_know() {
        let authenticator = Authenticator::new(Arc::new(OneKey::default()));
        let caller = present(&authenticator, "fh_k1_secret").await;
        assert_eq!(
            caller.map(|caller| (caller.client_id.clone(), caller.scopes.clone())),
            Ok(("client".to_owned(), vec![ScopeName::JobsRead]))
        );
    }

    #[tokio::test]
    async fn a_hot_key_is_looked_up_once() {
        let directory = Arc::new(OneKey::default());
        let authenticator = Authenticator::new(Arc::clone(&directory) as Arc<dyn KeyDirectory>);
        for _ in 0..100 {
            assert!(present(&authenticator, "fh_k1_secret").await.is_ok());
        }
        assert_eq!(directory.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_wrong_secret_and_an_unknown_key_get_the_same_answer_and_are_not_remembered() {
        let authenticator = Authenticator::new(Arc::new(OneKey::default()));
        for key in ["fh_k1_wrong", "fh_k2_secret"] {
            assert_eq!(
                present(&authenticator, key).await,
                Err(Problem::Unauthenticated),
                "{key}"
            );
        }
        assert!(present(&authenticator, "fh_k1_secret").await.is_ok());
        assert_eq!(
            present(&authenticator, "fh_k1_wrong").await,
            Err(Problem::Unauthenticated)
        );
    }
}

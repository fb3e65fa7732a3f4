//! The secrets that sign requests, decrypted by Vault and kept for a short time.

use std::sync::Arc;
use std::time::Duration;

use flickrhub_job::signing_key::signing_key_bytes;
use moka::future::Cache;
use zeroize::Zeroizing;

use super::{KeyDirectory, StoredKey};
use crate::problem::Problem;

/// How long a decrypted secret is kept: signed requests go on for as long while Vault is away.
const KEPT: Duration = Duration::from_mins(1);
/// How often secrets whose time is up are looked for: so much longer they stay in memory, unused.
const SWEEP: Duration = Duration::from_secs(5);
/// The most secrets that are kept.
const MOST_KEPT: u64 = 1_000;

/// Decrypts signing secrets. They are wiped from memory when they are dropped.
pub(super) struct SigningSecrets {
    directory: Arc<dyn KeyDirectory>,
    kept: Arc<Cache<String, Arc<Zeroizing<Vec<u8>>>>>,
}

impl SigningSecrets {
    /// Decrypts with `directory`. Must be called within a Tokio runtime.
    pub(super) fn new(directory: Arc<dyn KeyDirectory>) -> Self {
        Self::keeping(directory, KEPT, SWEEP)
    }

    fn keeping(directory: Arc<dyn KeyDirectory>, kept: Duration, sweep: Duration) -> Self {
        let kept = Cache::builder()
            .max_capacity(MOST_KEPT)
            .time_to_live(kept)
            .build();
        let kept = Arc::new(kept);
        let of_sweep = Arc::downgrade(&kept);
        // The cache itself drops what is over only while it is used.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(sweep).await;
                let Some(kept) = of_sweep.upgrade() else { return };
                kept.run_pending_tasks().await;
            }
        });
        Self { directory, kept }
    }

    /// The secret of a key; `None`: the key does not sign. Of many that ask at once, one has it decrypted.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when Vault does not answer; [`Problem::Internal`] when what it gives is no signing key.
    pub(super) async fn get(&self, key: &StoredKey) -> Result<Option<Arc<Zeroizing<Vec<u8>>>>, Problem> {
        let Some(ciphertext) = &key.hmac_secret else {
            return Ok(None);
        };
        // A ciphertext is like no other, and of no use to another client.
        let decrypted = self
            .kept
            .try_get_with(ciphertext.clone(), self.decrypt(&key.client_id, ciphertext));
        decrypted.await.map(Some).map_err(Arc::unwrap_or_clone)
    }

    async fn decrypt(&self, client_id: &str, ciphertext: &str) -> Result<Arc<Zeroizing<Vec<u8>>>, Problem> {
        let text = self.directory.signing_secret(client_id, ciphertext).await?;
        let bytes = signing_key_bytes(&text).map_err(|error| {
            tracing::error!(client_id, %error, "a stored signing secret cannot be used");
            Problem::Internal
        })?;
        Ok(Arc::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Directory, key};
    use super::*;

    #[tokio::test]
    async fn a_secret_is_wiped_when_its_time_is_over_also_while_nobody_asks() {
        let brief = Duration::from_millis(20);
        let secrets = SigningSecrets::keeping(Arc::new(Directory::default()), brief, brief);
        let secret = secrets.get(&key()).await.ok().flatten();
        let secret = secret.map(|secret| Arc::downgrade(&secret));
        let is_there = || secret.as_ref().is_some_and(|secret| secret.upgrade().is_some());
        assert!(is_there(), "it is kept");
        tokio::time::sleep(10 * brief).await;
        assert!(!is_there());
    }
}

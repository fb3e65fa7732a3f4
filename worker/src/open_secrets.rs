//! Secrets, decrypted, for as long as they are asked for.
//!
//! Vault takes far longer to decrypt a secret than Redis and MongoDB take for the rest of a job, and the jobs of one user come
//! together, as the callbacks of one client do. So a secret stays in memory for [`KEPT`], no longer, and is wiped when it goes.
//! It is found by its ciphertext and context: one that was replaced or rewrapped is another, and which ciphertext counts is
//! read from MongoDB by whoever asks. While Vault is away, the secrets that are kept go on being used.

use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use flickrhub_job::callback::OpenSecret;
use flickrhub_job::vault::{TransitKey, Vault, VaultError};
use moka::future::Cache;
use secrecy::SecretString;
use tokio::time::{MissedTickBehavior, interval};

/// How long a secret is kept, from when it was decrypted.
pub(crate) const KEPT: Duration = Duration::from_mins(1);

/// The most webhook secrets that are kept.
const MOST_WEBHOOK_SECRETS: u64 = 10_000;

/// How often secrets whose time is up are looked for: so much longer they stay in memory, unused.
const SWEEP: Duration = Duration::from_secs(5);

/// A ciphertext, and the context that it was encrypted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sealed {
    context: String,
    ciphertext: String,
}

/// Decrypts what is encrypted by one key, and keeps it for a short time.
pub struct OpenSecrets {
    vault: Vault,
    key: TransitKey,
    kept: Cache<Sealed, SecretString>,
}

impl OpenSecrets {
    /// Decrypts webhook secrets with `vault`.
    pub fn webhook_secrets(vault: Vault) -> Self {
        Self::keeping(vault, TransitKey::AppCredentials, MOST_WEBHOOK_SECRETS, KEPT)
    }

    /// Decrypts with `vault` what is encrypted by `key`, and keeps at most `most` secrets, each for the time `kept`.
    fn keeping(vault: Vault, key: TransitKey, most: u64, kept: Duration) -> Self {
        let kept = Cache::builder().max_capacity(most).time_to_live(kept).build();
        Self { vault, key, kept }
    }

    /// The secret of this ciphertext. Of many that ask for one at once, one asks Vault.
    async fn decrypt(&self, context: &str, ciphertext: &str) -> Result<SecretString, Arc<VaultError>> {
        let sealed = Sealed {
            context: context.to_owned(),
            ciphertext: ciphertext.to_owned(),
        };
        let decrypted = self.vault.decrypt(self.key, context, ciphertext);
        self.kept.try_get_with(sealed, decrypted).await
    }

    /// Drops secrets whose time is up, for ever: the cache itself does so only while it is used.
    pub(crate) async fn sweep(&self) -> Infallible {
        sweep(&self.kept).await
    }
}

/// Drops what has been kept for its time, for ever.
pub(crate) async fn sweep<K, V>(kept: &Cache<K, V>) -> Infallible
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let mut turns = interval(SWEEP);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        kept.run_pending_tasks().await;
    }
}

impl OpenSecret for OpenSecrets {
    type Error = Arc<VaultError>;

    async fn open(&self, client_id: &str, ciphertext: &str) -> Result<SecretString, Arc<VaultError>> {
        self.decrypt(client_id, ciphertext).await
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_job::callback::SigningSecrets;
    use flickrhub_job::store::{PreviousSecret, WebhookSecrets};
    use jiff::{SignedDuration, Timestamp};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::fake_vault::FakeVault;

    async fn open(secrets: &OpenSecrets, client: &str, ciphertext: &str) -> Result<String, Arc<VaultError>> {
        let secret = secrets.open(client, ciphertext).await;
        secret.map(|secret| secret.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn many_callbacks_of_a_client_ask_vault_once() {
        let vault = FakeVault::start().await;
        let secrets = OpenSecrets::webhook_secrets(vault.connect().await);
        for _ in 0..50 {
            let opened = open(&secrets, "acme", "vault:v1:a").await;
            assert_eq!(opened.ok(), Some("plain vault:v1:a".to_owned()));
        }
        assert_eq!(vault.asked(), 1);
    }

    #[tokio::test]
    async fn a_rewrapped_secret_and_that_of_another_client_are_others() {
        let vault = FakeVault::start().await;
        let secrets = OpenSecrets::webhook_secrets(vault.connect().await);
        for (client, ciphertext) in [
            ("acme", "vault:v1:a"),
            ("acme", "vault:v2:a"),
            ("other", "vault:v1:a"),
        ] {
            assert!(open(&secrets, client, ciphertext).await.is_ok());
        }
        assert_eq!(vault.asked(), 3);
    }

    #[tokio::test]
    async fn while_vault_is_away_what_is_kept_signs_and_anything_else_does_not() {
        let vault = FakeVault::start().await;
        let secrets = OpenSecrets::webhook_secrets(vault.connect().await);
        let now = Timestamp::now();
        let kept = WebhookSecrets {
            present: "vault:v1:a".to_owned(),
            previous: Some(PreviousSecret {
                ciphertext: "vault:v1:b".to_owned(),
                valid_until: now + SignedDuration::from_hours(1),
            }),
        };
        assert!(
            SigningSecrets::decrypt(&secrets, "acme", &kept, now)
                .await
                .is_ok()
        );
        vault.go_away();
        assert!(
            SigningSecrets::decrypt(&secrets, "acme", &kept, now)
                .await
                .is_ok()
        );
        let other = WebhookSecrets {
            present: "vault:v1:c".to_owned(),
            previous: None,
        };
        let away = SigningSecrets::decrypt(&secrets, "acme", &other, now).await;
        assert!(matches!(away.map_err(|error| (*error).is_transient()), Err(true)));
        // That it failed is not kept.
        vault.come_back();
        assert!(
            SigningSecrets::decrypt(&secrets, "acme", &other, now)
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_secret_is_kept_no_longer_than_its_time() {
        let vault = FakeVault::start().await;
        let secrets = OpenSecrets::keeping(
            vault.connect().await,
            TransitKey::AppCredentials,
            MOST_WEBHOOK_SECRETS,
            Duration::from_millis(20),
        );
        assert!(open(&secrets, "acme", "vault:v1:a").await.is_ok());
        tokio::time::sleep(Duration::from_millis(40)).await;
        vault.go_away();
        assert!(open(&secrets, "acme", "vault:v1:a").await.is_err());
        secrets.kept.run_pending_tasks().await;
        assert_eq!(secrets.kept.entry_count(), 0);
    }

    #[tokio::test]
    async fn no_more_secrets_are_kept_than_the_bound() {
        let vault = FakeVault::start().await;
        let secrets = OpenSecrets::webhook_secrets(vault.connect().await);
        assert_eq!(secrets.kept.policy().max_capacity(), Some(MOST_WEBHOOK_SECRETS));
        assert_eq!(secrets.kept.policy().time_to_live(), Some(KEPT));
    }
}

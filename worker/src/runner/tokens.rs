//! Users' tokens, decrypted, for as long as their jobs come; see [`crate::open_secrets`] for how long that is. Whoever has lost
//! the right to use a token does not get as far as here.
//!
//! A token and its secret are two ciphertexts. They are decrypted by one request and kept as one, so that a job never signs
//! with the token of one authorisation and the secret of another.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use flickrhub_flickr::UserToken;
use flickrhub_job::store::User;
use flickrhub_job::vault::{TransitKey, Vault, VaultError};
use moka::future::Cache;

use crate::open_secrets::{KEPT, sweep};

/// The most tokens that are kept.
const MOST_KEPT: u64 = 10_000;

/// A token and its secret as they are stored, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sealed {
    user_id: String,
    token: String,
    secret: String,
}

/// Decrypts tokens, and keeps them for a short time.
pub struct Tokens {
    vault: Vault,
    kept: Cache<Sealed, UserToken>,
}

impl Tokens {
    /// Decrypts with `vault`.
    pub fn new(vault: Vault) -> Self {
        Self::keeping(vault, KEPT)
    }

    fn keeping(vault: Vault, kept: Duration) -> Self {
        let kept = Cache::builder()
            .max_capacity(MOST_KEPT)
            .time_to_live(kept)
            .build();
        Self { vault, kept }
    }

    /// The token of `user`. Of many that ask for one at once, one asks Vault.
    pub(super) async fn of(&self, user: &User) -> Result<UserToken, Arc<VaultError>> {
        let sealed = Sealed {
            user_id: user.id.clone(),
            token: user.token.clone(),
            secret: user.token_secret.clone(),
        };
        let decrypted = async {
            let ciphertexts = [user.token.as_str(), user.token_secret.as_str()];
            let pair = self
                .vault
                .decrypt_pair(TransitKey::UserTokens, &user.id, ciphertexts);
            let [token, secret] = pair.await?;
            Ok::<_, VaultError>(UserToken::new(token, secret))
        };
        self.kept.try_get_with(sealed, decrypted).await
    }

    /// Drops tokens whose time is up, for ever.
    pub(super) async fn sweep(&self) -> Infallible {
        sweep(&self.kept).await
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::fake_vault::FakeVault;

    fn user(id: &str, version: u32) -> User {
        User {
            id: id.to_owned(),
            username: String::new(),
            full_name: String::new(),
            app: "main".to_owned(),
            permission: "read".to_owned(),
            token: format!("vault:v{version}:token"),
            token_secret: format!("vault:v{version}:secret"),
            grants: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn many_jobs_of_a_user_ask_vault_once() {
        let vault = FakeVault::start().await;
        let tokens = Tokens::new(vault.connect().await);
        for _ in 0..50 {
            let token = tokens.of(&user("1@N01", 1)).await.ok();
            let plain = token.map(|token| {
                let parts = [&token.token, &token.secret];
                parts.map(|part| part.expose_secret().to_owned())
            });
            let expected = ["plain vault:v1:token", "plain vault:v1:secret"].map(str::to_owned);
            assert_eq!(plain, Some(expected));
        }
        assert_eq!(vault.asked(), 1);
    }

    #[tokio::test]
    async fn jobs_that_come_at_once_ask_together() {
        let vault = FakeVault::start().await;
        let tokens = Tokens::new(vault.connect().await);
        let user = user("1@N01", 1);
        let all = futures::future::join_all((0..50).map(|_| tokens.of(&user))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(vault.asked(), 1);
    }

    #[tokio::test]
    async fn a_rewrapped_token_is_decrypted_anew_and_the_one_of_another_user_is_not_lent() {
        let vault = FakeVault::start().await;
        let tokens = Tokens::new(vault.connect().await);
        for user in [user("1@N01", 1), user("1@N01", 2), user("2@N01", 1)] {
            assert!(tokens.of(&user).await.is_ok());
        }
        assert_eq!(vault.asked(), 3);
    }

    #[tokio::test]
    async fn while_vault_is_away_kept_tokens_go_on_and_others_fail_until_it_is_back() {
        let vault = FakeVault::start().await;
        let tokens = Tokens::new(vault.connect().await);
        assert!(tokens.of(&user("1@N01", 1)).await.is_ok());
        vault.go_away();
        assert!(tokens.of(&user("1@N01", 1)).await.is_ok());
        let away = tokens.of(&user("2@N01", 1)).await;
        assert!(matches!(away.map_err(|error| error.is_transient()), Err(true)));
        vault.come_back();
        assert!(tokens.of(&user("2@N01", 1)).await.is_ok());
    }

    #[tokio::test]
    async fn a_token_is_kept_no_longer_than_its_time_and_no_more_than_the_bound() {
        let vault = FakeVault::start().await;
        let tokens = Tokens::keeping(vault.connect().await, Duration::from_millis(20));
        assert!(tokens.of(&user("1@N01", 1)).await.is_ok());
        tokio::time::sleep(Duration::from_millis(40)).await;
        vault.go_away();
        assert!(tokens.of(&user("1@N01", 1)).await.is_err());
        tokens.kept.run_pending_tasks().await;
        assert_eq!(tokens.kept.entry_count(), 0);
        let policy = Tokens::new(vault.connect().await).kept.policy();
        assert_eq!(
            (policy.max_capacity(), policy.time_to_live()),
            (Some(MOST_KEPT), Some(KEPT))
        );
    }
}

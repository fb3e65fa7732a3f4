//! Users' tokens, decrypted, for as long as their jobs come.
//!
//! Vault takes far longer to decrypt a token than Redis and MongoDB take for the rest of a job, and the jobs of one user come
//! together. So a token stays in memory for [`KEPT`], no longer, and is wiped when it goes. It is found by its ciphertexts:
//! one that was replaced or encrypted anew is another, and whoever has lost the right to use it does not get as far as here.
//! While Vault is away, the tokens that are kept go on being used.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use flickrhub_flickr::UserToken;
use flickrhub_job::store::User;
use flickrhub_job::vault::{TransitKey, Vault, VaultError};
use moka::future::Cache;
use tokio::time::{MissedTickBehavior, interval};

/// How long a token is kept, from when it was decrypted.
const KEPT: Duration = Duration::from_mins(1);

/// The most tokens that are kept.
const MOST_KEPT: u64 = 10_000;

/// How often tokens whose time is up are looked for: so much longer they stay in memory, unused.
const SWEEP: Duration = Duration::from_secs(5);

/// The ciphertexts that a token was decrypted from, and the user it was encrypted for.
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
        let kept = Cache::builder()
            .max_capacity(MOST_KEPT)
            .time_to_live(KEPT)
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
        let decrypt = |ciphertext| self.vault.decrypt(TransitKey::UserTokens, &user.id, ciphertext);
        let decrypted = async {
            let (token, secret) = tokio::try_join!(decrypt(&user.token), decrypt(&user.token_secret))?;
            Ok(UserToken::new(token, secret))
        };
        self.kept.try_get_with(sealed, decrypted).await
    }

    /// Drops tokens whose time is up, for ever: the cache itself does so only while it is used.
    pub(super) async fn sweep(&self) -> Infallible {
        let mut turns = interval(SWEEP);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.kept.run_pending_tasks().await;
        }
    }
}

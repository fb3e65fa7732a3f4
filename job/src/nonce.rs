//! Nonces of signed requests, each accepted once.
//!
//! Redis keeps them for as long as a signature with the nonce could be accepted. If Redis loses everything, a request that
//! was signed in the last minutes could be sent a second time by somebody who recorded it.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::connection::redis::{Redis, RedisError, milliseconds};

/// Who sends the script again after a lost answer finds its own mark, and is first all the same.
static FIRST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end \
         if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end \
         return 0",
    )
});

/// The nonces that were used. Cheap to clone.
#[derive(Clone)]
pub struct Nonces {
    redis: Redis,
    prefix: String,
}

impl Nonces {
    /// Under a prefix of keys, `fh:` in production.
    pub fn new(redis: Redis, key_prefix: &str) -> Self {
        Self {
            redis,
            prefix: format!("{key_prefix}nonce:"),
        }
    }

    /// Whether this is the first use of the nonce with this key; it is remembered for `lifetime`, which is more than nothing.
    ///
    /// # Errors
    /// When Redis does not say.
    pub async fn is_first(&self, key_id: &str, nonce: &str, lifetime: Duration) -> Result<bool, RedisError> {
        let mut call = FIRST.key(self.redis_key(key_id, nonce));
        call.arg(Uuid::new_v4().simple().to_string())
            .arg(milliseconds(lifetime).max(1));
        let first: i64 = self.redis.script(&call).await?;
        Ok(first == 1)
    }

    /// A nonce is the client's own text: of it only the digest becomes part of a key.
    fn redis_key(&self, key_id: &str, nonce: &str) -> String {
        let digest: String = Sha256::digest(nonce)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{}{key_id}:{digest}", self.prefix)
    }
}

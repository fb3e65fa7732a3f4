//! The answers in Redis: look, lead a flight, keep, invalidate.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;
use serde_json::Value;
use uuid::Uuid;

use super::{CacheKey, CachePolicy};
use crate::connection::redis::{Redis, RedisError, milliseconds};

/// The longest answer that is kept, in bytes of JSON text. A larger one would take the room of many.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("keys.lua"), include_str!($file))))
    };
}

static LOOK: LazyLock<Script> = script!("look.lua");
static KEEP: LazyLock<Script> = script!("keep.lua");

/// The cache cannot be used; whoever asks goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// What is there is no answer of ours. Another program writes under our prefix.
    #[error("the cache holds something that is no answer")]
    Unreadable,
}

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Cached {
    /// Flickr's answer.
    pub result: Value,
    /// How long ago it was given.
    pub age: Duration,
}

/// The generations of a question at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation(String);

/// What is there for a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// An answer that is good.
    Fresh(Cached),
    /// An answer that is good only as long as Flickr cannot be asked; who asked to lead does.
    Stale(Cached, Generation),
    /// Nothing; who asked to lead does.
    Missing(Generation),
    /// Somebody else calls Flickr at this moment.
    Fetching,
}

/// The right to call Flickr for an answer, one at a time. Repeating what was asked under it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    holder: String,
}

impl Flight {
    /// A flight that has not begun.
    #[expect(
        clippy::new_without_default,
        reason = "two calls give two flights; a default would hide that"
    )]
    pub fn new() -> Self {
        Self {
            holder: Uuid::new_v4().simple().to_string(),
        }
    }
}

/// Which answers are not good any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation<'a> {
    /// All of a user.
    User(&'a str),
    /// All of a method, whoever the user is.
    Method(&'a str),
    /// Those that the user has of the method.
    Both {
        /// The user.
        user: &'a str,
        /// The method.
        method: &'a str,
    },
}

/// The cached answers; cheap to clone.
#[derive(Clone)]
pub struct AnswerCache {
    redis: Redis,
    prefix: String,
    policy: CachePolicy,
}

impl AnswerCache {
    /// The answers under a prefix of keys.
    pub fn new(redis: Redis, prefix: &str, policy: CachePolicy) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
            policy,
        }
    }

    /// Whether answers of this method, which reads, are kept.
    pub fn keeps(&self, method: &str) -> bool {
        self.policy.ttl(method).is_some()
    }

    /// Looks for an answer and changes nothing.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn look(&self, key: &CacheKey) -> Result<Lookup, CacheError> {
        self.ask(key, "", Duration::ZERO, false).await
    }

    /// Looks for an answer and, where there is none that is fresh, begins the flight for `lease`. With `anew` no answer
    /// will do that is there already.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn lead(
        &self,
        key: &CacheKey,
        flight: &Flight,
        lease: Duration,
        anew: bool,
    ) -> Result<Lookup, CacheError> {
        self.ask(key, &flight.holder, lease, anew).await
    }

    async fn ask(
        &self,
        key: &CacheKey,
        holder: &str,
        lease: Duration,
        anew: bool,
    ) -> Result<Lookup, CacheError> {
        let mut call = LOOK.prepare_invoke();
        call.arg(&self.prefix)
            .arg(key.to_string())
            .arg(key.user())
            .arg(key.method())
            .arg(holder)
            .arg(milliseconds(lease))
            .arg(u8::from(anew));
        let (kind, generation, age, body): (String, String, u64, Vec<u8>) = self.redis.script(&call).await?;
        let cached = || -> Result<Cached, CacheError> {
            Ok(Cached {
                result: serde_json::from_slice(&body).map_err(|_| CacheError::Unreadable)?,
                age: Duration::from_millis(age),
            })
        };
        let generation = Generation(generation);
        match kind.as_str() {
            "fresh" => Ok(Lookup::Fresh(cached()?)),
            "stale" => Ok(Lookup::Stale(cached()?, generation)),
            "missing" => Ok(Lookup::Missing(generation)),
            "fetching" => Ok(Lookup::Fetching),
            _ => Err(CacheError::Unreadable),
        }
    }

    /// Ends the flight. Its answer is kept, unless it was invalidated since `generation`, the flight is somebody else's
    /// by now, or there is no room for it; says whether it was.
    ///
    /// # Errors
    /// When Redis fails; the flight then ends with its lease.
    pub async fn keep(
        &self,
        key: &CacheKey,
        flight: &Flight,
        generation: &Generation,
        result: &Value,
    ) -> Result<bool, CacheError> {
        let text = result.to_string();
        let ttl = self.policy.ttl(key.method());
        let Some(ttl) = ttl.filter(|_| text.len() <= MAX_ANSWER_BYTES) else {
            self.land(key, flight).await?;
            return Ok(false);
        };
        let mut call = KEEP.prepare_invoke();
        call.arg(&self.prefix)
            .arg(key.to_string())
            .arg(key.user())
            .arg(key.method())
            .arg(&flight.holder)
            .arg(&generation.0)
            .arg(milliseconds(ttl))
            .arg(milliseconds(ttl + self.policy.stale))
            .arg(self.policy.max_bytes)
            .arg(text);
        Ok(self.redis.script(&call).await?)
    }

    /// Ends the flight without an answer, so that the next one may lead at once.
    ///
    /// # Errors
    /// When Redis fails; the flight then ends with its lease.
    pub async fn land(&self, key: &CacheKey, flight: &Flight) -> Result<(), CacheError> {
        static LAND: LazyLock<Script> = LazyLock::new(|| {
            Script::new("if redis.call('GET', ARGV[1]) == ARGV[2] then redis.call('DEL', ARGV[1]) end")
        });
        let mut call = LAND.prepare_invoke();
        call.arg(format!("{}flight:{key}", self.prefix))
            .arg(&flight.holder);
        self.redis.script::<()>(&call).await?;
        Ok(())
    }

    /// From now on no answer is given that a call brought which began before.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn invalidate(&self, what: Invalidation<'_>) -> Result<(), CacheError> {
        let of = match what {
            Invalidation::User(user) => format!("user:{user}"),
            Invalidation::Method(method) => format!("method:{method}"),
            Invalidation::Both { user, method } => format!("both:{user}|{method}"),
        };
        let mut set = redis::cmd("SET");
        set.arg(format!("{}generation:{of}", self.prefix))
            .arg(Uuid::new_v4().simple().to_string())
            .arg("PX")
            .arg(milliseconds(self.policy.longest()));
        self.redis.run::<()>(&set).await?;
        Ok(())
    }
}

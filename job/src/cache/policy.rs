//! For how long the answers of a method are good.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Seconds of freshness of methods that say more about the world than about a moment, the longest prefix of the method's
/// name that matches; 0: never kept, because the answer is about the moment, or about the call itself.
const KNOWN: [(&str, u32); 16] = [
    ("flickr.auth.", 0),
    ("flickr.test.", 0),
    ("flickr.push.", 0),
    ("flickr.photos.upload.", 0),
    ("flickr.activity.", 30),
    ("flickr.cameras.", 86_400),
    ("flickr.commons.", 86_400),
    ("flickr.interestingness.", 600),
    ("flickr.machinetags.", 600),
    ("flickr.people.getInfo", 300),
    ("flickr.photos.getExif", 3_600),
    ("flickr.photos.licenses.", 86_400),
    ("flickr.places.", 86_400),
    ("flickr.reflection.", 86_400),
    ("flickr.stats.", 600),
    ("flickr.urls.", 3_600),
];

/// How answers are cached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheConfig {
    /// Whether anything is cached at all.
    pub enabled: bool,
    /// Seconds for which an answer is fresh, of methods for which nothing else is known or said.
    pub default_ttl_seconds: u32,
    /// Seconds for which an answer is kept after that, to be given while Flickr cannot be asked.
    pub stale_seconds: u32,
    /// Most bytes that the answers take in Redis, all together.
    pub max_bytes: u64,
    /// Seconds of freshness by method, before every other rule.
    pub methods: Vec<MethodTtl>,
}

/// The freshness of the answers of one method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodTtl {
    /// The full name of the method.
    pub method: String,
    /// Seconds; 0: never kept.
    pub ttl_seconds: u32,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            default_ttl_seconds: 60,
            stale_seconds: 3_600,
            max_bytes: 32 * 1024 * 1024,
            methods: Vec::new(),
        }
    }
}

/// The rules of a [`CacheConfig`], ready for use.
#[derive(Clone, Debug)]
pub struct CachePolicy {
    enabled: bool,
    default_ttl: u32,
    methods: BTreeMap<String, u32>,
    /// For how long an answer is kept when it is not fresh any more.
    pub stale: Duration,
    /// Most bytes that the answers take in Redis, all together.
    pub max_bytes: u64,
}

impl From<&CacheConfig> for CachePolicy {
    fn from(config: &CacheConfig) -> Self {
        let methods = config.methods.iter();
        Self {
            enabled: config.enabled,
            default_ttl: config.default_ttl_seconds,
            methods: methods
                .map(|method| (method.method.clone(), method.ttl_seconds))
                .collect(),
            stale: Duration::from_secs(config.stale_seconds.into()),
            max_bytes: config.max_bytes,
        }
    }
}

impl CachePolicy {
    /// For how long an answer of `method`, which reads, is fresh; `None`: it is not cached.
    pub fn ttl(&self, method: &str) -> Option<Duration> {
        let seconds = self
            .methods
            .get(method)
            .copied()
            .or_else(|| known(method))
            .unwrap_or(self.default_ttl);
        (self.enabled && seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// Longer than any answer is kept, the time of its call included.
    pub fn longest(&self) -> Duration {
        const CALL: Duration = Duration::from_hours(1);
        let known = KNOWN.into_iter().map(|(_, seconds)| seconds);
        let seconds = known.chain(self.methods.values().copied()).max();
        Duration::from_secs(seconds.unwrap_or(0).max(self.default_ttl).into()) + self.stale + CALL
    }
}

fn known(method: &str) -> Option<u32> {
    KNOWN
        .into_iter()
        .filter(|(prefix, _)| method.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, seconds)| seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(change: impl FnOnce(&mut CacheConfig)) -> CachePolicy {
        let mut config = CacheConfig::default();
        change(&mut config);
        CachePolicy::from(&config)
    }

    fn seconds(policy: &CachePolicy, method: &str) -> Option<u64> {
        policy.ttl(method).map(|ttl| ttl.as_secs())
    }

    #[test]
    fn what_the_platform_team_says_goes_before_what_is_known() {
        let policy = policy(|config| {
            config.methods = vec![
                MethodTtl {
                    method: "flickr.test.echo".to_owned(),
                    ttl_seconds: 7,
                },
                MethodTtl {
                    method: "flickr.photos.search".to_owned(),
                    ttl_seconds: 0,
                },
            ];
        });
        assert_eq!(seconds(&policy, "flickr.test.echo"), Some(7));
        assert_eq!(seconds(&policy, "flickr.photos.search"), None);
        assert_eq!(seconds(&policy, "flickr.photos.getInfo"), Some(60));
        assert_eq!(seconds(&policy, "flickr.places.getInfo"), Some(86_400));
    }

    #[test]
    fn what_is_about_the_moment_is_not_kept() {
        for method in ["flickr.test.login", "flickr.photos.upload.checkTickets"] {
            assert_eq!(policy(|_| ()).ttl(method), None, "{method}");
        }
    }

    #[test]
    fn a_cache_that_is_off_keeps_nothing() {
        let policy = policy(|config| config.enabled = false);
        assert_eq!(policy.ttl("flickr.photos.search"), None);
    }

    #[test]
    fn generations_outlive_every_answer() {
        let policy = policy(|config| {
            config.methods = vec![MethodTtl {
                method: "flickr.photos.search".to_owned(),
                ttl_seconds: 1_000_000,
            }];
        });
        for (method, _) in KNOWN.into_iter().chain([("flickr.photos.search", 0)]) {
            let kept = policy.ttl(method).unwrap_or_default() + policy.stale;
            assert!(policy.longest() > kept, "{method}");
        }
    }
}

//! `spec.cache`: answers of Flickr that are kept.

use flickrhub_job::cache::{CacheConfig, MethodTtl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Quantity, rules};

/// Answers of Flickr that are kept in Redis, each for the user who had it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("quantity(string(self.maxSize)).compareTo(quantity('1Mi')) >= 0", "maxSize must be at least 1Mi; to keep nothing set enabled to false"),
])))]
pub struct CacheSpec {
    /// Whether answers are kept at all.
    pub enabled: bool,
    /// Seconds for which the answers of a method that reads are fresh. Methods about the moment (`flickr.test.*`) are never
    /// kept; those about the world (`flickr.places.*`) are for up to a day.
    #[schemars(range(min = 0, max = 604_800))]
    pub default_ttl_seconds: u32,
    /// Seconds for which an answer is kept after that, to be given while Flickr cannot be asked.
    #[schemars(range(min = 0, max = 604_800))]
    pub stale_seconds: u32,
    /// Most memory that the answers take in Redis, all together; a part of what Redis has.
    pub max_size: Quantity,
    /// Freshness by method, before every other rule.
    #[schemars(length(max = 250), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["method"]))]
    pub methods: Vec<MethodTtlSpec>,
}

/// For how long the answers of one method are fresh.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MethodTtlSpec {
    /// The full name of a method that reads, for example `flickr.photos.search`.
    #[schemars(length(max = 100), regex(pattern = r"^flickr(\.[a-zA-Z0-9]+)+$"))]
    pub method: String,
    /// Seconds; 0: its answers are never kept.
    #[schemars(range(min = 0, max = 604_800))]
    pub ttl_seconds: u32,
}

impl Default for CacheSpec {
    fn default() -> Self {
        let config = CacheConfig::default();
        Self {
            enabled: config.enabled,
            default_ttl_seconds: config.default_ttl_seconds,
            stale_seconds: config.stale_seconds,
            max_size: Quantity::new("32Mi"),
            methods: Vec::new(),
        }
    }
}

impl CacheSpec {
    /// The same for the processes; `max_bytes` is what `maxSize` says.
    pub(crate) fn config(&self, max_bytes: u64) -> CacheConfig {
        CacheConfig {
            enabled: self.enabled,
            default_ttl_seconds: self.default_ttl_seconds,
            stale_seconds: self.stale_seconds,
            max_bytes,
            methods: self
                .methods
                .iter()
                .map(|of| MethodTtl {
                    method: of.method.clone(),
                    ttl_seconds: of.ttl_seconds,
                })
                .collect(),
        }
    }
}

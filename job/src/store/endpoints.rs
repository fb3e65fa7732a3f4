//! Callback addresses that want no more callbacks: those that answered 410 (Gone).
//!
//! An address is disabled for one client, and stands here until that client enables it again or [`DISABLED_FOR`] has passed:
//! then it is tried afresh, and a receiver that still answers 410 disables it again. So the collection stays small although
//! a client may name another address with each job.
//!
//! Of the address only its SHA-256 is stored and the part that can be shown: a query may hold a secret of the client's.
//!
//! Whether an address is disabled is asked for every job that is submitted and for every delivery, so the answer is kept
//! in memory for [`CACHE_LIFETIME`]. Other processes learn of a change when theirs has run out.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use url::Url;

use super::collections::CollectionName;
use super::error::within;
use super::time::now;
use super::{StoreError, index};
use crate::model::JobId;

/// How long an address stays disabled if nobody enables it.
pub const DISABLED_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long an answer is believed.
const CACHE_LIFETIME: Duration = Duration::from_secs(5);
/// Clients whose addresses are remembered at a time.
const CACHE_CLIENTS: usize = 10_000;
/// Disabled addresses of one client that are remembered; those of a client that has more are asked for one by one.
const CACHE_ADDRESSES: usize = 1_000;

/// An address of a client: the SHA-256 of both, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointId(String);

impl EndpointId {
    /// The address of a client. The fragment, which is never sent, makes no difference.
    pub fn of(client_id: &str, url: &Url) -> Self {
        let mut url = url.clone();
        url.set_fragment(None);
        let mut hash = Sha256::new();
        hash.update(client_id);
        // In no client's id, so that no two pairs run into the same bytes.
        hash.update([0]);
        hash.update(url.as_str());
        Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no id of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no id of a callback address: 64 lower-case hexadecimal digits")]
pub struct InvalidEndpointId;

impl FromStr for EndpointId {
    type Err = InvalidEndpointId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidEndpointId)
        }
    }
}

/// What of an address can be shown and stored: scheme, host, port and path. User names, passwords, the query and the
/// fragment may be secrets.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Neither fails for http and https, which are all that get here.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// An address that is disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisabledEndpoint {
    /// Identity.
    #[serde(rename = "_id")]
    pub id: EndpointId,
    /// Whose address it is.
    pub client_id: String,
    /// See [`shown`].
    pub url: String,
    /// The job whose callback was answered 410.
    #[serde(with = "crate::store::id")]
    pub job_id: JobId,
    /// When that was.
    #[serde(with = "crate::store::time")]
    pub disabled_at: Timestamp,
    /// It is tried afresh after this time.
    #[serde(with = "crate::store::time")]
    pub disabled_until: Timestamp,
}

/// What is remembered of a client's disabled addresses.
#[derive(Debug)]
enum Known {
    /// All of them.
    All(HashSet<EndpointId>),
    /// There are too many.
    TooMany,
}

/// One client's place in the cache. Requests that come together wait for one answer.
#[derive(Clone)]
struct Remembered {
    since: Instant,
    known: Arc<OnceCell<Known>>,
}

/// The disabled addresses. Cheap to clone; clones share what they remember.
#[derive(Clone)]
pub struct EndpointStore {
    endpoints: Collection<DisabledEndpoint>,
    cache: Arc<Mutex<HashMap<String, Remembered>>>,
}

impl EndpointStore {
    /// Opens the store and creates the indexes that are missing.
    ///
    /// # Errors
    /// When MongoDB cannot be reached or refuses an index.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let endpoints = CollectionName::CallbackEndpoints.of(database);
        within(endpoints.create_indexes(index::callback_endpoints())).await?;
        Ok(Self {
            endpoints,
            cache: Arc::default(),
        })
    }

    /// Disables an address, because it answered 410 to the callback of this job. One that is disabled already stays as it
    /// is.
    pub async fn disable(&self, client_id: &str, url: &Url, job_id: JobId) -> Result<(), StoreError> {
        let endpoint = DisabledEndpoint {
            id: EndpointId::of(client_id, url),
            client_id: client_id.to_owned(),
            url: shown(url),
            job_id,
            disabled_at: now(),
            disabled_until: now().saturating_add(DISABLED_FOR).unwrap_or(Timestamp::MAX),
        };
        let inserted = within(self.endpoints.insert_one(&endpoint)).await;
        self.forget(client_id);
        match inserted {
            // The only unique index is the one of the id.
            Ok(_) | Err(StoreError::Duplicate { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Enables an address again. `false`: it was not disabled, or is another client's.
    pub async fn enable(&self, client_id: &str, id: &EndpointId) -> Result<bool, StoreError> {
        let own = doc! { "_id": &id.0, "client_id": client_id };
        let deleted = within(self.endpoints.delete_one(own)).await;
        self.forget(client_id);
        Ok(deleted?.deleted_count == 1)
    }

    /// Whether an address is disabled; at most [`CACHE_LIFETIME`] old.
    pub async fn is_disabled(&self, client_id: &str, url: &Url) -> Result<bool, StoreError> {
        let id = EndpointId::of(client_id, url);
        let known = self.remembered(client_id, Instant::now());
        match known.get_or_try_init(|| self.load(client_id)).await? {
            Known::All(disabled) => Ok(disabled.contains(&id)),
            Known::TooMany => {
                let endpoints = self.endpoints.clone_with_type::<Document>();
                let find = endpoints.find_one(doc! { "_id": &id.0 });
                Ok(within(find.projection(doc! { "_id": 1 })).await?.is_some())
            }
        }
    }

    /// The disabled addresses of a client in the order of their ids, at most `limit`, behind the one with the id `after`.
    pub async fn list(
        &self,
        client_id: &str,
        after: Option<&EndpointId>,
        limit: u32,
    ) -> Result<Vec<DisabledEndpoint>, StoreError> {
        let mut filter = doc! { "client_id": client_id };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": &after.0 });
        }
        let find = self.endpoints.find(filter).sort(doc! { "_id": 1 });
        let found = within(find.limit(i64::from(limit.max(1)))).await?;
        within(found.try_collect()).await
    }

    async fn load(&self, client_id: &str) -> Result<Known, StoreError> {
        let endpoints = self.endpoints.clone_with_type::<Document>();
        let find = endpoints
            .find(doc! { "client_id": client_id })
            .projection(doc! { "_id": 1 })
            .limit(i64::try_from(CACHE_ADDRESSES + 1).unwrap_or(i64::MAX));
        let found: Vec<Document> = within(within(find).await?.try_collect()).await?;
        if found.len() > CACHE_ADDRESSES {
            return Ok(Known::TooMany);
        }
        let ids = found.iter().filter_map(|document| document.get_str("_id").ok());
        Ok(Known::All(ids.map(|id| EndpointId(id.to_owned())).collect()))
    }

    fn remembered(&self, client_id: &str, now: Instant) -> Arc<OnceCell<Known>> {
        let fresh = |remembered: &Remembered| now.duration_since(remembered.since) < CACHE_LIFETIME;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = cache.get(client_id).filter(|remembered| fresh(remembered)) {
            return Arc::clone(&found.known);
        }
        if cache.len() >= CACHE_CLIENTS {
            cache.retain(|_, remembered| fresh(remembered));
        }
        if cache.len() >= CACHE_CLIENTS {
            cache.clear();
        }
        let remembered = Remembered {
            since: now,
            known: Arc::default(),
        };
        cache.insert(client_id.to_owned(), remembered.clone());
        remembered.known
    }

    fn forget(&self, client_id: &str) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.remove(client_id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_is_that_of_one_client_and_its_fragment_is_none_of_it() {
        let id = |client: &str, text: &str| EndpointId::of(client, &url(text));
        let hook = id("acme", "https://acme.example/hook?key=1");
        assert_eq!(hook, id("acme", "https://ACME.example:443/hook?key=1#top"));
        for other in [
            id("other", "https://acme.example/hook?key=1"),
            id("acme", "https://acme.example/hook?key=2"),
            id("acme", "https://acme.example/hook/?key=1"),
        ] {
            assert_ne!(hook, other);
        }
        assert_eq!(hook.to_string().parse(), Ok(hook));
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let shown = shown(&url(
            "https://user:password@acme.example:8443/hook/1?token=secret#secret",
        ));
        assert_eq!(shown, "https://acme.example:8443/hook/1");
    }

    proptest! {
        #[test]
        fn any_other_text_is_no_id(text in ".{0,63}") {
            prop_assert_eq!(text.parse::<EndpointId>(), Err(InvalidEndpointId));
        }
    }
}

//! What a request is authenticated with: one key, and what its client may do, in one small read.
//!
//! Both stand in the client's document:
//!
//! | field | holds |
//! | --- | --- |
//! | `scopes` | what the client may do |
//! | `allowed_networks` | networks (CIDR) or addresses that it may call from; any where the field is missing or empty |
//! | `requests_per_minute` | what one of its keys may ask of one API process in a minute; the default where it is missing |
//! | `keys[].id` | the part of a key that is no secret, also the `keyid` of signatures |
//! | `keys[].hash` | the bcrypt hash of the secret of the bearer key |
//! | `keys[].hmac_secret` | the key of RFC 9421 signatures ([`crate::signing_key`]), encrypted by Vault under the key of application credentials with the client's id as context; missing where the key does not sign |
//! | `keys[].not_after` | the key does not hold from then on; missing where nobody set an end |
//!
//! Whoever rotates a key adds the new one to `keys`, gives the old one a `not_after`, and takes it out after that.

use std::net::IpAddr;

use bson::doc;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Deserialize;

use super::error::within;
use super::{ClientStore, StoreError};

/// One key, and what its client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The client that it belongs to.
    pub client_id: String,
    /// What the client may do.
    pub scopes: Vec<String>,
    /// The networks that the client may call from; `None`: any.
    pub allowed_networks: Option<Vec<IpNet>>,
    /// What the key may ask of one API process in a minute, if it is not the default.
    pub requests_per_minute: Option<u32>,
    /// The bcrypt hash of the bearer secret; empty where the key only signs.
    pub hash: String,
    /// The ciphertext of the signing secret, where the key signs.
    pub hmac_secret: Option<String>,
    /// The key does not hold from then on.
    pub not_after: Option<Timestamp>,
}

/// As it is stored.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "_id")]
    client_id: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    allowed_networks: Option<Vec<String>>,
    #[serde(default)]
    requests_per_minute: Option<i64>,
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    hash: String,
    #[serde(default)]
    hmac_secret: Option<String>,
    #[serde(default, with = "crate::store::time::option")]
    not_after: Option<Timestamp>,
}

impl ClientStore {
    /// The key of this id.
    pub async fn api_key(&self, key_id: &str) -> Result<Option<ApiKey>, StoreError> {
        let clients = self.clients.clone_with_type::<Document>();
        let projection = doc! {
            "scopes": 1,
            "allowed_networks": 1,
            "requests_per_minute": 1,
            "keys": { "$elemMatch": { "id": key_id } },
        };
        let find = clients.find_one(doc! { "keys.id": key_id });
        Ok(within(find.projection(projection)).await?.and_then(ApiKey::read))
    }
}

impl ApiKey {
    fn read(document: Document) -> Option<Self> {
        let key = document.keys.into_iter().next()?;
        Some(Self {
            client_id: document.client_id,
            scopes: document.scopes,
            allowed_networks: document.allowed_networks.as_deref().and_then(networks),
            requests_per_minute: document
                .requests_per_minute
                .map(|rate| u32::try_from(rate.max(1)).unwrap_or(u32::MAX)),
            hash: key.hash,
            hmac_secret: key.hmac_secret,
            not_after: key.not_after,
        })
    }
}

/// The list, if it has entries. An entry that is no network allows nothing: a list of such entries alone refuses everyone,
/// because what it was to allow is not known.
fn networks(entries: &[String]) -> Option<Vec<IpNet>> {
    if entries.is_empty() {
        return None;
    }
    let parsed = entries.iter().filter_map(|entry| {
        let network = entry
            .parse::<IpNet>()
            .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        network
            .inspect_err(|_| tracing::warn!("an entry of a client's allowed networks is no network"))
            .ok()
    });
    Some(parsed.collect())
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;

    fn read(document: bson::Document) -> Option<ApiKey> {
        bson::deserialize_from_document(document)
            .ok()
            .and_then(ApiKey::read)
    }

    #[test]
    fn a_key_of_the_first_version_is_read() {
        let key =
            read(doc! { "_id": "acme", "scopes": ["jobs:read"], "keys": [{ "id": "k1", "hash": "h" }] });
        let expected = ApiKey {
            client_id: "acme".to_owned(),
            scopes: vec!["jobs:read".to_owned()],
            allowed_networks: None,
            requests_per_minute: None,
            hash: "h".to_owned(),
            hmac_secret: None,
            not_after: None,
        };
        assert_eq!(key, Some(expected));
    }

    #[test]
    fn everything_that_can_be_set_is_read() {
        let key = read(doc! {
            "_id": "acme", "scopes": [], "allowed_networks": ["10.0.0.0/8", "2001:db8::1"],
            "requests_per_minute": 60_i32,
            "keys": [{ "id": "k1", "hmac_secret": "vault:v1:x", "not_after": DateTime::from_millis(1_800_000_000_000) }],
        });
        let key = key.map(|key| {
            let networks = key.allowed_networks.unwrap_or_default();
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            (
                networks,
                key.requests_per_minute,
                key.hmac_secret,
                key.not_after.map(Timestamp::as_second),
            )
        });
        let networks = vec!["10.0.0.0/8".to_owned(), "2001:db8::1/128".to_owned()];
        let expected = (
            networks,
            Some(60),
            Some("vault:v1:x".to_owned()),
            Some(1_800_000_000),
        );
        assert_eq!(key, Some(expected));
    }

    #[test]
    fn a_list_without_a_network_that_can_be_read_allows_nobody() {
        assert_eq!(networks(&[]), None);
        assert_eq!(networks(&["everywhere".to_owned()]), Some(Vec::new()));
    }

    #[test]
    fn a_client_without_the_key_is_none() {
        assert_eq!(read(doc! { "_id": "acme" }), None);
    }
}

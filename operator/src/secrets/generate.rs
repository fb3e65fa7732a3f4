//! Which Secrets are made up, and how their values are drawn.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flickrhub_job::signing_key::new_signing_key;
use rand::RngExt;
use rand::distr::{Alphanumeric, SampleString};
use secrecy::ExposeSecret;

use crate::names::{HubNames, MONGODB_USER, RABBITMQ_USER};
use crate::part::Part;

/// How a value is made up.
type Draw = fn() -> String;

/// An engine that is set up with made-up values and keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engine {
    /// Its part of the hub.
    pub(super) part: Part,
    /// Its StatefulSet, by which its volumes are named.
    pub(super) set: String,
}

/// A Secret that has to exist.
pub(super) struct Wanted {
    /// Its name.
    pub(super) name: String,
    /// The part that it belongs to, for its label.
    pub(super) component: &'static str,
    /// The engine that knows its values and whose data only they open; `None` where others can take their place.
    pub(super) engine: Option<Engine>,
    /// Its keys, each with how its value is drawn.
    pub(super) keys: &'static [(&'static str, Draw)],
    /// Its keys with names of users, each with the first one.
    pub(super) users: &'static [(&'static str, &'static str)],
}

impl Wanted {
    /// New values for every key, and the first users.
    pub(super) fn make_up(&self) -> BTreeMap<String, String> {
        let users = self.users.iter();
        let users = users.map(|(key, user)| ((*key).to_owned(), (*user).to_owned()));
        let drawn = self.keys.iter().map(|(key, draw)| ((*key).to_owned(), draw()));
        drawn.chain(users).collect()
    }
}

/// Every Secret that is made up for a hub, without the keys of Vault.
pub(super) fn wanted(names: &HubNames) -> [Wanted; 4] {
    [
        Wanted {
            name: names.redis_auth(),
            component: "redis",
            engine: Some(Engine {
                part: Part::Redis,
                set: names.redis(),
            }),
            keys: &[("password", password)],
            users: &[],
        },
        Wanted {
            name: names.mongodb_auth(),
            component: "mongodb",
            engine: Some(Engine {
                part: Part::MongoDb,
                set: names.mongodb(),
            }),
            keys: &[
                ("keyfile", keyfile),
                ("admin-password", password),
                ("app-password", password),
            ],
            users: &[("app-username", MONGODB_USER)],
        },
        Wanted {
            name: names.rabbitmq_auth(),
            component: "rabbitmq",
            engine: Some(Engine {
                part: Part::RabbitMq,
                set: names.rabbitmq(),
            }),
            keys: &[("password", password), ("erlang-cookie", password)],
            users: &[("username", RABBITMQ_USER)],
        },
        Wanted {
            name: names.default_client(),
            component: "api",
            // It is registered anew with whatever values it has.
            engine: None,
            keys: &[
                ("api-key", api_key),
                ("signing-key", signing_key),
                ("webhook-secret", webhook_secret),
            ],
            users: &[],
        },
    ]
}

/// Letters and digits from the operating system's generator, 5.95 bits each.
fn alphanumeric(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

/// 190 bits. Letters and digits need no quoting in the configuration of any engine.
pub(crate) fn password() -> String {
    alphanumeric(32)
}

/// The name of a user that nobody had before, so that to drop one never drops another.
pub(crate) fn successor(user: &str) -> String {
    format!("{user}-{}", alphanumeric(8).to_ascii_lowercase())
}

/// MongoDB takes 6 to 1024 characters of base64.
fn keyfile() -> String {
    alphanumeric(256)
}

/// `fh_<key id>_<secret>`: neither part holds an underscore, and the secret is short enough for bcrypt (72 bytes).
pub(crate) fn api_key() -> String {
    format!("fh_{}_{}", alphanumeric(12), alphanumeric(43))
}

fn signing_key() -> String {
    new_signing_key().expose_secret().to_owned()
}

/// Standard Webhooks asks for 24 to 64 bytes.
pub(crate) fn webhook_secret() -> String {
    let key: [u8; 32] = rand::rng().random();
    format!("whsec_{}", STANDARD.encode(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_values_are_alike() {
        let names = HubNames::new("gallery", "photos", "cluster.local");
        let mut values: Vec<String> = wanted(&names)
            .iter()
            .flat_map(|secret| {
                let values = secret.make_up().into_iter();
                values.filter(move |(key, _)| secret.keys.iter().any(|(drawn, _)| drawn == key))
            })
            .map(|(_, value)| value)
            .collect();
        let count = values.len();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), count);
    }

    #[test]
    fn an_api_key_has_three_parts_and_fits_bcrypt() {
        let key = api_key();
        let parts: Vec<&str> = key.split('_').collect();
        assert_eq!(parts.len(), 3);
        assert!(
            parts
                .iter()
                .skip(1)
                .all(|part| part.chars().all(|c| c.is_ascii_alphanumeric()))
        );
        assert!(parts.last().is_some_and(|secret| secret.len() <= 72));
    }

    #[test]
    fn a_webhook_secret_is_one_of_standard_webhooks() {
        let secret = webhook_secret();
        let key = secret
            .strip_prefix("whsec_")
            .and_then(|encoded| STANDARD.decode(encoded).ok());
        assert_eq!(key.map(|key| key.len()), Some(32));
    }
}

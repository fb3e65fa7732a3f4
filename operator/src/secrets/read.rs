//! From Secrets to typed values.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use super::{DefaultClient, MongoDbSecrets, RabbitMqSecrets, RedisSecrets, SecretError, Secrets, VaultKeys};
use crate::build::checksum;
use crate::names::HubNames;

/// Checksums of what pods mount, 64 bits in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsChecksums {
    /// Of the password of Redis, for its pods and for the processes.
    pub redis: String,
    /// Of the key file, for the members of MongoDB.
    pub mongodb_keyfile: String,
    /// Of the password of MongoDB's user, for the processes.
    pub mongodb_app: String,
    /// Of the password and the cookie, for the nodes of RabbitMQ.
    pub rabbitmq_nodes: String,
    /// Of the password alone, for the processes.
    pub rabbitmq_app: String,
}

/// Reads the Secrets of a hub from `found`, by name.
pub(super) fn read(names: &HubNames, found: &BTreeMap<String, Secret>) -> Result<Secrets, SecretError> {
    let redis = Source::new(found, names.redis_auth());
    let mongodb = Source::new(found, names.mongodb_auth());
    let rabbitmq = Source::new(found, names.rabbitmq_auth());
    let client = Source::new(found, names.default_client());
    let vault = Source::new(found, names.vault_keys());
    Ok(Secrets {
        redis: RedisSecrets {
            password: redis.text("password")?,
        },
        mongodb: MongoDbSecrets {
            keyfile: mongodb.text("keyfile")?,
            admin_password: mongodb.text("admin-password")?,
            app_password: mongodb.text("app-password")?,
        },
        rabbitmq: RabbitMqSecrets {
            password: rabbitmq.text("password")?,
            erlang_cookie: rabbitmq.text("erlang-cookie")?,
        },
        vault: vault
            .text("unseal-key")
            .ok()
            .zip(vault.text("root-token").ok())
            .map(|(unseal_key, root_token)| VaultKeys {
                unseal_key,
                root_token,
            }),
        default_client: DefaultClient {
            api_key: client.text("api-key")?,
            webhook_secret: client.text("webhook-secret")?,
        },
        checksums: SecretsChecksums {
            redis: redis.checksum(&["password"]),
            mongodb_keyfile: mongodb.checksum(&["keyfile"]),
            mongodb_app: mongodb.checksum(&["app-password"]),
            rabbitmq_nodes: rabbitmq.checksum(&["password", "erlang-cookie"]),
            rabbitmq_app: rabbitmq.checksum(&["password"]),
        },
    })
}

/// One Secret, which may not exist.
struct Source<'a> {
    name: String,
    secret: Option<&'a Secret>,
}

impl<'a> Source<'a> {
    fn new(found: &'a BTreeMap<String, Secret>, name: String) -> Self {
        let secret = found.get(&name);
        Self { name, secret }
    }

    fn text(&self, key: &'static str) -> Result<SecretString, SecretError> {
        self.secret
            .and_then(|secret| secret.data.as_ref())
            .and_then(|data| data.get(key))
            .and_then(|value| std::str::from_utf8(&value.0).ok())
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(SecretString::from)
            .ok_or_else(|| SecretError::Incomplete {
                name: self.name.clone(),
                key,
            })
    }

    fn checksum(&self, keys: &[&str]) -> String {
        let data = self.secret.and_then(|secret| secret.data.as_ref());
        let entries = keys.iter().filter_map(|key| {
            let value = data?.get(*key)?;
            Some((*key, value.0.as_slice()))
        });
        checksum::of_entries(entries)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::secrets::generate;

    fn names() -> HubNames {
        HubNames::new("gallery", "photos", "cluster.local")
    }

    fn secret(entries: impl IntoIterator<Item = (String, String)>) -> Secret {
        Secret {
            data: Some(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, ByteString(value.into_bytes())))
                    .collect(),
            ),
            ..Secret::default()
        }
    }

    fn made_up() -> BTreeMap<String, Secret> {
        generate::wanted(&names())
            .iter()
            .map(|wanted| (wanted.name.clone(), secret(wanted.make_up())))
            .collect()
    }

    #[test]
    fn what_was_made_up_is_read_back() {
        let secrets = read(&names(), &made_up());
        assert!(secrets.is_ok_and(|s| s.mongodb.keyfile.expose_secret().len() == 256 && s.vault.is_none()));
    }

    #[test]
    fn a_secret_without_one_of_its_keys_is_not_made_up_anew() {
        let mut found = made_up();
        found.insert("gallery-redis-auth".to_owned(), secret([]));
        let error = read(&names(), &found).map_err(|error| error.to_string()).err();
        assert!(error.is_some_and(|text| text.contains("gallery-redis-auth") && text.contains("restore")));
    }

    #[test]
    fn the_keys_of_vault_are_there_once_both_are_written() {
        let mut found = made_up();
        found.insert("gallery-vault-keys".to_owned(), secret([]));
        assert!(read(&names(), &found).is_ok_and(|s| s.vault.is_none()));
        let both = [("unseal-key", "u"), ("root-token", "r")];
        let both = both.map(|(key, value)| (key.to_owned(), value.to_owned()));
        found.insert("gallery-vault-keys".to_owned(), secret(both));
        assert!(read(&names(), &found).is_ok_and(|s| s.vault.is_some()));
    }

    #[test]
    fn a_changed_value_changes_the_checksums_of_what_mounts_it_and_no_others() {
        let found = made_up();
        let checksums = |found: &BTreeMap<String, Secret>| {
            let SecretsChecksums {
                redis,
                mongodb_keyfile,
                mongodb_app,
                rabbitmq_nodes,
                rabbitmq_app,
            } = read(&names(), found).map(|s| s.checksums).unwrap_or_default();
            [redis, mongodb_keyfile, mongodb_app, rabbitmq_nodes, rabbitmq_app]
        };
        let before = checksums(&found);
        let cases = [
            (
                "gallery-redis-auth",
                "password",
                [true, false, false, false, false],
            ),
            (
                "gallery-mongodb-auth",
                "keyfile",
                [false, true, false, false, false],
            ),
            ("gallery-mongodb-auth", "admin-password", [false; 5]),
            (
                "gallery-mongodb-auth",
                "app-password",
                [false, false, true, false, false],
            ),
            (
                "gallery-rabbitmq-auth",
                "erlang-cookie",
                [false, false, false, true, false],
            ),
            (
                "gallery-rabbitmq-auth",
                "password",
                [false, false, false, true, true],
            ),
        ];
        for (secret, key, expected) in cases {
            let mut changed = found.clone();
            let data = changed.get_mut(secret).and_then(|secret| secret.data.as_mut());
            let old = data.and_then(|data| data.insert(key.to_owned(), ByteString(b"another".to_vec())));
            assert!(old.is_some(), "{secret} has no {key}");
            let mut differs = before
                .iter()
                .zip(checksums(&changed))
                .map(|(before, after)| *before != after);
            let differs: [bool; 5] = std::array::from_fn(|_| differs.next().unwrap_or_default());
            assert_eq!(differs, expected, "{secret} {key}");
        }
    }
}

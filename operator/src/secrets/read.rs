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
    /// Of the Secret of Redis.
    pub redis: String,
    /// Of the Secret of MongoDB.
    pub mongodb: String,
    /// Of the Secret of RabbitMQ.
    pub rabbitmq: String,
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
            redis: redis.checksum(),
            mongodb: mongodb.checksum(),
            rabbitmq: rabbitmq.checksum(),
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

    fn checksum(&self) -> String {
        let data = self.secret.and_then(|secret| secret.data.as_ref());
        let entries = data.into_iter().flatten();
        checksum::of_entries(entries.map(|(key, value)| (key.as_str(), value.0.as_slice())))
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
    fn a_changed_value_changes_the_checksum() {
        let checksum = |found: &BTreeMap<String, Secret>| read(&names(), found).map(|s| s.checksums).ok();
        let found = made_up();
        assert_eq!(checksum(&found), checksum(&found));
        assert_ne!(checksum(&found), checksum(&made_up()));
    }
}

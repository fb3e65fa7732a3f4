//! From Secrets to typed values.

use std::collections::BTreeMap;

use flickrhub_job::config::Login;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};

use super::{DefaultClient, MongoDbSecrets, RabbitMqSecrets, RedisSecrets, SecretLoss, Secrets};
use crate::build::checksum;
use crate::names::{HubNames, MONGODB_USER, RABBITMQ_USER};

/// Checksums of what pods mount, 64 bits in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsChecksums {
    /// Of the password of Redis, for the processes. Its pods take up another one while they run.
    pub redis: String,
    /// Of the key file, for the members of MongoDB.
    pub mongodb_keyfile: String,
    /// Of the password of MongoDB's user, for the processes.
    pub mongodb_app: String,
    /// Of the cookie, for the nodes of RabbitMQ.
    pub rabbitmq_nodes: String,
    /// Of the password alone, for the processes.
    pub rabbitmq_app: String,
}

impl SecretsChecksums {
    /// All of them.
    pub fn all(&self) -> [&str; 5] {
        let Self {
            redis,
            mongodb_keyfile,
            mongodb_app,
            rabbitmq_nodes,
            rabbitmq_app,
        } = self;
        [redis, mongodb_keyfile, mongodb_app, rabbitmq_nodes, rabbitmq_app].map(String::as_str)
    }
}

/// Reads the Secrets of a hub from `found`, by name. One that is not found is lost: it would have been created otherwise.
pub(super) fn read(names: &HubNames, found: &BTreeMap<String, Secret>) -> Secrets {
    let redis = Source::new(found, names.redis_auth(), Some(names.redis()));
    let mongodb = Source::new(found, names.mongodb_auth(), Some(names.mongodb()));
    let rabbitmq = Source::new(found, names.rabbitmq_auth(), Some(names.rabbitmq()));
    let client = Source::new(found, names.default_client(), None);
    Secrets {
        redis: redis_secrets(&redis),
        mongodb: mongodb_secrets(&mongodb),
        rabbitmq: rabbitmq_secrets(&rabbitmq),
        default_client: client_secrets(&client),
        checksums: SecretsChecksums {
            redis: redis.checksum(&["password"]),
            mongodb_keyfile: mongodb.checksum(&["keyfile"]),
            mongodb_app: mongodb.checksum(&["app-password"]),
            rabbitmq_nodes: rabbitmq.checksum(&["erlang-cookie"]),
            rabbitmq_app: rabbitmq.checksum(&["password"]),
        },
    }
}

fn redis_secrets(source: &Source<'_>) -> Result<RedisSecrets, SecretLoss> {
    Ok(RedisSecrets {
        password: source.text("password")?,
    })
}

fn mongodb_secrets(source: &Source<'_>) -> Result<MongoDbSecrets, SecretLoss> {
    Ok(MongoDbSecrets {
        keyfile: source.text("keyfile")?,
        admin_password: source.text("admin-password")?,
        app: source.login("app-username", MONGODB_USER, "app-password")?,
    })
}

fn rabbitmq_secrets(source: &Source<'_>) -> Result<RabbitMqSecrets, SecretLoss> {
    Ok(RabbitMqSecrets {
        login: source.login("username", RABBITMQ_USER, "password")?,
        erlang_cookie: source.text("erlang-cookie")?,
    })
}

fn client_secrets(source: &Source<'_>) -> Result<DefaultClient, SecretLoss> {
    Ok(DefaultClient {
        api_key: source.text("api-key")?,
        // Secrets of versions before signatures have none.
        signing_key: source.text("signing-key").ok(),
        webhook_secret: source.text("webhook-secret")?,
    })
}

/// One Secret, which may not exist.
struct Source<'a> {
    name: String,
    /// The StatefulSet with the data that it opens; `None` if other values can take the place of its own.
    set: Option<String>,
    secret: Option<&'a Secret>,
}

impl<'a> Source<'a> {
    fn new(found: &'a BTreeMap<String, Secret>, name: String, set: Option<String>) -> Self {
        let secret = found.get(&name);
        Self { name, set, secret }
    }

    fn text(&self, key: &'static str) -> Result<SecretString, SecretLoss> {
        if let (None, Some(set)) = (self.secret, &self.set) {
            return Err(SecretLoss::Gone {
                name: self.name.clone(),
                set: set.clone(),
            });
        }
        self.secret
            .and_then(|secret| secret.data.as_ref()?.get(key))
            .and_then(|value| std::str::from_utf8(&value.0).ok())
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(SecretString::from)
            .ok_or_else(|| SecretLoss::Incomplete {
                name: self.name.clone(),
                key,
                set: self.set.clone(),
            })
    }

    /// A user, whose name Secrets of earlier versions do not hold.
    fn login(
        &self,
        username: &'static str,
        first: &str,
        password: &'static str,
    ) -> Result<Login, SecretLoss> {
        let password = self.text(password)?;
        let username = self.text(username).ok();
        let username = username.map_or_else(|| first.to_owned(), |name| name.expose_secret().to_owned());
        Ok(Login { username, password })
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
        assert!(secrets.lacks().is_empty());
        let keyfile = secrets.mongodb.map(|mongodb| mongodb.keyfile);
        assert!(keyfile.is_ok_and(|keyfile| keyfile.expose_secret().len() == 256));
    }

    #[test]
    fn a_secret_without_one_of_its_keys_holds_up_its_engine_and_no_other() {
        let mut found = made_up();
        found.insert("gallery-redis-auth".to_owned(), secret([]));
        let secrets = read(&names(), &found);
        assert!(secrets.mongodb.is_ok() && secrets.rabbitmq.is_ok());
        let lacks = secrets.lacks();
        let lack = lacks.first().map(|lack| (lack.secret.as_str(), lack.reason));
        assert_eq!(lack, Some(("gallery-redis-auth", "SecretIncomplete")));
        assert!(lacks.iter().all(|lack| lack.message.contains("restore")));
    }

    #[test]
    fn a_client_without_a_key_can_be_made_anew() {
        let mut found = made_up();
        found.insert("gallery-client-default".to_owned(), secret([]));
        let lacks = read(&names(), &found).lacks();
        let message = lacks.first().map(|lack| lack.message.as_str());
        assert_eq!(
            message,
            Some(
                "Secret \"gallery-client-default\" has no text under \"api-key\". Add the key, or delete the Secret \
                 and a new one is made; clients then need the new API key."
            )
        );
    }

    #[test]
    fn a_secret_that_is_gone_is_lost_and_says_what_to_do() {
        let mut found = made_up();
        found.remove("gallery-mongodb-auth");
        let secrets = read(&names(), &found);
        assert!(secrets.redis.is_ok());
        let lacks = secrets.lacks();
        let lack = lacks.first().map(|lack| (lack.secret.as_str(), lack.reason));
        assert_eq!(
            (lacks.len(), lack),
            (1, Some(("gallery-mongodb-auth", "SecretLost")))
        );
        let message = lacks.first().map(|lack| lack.message.clone()).unwrap_or_default();
        assert!(message.contains("restore the Secret from a backup"), "{message}");
        assert!(message.contains("data-gallery-mongodb-*"), "{message}");
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
            } = read(&names(), found).checksums;
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
                [false, false, false, false, true],
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

//! What the Secret of an engine holds while its credentials are replaced: from its keys to types, and each step as a change
//! of its keys. Pure.
//!
//! A value that is replaced stands under its own key. Its successor stands under the same key with `next-` before it; the one
//! before under `previous-`, while it still holds, and under `retired-`, until every member was seen to refuse it.

use std::collections::BTreeMap;

use flickrhub_job::config::Login;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use secrecy::SecretString;

use super::decide::{Phase, Step};
use crate::names::{HubNames, MONGODB_ADMIN, MONGODB_USER, RABBITMQ_USER};
use crate::part::Part;
use crate::secrets::{password, successor};

/// The annotation of the Secret with the last wish that was heard.
const HEARD: &str = super::ROTATE;
/// The annotation of the Secret with the time of the end of the last replacement.
const ROTATED_AT: &str = "flickrhub.dev/credentials-rotated-at";

const NEXT: &str = "next-";
const PREVIOUS: &str = "previous-";
const RETIRED: &str = "retired-";

/// The engines whose credentials are replaced, in the order in which they are.
pub(super) const ENGINES: [Part; 3] = [Part::Redis, Part::MongoDb, Part::RabbitMq];

/// The name of an engine.
pub(super) const fn name(part: Part) -> &'static str {
    match part {
        Part::Redis => "Redis",
        Part::MongoDb => "MongoDB",
        Part::RabbitMq => "RabbitMQ",
        Part::Vault => "Vault",
        Part::Api => "API",
        Part::Dispatcher => "dispatcher",
        Part::Workers => "workers",
    }
}

/// The Secret of an engine.
pub(super) fn secret(names: &HubNames, part: Part) -> Option<String> {
    match part {
        Part::Redis => Some(names.redis_auth()),
        Part::MongoDb => Some(names.mongodb_auth()),
        Part::RabbitMq => Some(names.rabbitmq_auth()),
        Part::Vault | Part::Api | Part::Dispatcher | Part::Workers => None,
    }
}

/// A password in the Secret of an engine, and whose it is.
struct Kept {
    /// The key of the password.
    password: &'static str,
    /// The key of the name of its user; `None` for a user of one name.
    username: Option<&'static str>,
    /// The user, the first one where each has a name of its own.
    user: &'static str,
    /// Whether the old and the new one hold at the same time. Where they do not, nothing that runs uses it.
    overlaps: bool,
}

const REDIS: &[Kept] = &[Kept {
    password: "password",
    username: None,
    // A user of Redis has any number of passwords.
    user: "default",
    overlaps: true,
}];
const MONGODB: &[Kept] = &[
    Kept {
        password: "app-password",
        username: Some("app-username"),
        user: MONGODB_USER,
        overlaps: true,
    },
    Kept {
        password: "admin-password",
        username: None,
        user: MONGODB_ADMIN,
        overlaps: false,
    },
];
const RABBITMQ: &[Kept] = &[Kept {
    password: "password",
    username: Some("username"),
    user: RABBITMQ_USER,
    overlaps: true,
}];

const fn kept(part: Part) -> &'static [Kept] {
    match part {
        Part::Redis => REDIS,
        Part::MongoDb => MONGODB,
        Part::RabbitMq => RABBITMQ,
        Part::Vault | Part::Api | Part::Dispatcher | Part::Workers => &[],
    }
}

impl Kept {
    fn keys(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.password), self.username].into_iter().flatten()
    }

    /// The login under a prefix.
    fn login(&self, secret: &Secret, prefix: &str) -> Option<Login> {
        let username = self.username.and_then(|key| text(secret, prefix, key));
        Some(Login {
            username: username.unwrap_or(self.user).to_owned(),
            password: SecretString::from(text(secret, prefix, self.password)?),
        })
    }
}

fn text<'a>(secret: &'a Secret, prefix: &str, key: &str) -> Option<&'a str> {
    let value = secret.data.as_ref()?.get(&format!("{prefix}{key}"))?;
    let text = std::str::from_utf8(&value.0).ok()?.trim();
    (!text.is_empty()).then_some(text)
}

/// Where the credentials of an engine stand.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) part: Part,
    pub(super) phase: Phase,
    /// In [`Phase::Prepared`] those that every member has to accept; in [`Phase::Retiring`] those that every member has to
    /// refuse.
    pub(super) others: Vec<Login>,
    /// The last wish of a person that was heard.
    pub(super) heard: Option<String>,
    /// When they were replaced last; when they were made if they never were.
    pub(super) since: Option<Timestamp>,
}

impl Stored {
    /// Reads the Secret of an engine.
    pub(super) fn read(part: Part, secret: &Secret) -> Self {
        let phase = phase(part, secret);
        let logins = |prefix: &str, of: fn(&&Kept) -> bool| -> Vec<Login> {
            let kept = kept(part).iter().filter(of);
            kept.filter_map(|kept| kept.login(secret, prefix)).collect()
        };
        let others = match phase {
            Phase::Rest | Phase::Promoted => Vec::new(),
            Phase::Prepared => logins(NEXT, |kept| kept.overlaps),
            Phase::Retiring => logins(RETIRED, |_| true),
        };
        let rotated_at = secret
            .annotations()
            .get(ROTATED_AT)
            .and_then(|at| at.parse().ok());
        Self {
            part,
            phase,
            others,
            heard: secret.annotations().get(HEARD).cloned(),
            since: rotated_at
                .or_else(|| secret.creation_timestamp().map(|created| created.0))
                .map(whole_seconds),
        }
    }
}

/// As the status has it: with more than that it would be written at every look.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// The phase, by the keys that are there. A next one that is not whole is none: it is made anew.
fn phase(part: Part, secret: &Secret) -> Phase {
    let has = |prefix: &str, key: &str| text(secret, prefix, key).is_some();
    let any = |prefix: &str| kept(part).iter().any(|kept| has(prefix, kept.password));
    let whole = |prefix: &str| kept(part).iter().flat_map(Kept::keys).all(|key| has(prefix, key));
    if any(RETIRED) {
        Phase::Retiring
    } else if any(PREVIOUS) {
        Phase::Promoted
    } else if whole(NEXT) {
        Phase::Prepared
    } else {
        Phase::Rest
    }
}

/// The Secret after a step. What [`Step::Prepare`] needs is drawn.
pub(super) fn take(part: Part, step: Step, secret: &mut Secret, wish: Option<&str>, now: Timestamp) {
    let data = secret.data.get_or_insert_default();
    match step {
        Step::Rest => {}
        Step::Prepare => {
            for kept in kept(part) {
                put(data, NEXT, kept.password, password());
                if let Some(key) = kept.username {
                    put(data, NEXT, key, successor(kept.user));
                }
            }
        }
        Step::Promote => {
            for key in kept(part).iter().flat_map(Kept::keys) {
                if let Some(next) = data.remove(&format!("{NEXT}{key}")) {
                    let current = data.insert(key.to_owned(), next);
                    data.extend(current.map(|current| (format!("{PREVIOUS}{key}"), current)));
                }
            }
        }
        Step::Retire => {
            for key in kept(part).iter().flat_map(Kept::keys) {
                let previous = data.remove(&format!("{PREVIOUS}{key}"));
                data.extend(previous.map(|previous| (format!("{RETIRED}{key}"), previous)));
            }
        }
        Step::Finish => data.retain(|key, _| !key.starts_with(RETIRED)),
    }
    let annotations = secret.metadata.annotations.get_or_insert_default();
    match (step, wish) {
        (Step::Prepare, Some(wish)) => {
            annotations.insert(HEARD.to_owned(), wish.to_owned());
        }
        (Step::Finish, _) => {
            annotations.insert(ROTATED_AT.to_owned(), now.to_string());
        }
        _ => {}
    }
}

fn put(data: &mut BTreeMap<String, ByteString>, prefix: &str, key: &str, value: String) {
    data.insert(format!("{prefix}{key}"), ByteString(value.into_bytes()));
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let mut data = BTreeMap::new();
        for (key, value) in entries {
            put(&mut data, "", key, (*value).to_owned());
        }
        Secret {
            data: Some(data),
            ..Secret::default()
        }
    }

    fn first(part: Part) -> Secret {
        match part {
            Part::MongoDb => secret(&[
                ("keyfile", "key"),
                ("app-username", "flickrhub"),
                ("app-password", "a"),
                ("admin-password", "b"),
            ]),
            Part::RabbitMq => secret(&[
                ("username", "flickrhub"),
                ("password", "a"),
                ("erlang-cookie", "c"),
            ]),
            _ => secret(&[("password", "a")]),
        }
    }

    fn keys(secret: &Secret) -> Vec<&str> {
        secret
            .data
            .iter()
            .flat_map(|data| data.keys().map(String::as_str))
            .collect()
    }

    fn pairs(stored: &Stored) -> Vec<(&str, &str)> {
        let logins = stored.others.iter();
        logins
            .map(|login| (login.username.as_str(), login.password.expose_secret()))
            .collect()
    }

    #[test]
    fn a_replacement_leaves_the_same_keys_with_other_values_and_the_other_user() {
        let now = Timestamp::UNIX_EPOCH;
        for part in ENGINES {
            let before = first(part);
            let mut secret = before.clone();
            let steps = [
                (Step::Prepare, Phase::Prepared),
                (Step::Promote, Phase::Promoted),
                (Step::Retire, Phase::Retiring),
                (Step::Finish, Phase::Rest),
            ];
            for (step, phase) in steps {
                take(part, step, &mut secret, Some("now"), now);
                assert_eq!(Stored::read(part, &secret).phase, phase, "{part:?}");
            }
            assert_eq!(keys(&secret), keys(&before));
            for kept in kept(part) {
                assert_ne!(text(&secret, "", kept.password), text(&before, "", kept.password));
                if let Some(key) = kept.username {
                    let user = text(&secret, "", key).unwrap_or_default();
                    assert!(user.starts_with("flickrhub-"), "{user}");
                }
            }
            for key in ["keyfile", "erlang-cookie"] {
                assert_eq!(text(&secret, "", key), text(&before, "", key));
            }
            let stored = Stored::read(part, &secret);
            assert_eq!((stored.heard.as_deref(), stored.since), (Some("now"), Some(now)));
        }
    }

    #[test]
    fn what_is_looked_for_in_a_phase_is_what_the_steps_wrote() {
        let mut secret = first(Part::MongoDb);
        take(
            Part::MongoDb,
            Step::Prepare,
            &mut secret,
            None,
            Timestamp::UNIX_EPOCH,
        );
        let next = text(&secret, NEXT, "app-password").unwrap_or_default().to_owned();
        let user = text(&secret, NEXT, "app-username").unwrap_or_default().to_owned();
        let stored = Stored::read(Part::MongoDb, &secret);
        assert_eq!(pairs(&stored), [(user.as_str(), next.as_str())]);
        take(
            Part::MongoDb,
            Step::Promote,
            &mut secret,
            None,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(text(&secret, "", "app-password"), Some(next.as_str()));
        take(
            Part::MongoDb,
            Step::Retire,
            &mut secret,
            None,
            Timestamp::UNIX_EPOCH,
        );
        let stored = Stored::read(Part::MongoDb, &secret);
        assert_eq!(pairs(&stored), [("flickrhub", "a"), ("admin", "b")]);
    }

    #[test]
    fn times_are_as_the_status_has_them() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_millis(1_500);
        let mut secret = first(Part::Redis);
        take(Part::Redis, Step::Finish, &mut secret, None, now);
        let since = Stored::read(Part::Redis, &secret).since;
        assert_eq!(since.map(Timestamp::as_millisecond), Some(1_000));
    }

    #[test]
    fn a_next_one_that_is_not_whole_is_made_anew() {
        let mut secret = first(Part::RabbitMq);
        put(
            secret.data.get_or_insert_default(),
            NEXT,
            "password",
            "x".to_owned(),
        );
        assert_eq!(phase(Part::RabbitMq, &secret), Phase::Rest);
        take(
            Part::RabbitMq,
            Step::Prepare,
            &mut secret,
            None,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(phase(Part::RabbitMq, &secret), Phase::Prepared);
        assert_ne!(text(&secret, NEXT, "password"), Some("x"));
    }

    #[test]
    fn the_user_of_a_secret_of_an_earlier_version_is_the_first_one() {
        let mut secret = secret(&[("previous-password", "a"), ("password", "b")]);
        take(
            Part::RabbitMq,
            Step::Retire,
            &mut secret,
            None,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            pairs(&Stored::read(Part::RabbitMq, &secret)),
            [("flickrhub", "a")]
        );
    }
}

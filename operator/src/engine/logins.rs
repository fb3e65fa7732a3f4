//! How the members of an engine take a login, and having an engine take one or no more. What each is for is decided in
//! [`crate::credentials`].
//!
//! Redis and its Sentinels take up passwords from their files by themselves (`build/scripts/redis-passwords.sh`), so the
//! operator only looks at them. In MongoDB and RabbitMQ it makes and drops users. Each of these is done again without harm.

use std::fmt;

use flickrhub_job::config::Login;

use super::{Size, http, mongodb, rabbitmq, redis};
use crate::apply::Live;
use crate::part::Part;
use crate::secrets::{SecretLoss, Secrets};
use crate::validate::ValidatedHub;

/// What a member says to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lets in.
    Accepted,
    /// It does not.
    Refused,
    /// It cannot be asked; why, in a few words.
    Unknown(String),
}

/// The answer of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The member, as `host:port`.
    pub member: String,
    /// What it said.
    pub verdict: Verdict,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { member, verdict } = self;
        match verdict {
            Verdict::Accepted => write!(f, "{member} accepts it"),
            Verdict::Refused => write!(f, "{member} refuses it"),
            Verdict::Unknown(why) => write!(f, "{member} does not say ({why})"),
        }
    }
}

/// An engine does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Its own Secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretLoss),
    /// MongoDB does not.
    #[error("MongoDB: {0}")]
    MongoDb(#[from] mongodb::ActionError),
    /// RabbitMQ does not.
    #[error("RabbitMQ: {0}")]
    RabbitMq(#[from] rabbitmq::ActionError),
    /// The names of the hub make no address.
    #[error("the names of the hub make no address of a member: {0}")]
    Address(#[from] url::ParseError),
    /// No HTTP client can be made.
    #[error("no client of the management API can be made: {0}")]
    Http(#[from] reqwest::Error),
}

/// An engine of a hub, with what the operator logs in by.
enum Target {
    Redis(redis::Desired),
    MongoDb(mongodb::Desired),
    RabbitMq(rabbitmq::Desired, reqwest::Client),
    /// It has no logins that are made up.
    Other,
}

impl Target {
    fn of(hub: &ValidatedHub, secrets: &Secrets, part: Part, live: &Live) -> Result<Self, LoginError> {
        let lost = |loss: &SecretLoss| LoginError::from(loss.clone());
        Ok(match part {
            Part::Redis => {
                let size = Size::of(live, &hub.names.redis(), hub.redis.replicas);
                let secrets = secrets.redis.as_ref().map_err(lost)?;
                Self::Redis(redis::Desired::of(hub, secrets, size))
            }
            Part::MongoDb => {
                let size = Size::of(live, &hub.names.mongodb(), hub.mongodb.members);
                let secrets = secrets.mongodb.as_ref().map_err(lost)?;
                let rights = mongodb::Rights::of(live, hub);
                Self::MongoDb(mongodb::Desired::of(hub, secrets, size, rights))
            }
            Part::RabbitMq => {
                let size = Size::of(live, &hub.names.rabbitmq(), hub.rabbitmq.replicas);
                let secrets = secrets.rabbitmq.as_ref().map_err(lost)?;
                let desired = rabbitmq::Desired::of(hub, secrets, size)?;
                let client = http::client(desired.trust.as_ref())?;
                Self::RabbitMq(desired, client)
            }
            Part::Vault | Part::Api | Part::Dispatcher | Part::Workers => Self::Other,
        })
    }
}

/// What each member says to a login.
///
/// # Errors
/// When no member can be asked.
pub async fn try_login(
    hub: &ValidatedHub,
    secrets: &Secrets,
    part: Part,
    login: &Login,
    live: &Live,
) -> Result<Vec<Answer>, LoginError> {
    Ok(match Target::of(hub, secrets, part, live)? {
        Target::Redis(desired) => desired.try_password(&login.password).await,
        Target::MongoDb(desired) => mongodb::Members::new(&desired).try_login(login).await,
        Target::RabbitMq(desired, client) => rabbitmq::Nodes::new(client, &desired).try_login(login).await,
        Target::Other => Vec::new(),
    })
}

/// Whether each member itself uses what is in use to log in to the others: [`Verdict::Accepted`] if it does. Only Redis and
/// its Sentinels do so.
///
/// # Errors
/// When no member can be asked.
pub async fn members_use(
    hub: &ValidatedHub,
    secrets: &Secrets,
    part: Part,
    live: &Live,
) -> Result<Vec<Answer>, LoginError> {
    Ok(match Target::of(hub, secrets, part, live)? {
        Target::Redis(desired) => desired.members_use_password().await,
        Target::MongoDb(_) | Target::RabbitMq(..) | Target::Other => Vec::new(),
    })
}

/// Has an engine accept a login, beside those that it accepts already.
///
/// # Errors
/// When it does not.
pub async fn admit(
    hub: &ValidatedHub,
    secrets: &Secrets,
    part: Part,
    login: &Login,
    live: &Live,
) -> Result<(), LoginError> {
    match Target::of(hub, secrets, part, live)? {
        Target::MongoDb(desired) => mongodb::Members::new(&desired).admit(login).await?,
        Target::RabbitMq(desired, client) => rabbitmq::Nodes::new(client, &desired).admit(login).await?,
        Target::Redis(_) | Target::Other => {}
    }
    Ok(())
}

/// Has an engine accept a login no more. The user that is in use now is never dropped, whatever its password was.
///
/// # Errors
/// When it does not.
pub async fn expel(
    hub: &ValidatedHub,
    secrets: &Secrets,
    part: Part,
    login: &Login,
    live: &Live,
) -> Result<(), LoginError> {
    match Target::of(hub, secrets, part, live)? {
        Target::MongoDb(desired) => mongodb::Members::new(&desired).expel(login).await?,
        Target::RabbitMq(desired, client) => rabbitmq::Nodes::new(client, &desired).expel(login).await?,
        Target::Redis(_) | Target::Other => {}
    }
    Ok(())
}

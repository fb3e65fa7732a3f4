//! Rotation of the transit keys.
//!
//! Every `spec.vault.keyRotationDays` days each key gets a new version, which encrypts from then on. What is stored in
//! MongoDB is rewrapped: Vault is given a ciphertext and answers with one of the new version, so nobody sees what is in it.
//! When nothing of older versions is left, they decrypt no more.
//!
//! The operator does it, in small steps of its reconciliations, because it has everything that this takes already: it is
//! one process at a time (its lease), it knows MongoDB and Vault of the hub, and it writes the status. Its policy in Vault
//! permits to rewrap and not to decrypt, so what it sees of users' tokens are ciphertexts, as in MongoDB.
//!
//! | module | |
//! | --- | --- |
//! | [`decide`] | what to do next about a key; pure |
//! | [`transit`] | the key over the wire |
//! | [`sealed`] | where ciphertexts are stored, and their exchange |
//! | [`pass`] | the rewrap |
//! | [`report`] | what the status says |
//!
//! If the process dies …
//!
//! * after the rotation: the key tells its age, so it is not rotated twice;
//! * in a rewrap: each ciphertext tells its version, so the next pass goes on with the rest;
//! * after the last exchange: the next count finds nothing left;
//! * while it waits to disable old versions: the status has the time of the first count, and without it waiting begins anew.

mod decide;
mod pass;
mod report;
mod sealed;
#[cfg(test)]
mod simulation;
mod transit;

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

pub use decide::{KeyVersions, ON_ITS_WAY, Progress, Step, decide};
pub use pass::{BATCH, Passed, pass};
pub use report::{KEYS_ROTATED, KeyLook, RotationReport};
pub use sealed::{Exchange, Field, HubDatabase, Place, Sealed, Stored, StoredError, places};
pub use transit::{Transit, Wrapped};

use super::access::{Access, AccessError};
use super::api::ApiError;
use crate::context::Context;
use crate::crd::{FlickrHubStatus, TransitKeyStatus};
use crate::engine::hub_database::{self, ConnectError};
use crate::names::{self, APP_CREDENTIALS_KEY, USER_TOKENS_KEY};
use crate::secrets::MongoDbSecrets;
use crate::validate::ValidatedHub;

/// How long a reconciliation rewraps for one key.
const PASS_TIME: Duration = Duration::from_secs(3);
/// Steps for one key in one reconciliation: rotate, count, rewrap, and one to spare.
const MAX_STEPS: usize = 4;

/// A transit key of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitKey {
    /// Of users' Flickr tokens.
    UserTokens,
    /// Of webhook secrets and of OAuth requests.
    AppCredentials,
}

impl TransitKey {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::UserTokens, Self::AppCredentials];

    /// Its name in Vault.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserTokens => USER_TOKENS_KEY,
            Self::AppCredentials => APP_CREDENTIALS_KEY,
        }
    }
}

/// A rotation cannot go on now.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// There is no way into Vault.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Vault refused, or did not answer.
    #[error("Vault: {0}")]
    Vault(#[from] ApiError),
    /// There is no way into MongoDB.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// MongoDB failed.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

impl RotationError {
    /// Whether Vault's policy does not permit it.
    pub const fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Vault(ApiError::Forbidden) | Self::Access(AccessError::Vault(ApiError::Forbidden))
        )
    }
}

/// Brings the keys of a hub a step on, whose Vault and MongoDB work, and tells where they stand.
pub async fn reconcile(
    context: &Context,
    hub: &ValidatedHub,
    secrets: &MongoDbSecrets,
    before: Option<&FlickrHubStatus>,
) -> RotationReport {
    let known = before.map_or(&[][..], |status| status.transit_keys.as_slice());
    match open(context, hub, secrets).await {
        Ok((access, client)) => {
            let stored = HubDatabase::new(client.database(names::MONGODB_DATABASE));
            let interval = SignedDuration::from_hours(24 * i64::from(hub.key_rotation_days));
            let report = rotate(&access, &stored, known, interval, Timestamp::now()).await;
            client.shutdown().immediate(true).await;
            report
        }
        Err(error) => RotationReport::failed(known, &error),
    }
}

async fn open(
    context: &Context,
    hub: &ValidatedHub,
    secrets: &MongoDbSecrets,
) -> Result<(Access, mongodb::Client), RotationError> {
    let access = Access::open(context, hub, false).await?;
    Ok((access, hub_database::connect(hub, &secrets.app)?))
}

/// The same at `now`, for a Vault and a database that are at hand.
pub async fn rotate(
    access: &Access,
    stored: &HubDatabase,
    known: &[TransitKeyStatus],
    interval: SignedDuration,
    now: Timestamp,
) -> RotationReport {
    let mut looks = Vec::new();
    let mut failed = None;
    // What holds up one key holds up no other.
    for key in TransitKey::ALL {
        match bring_on(access, stored, key, known, interval, now).await {
            Ok(look) => looks.push(look),
            Err(error) => {
                tracing::warn!(key = key.name(), %error, "the rotation of a transit key cannot go on");
                failed.get_or_insert(error);
            }
        }
    }
    RotationReport::new(&looks, known, failed.as_ref())
}

async fn bring_on(
    access: &Access,
    stored: &HubDatabase,
    key: TransitKey,
    known: &[TransitKeyStatus],
    interval: SignedDuration,
    now: Timestamp,
) -> Result<KeyLook, RotationError> {
    let mut versions = access.versions(key).await?;
    let mut look = KeyLook::new(key, versions, interval, report::progress(key, &versions, known));
    let mut older = None;
    for _ in 0..MAX_STEPS {
        match decide(now, &versions, interval, look.progress, older) {
            Step::Rest(until) => {
                look.rest_until = Some(until);
                break;
            }
            Step::Rotate => {
                access.rotate(key).await?;
                tracing::info!(key = key.name(), "rotated a transit key");
                versions = access.versions(key).await?;
                look = KeyLook::new(key, versions, interval, Progress::default());
                look.rotated = true;
            }
            Step::Count => {
                let mut count = 0;
                for place in places(key) {
                    count += stored.count(place, versions.latest).await?;
                }
                older = Some(count);
                look.counted(count);
            }
            Step::Rewrap => {
                let deadline = Instant::now() + PASS_TIME;
                let passed = pass(access, stored, key, versions.latest, deadline).await?;
                tracing::info!(key = key.name(), ?passed, "rewrapped stored secrets");
                look.passed(passed);
                break;
            }
            Step::NoteClean => {
                look.progress.clean_since = Some(now);
                break;
            }
            Step::Disable => {
                access.disable_before(key, versions.latest).await?;
                tracing::info!(
                    key = key.name(),
                    oldest = versions.latest,
                    "disabled old versions"
                );
                versions = access.versions(key).await?;
                look = KeyLook::new(key, versions, interval, Progress::default());
                break;
            }
        }
    }
    Ok(look)
}

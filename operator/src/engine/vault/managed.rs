//! The members of a managed OpenBao over the wire, and the Secret with their keys.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use secrecy::SecretString;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::api::{Api, ApiError, Health, INITIALISE_TIMEOUT, Keys};
use super::decide::{Action, KeyState, Member, MemberState, Observed, SettingsState};
use super::key_store::{KeyRecord, KeyStore, KeyStoreError};
use super::settings::{Setting, wanted_settings};
use super::{Desired, Vault};

/// The first pause between two tries to store the keys.
const SAVE_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two tries to store the keys.
const LONGEST_SAVE_PAUSE: Duration = Duration::from_secs(5);
/// How long the keys are tried to be stored: longer than a restart of the Kubernetes API takes.
const SAVE_PATIENCE: Duration = Duration::from_mins(10);
/// How long one try may take.
const SAVE_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest that an initialisation takes, from the request to the keys in their Secret, before it is given up.
pub const INITIALISATION_LIMIT: Duration = INITIALISE_TIMEOUT
    .saturating_add(SAVE_PATIENCE)
    .saturating_add(LONGEST_SAVE_PAUSE)
    .saturating_add(SAVE_TIMEOUT);

/// An action failed; observing again tells whether it had an effect.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The member refused, or did not answer.
    #[error("OpenBao said: {0}")]
    Member(#[from] ApiError),
    /// The Secret cannot be read or written.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// The Secret holds no keys any more.
    #[error("the Secret holds no keys")]
    NoKeys,
    /// There is no such member or setting any more.
    #[error("the decision does not fit the wanted state")]
    Outdated,
    /// The task that initialises was stopped with the process.
    #[error("the operator was stopped during the initialisation")]
    Stopped,
}

/// A managed OpenBao.
pub struct Managed<K> {
    members: Vec<(String, Api)>,
    settings: Vec<Setting>,
    keys: Arc<K>,
    saves: TaskTracker,
}

impl<K: KeyStore> Managed<K> {
    /// The wanted OpenBao with its keys in `keys`. The task that initialises it is tracked by `saves`.
    pub fn new(client: &reqwest::Client, desired: &Desired, keys: K, saves: TaskTracker) -> Self {
        let members = desired.members.iter().map(|address| {
            let host = address.host_str().unwrap_or_default().to_owned();
            (host, Api::new(client.clone(), address.clone(), None))
        });
        Self {
            members: members.collect(),
            settings: wanted_settings(desired),
            keys: Arc::new(keys),
            saves,
        }
    }

    async fn observe_settings(&self, active: &Api, token: &SecretString) -> SettingsState {
        let read = self.settings.iter().map(|setting| async move {
            let found = active.read(token, &setting.read_path).await?;
            Ok::<_, ApiError>((setting.name.clone(), setting.state(found.as_ref())))
        });
        match join_all(read).await.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(settings) => SettingsState::Read(settings),
            Err(ApiError::Forbidden) => SettingsState::TokenRefused,
            Err(error) => SettingsState::Unknown(error.to_string()),
        }
    }

    async fn stored_keys(&self) -> Result<Keys, ActionError> {
        match self.keys.load().await? {
            KeyRecord::Stored(keys) => Ok(keys),
            KeyRecord::Absent | KeyRecord::Intended => Err(ActionError::NoKeys),
        }
    }

    fn member(&self, index: usize) -> Result<&Api, ActionError> {
        self.members
            .get(index)
            .map(|(_, api)| api)
            .ok_or(ActionError::Outdated)
    }

    /// In a task of its own, because a reconciliation can be dropped at any point of waiting and the keys with it.
    async fn initialise(&self, member: usize) -> Result<(), ActionError> {
        let api = self.member(member)?.clone();
        let store = Arc::clone(&self.keys);
        let task = self.saves.spawn(async move {
            let keys = api.initialise().await?;
            save_persistently(store.as_ref(), &keys).await
        });
        task.await.map_err(|_| ActionError::Stopped)?
    }

    async fn unseal(&self, members: &[usize]) -> Result<(), ActionError> {
        let keys = self.stored_keys().await?;
        let unsealing = members
            .iter()
            .map(|&member| self.member(member))
            .collect::<Result<Vec<_>, _>>()?;
        let outcomes = join_all(unsealing.into_iter().map(|api| api.unseal(&keys.unseal_key))).await;
        Ok(outcomes.into_iter().collect::<Result<(), ApiError>>()?)
    }

    async fn configure(&self, active: usize, names: &[String]) -> Result<(), ActionError> {
        let keys = self.stored_keys().await?;
        let api = self.member(active)?;
        for name in names {
            let wanted = self.settings.iter().find(|setting| setting.name == *name);
            let Setting {
                method,
                write_path,
                wanted,
                ..
            } = wanted.ok_or(ActionError::Outdated)?;
            api.write(Some(&keys.root_token), method.clone(), write_path, wanted)
                .await?;
        }
        Ok(())
    }
}

/// Stores the keys, and does not give up while there is hope: they exist nowhere else.
///
/// # Errors
/// When other keys are there, or no try succeeds for ten minutes.
pub async fn save_persistently<K: KeyStore>(store: &K, keys: &Keys) -> Result<(), ActionError> {
    let (mut pause, began) = (SAVE_PAUSE, Instant::now());
    loop {
        // A try that takes too long may have stored them nonetheless; the next one sees that.
        let tried = timeout(SAVE_TIMEOUT, store.save(keys)).await;
        let error = match tried.unwrap_or(Err(KeyStoreError::TimedOut)) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if matches!(error, KeyStoreError::OtherKeys(_)) || began.elapsed() >= SAVE_PATIENCE {
            return Err(error.into());
        }
        tracing::error!(%error, "cannot store the keys of OpenBao yet; do not stop the operator");
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_SAVE_PAUSE);
    }
}

impl<K: KeyStore> Vault for Managed<K> {
    async fn observe(&self) -> Observed {
        let look = self.members.iter().map(|(host, api)| async move {
            Member {
                host: host.clone(),
                state: api.health().await.map_or_else(
                    |error| MemberState::Unreachable(error.to_string()),
                    MemberState::from,
                ),
            }
        });
        let (members, record) = join(join_all(look), self.keys.load()).await;
        let active = members
            .iter()
            .position(|member| member.state == MemberState::Active);
        let active = active.and_then(|index| self.members.get(index));
        let (keys, settings) = match (record, active) {
            (Ok(KeyRecord::Stored(keys)), Some((_, active))) => (
                KeyState::Stored,
                self.observe_settings(active, &keys.root_token).await,
            ),
            (record, _) => (
                key_state(record),
                SettingsState::Unknown("no member is active".to_owned()),
            ),
        };
        Observed {
            members,
            keys,
            settings,
        }
    }

    async fn perform(&self, action: &Action) -> Result<(), ActionError> {
        match action {
            Action::RecordIntent => Ok(self.keys.record_intent().await?),
            Action::Initialise(member) => self.initialise(*member).await,
            Action::Unseal(members) => self.unseal(members).await,
            Action::Configure { active, settings } => self.configure(*active, settings).await,
        }
    }
}

impl From<Health> for MemberState {
    fn from(health: Health) -> Self {
        match health {
            Health {
                initialized: false, ..
            } => Self::Uninitialised,
            Health { sealed: true, .. } => Self::Sealed,
            Health { standby: true, .. } => Self::Standby,
            Health { .. } => Self::Active,
        }
    }
}

fn key_state(record: Result<KeyRecord, KeyStoreError>) -> KeyState {
    match record {
        Ok(KeyRecord::Absent) => KeyState::Absent,
        Ok(KeyRecord::Intended) => KeyState::Intended,
        Ok(KeyRecord::Stored(_)) => KeyState::Stored,
        Err(error @ KeyStoreError::Incomplete(_)) => KeyState::Incomplete(error.to_string()),
        Err(error) => KeyState::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Refuses to store a number of times, then stores or finds other keys.
    struct Unsteady {
        refusals: AtomicUsize,
        other_keys: bool,
    }

    impl KeyStore for Unsteady {
        async fn load(&self) -> Result<KeyRecord, KeyStoreError> {
            Ok(KeyRecord::Absent)
        }

        async fn record_intent(&self) -> Result<(), KeyStoreError> {
            Ok(())
        }

        async fn save(&self, _: &Keys) -> Result<(), KeyStoreError> {
            let left = self.refusals.load(Ordering::Relaxed);
            if left > 0 {
                self.refusals.store(left - 1, Ordering::Relaxed);
                Err(KeyStoreError::Incomplete("keys".to_owned()))
            } else if self.other_keys {
                Err(KeyStoreError::OtherKeys("keys".to_owned()))
            } else {
                Ok(())
            }
        }
    }

    async fn save(other_keys: bool) -> Result<(), ActionError> {
        let store = Unsteady {
            refusals: AtomicUsize::new(2),
            other_keys,
        };
        let keys = Keys {
            unseal_key: SecretString::from("key"),
            root_token: SecretString::from("token"),
        };
        save_persistently(&store, &keys).await
    }

    #[tokio::test]
    async fn the_keys_are_stored_although_the_first_tries_fail() {
        assert!(save(false).await.is_ok());
    }

    #[tokio::test]
    async fn other_keys_are_never_replaced() {
        assert!(matches!(
            save(true).await,
            Err(ActionError::Keys(KeyStoreError::OtherKeys(_)))
        ));
    }

    #[test]
    fn a_secret_without_keys_is_told_from_one_that_cannot_be_read() {
        let incomplete = key_state(Err(KeyStoreError::Incomplete("keys".to_owned())));
        assert!(
            matches!(incomplete, KeyState::Incomplete(what) if what.contains("restore it from a backup"))
        );
        assert!(matches!(
            key_state(Err(KeyStoreError::TimedOut)),
            KeyState::Unknown(_)
        ));
    }

    #[test]
    fn the_state_of_a_member_is_read_from_its_health() {
        let state = |initialized, sealed, standby| {
            MemberState::from(Health {
                initialized,
                sealed,
                standby,
            })
        };
        assert_eq!(state(false, true, true), MemberState::Uninitialised);
        assert_eq!(state(true, true, true), MemberState::Sealed);
        assert_eq!(state(true, false, true), MemberState::Standby);
        assert_eq!(state(true, false, false), MemberState::Active);
    }
}

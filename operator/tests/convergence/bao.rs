//! An OpenBao in memory. What the operator does with the Secret of its keys is the operator's own code.

use std::collections::BTreeSet;

use flickrhub_operator::engine::vault::{
    Action, ActionError, Desired, KeyRecord, KeyState, KeyStore as _, Keys, Member, MemberState, Observed,
    SecretKeyStore, SettingState, SettingsState, Vault, save_persistently,
};
use secrecy::ExposeSecret as _;
use tokio_util::task::TaskTracker;

use crate::tier::Tier;

/// The one setting that stands for all of them.
const SETTING: &str = "settings";

/// What the members hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bao {
    /// The keys of the initialisation.
    keys: Option<(String, String)>,
    initialisations: usize,
    unsealed: BTreeSet<usize>,
    is_configured: bool,
}

impl Bao {
    /// What tells it from another one.
    pub(crate) fn identity(&self) -> Option<String> {
        self.keys
            .as_ref()
            .map(|(unseal_key, _)| format!("cluster of {unseal_key}"))
    }

    /// A pod is sealed again after it was made anew.
    pub(crate) fn restarted(&mut self, member: usize) {
        self.unsealed.remove(&member);
    }

    /// Whether a member does its work.
    pub(crate) fn is_unsealed(&self, member: usize) -> bool {
        self.unsealed.contains(&member)
    }

    fn state(&self, member: usize, is_running: bool) -> MemberState {
        if !is_running {
            return MemberState::Unreachable("no connection".to_owned());
        }
        match &self.keys {
            None => MemberState::Uninitialised,
            Some(_) if !self.unsealed.contains(&member) => MemberState::Sealed,
            Some(_) if self.unsealed.first() == Some(&member) => MemberState::Active,
            Some(_) => MemberState::Standby,
        }
    }
}

/// The members, with the Secret of their keys.
pub(crate) struct Members {
    tier: Tier,
    set: String,
    hosts: Vec<String>,
    store: SecretKeyStore,
    saves: TaskTracker,
}

impl Members {
    /// Those of a hub.
    pub(crate) fn new(
        tier: Tier,
        set: &str,
        desired: &Desired,
        store: SecretKeyStore,
        saves: TaskTracker,
    ) -> Self {
        let hosts = desired.members.iter().map(ToString::to_string).collect();
        Self {
            tier,
            set: set.to_owned(),
            hosts,
            store,
            saves,
        }
    }

    fn bao<T>(&self, use_it: impl FnOnce(&mut Bao) -> T) -> T {
        use_it(&mut self.tier.data().bao)
    }

    async fn stored(&self) -> Result<Keys, ActionError> {
        match self.store.load().await? {
            KeyRecord::Stored(keys) => Ok(keys),
            KeyRecord::Absent | KeyRecord::Intended => Err(ActionError::NoKeys),
        }
    }

    async fn initialise(&self) -> Result<(), ActionError> {
        let (tier, store) = (self.tier.clone(), self.store.clone());
        let task = self.saves.spawn(async move {
            let keys = {
                let mut data = tier.data();
                if data.bao.keys.is_some() {
                    data.losses.insert("OpenBao was initialised twice".to_owned());
                }
                data.bao.initialisations += 1;
                let number = data.bao.initialisations;
                let keys = (format!("unseal-{number}"), format!("root-{number}"));
                data.bao.keys = Some(keys.clone());
                keys
            };
            let keys = Keys {
                unseal_key: keys.0.into(),
                root_token: keys.1.into(),
            };
            save_persistently(&store, &keys).await
        });
        task.await.map_err(|_| ActionError::Stopped)?
    }

    async fn unseal(&self, members: &[usize]) -> Result<(), ActionError> {
        let keys = self.stored().await?;
        self.bao(|bao| {
            let fits = bao
                .keys
                .as_ref()
                .is_some_and(|(key, _)| key == keys.unseal_key.expose_secret());
            if fits {
                bao.unsealed.extend(members);
            }
        });
        Ok(())
    }
}

impl Vault for Members {
    async fn observe(&self) -> Observed {
        let record = self.store.load().await;
        let keys = match record {
            Ok(KeyRecord::Absent) => KeyState::Absent,
            Ok(KeyRecord::Intended) => KeyState::Intended,
            Ok(KeyRecord::Stored(_)) => KeyState::Stored,
            Err(error) => KeyState::Unknown(error.to_string()),
        };
        let quorum = self
            .tier
            .data()
            .quorums
            .get(&self.set)
            .cloned()
            .unwrap_or_default();
        self.bao(|bao| {
            let members = self.hosts.iter().enumerate();
            let members: Vec<Member> = members
                .map(|(index, host)| Member {
                    host: host.clone(),
                    state: bao.state(index, quorum.runs(index)),
                })
                .collect();
            let is_active = members.iter().any(|member| member.state == MemberState::Active);
            let settings = if is_active && keys == KeyState::Stored {
                let state = if bao.is_configured {
                    SettingState::Met
                } else {
                    SettingState::Unmet
                };
                SettingsState::Read(vec![(SETTING.to_owned(), state)])
            } else {
                SettingsState::Unknown("no member is active".to_owned())
            };
            Observed {
                members,
                keys,
                settings,
            }
        })
    }

    async fn perform(&self, action: &Action) -> Result<(), ActionError> {
        match action {
            Action::RecordIntent => Ok(self.store.record_intent().await?),
            Action::Initialise(_) => self.initialise().await,
            Action::Unseal(members) => self.unseal(members).await,
            Action::Configure { .. } => {
                self.stored().await?;
                self.bao(|bao| bao.is_configured = true);
                Ok(())
            }
        }
    }
}

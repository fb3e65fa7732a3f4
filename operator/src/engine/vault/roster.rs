//! Which member of OpenBao may stop: by what the members say of themselves, and the active one of the Raft cluster
//! (`sys/storage/raft/autopilot/state`). The judgement is pure.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::decide::MemberState;
use super::key_store::{KeyRecord, KeyStore};
use super::{ActionError, Api, Desired, Keys};
use crate::engine::http;
use crate::engine::roster::{Members, Roster, Standing};

const AUTOPILOT: &str = "sys/storage/raft/autopilot/state";

/// The Raft cluster as the active member sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Autopilot {
    /// Members that vote and whose loss it survives.
    #[serde(default)]
    failure_tolerance: i64,
    /// The members by their id, which is the name of the pod.
    #[serde(default)]
    servers: BTreeMap<String, Server>,
}

/// A member of the Raft cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Server {
    /// Whether it follows the leader closely.
    #[serde(default)]
    healthy: bool,
    /// `leader`, `voter` or `non-voter`.
    #[serde(default)]
    status: String,
}

/// What OpenBao says of its members, each by its id and its state.
///
/// A member may stop if the cluster survives the loss of one, or if it is one that the cluster does without already.
pub(super) fn roster(members: &[(String, MemberState)], autopilot: Option<&Autopilot>) -> Roster {
    Roster::of(members.iter().map(|(id, state)| {
        let server = autopilot.and_then(|autopilot| autopilot.servers.get(id));
        let votes = server.is_some_and(|server| server.healthy && server.status != "non-voter");
        let is_unsealed = matches!(state, MemberState::Active | MemberState::Standby);
        let needed = match autopilot {
            _ if members.len() == 1 => None,
            None => Some("no active member tells how the cluster is"),
            Some(_) if !votes => None,
            Some(autopilot) if autopilot.failure_tolerance < 1 => {
                Some("the others would not be a healthy majority of the votes")
            }
            Some(_) => None,
        };
        Standing {
            serves: is_unsealed && votes,
            leads: usize::from(*state == MemberState::Active),
            is_member: true,
            needed: needed.map(str::to_owned),
        }
    }))
}

/// The members of a managed OpenBao, for their restart.
pub(super) struct Raft<'a, K> {
    desired: &'a Desired,
    keys: K,
}

impl<'a, K: KeyStore> Raft<'a, K> {
    /// The wanted OpenBao with its keys in `keys`.
    pub(super) const fn new(desired: &'a Desired, keys: K) -> Self {
        Self { desired, keys }
    }

    fn apis(&self) -> Result<Vec<Api>, reqwest::Error> {
        let client = http::client(self.desired.trust.as_ref())?;
        let members = self.desired.members.iter();
        Ok(members
            .map(|address| Api::new(client.clone(), address.clone(), None))
            .collect())
    }

    async fn keys(&self) -> Result<Keys, ActionError> {
        match self.keys.load().await? {
            KeyRecord::Stored(keys) => Ok(keys),
            KeyRecord::Absent | KeyRecord::Intended => Err(ActionError::NoKeys),
        }
    }

    async fn look(&self) -> Option<(Vec<(String, MemberState)>, Option<Autopilot>)> {
        let apis = self.apis().ok()?;
        let health = futures::future::join_all(apis.iter().map(Api::health)).await;
        let states = health.into_iter().map(|health| {
            health.map_or_else(
                |error| MemberState::Unreachable(error.to_string()),
                MemberState::from,
            )
        });
        let ids = self.desired.members.iter().map(|address| {
            let host = address.host_str().unwrap_or_default();
            host.split('.').next().unwrap_or_default().to_owned()
        });
        let members: Vec<(String, MemberState)> = ids.zip(states).collect();
        let active = members
            .iter()
            .position(|(_, state)| *state == MemberState::Active);
        let autopilot = match active.and_then(|index| apis.get(index)) {
            Some(active) => self.autopilot(active).await,
            None => None,
        };
        Some((members, autopilot))
    }

    async fn autopilot(&self, active: &Api) -> Option<Autopilot> {
        let keys = self.keys().await.ok()?;
        match active.read(&keys.root_token, AUTOPILOT).await {
            Ok(state) => serde_json::from_value(state?).ok(),
            Err(error) => {
                tracing::debug!(%error, "OpenBao tells nothing of its members");
                None
            }
        }
    }
}

impl<K: KeyStore> Members for Raft<'_, K> {
    type Error = ActionError;

    async fn roster(&self) -> Roster {
        match self.look().await {
            Some((members, autopilot)) => roster(&members, autopilot.as_ref()),
            None => Roster::default(),
        }
    }

    async fn hand_over(&self, ordinal: u32) -> Result<(), ActionError> {
        let index = usize::try_from(ordinal).unwrap_or(usize::MAX);
        let apis = self.apis().map_err(super::ApiError::from)?;
        let active = apis.get(index).ok_or(ActionError::Outdated)?;
        let keys = self.keys().await?;
        active
            .write(Some(&keys.root_token), Method::PUT, "sys/step-down", &json!({}))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(states: [MemberState; 3]) -> Vec<(String, MemberState)> {
        (0..)
            .zip(states)
            .map(|(index, state)| (format!("gallery-vault-{index}"), state))
            .collect()
    }

    /// What autopilot says, from its own rule: the healthy votes beyond the majority may be lost.
    fn autopilot(healthy: [bool; 3]) -> Autopilot {
        let voters = healthy.iter().filter(|healthy| **healthy).count();
        let server = |(index, healthy)| {
            let server = Server {
                healthy,
                status: if index == 0 { "leader" } else { "voter" }.to_owned(),
            };
            (format!("gallery-vault-{index}"), server)
        };
        Autopilot {
            failure_tolerance: i64::try_from(voters).unwrap_or_default() - 2,
            servers: (0..).zip(healthy).map(server).collect(),
        }
    }

    fn well() -> Vec<(String, MemberState)> {
        members([MemberState::Active, MemberState::Standby, MemberState::Standby])
    }

    #[test]
    fn the_answer_is_read() {
        let answer = json!({
            "healthy": true, "failure_tolerance": 1, "leader": "gallery-vault-0",
            "servers": {"gallery-vault-0": {"id": "gallery-vault-0", "healthy": true, "status": "leader"}},
        });
        let read: Autopilot = serde_json::from_value(answer).unwrap_or_default();
        assert_eq!(read.failure_tolerance, 1);
        assert!(read.servers["gallery-vault-0"].healthy);
    }

    #[test]
    fn any_member_may_stop_while_the_cluster_survives_it() {
        let roster = roster(&well(), Some(&autopilot([true; 3])));
        assert!((0..3).all(|ordinal| roster.needed(ordinal).is_none() && roster.serves(ordinal)));
        assert_eq!((roster.leads(0), roster.leads(1)), (1, 0));
    }

    #[test]
    fn a_member_that_has_not_caught_up_does_not_serve_and_the_others_are_needed() {
        let roster = roster(&well(), Some(&autopilot([true, true, false])));
        assert!(roster.needed(0).is_some() && roster.needed(1).is_some());
        assert_eq!((roster.needed(2), roster.serves(2)), (None, false));
    }

    #[test]
    fn without_an_active_member_nobody_may_stop() {
        let sealed = members([MemberState::Sealed, MemberState::Sealed, MemberState::Standby]);
        let roster = roster(&sealed, None);
        assert!((0..3).all(|ordinal| roster.needed(ordinal).is_some() && !roster.serves(ordinal)));
    }

    proptest! {
        #[test]
        fn who_may_stop_leaves_a_majority(healthy in prop::array::uniform2(any::<bool>())) {
            let healthy = [true, healthy[0], healthy[1]];
            let roster = roster(&well(), Some(&autopilot(healthy)));
            for ordinal in 0..3_u32 {
                let index = usize::try_from(ordinal).unwrap_or_default();
                if healthy[index] && roster.needed(ordinal).is_none() {
                    prop_assert!(healthy == [true; 3]);
                }
            }
        }
    }
}

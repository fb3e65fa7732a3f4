//! Where OpenBao stands, and how the status says it.

use crate::engine::{LATER, SOON, STEADY, WATCHFUL, count};
use crate::lack::SECRET_LOST;
use crate::part::PartStatus;

/// Where OpenBao stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Members are missing; each with what is wrong.
    WaitForMembers(Vec<String>),
    /// No member is active yet; what is wrong with the others.
    WaitForActive(Vec<String>),
    /// The Secret with the keys cannot be read.
    KeysUnreadable(String),
    /// The Secret is there and holds no keys; what to do.
    KeysIncomplete(String),
    /// The Secret is gone, and members need it.
    KeysLost {
        /// Its name.
        secret: String,
        /// The members.
        members: Vec<String>,
    },
    /// These members were initialised and the keys never stored.
    InitialisationInterrupted(Vec<String>),
    /// Every member is empty although there are keys, or the hub was ready before.
    DataLost,
    /// The root token is refused.
    TokenRefused,
    /// The settings cannot be read.
    SettingsUnreadable(String),
    /// These exist with properties that cannot be changed.
    SettingConflict(Vec<String>),
    /// The majority works; these do not.
    Degraded(Vec<String>),
    /// So many members, all well.
    Healthy(usize),
}

impl From<Finding> for PartStatus {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::WaitForMembers(which) => Self::waiting(
                "WaitForMembers",
                format!("Waits for OpenBao: {}.", which.join("; ")),
                SOON,
            ),
            Finding::WaitForActive(which) if which.is_empty() => Self::waiting(
                "WaitForActive",
                "Waits until a member of OpenBao is active.",
                SOON,
            ),
            Finding::WaitForActive(which) => Self::waiting(
                "WaitForActive",
                format!("No member of OpenBao is active: {}.", which.join("; ")),
                SOON,
            ),
            Finding::KeysUnreadable(why) => Self::waiting(
                "KeysUnreadable",
                format!("The keys of OpenBao cannot be read: {why}."),
                LATER,
            ),
            Finding::KeysIncomplete(what) => Self::stalled("SecretIncomplete", format!("{what}."), LATER),
            Finding::KeysLost { secret, members } => Self::stalled(
                SECRET_LOST,
                format!(
                    "{} has data, but Secret {secret:?} with the unseal key is gone. Restore it from a backup. Only \
                     if this hub holds nothing of value: delete the FlickrHub and the volumes of OpenBao, and \
                     create it again; users then have to authorise it again.",
                    members.join(", ")
                ),
                LATER,
            ),
            Finding::InitialisationInterrupted(members) => Self::stalled(
                "InitialisationInterrupted",
                format!(
                    "The operator was interrupted between the initialisation of OpenBao and the storing of its keys. \
                     Nothing is lost, because it was never used: delete the volume and the pod of {}, and it is \
                     initialised again.",
                    members.join(", ")
                ),
                LATER,
            ),
            Finding::DataLost => Self::stalled(
                "DataLost",
                "Every member of OpenBao is empty although it was initialised before: its volumes are gone. Restore \
                 a backup; to start empty instead, delete the FlickrHub and the Secret with the unseal key, and \
                 create the FlickrHub again.",
                LATER,
            ),
            Finding::TokenRefused => Self::stalled(
                "RootTokenRefused",
                "OpenBao refuses the root token in the Secret; restore the Secret, or put a new root token into it \
                 (bao operator generate-root).",
                LATER,
            ),
            Finding::SettingsUnreadable(why) => Self::waiting(
                "SettingsUnreadable",
                format!("OpenBao does not tell its settings: {why}."),
                SOON,
            ),
            Finding::SettingConflict(which) => Self::stalled(
                "SettingConflict",
                format!(
                    "In OpenBao, {} exists with properties that cannot be changed; rename or delete what is there.",
                    which.join(", ")
                ),
                LATER,
            ),
            Finding::Degraded(which) => Self {
                reason: "Degraded",
                requeue_after: Some(WATCHFUL),
                ..Self::ready(format!(
                    "The majority of OpenBao works, but {}.",
                    which.join("; ")
                ))
            },
            Finding::Healthy(members) => Self {
                requeue_after: Some(STEADY),
                ..Self::ready(format!("{}, unsealed and configured.", count(members, "member")))
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_somebody_stalls_and_what_passes_does_not() {
        let text = || "text".to_owned();
        for finding in [
            Finding::KeysIncomplete(text()),
            Finding::KeysLost {
                secret: text(),
                members: vec![text()],
            },
            Finding::InitialisationInterrupted(vec![text()]),
            Finding::DataLost,
            Finding::TokenRefused,
            Finding::SettingConflict(vec![text()]),
        ] {
            let status = PartStatus::from(finding.clone());
            assert!(status.stalled && !status.ready, "{finding:?}");
        }
        for finding in [
            Finding::WaitForMembers(vec![text()]),
            Finding::WaitForActive(vec![text()]),
            Finding::KeysUnreadable(text()),
            Finding::SettingsUnreadable(text()),
            Finding::Degraded(vec![text()]),
            Finding::Healthy(3),
        ] {
            assert!(!PartStatus::from(finding.clone()).stalled, "{finding:?}");
        }
    }
}

//! A Vault that somebody else runs: whether it can be used, nothing is changed in it.

use futures::future::join;
use secrecy::SecretString;

use super::api::{Api, Health};
use super::login;
use crate::context::Context;
use crate::engine::{LATER, STEADY};
use crate::names::{APP_CREDENTIALS_KEY, USER_TOKENS_KEY};
use crate::part::PartStatus;
use crate::validate::{ExternalVaultPlan, ValidatedHub};

/// Whether a transit key exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPresence {
    /// It does.
    Present,
    /// It does not.
    Absent,
    /// The operator may not know.
    Unknown,
}

/// An external Vault as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalObserved {
    /// Its health, or why there was no answer.
    pub health: Result<Health, String>,
    /// The transit keys that are needed.
    pub keys: Vec<(&'static str, KeyPresence)>,
}

/// Where an external Vault stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalFinding {
    /// No answer; why.
    Unreachable(String),
    /// It is not initialised.
    Uninitialised,
    /// It is sealed.
    Sealed,
    /// These transit keys do not exist.
    KeysMissing(Vec<&'static str>),
    /// As far as the operator may know, all is well.
    Healthy,
}

/// What an external Vault lacks.
pub fn judge_external(observed: &ExternalObserved) -> ExternalFinding {
    match &observed.health {
        Err(why) => return ExternalFinding::Unreachable(why.clone()),
        Ok(Health {
            initialized: false, ..
        }) => return ExternalFinding::Uninitialised,
        Ok(Health { sealed: true, .. }) => return ExternalFinding::Sealed,
        Ok(Health { .. }) => {}
    }
    let missing: Vec<&'static str> = observed
        .keys
        .iter()
        .filter(|(_, presence)| *presence == KeyPresence::Absent)
        .map(|(key, _)| *key)
        .collect();
    if missing.is_empty() {
        ExternalFinding::Healthy
    } else {
        ExternalFinding::KeysMissing(missing)
    }
}

/// Tells where the external Vault of a hub stands.
pub(super) async fn reconcile(context: &Context, hub: &ValidatedHub, plan: &ExternalVaultPlan) -> PartStatus {
    let api = match login::connect(context, hub, plan).await {
        Ok(api) => api,
        Err(error) => {
            return PartStatus::waiting(
                "InvalidConnection",
                format!("Vault cannot be asked: {error}."),
                LATER,
            );
        }
    };
    let health = api.health().await.map_err(|error| error.to_string());
    let keys = match login::login(context, hub, plan, &api).await {
        Ok(token) => {
            let look = |key| presence(&api, &token, &plan.transit_mount, key);
            let (users, apps) = join(look(USER_TOKENS_KEY), look(APP_CREDENTIALS_KEY)).await;
            vec![(USER_TOKENS_KEY, users), (APP_CREDENTIALS_KEY, apps)]
        }
        Err(error) => {
            tracing::debug!(%error, "cannot log in to Vault to look at its keys");
            Vec::new()
        }
    };
    judge_external(&ExternalObserved { health, keys }).into()
}

async fn presence(api: &Api, token: &SecretString, mount: &str, key: &str) -> KeyPresence {
    match api.read(token, &format!("{mount}/keys/{key}")).await {
        Ok(Some(_)) => KeyPresence::Present,
        Ok(None) => KeyPresence::Absent,
        Err(_) => KeyPresence::Unknown,
    }
}

impl From<ExternalFinding> for PartStatus {
    fn from(finding: ExternalFinding) -> Self {
        match finding {
            ExternalFinding::Unreachable(why) => Self::waiting(
                "Unreachable",
                format!("Vault does not answer ({why}); see that spec.vault.external.address is right."),
                LATER,
            ),
            ExternalFinding::Uninitialised => Self::stalled(
                "Uninitialised",
                "Vault is not initialised; initialise and unseal it.",
                LATER,
            ),
            ExternalFinding::Sealed => Self::stalled("Sealed", "Vault is sealed; unseal it.", LATER),
            ExternalFinding::KeysMissing(keys) => Self::stalled(
                "TransitKeysMissing",
                format!(
                    "Vault lacks the transit keys {}; create them with type aes256-gcm96 and derived=true.",
                    keys.join(" and ")
                ),
                LATER,
            ),
            ExternalFinding::Healthy => Self {
                requeue_after: Some(STEADY),
                ..Self::ready("Vault answers and is unsealed.")
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_finding() {
        let health = |initialized, sealed| {
            Ok(Health {
                initialized,
                sealed,
                standby: false,
            })
        };
        let cases = [
            (
                Err("no connection".to_owned()),
                KeyPresence::Unknown,
                "Unreachable",
            ),
            (health(false, true), KeyPresence::Unknown, "Uninitialised"),
            (health(true, true), KeyPresence::Unknown, "Sealed"),
            (health(true, false), KeyPresence::Absent, "TransitKeysMissing"),
            (health(true, false), KeyPresence::Unknown, "Ready"),
            (health(true, false), KeyPresence::Present, "Ready"),
        ];
        for (health, presence, reason) in cases {
            let observed = ExternalObserved {
                health,
                keys: vec![
                    (USER_TOKENS_KEY, KeyPresence::Present),
                    (APP_CREDENTIALS_KEY, presence),
                ],
            };
            let status = PartStatus::from(judge_external(&observed));
            let waits_for_somebody = !matches!(reason, "Ready" | "Unreachable");
            assert_eq!(
                (status.reason, status.stalled),
                (reason, waits_for_somebody),
                "{observed:?}"
            );
        }
    }
}

//! Whether a new version of the operator may restart pods. Pure.
//!
//! What a version builds can differ from what the one before it built: other default images, another flag of a probe. Applied
//! at once, an upgrade of the operator would restart every pod of every hub. So unless `spec.operatorUpgrades` is
//! `Automatic`, what pods are made from (templates, and the ConfigMaps that they read) stays as another version built it,
//! until something of the hub itself changes. Everything else is brought to what this version builds.
//!
//! The status says what the objects were last built from. A process that dies before it is written builds them once more;
//! one that dies after it finds them built.

use sha2::{Digest, Sha256};

use crate::build::checksum;
use crate::crd::{BuildStatus, DeletionPolicy, FlickrHubSpec, OperatorUpgrades};
use crate::pki;
use crate::secrets::SecretsChecksums;
use crate::validate::ValidatedHub;

/// The condition that tells whether pods are as this version of the operator builds them.
pub const OPERATOR_VERSION_APPLIED: &str = "OperatorVersionApplied";

/// What the status says of how the objects were built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildReport {
    /// What all of them were last built from.
    pub last: Option<BuildStatus>,
    /// The condition: whether it holds, the reason, and a sentence.
    pub finding: (bool, &'static str, String),
}

/// What the objects of a hub are built from, as the status keeps it.
pub fn inputs(
    hub: &ValidatedHub,
    spec: &FlickrHubSpec,
    secrets: &SecretsChecksums,
    version: &str,
) -> BuildStatus {
    let trust = pki::trust_checksum(hub.trust.as_ref());
    let users = hub
        .user_secrets
        .iter()
        .flat_map(|(name, checksum)| [name.as_str(), checksum.as_str()]);
    BuildStatus {
        operator_version: version.to_owned(),
        generation: hub.generation,
        spec: spec_checksum(spec),
        secrets: checksum::of_texts(secrets.all().into_iter().chain(users).chain([trust.as_str()])),
    }
}

/// The checksum of the spec without what says nothing of how pods are.
fn spec_checksum(spec: &FlickrHubSpec) -> String {
    let spec = FlickrHubSpec {
        paused: false,
        hibernated: false,
        credential_rotation_days: 0,
        operator_upgrades: OperatorUpgrades::default(),
        deletion_policy: DeletionPolicy::default(),
        ..spec.clone()
    };
    let text = serde_json::to_vec(&spec).unwrap_or_default();
    let hash = Sha256::digest(&text);
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether templates stay as another version built them: nothing that it built them from has changed.
///
/// A generation that is the same is a spec that nobody has written since, whatever defaults this version adds to it. A spec
/// that is the same may have been written, but in what says nothing of pods.
pub fn keeps_templates(policy: OperatorUpgrades, last: Option<&BuildStatus>, now: &BuildStatus) -> bool {
    last.is_some_and(|last| {
        policy == OperatorUpgrades::OnChange
            && last.operator_version != now.operator_version
            && last.secrets == now.secrets
            && (last.generation == now.generation || last.spec == now.spec)
    })
}

/// What the status says after a look: `complete` if everything was brought to what `now` says.
pub fn report(last: Option<&BuildStatus>, now: &BuildStatus, keeps: bool, complete: bool) -> BuildReport {
    let is_built = complete && !keeps;
    BuildReport {
        last: if is_built {
            Some(now.clone())
        } else {
            last.cloned()
        },
        finding: finding(last, &now.operator_version, keeps),
    }
}

fn finding(last: Option<&BuildStatus>, version: &str, keeps: bool) -> (bool, &'static str, String) {
    match last {
        Some(last) if keeps => (
            false,
            "WaitsForChange",
            format!(
                "Pods stay as version {} of the operator built them. The next change of the spec brings them to version \
                 {version}, and may restart them; spec.operatorUpgrades: Automatic does it at once.",
                last.operator_version
            ),
        ),
        _ => (
            true,
            "Applied",
            format!("Pods are as version {version} of the operator builds them."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn built(version: &str, change: impl FnOnce(&mut crate::crd::FlickrHub)) -> BuildStatus {
        let mut hub = fixtures::minimal();
        change(&mut hub);
        inputs(
            &fixtures::validated(&hub),
            &hub.spec,
            &fixtures::checksums(),
            version,
        )
    }

    fn keeps(policy: OperatorUpgrades, now: &BuildStatus) -> bool {
        keeps_templates(policy, Some(&built("1.0.0", |_| {})), now)
    }

    #[test]
    fn a_new_version_restarts_nothing_by_itself() {
        assert!(keeps(OperatorUpgrades::OnChange, &built("1.1.0", |_| {})));
        assert!(!keeps(OperatorUpgrades::Automatic, &built("1.1.0", |_| {})));
        assert!(!keeps(OperatorUpgrades::OnChange, &built("1.0.0", |_| {})));
    }

    #[test]
    fn a_hub_that_was_never_built_or_has_changed_is_built_by_the_new_version() {
        let now = built("1.1.0", |_| {});
        assert!(!keeps_templates(OperatorUpgrades::OnChange, None, &now));
        let changed = built("1.1.0", |hub| {
            hub.metadata.generation = Some(2);
            hub.spec.api.replicas += 1;
        });
        assert!(!keeps(OperatorUpgrades::OnChange, &changed));
        let mut rotated = now;
        rotated.secrets = "another".to_owned();
        assert!(!keeps(OperatorUpgrades::OnChange, &rotated));
    }

    #[test]
    fn pausing_and_hibernating_are_no_changes_of_pods() {
        let paused = built("1.1.0", |hub| {
            hub.metadata.generation = Some(3);
            hub.spec.hibernated = true;
        });
        assert!(keeps(OperatorUpgrades::OnChange, &paused));
    }

    #[test]
    fn a_field_that_only_this_version_knows_is_no_change() {
        let mut now = built("1.1.0", |_| {});
        now.spec = "with another default".to_owned();
        assert!(keeps(OperatorUpgrades::OnChange, &now));
    }
}

//! What an unsealed OpenBao has to be configured with.

use reqwest::Method;
use serde_json::{Value, json};

use super::Desired;
use super::policy::Owner;
use crate::names::{
    APP_CREDENTIALS_KEY, KUBERNETES_AUTH_MOUNT, TRANSIT_MOUNT, USER_TOKENS_KEY, VAULT_AUDIENCE,
};

/// Seconds until the token of a process ends; it is renewed before.
const TOKEN_TTL: u32 = 3600;

/// One thing to configure.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// What it is, for logs and conditions.
    pub name: String,
    /// The path that it is read from.
    pub read_path: String,
    /// The fields that have to have these values; others are left alone.
    pub wanted: Value,
    /// How it is written.
    pub method: Method,
    /// The path that it is written to.
    pub write_path: String,
    /// Whether a thing that exists can be changed at all.
    pub changeable: bool,
}

/// Where a setting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingState {
    /// As wanted.
    Met,
    /// Absent or different; to be written.
    Unmet,
    /// Different, and cannot be changed.
    Conflict,
}

impl Setting {
    fn new(name: impl Into<String>, path: impl Into<String>, wanted: Value) -> Self {
        let path = path.into();
        Self {
            name: name.into(),
            read_path: path.clone(),
            wanted,
            method: Method::POST,
            write_path: path,
            changeable: true,
        }
    }

    fn unchangeable(self) -> Self {
        Self {
            changeable: false,
            ..self
        }
    }

    /// Where it stands, given what was read.
    pub fn state(&self, found: Option<&Value>) -> SettingState {
        let Some(found) = found else {
            return SettingState::Unmet;
        };
        let met = self
            .wanted
            .as_object()
            .is_some_and(|fields| fields.iter().all(|(name, value)| found.get(name) == Some(value)));
        match (met, self.changeable) {
            (true, _) => SettingState::Met,
            (false, true) => SettingState::Unmet,
            (false, false) => SettingState::Conflict,
        }
    }
}

/// Everything to configure, in an order in which it can be written.
///
/// The keys are derived (every user and every client has a key of its own, by the context) and cannot be exported. What a
/// process may do with them is in the table of [`Owner`].
pub fn wanted_settings(desired: &Desired) -> Vec<Setting> {
    let Desired { hub, namespace, .. } = desired;
    let policies = Owner::ALL.map(|owner| policy(&owner.policy_name(hub), &owner.policy(TRANSIT_MOUNT)));
    // The operator logs in by no role: it makes a token for each use.
    let processes = [Owner::Api, Owner::Worker, Owner::Callbacks];
    let audience = desired.binds_audience.then_some(VAULT_AUDIENCE);
    let roles = processes.map(|owner| role(&owner.policy_name(hub), namespace, audience));
    let mut settings = vec![
        mount("transit engine", "mounts", TRANSIT_MOUNT, "transit"),
        transit_key(USER_TOKENS_KEY),
        transit_key(APP_CREDENTIALS_KEY),
        mount(
            "Kubernetes auth method",
            "auth",
            KUBERNETES_AUTH_MOUNT,
            "kubernetes",
        ),
        // Without a CA and a token of its own it uses those of its pod.
        Setting::new(
            "address of Kubernetes",
            format!("auth/{KUBERNETES_AUTH_MOUNT}/config"),
            json!({ "kubernetes_host": desired.kubernetes_host }),
        ),
    ];
    settings.extend(policies);
    settings.extend(roles);
    settings
}

fn mount(name: &str, kind: &str, path: &str, engine: &str) -> Setting {
    Setting::new(name, format!("sys/{kind}/{path}"), json!({ "type": engine })).unchangeable()
}

fn transit_key(key: &str) -> Setting {
    Setting::new(
        format!("transit key {key}"),
        format!("{TRANSIT_MOUNT}/keys/{key}"),
        json!({ "type": "aes256-gcm96", "derived": true, "exportable": false }),
    )
    .unchangeable()
}

fn policy(name: &str, text: &str) -> Setting {
    Setting {
        method: Method::PUT,
        ..Setting::new(
            format!("policy {name}"),
            format!("sys/policies/acl/{name}"),
            json!({ "policy": text }),
        )
    }
}

/// A role lets the service account of its name log in, with the policy of its name. Without an audience here it goes on to
/// demand what it demands, which is none of a role that is new.
fn role(name: &str, namespace: &str, audience: Option<&str>) -> Setting {
    let mut wanted = json!({
        "bound_service_account_names": [name],
        "bound_service_account_namespaces": [namespace],
        "token_policies": [name],
        "token_ttl": TOKEN_TTL,
    });
    if let Some(audience) = audience {
        wanted["audience"] = audience.into();
    }
    Setting::new(
        format!("role {name}"),
        format!("auth/{KUBERNETES_AUTH_MOUNT}/role/{name}"),
        wanted,
    )
}

#[cfg(test)]
mod tests {
    use super::super::simulation::desired;
    use super::*;
    use crate::engine::Standard;

    #[test]
    fn a_setting_is_met_when_its_own_fields_are_as_wanted() {
        let key = transit_key("k");
        let found =
            json!({ "type": "aes256-gcm96", "derived": true, "exportable": false, "latest_version": 4 });
        assert_eq!(key.state(Some(&found)), SettingState::Met);
        assert_eq!(key.state(None), SettingState::Unmet);
    }

    #[test]
    fn a_key_that_is_not_derived_is_a_conflict_and_not_overwritten() {
        let found = json!({ "type": "aes256-gcm96", "derived": false, "exportable": false });
        assert_eq!(transit_key("k").state(Some(&found)), SettingState::Conflict);
    }

    #[test]
    fn a_changed_policy_is_written_again() {
        let wanted = policy("hub-api", "path \"k\" {}");
        assert_eq!(
            wanted.state(Some(&json!({ "policy": "path \"*\" {}" }))),
            SettingState::Unmet
        );
        assert_eq!(wanted.state(Some(&wanted.wanted)), SettingState::Met);
    }

    #[test]
    fn a_role_demands_the_audience_once_every_login_shows_it_and_keeps_to_that() {
        let bare = role("gallery-api", "photos", None);
        let bound = role("gallery-api", "photos", Some("vault"));
        // As OpenBao tells a role: without an audience where it has none.
        assert_eq!(bare.state(Some(&bare.wanted)), SettingState::Met);
        assert_eq!(bound.state(Some(&bare.wanted)), SettingState::Unmet);
        assert_eq!(bound.state(Some(&bound.wanted)), SettingState::Met);
        assert_eq!(bare.state(Some(&bound.wanted)), SettingState::Met);
    }

    #[test]
    fn only_the_processes_that_need_it_can_log_in() {
        let bound: Vec<String> = wanted_settings(&desired(Standard::Complete))
            .iter()
            .filter_map(|setting| setting.wanted.get("bound_service_account_names"))
            .map(Value::to_string)
            .collect();
        assert_eq!(
            bound,
            [
                r#"["gallery-api"]"#,
                r#"["gallery-worker"]"#,
                r#"["gallery-callbacks"]"#
            ]
        );
    }
}

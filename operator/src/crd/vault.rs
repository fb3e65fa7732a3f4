//! `spec.vault`: who encrypts Flickr tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResourcesSpec, SecretRef, StorageSpec, rules};
use crate::names::VAULT_AUDIENCE;

/// Vault or OpenBao: exactly one of `managed` and `external`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("has(self.managed) != has(self.external)", "set exactly one of vault.managed (the operator runs OpenBao) and vault.external (you run Vault or OpenBao)"),
    ("has(self.managed) == has(oldSelf.managed)", "vault cannot move between managed and external: tokens that one has encrypted cannot be read by the other; create another FlickrHub instead"),
])))]
pub struct VaultSpec {
    /// The operator runs OpenBao, initialises it and unseals it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedVaultSpec>,
    /// You run Vault or OpenBao, with the transit engine mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalVaultSpec>,
    /// Days between two rotations of the transit keys.
    #[serde(default = "key_rotation_days")]
    #[schemars(range(min = 1, max = 3650))]
    pub key_rotation_days: u32,
}

const fn key_rotation_days() -> u32 {
    90
}

impl Default for VaultSpec {
    fn default() -> Self {
        Self {
            managed: Some(ManagedVaultSpec::default()),
            external: None,
            key_rotation_days: key_rotation_days(),
        }
    }
}

/// OpenBao, run by the operator.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.replicas % 2 == 1", "vault.managed.replicas must be odd, so that a majority is unambiguous; use 1, 3, 5 or 7"),
    ("self.replicas >= oldSelf.replicas", "vault.managed.replicas cannot be reduced: a member that was taken out of the Raft cluster could not join again with the volume that it keeps; keep the number"),
])))]
pub struct ManagedVaultSpec {
    /// Members of the Raft cluster. 3 survive the loss of one; 1 is for trials. Can grow, but not be reduced.
    #[schemars(range(min = 1, max = 7))]
    pub replicas: u32,
    /// The volume of each member.
    pub storage: StorageSpec,
    /// CPU and memory of one member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
}

impl Default for ManagedVaultSpec {
    fn default() -> Self {
        Self {
            replicas: 3,
            storage: StorageSpec::of_size("1Gi"),
            resources: None,
        }
    }
}

/// Vault or OpenBao, run by you.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("isURL(self.address) && url(self.address).getScheme() == 'https'", "vault.external.address must be an https URL, for example https://vault.example.org:8200: credentials and users' tokens are sent to it"),
])))]
pub struct ExternalVaultSpec {
    /// The address, for example `https://vault.example.org:8200`. It is `https`, because credentials and users' tokens are
    /// sent to it.
    #[schemars(length(min = 1, max = 2048))]
    pub address: String,
    /// A Secret with the key `ca.crt`: the certificates (PEM) that sign the server's; the public ones without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
    /// The namespace in Vault, where it has namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub namespace: Option<String>,
    /// How the API and the workers log in; by the tokens of their service accounts unless you say otherwise.
    #[serde(default)]
    pub auth: VaultAuthSpec,
    /// Where the transit engine is mounted.
    #[serde(default = "transit_mount")]
    #[schemars(length(min = 1, max = 253))]
    pub transit_mount: String,
}

fn transit_mount() -> String {
    "transit".to_owned()
}

/// How to log in: exactly one of `kubernetes`, `appRole` and `token`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("[has(self.kubernetes), has(self.appRole), has(self.token)].exists_one(set, set)", "set exactly one of auth.kubernetes, auth.appRole and auth.token"),
])))]
pub struct VaultAuthSpec {
    /// By the tokens of the hub's service accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesAuthSpec>,
    /// By `AppRole`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_role: Option<AppRoleAuthSpec>,
    /// By a token that something else renews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenAuthSpec>,
}

impl Default for VaultAuthSpec {
    fn default() -> Self {
        let kubernetes = KubernetesAuthSpec {
            mount: kubernetes_mount(),
            role: None,
            audience: audience(),
        };
        Self {
            kubernetes: Some(kubernetes),
            app_role: None,
            token: None,
        }
    }
}

/// Login by the tokens of the hub's service accounts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesAuthSpec {
    /// Where the auth method is mounted.
    #[serde(default = "kubernetes_mount")]
    #[schemars(length(min = 1, max = 253))]
    pub mount: String,
    /// The role; `<role>-api`, `<role>-worker` and `<role>-callbacks` must exist, bound to the service accounts of the same
    /// endings, and `<role>-operator`, bound to `<hub>-vault-login`, by which the operator rotates the transit keys and
    /// encrypts what it stores. Without it the name of the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub role: Option<String>,
    /// Whom the tokens are for that are sent to Vault; where the roles have an `audience`, it is this one. Not that of the
    /// Kubernetes API, which would accept the tokens too.
    #[serde(default = "audience")]
    #[schemars(length(min = 1, max = 253))]
    pub audience: String,
}

fn audience() -> String {
    VAULT_AUDIENCE.to_owned()
}

fn kubernetes_mount() -> String {
    "kubernetes".to_owned()
}

/// Login by `AppRole`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRoleAuthSpec {
    /// Where the auth method is mounted.
    #[serde(default = "app_role_mount")]
    #[schemars(length(min = 1, max = 253))]
    pub mount: String,
    /// The Secret with the keys `roleId` and `secretId`.
    pub secret_ref: SecretRef,
}

fn app_role_mount() -> String {
    "approle".to_owned()
}

/// Login by a token that something else renews.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenAuthSpec {
    /// The Secret with the key `token`.
    pub secret_ref: SecretRef,
}

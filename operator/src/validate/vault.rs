//! `spec.vault`.

use url::Url;

use super::data::{at_least, members, storage};
use super::flickr::http_url;
use super::resources::Defaults;
use super::{ContainerResources, StoragePlan, ValidationError};
use crate::crd::{ExternalVaultSpec, ManagedVaultSpec, VaultAuthSpec, VaultSpec};
use crate::names::{HubNames, VAULT_PORT};

/// Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultPlan {
    /// OpenBao, run by the operator.
    Managed(ManagedVaultPlan),
    /// Run by the user.
    External(ExternalVaultPlan),
}

/// OpenBao, run by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedVaultPlan {
    /// The address of its client Service.
    pub address: Url,
    /// Members.
    pub replicas: u32,
    /// Their volumes.
    pub storage: StoragePlan,
    /// CPU and memory of one member.
    pub resources: ContainerResources,
}

/// Vault or OpenBao, run by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalVaultPlan {
    /// Its address, which is `https`.
    pub address: Url,
    /// The Secret with its CA certificates under `ca.crt`.
    pub ca_secret: Option<String>,
    /// The namespace in it.
    pub namespace: Option<String>,
    /// How to log in.
    pub auth: VaultAuthPlan,
    /// Where the transit engine is mounted.
    pub transit_mount: String,
}

/// How to log in to a Vault of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultAuthPlan {
    /// By the tokens of the hub's service accounts.
    Kubernetes {
        /// Where the auth method is mounted.
        mount: String,
        /// The role, without `-api`, `-worker`, `-callbacks` and `-operator`.
        role: String,
        /// Whom the tokens are for.
        audience: String,
    },
    /// By `AppRole`.
    AppRole {
        /// Where the auth method is mounted.
        mount: String,
        /// The Secret with `roleId` and `secretId`.
        secret: String,
    },
    /// By a token.
    Token {
        /// The Secret with `token`.
        secret: String,
    },
}

pub(super) fn vault(spec: &VaultSpec, names: &HubNames) -> Result<VaultPlan, ValidationError> {
    match (&spec.managed, &spec.external) {
        (Some(managed), None) => Ok(VaultPlan::Managed(managed_plan(managed, names)?)),
        (None, Some(external)) => Ok(VaultPlan::External(external_plan(external, names)?)),
        _ => Err(ValidationError::VaultChoice),
    }
}

fn managed_plan(spec: &ManagedVaultSpec, names: &HubNames) -> Result<ManagedVaultPlan, ValidationError> {
    const DEFAULTS: Defaults = Defaults {
        cpu: ("20m", "1"),
        memory: ("96Mi", "384Mi"),
    };
    let field = "vault.managed.resources";
    let address = format!("https://{}:{VAULT_PORT}", names.service_host(&names.vault()));
    Ok(ManagedVaultPlan {
        address: http_url("the address of the managed Vault", &address)?,
        replicas: members(spec.replicas, "vault.managed.replicas")?,
        storage: storage(&spec.storage, "vault.managed")?,
        resources: at_least(
            DEFAULTS.with(spec.resources.as_ref(), field)?,
            128,
            "128Mi",
            field,
        )?,
    })
}

fn external_plan(spec: &ExternalVaultSpec, names: &HubNames) -> Result<ExternalVaultPlan, ValidationError> {
    let address = http_url("vault.external.address", &spec.address)?;
    if address.scheme() != "https" {
        return Err(ValidationError::VaultNotHttps);
    }
    let auth = auth_plan(&spec.auth, names)?;
    Ok(ExternalVaultPlan {
        address,
        ca_secret: spec
            .ca_secret_ref
            .as_ref()
            .map(|reference| reference.name.clone()),
        namespace: spec.namespace.clone(),
        auth,
        transit_mount: spec.transit_mount.clone(),
    })
}

fn auth_plan(spec: &VaultAuthSpec, names: &HubNames) -> Result<VaultAuthPlan, ValidationError> {
    match (&spec.kubernetes, &spec.app_role, &spec.token) {
        (Some(kubernetes), None, None) => Ok(VaultAuthPlan::Kubernetes {
            mount: kubernetes.mount.clone(),
            role: kubernetes.role.clone().unwrap_or_else(|| names.hub().to_owned()),
            audience: kubernetes.audience.clone(),
        }),
        (None, Some(app_role), None) => Ok(VaultAuthPlan::AppRole {
            mount: app_role.mount.clone(),
            secret: app_role.secret_ref.name.clone(),
        }),
        (None, None, Some(token)) => Ok(VaultAuthPlan::Token {
            secret: token.secret_ref.name.clone(),
        }),
        _ => Err(ValidationError::VaultAuthChoice),
    }
}

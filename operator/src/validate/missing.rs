//! Secrets that the user has to give and that are not there yet. They are no mistake in the spec: what does not need them
//! goes on.

use super::flickr::CREDENTIAL_KEYS;
use super::{References, SecretDigest};
use crate::crd::{ExternalVaultSpec, FlickrAppSpec, FlickrHubSpec};
use crate::lack::Lack;

/// What is missing; each message tells what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingSecret {
    /// The Secret with the credentials of a Flickr application does not exist.
    #[error(
        "Secret {secret:?} with the credentials of Flickr application {app:?} does not exist: create it in this namespace with the keys consumerKey and consumerSecret."
    )]
    Credentials {
        /// Our name of the application.
        app: String,
        /// The name of the Secret.
        secret: String,
    },
    /// The Secret with the credentials of a Flickr application lacks a key.
    #[error(
        "Secret {secret:?} with the credentials of Flickr application {app:?} has no content under {key:?}: add it, as Flickr's App Garden shows it."
    )]
    CredentialsKey {
        /// Our name of the application.
        app: String,
        /// The name of the Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// A Secret for Vault does not exist.
    #[error("Secret {secret:?}, named by {field}, does not exist: create it in this namespace with {keys}.")]
    Vault {
        /// The path in the spec.
        field: &'static str,
        /// The name of the Secret.
        secret: String,
        /// The keys it needs, as part of a sentence.
        keys: &'static str,
    },
    /// A Secret for Vault lacks a key.
    #[error("Secret {secret:?}, named by {field}, has no content under {key:?}: add it.")]
    VaultKey {
        /// The path in the spec.
        field: &'static str,
        /// The name of the Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
}

impl MissingSecret {
    fn secret(&self) -> &str {
        match self {
            Self::Credentials { secret, .. }
            | Self::CredentialsKey { secret, .. }
            | Self::Vault { secret, .. }
            | Self::VaultKey { secret, .. } => secret,
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::Credentials { .. } | Self::CredentialsKey { .. } => "CredentialsSecretMissing",
            Self::Vault { .. } | Self::VaultKey { .. } => "VaultSecretMissing",
        }
    }
}

impl From<MissingSecret> for Lack {
    fn from(missing: MissingSecret) -> Self {
        Self {
            secret: missing.secret().to_owned(),
            reason: missing.reason(),
            message: missing.to_string(),
            passes: false,
        }
    }
}

/// Everything that the spec refers to and that is not there.
pub(super) fn lacks(spec: &FlickrHubSpec, references: &References) -> Vec<Lack> {
    let apps = spec.flickr.apps.iter().filter_map(|app| of_app(app, references));
    let vault = spec
        .vault
        .external
        .iter()
        .flat_map(|vault| of_vault(vault, references));
    apps.chain(vault).map(Lack::from).collect()
}

fn of_app(spec: &FlickrAppSpec, references: &References) -> Option<MissingSecret> {
    let app = spec.name.clone();
    let secret = spec.credentials_secret_ref.name.clone();
    let Some(found) = references.secret(&secret) else {
        return Some(MissingSecret::Credentials { app, secret });
    };
    let key = without_content(found, &CREDENTIAL_KEYS)?;
    Some(MissingSecret::CredentialsKey { app, secret, key })
}

fn of_vault(spec: &ExternalVaultSpec, references: &References) -> Vec<MissingSecret> {
    let ca = spec.ca_secret_ref.as_ref().map(|reference| Needed {
        secret: &reference.name,
        field: "vault.external.caSecretRef",
        keys: &["ca.crt"],
        keys_text: "the key ca.crt",
    });
    let app_role = spec.auth.app_role.as_ref().map(|auth| Needed {
        secret: &auth.secret_ref.name,
        field: "vault.external.auth.appRole.secretRef",
        keys: &["roleId", "secretId"],
        keys_text: "the keys roleId and secretId",
    });
    let token = spec.auth.token.as_ref().map(|auth| Needed {
        secret: &auth.secret_ref.name,
        field: "vault.external.auth.token.secretRef",
        keys: &["token"],
        keys_text: "the key token",
    });
    let needed = [ca, app_role, token].into_iter().flatten();
    needed.filter_map(|needed| needed.missing(references)).collect()
}

/// A Secret that an external Vault needs.
struct Needed<'a> {
    secret: &'a str,
    field: &'static str,
    keys: &'static [&'static str],
    keys_text: &'static str,
}

impl Needed<'_> {
    fn missing(&self, references: &References) -> Option<MissingSecret> {
        let (field, secret) = (self.field, self.secret.to_owned());
        let Some(found) = references.secret(self.secret) else {
            let keys = self.keys_text;
            return Some(MissingSecret::Vault { field, secret, keys });
        };
        let key = without_content(found, self.keys)?;
        Some(MissingSecret::VaultKey { field, secret, key })
    }
}

fn without_content(found: &SecretDigest, keys: &[&'static str]) -> Option<&'static str> {
    keys.iter().copied().find(|key| !found.has(key))
}

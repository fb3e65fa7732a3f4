//! The Secrets that a hub refers to, reduced to what the operator may know of them: which keys have content, and a
//! checksum. Their values go from the Secret into the pods without passing through here.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;

use super::ValidationError;
use crate::build::checksum;
use crate::crd::{FlickrHubSpec, SecretRef};

/// The names of the Secrets that a spec refers to, without those for pulling images, and without what is no name: it would
/// be a part of the path of a request to the API server, and can be the name of nothing there.
pub fn referenced_secrets(spec: &FlickrHubSpec) -> BTreeSet<String> {
    let names = references(spec).map(|(_, reference)| reference.name.clone());
    names.filter(|name| is_object_name(name)).collect()
}

/// Each reference must be a name. The definition demands it too, but a hub may be older than that.
pub(super) fn check_names(spec: &FlickrHubSpec) -> Result<(), ValidationError> {
    match references(spec).find(|(_, reference)| !is_object_name(&reference.name)) {
        Some((field, reference)) => Err(ValidationError::SecretName {
            field,
            name: reference.name.clone(),
        }),
        None => Ok(()),
    }
}

/// The references, each with its path in the spec.
fn references(spec: &FlickrHubSpec) -> impl Iterator<Item = (String, &SecretRef)> {
    let apps = spec.flickr.apps.iter().enumerate().map(|(index, app)| {
        let field = format!("flickr.apps[{index}].credentialsSecretRef");
        (field, &app.credentials_secret_ref)
    });
    let external = spec.vault.external.as_ref();
    let of_vault = [
        (
            "caSecretRef",
            external.and_then(|vault| vault.ca_secret_ref.as_ref()),
        ),
        (
            "auth.appRole.secretRef",
            external
                .and_then(|vault| vault.auth.app_role.as_ref())
                .map(|auth| &auth.secret_ref),
        ),
        (
            "auth.token.secretRef",
            external
                .and_then(|vault| vault.auth.token.as_ref())
                .map(|auth| &auth.secret_ref),
        ),
    ];
    let of_vault = of_vault.into_iter().filter_map(|(field, reference)| {
        let field = format!("vault.external.{field}");
        Some((field, reference?))
    });
    apps.chain(of_vault)
}

/// Whether an object can have this name: a DNS subdomain (RFC 1123 section 2.1, as Kubernetes reads it).
fn is_object_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// What the operator knows of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretDigest {
    keys: BTreeSet<String>,
    checksum: String,
}

impl From<&Secret> for SecretDigest {
    fn from(secret: &Secret) -> Self {
        let data = secret.data.iter().flatten();
        Self {
            keys: data
                .clone()
                .filter(|(_, value)| !value.0.trim_ascii().is_empty())
                .map(|(key, _)| key.clone())
                .collect(),
            checksum: checksum::of_entries(data.map(|(key, value)| (key.as_str(), value.0.as_slice()))),
        }
    }
}

impl SecretDigest {
    /// Whether there is content under the key.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }
}

/// The Secrets that exist of those a hub refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    secrets: BTreeMap<String, SecretDigest>,
}

impl References {
    /// Adds a Secret that exists.
    pub fn insert(&mut self, name: impl Into<String>, secret: SecretDigest) {
        self.secrets.insert(name.into(), secret);
    }

    /// The Secret of this name, if it exists.
    pub fn secret(&self, name: &str) -> Option<&SecretDigest> {
        self.secrets.get(name)
    }

    /// The checksum of each Secret.
    pub(super) fn checksums(&self) -> BTreeMap<String, String> {
        let secrets = self.secrets.iter();
        secrets
            .map(|(name, secret)| (name.clone(), secret.checksum.clone()))
            .collect()
    }
}

//! The Secrets that a hub refers to, reduced to what the operator may know of them: which keys have content, and a
//! checksum. Their values go from the Secret into the pods without passing through here.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;

use crate::build::checksum;
use crate::crd::FlickrHubSpec;

/// The names of the Secrets that a spec refers to, without those for pulling images.
pub fn referenced_secrets(spec: &FlickrHubSpec) -> BTreeSet<String> {
    let apps = spec.flickr.apps.iter().map(|app| &app.credentials_secret_ref);
    let external = spec.vault.external.as_ref();
    let ca = external.and_then(|vault| vault.ca_secret_ref.as_ref());
    let app_role = external
        .and_then(|vault| vault.auth.app_role.as_ref())
        .map(|auth| &auth.secret_ref);
    let token = external
        .and_then(|vault| vault.auth.token.as_ref())
        .map(|auth| &auth.secret_ref);
    apps.chain(ca)
        .chain(app_role)
        .chain(token)
        .map(|reference| reference.name.clone())
        .collect()
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

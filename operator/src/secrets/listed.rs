//! The Secrets of a hub, read by one request: a look at a hub needs a dozen of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::SecretError;
use crate::build::labels;

/// The Secrets that bear the labels of a hub, as they were at one moment.
pub struct Listed {
    api: Api<Secret>,
    found: BTreeMap<String, Secret>,
}

impl Listed {
    /// Reads those of the hub of this name.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn read(client: &Client, namespace: &str, hub: &str) -> Result<Self, SecretError> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let ours = ListParams::default().labels(&labels::managed_for(hub));
        let list = api.list(&ours).await.map_err(SecretError::List)?;
        let found = list.items.into_iter().map(|secret| (secret.name_any(), secret));
        Ok(Self {
            found: found.collect(),
            api,
        })
    }

    /// The Secret of this name. One that was not listed may have lost its labels, or be somebody else's: it is asked for.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn get(&self, name: &str) -> kube::Result<Option<Secret>> {
        match self.found.get(name) {
            Some(secret) => Ok(Some(secret.clone())),
            None => self.api.get_opt(name).await,
        }
    }
}

//! Reading and writing the Secrets of a hub's certificates.

use flickrhub_job::connection::trust::Trust;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use super::leaf::Leaf;
use super::store::{self, Authorities};
use super::{PkiError, Server};
use crate::build::labels;
use crate::context::{Context, FIELD_MANAGER};
use crate::secrets::Listed;
use crate::validate::ValidatedHub;

/// The Secrets of one hub.
pub(super) struct Secrets<'a> {
    pub(super) api: Api<Secret>,
    hub: &'a ValidatedHub,
    listed: Option<&'a Listed>,
}

impl<'a> Secrets<'a> {
    pub(super) fn of(ctx: &Context, hub: &'a ValidatedHub) -> Self {
        Self {
            api: Api::namespaced(ctx.client.clone(), hub.names.namespace()),
            hub,
            listed: None,
        }
    }

    /// The same, of which those that were listed are not read again.
    pub(super) fn listed(ctx: &Context, hub: &'a ValidatedHub, listed: &'a Listed) -> Self {
        Self {
            listed: Some(listed),
            ..Self::of(ctx, hub)
        }
    }

    /// The authorities and their Secret, if there is one.
    pub(super) async fn authorities(&self) -> Result<(Option<Secret>, Option<Authorities>), PkiError> {
        let name = self.hub.names.authority();
        let secret = self.get(&name).await?;
        match secret.as_ref().map(Authorities::read).transpose() {
            Ok(authorities) => Ok((secret, authorities)),
            Err(source) => Err(PkiError::Damaged { name, source }),
        }
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Secret>, PkiError> {
        let found = match self.listed {
            Some(listed) => listed.get(name).await,
            None => self.api.get_opt(name).await,
        };
        match found.map_err(|source| failed(name, source))? {
            Some(secret) if !labels::is_of_hub(&secret.metadata, self.hub.names.hub()) => {
                Err(PkiError::NameTaken(name.to_owned()))
            }
            found => Ok(found),
        }
    }

    /// Whether it goes with this very hub, and not with one of the same name that is gone.
    pub(super) fn is_ours(&self, secret: &Secret) -> bool {
        secret
            .owner_references()
            .iter()
            .any(|owner| owner.uid == self.hub.uid)
    }

    /// Writes the Secret of a server where it is not as it should be.
    pub(super) async fn keep(
        &self,
        server: Server,
        found: Option<Secret>,
        leaf: &Leaf,
        trust: &Trust,
    ) -> Result<(), PkiError> {
        let data = store::leaf_data(leaf, trust);
        let is_as_wanted = |secret: &Secret| secret.data.as_ref() == Some(&data) && self.is_ours(secret);
        if found.as_ref().is_some_and(is_as_wanted) {
            return Ok(());
        }
        let write = |secret: &mut Secret| {
            secret.type_ = Some(store::TYPE.to_owned());
            secret.data = Some(data);
        };
        self.write(&server.secret(self.hub), server.component(), found, write)
            .await
    }

    /// Creates it, or replaces what was read: a change in between is a conflict and not overwritten.
    pub(super) async fn write(
        &self,
        name: &str,
        component: &str,
        found: Option<Secret>,
        change: impl FnOnce(&mut Secret),
    ) -> Result<(), PkiError> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let wanted = labels::meta(self.hub, name, component);
        let is_new = found.is_none();
        let mut secret = found.unwrap_or_default();
        secret.metadata = ObjectMeta {
            name: wanted.name,
            namespace: wanted.namespace,
            labels: wanted.labels,
            owner_references: wanted.owner_references,
            ..secret.metadata
        };
        change(&mut secret);
        let written = if is_new {
            self.api.create(&params, &secret).await
        } else {
            self.api.replace(name, &params, &secret).await
        };
        written.map(drop).map_err(|source| failed(name, source))
    }
}

pub(super) fn failed(name: &str, source: kube::Error) -> PkiError {
    PkiError::Api {
        name: name.to_owned(),
        source,
    }
}

//! The kinds of objects that a hub consists of.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount, Volume};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::ResourceExt;
use kube::api::ApiResource;
use serde::Serialize;

use super::keda::{ScaledObject, TriggerAuthentication};

macro_rules! objects {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// A kind of object that a hub consists of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind, in the order in which they are applied.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// What the API server calls it.
            pub fn resource(self) -> ApiResource {
                match self {
                    $(Self::$kind => ApiResource::erase::<$kind>(&()),)*
                }
            }
        }

        /// An object that a hub consists of.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Object {
            $($(#[$doc])* $kind(Box<$kind>),)*
        }

        impl Object {
            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// Its name.
            pub fn name(&self) -> String {
                match self {
                    $(Self::$kind(object) => object.name_any(),)*
                }
            }
        }

        $(
            impl From<$kind> for Object {
                fn from(object: $kind) -> Self {
                    Self::$kind(Box::new(object))
                }
            }
        )*
    };
}

objects! {
    /// Who a pod is to the API server and to Vault.
    ServiceAccount,
    /// What Vault may do.
    ClusterRoleBinding,
    /// Who may talk to whom. Before the pods, so that none is ever without.
    NetworkPolicy,
    /// Settings and scripts.
    ConfigMap,
    /// Addresses.
    Service,
    /// How many pods may be away on purpose.
    PodDisruptionBudget,
    /// The engines of the data tier.
    StatefulSet,
    /// The processes of FlickrHub.
    Deployment,
    /// The number of workers.
    HorizontalPodAutoscaler,
    /// How KEDA logs in to Redis.
    TriggerAuthentication,
    /// The number of workers, where KEDA scales them.
    ScaledObject,
    /// The way in from outside.
    Ingress,
}

impl Object {
    /// Takes its pods away and notes that in an annotation; of what has no pods, nothing.
    pub fn rest(&mut self, annotation: &str) {
        let meta = match self {
            Self::Deployment(object) => {
                if let Some(spec) = &mut object.spec {
                    spec.replicas = Some(0);
                }
                &mut object.metadata
            }
            Self::StatefulSet(object) => {
                if let Some(spec) = &mut object.spec {
                    spec.replicas = Some(0);
                }
                &mut object.metadata
            }
            _ => return,
        };
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(annotation.to_owned(), "true".to_owned());
    }

    /// The names of the Secrets that its pods mount.
    pub fn mounted_secrets(&self) -> BTreeSet<&str> {
        let template = match self {
            Self::Deployment(object) => object.spec.as_ref().map(|spec| &spec.template),
            Self::StatefulSet(object) => object.spec.as_ref().map(|spec| &spec.template),
            _ => None,
        };
        let pod = template.and_then(|template| template.spec.as_ref());
        let volumes = pod.and_then(|pod| pod.volumes.as_ref()).into_iter().flatten();
        volumes.flat_map(secrets_of).collect()
    }
}

fn secrets_of(volume: &Volume) -> impl Iterator<Item = &str> {
    let whole = volume
        .secret
        .as_ref()
        .and_then(|source| source.secret_name.as_deref());
    let sources = volume.projected.iter().flat_map(|projected| &projected.sources);
    let projected = sources.flatten().filter_map(|source| source.secret.as_ref());
    whole
        .into_iter()
        .chain(projected.map(|secret| secret.name.as_str()))
}

impl Kind {
    /// Whether its objects scale a Deployment of the same name.
    pub const fn is_autoscaler(self) -> bool {
        matches!(self, Self::HorizontalPodAutoscaler | Self::ScaledObject)
    }

    /// Whether its objects belong to a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::ClusterRoleBinding)
    }
}

//! Taking a pod away through the eviction API, so that every `PodDisruptionBudget` of the namespace is kept: a node that is
//! drained at the same moment takes its pod away through the same door.

use k8s_openapi::api::core::v1;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client};

use super::pods::Pod;

/// A pod was not taken away.
#[derive(Debug, thiserror::Error)]
pub enum EvictError {
    /// A PodDisruptionBudget does not permit it now.
    #[error("a PodDisruptionBudget does not let it go now ({0})")]
    Budget(String),
    /// The pod is another one than it was, or gone.
    #[error("it has changed meanwhile")]
    Changed,
    /// The API server did not answer, or refused.
    #[error("the API server does not take it away ({0})")]
    Api(#[source] kube::Error),
}

impl From<kube::Error> for EvictError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 429 => Self::Budget(status.message.clone()),
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => Self::Changed,
            error => Self::Api(error),
        }
    }
}

/// Evicts this very pod, and not one that has taken its place.
///
/// # Errors
/// See [`EvictError`].
pub(super) async fn evict(client: &Client, namespace: &str, set: &str, pod: &Pod) -> Result<(), EvictError> {
    let name = format!("{set}-{}", pod.ordinal);
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteOptions::default()
        }),
    };
    let api: Api<v1::Pod> = Api::namespaced(client.clone(), namespace);
    api.create_subresource::<Eviction, Status>("eviction", &name, &PostParams::default(), &eviction)
        .await?;
    Ok(())
}

//! The external metrics API (`external.metrics.k8s.io/v1beta1`), by which HPAs scale workers on their backlog.
//!
//! The API server forwards requests for this group to the operator (the aggregation layer). Every operator process serves it,
//! whether it leads or not. A request comes over TLS with the client certificate of the aggregation layer, which says in
//! headers who the user is; that user's right to the metric in the namespace is asked of the API server
//! (`SubjectAccessReview`), as the extension servers of Kubernetes do.
//!
//! | module | does |
//! | --- | --- |
//! | [`registration`] | keeps the `APIService` pointing to us with the CA of the operator's certificate ([`crate::own_certificate`]) |
//! | [`front_proxy`] | whom the aggregation layer is known by, and who its user is |
//! | [`access`] | whether that user may |
//! | [`request`] | what is asked |
//! | [`answer`] | the documents that are answered; pure |
//! | [`server`] | TLS and HTTP |
//!
//! There is one `APIService` for the whole cluster. One that names another adapter is never touched: hubs are then scaled by
//! KEDA or by CPU ([`crate::autoscaling::plan`]). Ours is owned by the `ClusterRole` of the operator, so that it goes with the
//! installation: an `APIService` without a server behind it keeps namespaces from being deleted.
//!
//! # If the process dies
//!
//! | after | then |
//! | --- | --- |
//! | a new certificate was stored in the Secret | the next look takes it from there |
//! | the CA was written into the `APIService` | the certificate that is served is still the old one, whose CA is in the bundle too |
//! | a replica serves the new certificate | the others follow at their next look; both CAs are in the bundle until the next renewal |

pub mod access;
pub mod answer;
pub mod front_proxy;
pub mod registration;
pub mod request;
pub mod server;

use std::fmt;

/// The API group.
pub const GROUP: &str = "external.metrics.k8s.io";
/// Its version.
pub const VERSION: &str = "v1beta1";
/// The port of the Service that leads to the operator.
pub const SERVICE_PORT: i32 = 443;

/// The name of the `APIService`, which the API server dictates.
pub fn api_service_name() -> String {
    format!("{VERSION}.{GROUP}")
}

/// The Service that leads to an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceAddress {
    /// The name that the API server expects in the certificate.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

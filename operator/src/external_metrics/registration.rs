//! Keeps the `APIService` pointing to the operator, with the CA of its certificate.
//!
//! Every replica does it, by itself and in this order: the certificate, the `APIService`, and only then what it serves. So a
//! certificate is served only when the API server has been told its CA.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec, ServiceReference,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::front_proxy::{self, FrontProxy, FrontProxyError};
use super::{GROUP, SERVICE_PORT, ServiceAddress, VERSION, api_service_name};
use crate::apply::differs;
use crate::autoscaling::cluster::other_adapter;
use crate::build::labels::MANAGED_BY;
use crate::context::FIELD_MANAGER;
use crate::own_certificate::serving::Serving;
use crate::own_certificate::{OwnCertificate, OwnCertificateError};

/// The API cannot be registered, or what serves it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The API server did not answer, or refused.
    #[error("{what}: {source}")]
    Kubernetes {
        /// What was asked for.
        what: String,
        /// What the client says.
        source: kube::Error,
    },
    /// The certificate cannot be had.
    #[error(transparent)]
    Certificate(#[from] OwnCertificateError),
    /// It is not known whom the aggregation layer is known by.
    #[error(transparent)]
    FrontProxy(#[from] FrontProxyError),
    /// An object has no JSON form.
    #[error("the APIService cannot be encoded: {0}")]
    Encoding(#[from] serde_json::Error),
}

impl RegistrationError {
    fn about(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        |source| Self::Kubernetes { what, source }
    }
}

/// What it takes to serve.
pub struct Credentials {
    /// The certificate.
    pub serving: Serving,
    /// Whom the aggregation layer is known by.
    pub proxy: FrontProxy,
}

/// What is to be done about the `APIService`.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It is as it should be.
    Keep,
    /// There is none.
    Create,
    /// It is ours, and something in it is not as it should be.
    Repair,
    /// It belongs to another adapter.
    Leave(String),
}

/// The registration of the operator as an extension of the API server.
pub struct Registration {
    client: Client,
    service: ServiceAddress,
    certificate: OwnCertificate,
    /// The `ClusterRole` that the installation of the operator comes with.
    role: String,
}

impl Registration {
    /// The registration of the operator behind `service`, which goes with the `ClusterRole` `role`.
    pub fn new(client: Client, service: ServiceAddress, role: impl Into<String>) -> Self {
        Self {
            certificate: OwnCertificate::new(client.clone(), service.clone()),
            client,
            service,
            role: role.into(),
        }
    }

    /// Brings Secret and `APIService` to what they should be. `None` while another adapter has the `APIService`.
    ///
    /// # Errors
    /// When it cannot be done; another try goes on.
    pub async fn establish(&self) -> Result<Option<Credentials>, RegistrationError> {
        let services: Api<APIService> = Api::all(self.client.clone());
        let name = api_service_name();
        let about = || format!("APIService {name}");
        let live = services
            .get_opt(&name)
            .await
            .map_err(RegistrationError::about(about()))?;
        if let Some(other) = live
            .as_ref()
            .and_then(|live| other_adapter(live, Some(&self.service)))
        {
            tracing::debug!(adapter = other, "another adapter serves external metrics");
            return Ok(None);
        }
        let proxy = self.front_proxy().await?;
        let serving = self.certificate.current().await?;
        let wanted = serde_json::to_value(self.api_service(&serving, self.owner().await?))?;
        let force = match decide(live.as_ref(), &wanted, &self.service)? {
            Decision::Keep => return Ok(Some(Credentials { serving, proxy })),
            Decision::Leave(_) => return Ok(None),
            // Whoever else creates it at this moment keeps it.
            Decision::Create => false,
            Decision::Repair => true,
        };
        tracing::info!(name, "apply the APIService");
        let params = PatchParams {
            force,
            ..PatchParams::apply(FIELD_MANAGER)
        };
        services
            .patch(&name, &params, &Patch::Apply(&wanted))
            .await
            .map_err(RegistrationError::about(about()))?;
        Ok(Some(Credentials { serving, proxy }))
    }

    /// Deletes the `APIService` if it is ours: nobody serves it any more.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn withdraw(&self) -> Result<(), RegistrationError> {
        let services: Api<APIService> = Api::all(self.client.clone());
        let name = api_service_name();
        let about = || format!("APIService {name}");
        let live = services
            .get_opt(&name)
            .await
            .map_err(RegistrationError::about(about()))?;
        let Some(live) = live.filter(|live| is_ours(live, &self.service)) else {
            return Ok(());
        };
        tracing::info!(name, "delete the APIService");
        // Only the one that was looked at.
        let params = DeleteParams::default().preconditions(kube::api::Preconditions {
            uid: live.uid(),
            resource_version: live.resource_version(),
        });
        match services.delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(source) => Err(RegistrationError::about(about())(source)),
        }
    }

    async fn front_proxy(&self) -> Result<FrontProxy, RegistrationError> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), front_proxy::NAMESPACE);
        let map = maps.get(front_proxy::CONFIG_MAP).await;
        let map = map.map_err(RegistrationError::about(format!(
            "ConfigMap {}",
            front_proxy::CONFIG_MAP
        )))?;
        Ok(FrontProxy::read(&map)?)
    }

    /// Whom the `APIService` goes with.
    async fn owner(&self) -> Result<Option<OwnerReference>, RegistrationError> {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let role = roles.get_metadata_opt(&self.role).await;
        let role = role.map_err(RegistrationError::about(format!("ClusterRole {}", self.role)))?;
        Ok(role.map(|role| OwnerReference {
            api_version: ClusterRole::api_version(&()).into_owned(),
            kind: ClusterRole::kind(&()).into_owned(),
            name: self.role.clone(),
            uid: role.uid().unwrap_or_default(),
            ..OwnerReference::default()
        }))
    }

    fn api_service(&self, serving: &Serving, owner: Option<OwnerReference>) -> APIService {
        APIService {
            metadata: ObjectMeta {
                name: Some(api_service_name()),
                labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(APIServiceSpec {
                group: Some(GROUP.to_owned()),
                version: Some(VERSION.to_owned()),
                ca_bundle: Some(ByteString(serving.ca_bundle.clone().into_bytes())),
                group_priority_minimum: 100,
                version_priority: 100,
                service: Some(ServiceReference {
                    namespace: Some(self.service.namespace.clone()),
                    name: Some(self.service.name.clone()),
                    port: Some(SERVICE_PORT),
                }),
                ..APIServiceSpec::default()
            }),
            ..APIService::default()
        }
    }
}

/// Whether an `APIService` points to the operator.
fn is_ours(live: &APIService, own: &ServiceAddress) -> bool {
    let service = live.spec.as_ref().and_then(|spec| spec.service.as_ref());
    service.is_some() && other_adapter(live, Some(own)).is_none()
}

fn decide(
    live: Option<&APIService>,
    wanted: &Value,
    own: &ServiceAddress,
) -> Result<Decision, serde_json::Error> {
    let Some(live) = live else {
        return Ok(Decision::Create);
    };
    if let Some(other) = other_adapter(live, Some(own)) {
        return Ok(Decision::Leave(other));
    }
    if live.metadata.deletion_timestamp.is_some() {
        // It is made anew once it is gone.
        return Ok(Decision::Keep);
    }
    let mut current = serde_json::to_value(live)?;
    // Types do not say what they are once they are read.
    current["apiVersion"] = json!(APIService::api_version(&()));
    current["kind"] = json!(APIService::kind(&()));
    Ok(if differs(wanted, &current) {
        Decision::Repair
    } else {
        Decision::Keep
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn own() -> ServiceAddress {
        ServiceAddress {
            namespace: "flickrhub-system".to_owned(),
            name: "flickrhub-operator".to_owned(),
        }
    }

    /// What is wanted, by a client that is never used.
    fn wanted() -> APIService {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let uri = http::Uri::from_static("http://127.0.0.1:1");
        let client = Client::try_from(kube::Config::new(uri)).unwrap();
        let registration = Registration::new(client, own(), "flickrhub-operator");
        let serving = Serving::issue(&[own().host()], None, Timestamp::now()).unwrap();
        registration.api_service(&serving, None)
    }

    fn decide_on(live: Option<&APIService>, wanted: &APIService) -> Decision {
        decide(live, &serde_json::to_value(wanted).unwrap(), &own()).unwrap()
    }

    #[tokio::test]
    async fn an_api_service_is_made_and_repaired() {
        let wanted = wanted();
        assert_eq!(decide_on(None, &wanted), Decision::Create);
        let mut live = wanted.clone();
        live.spec.as_mut().unwrap().ca_bundle = Some(ByteString(b"another".to_vec()));
        assert_eq!(decide_on(Some(&live), &wanted), Decision::Repair);
    }

    #[tokio::test]
    async fn that_of_another_adapter_is_left_alone() {
        let wanted = wanted();
        let mut live = wanted.clone();
        let service = live.spec.as_mut().unwrap().service.as_mut().unwrap();
        (service.namespace, service.name) = (Some("keda".to_owned()), Some("keda-metrics".to_owned()));
        assert_eq!(
            decide_on(Some(&live), &wanted),
            Decision::Leave("keda/keda-metrics".to_owned())
        );
        assert!(!is_ours(&live, &own()));
        assert!(is_ours(&wanted, &own()));
        assert!(
            !is_ours(&APIService::default(), &own()),
            "one of the API server itself"
        );
    }
}

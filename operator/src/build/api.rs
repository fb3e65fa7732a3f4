//! The HTTP API.

use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::process::{self, Access, Process};
use super::{Object, labels, pod, stateful};
use crate::names::{API_PORT, METRICS_PORT};
use crate::secrets::SecretsChecksums;
use crate::validate::{IngressPlan, ValidatedHub};

pub(super) const COMPONENT: &str = "api";
/// What its work needs.
pub(super) const ACCESS: &[Access] = &[Access::Redis, Access::MongoDb, Access::Flickr, Access::Vault];
/// Seconds until every proxy has stopped to send requests to a pod that is going.
const LINGER_SECONDS: u32 = 5;
/// Seconds for requests under way: the longest is an upload of 100 MB.
const GRACE_SECONDS: u32 = 75;

pub(super) fn objects(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let name = hub.names.api();
    let mut objects = vec![
        service_account(hub, name.clone(), COMPONENT).into(),
        service(hub).into(),
        pod::disruption_budget(hub, name, COMPONENT).into(),
        deployment(hub, secrets),
    ];
    objects.extend(hub.api.ingress.as_ref().map(|plan| ingress(hub, plan).into()));
    objects
}

/// A service account that may do nothing at the API server.
pub(super) fn service_account(hub: &ValidatedHub, name: String, component: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: labels::meta(hub, name, component),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn service(hub: &ValidatedHub) -> Service {
    let mut service = stateful::service(hub, hub.names.api(), COMPONENT, &[("metrics", METRICS_PORT)]);
    let http = ServicePort {
        name: Some("http".to_owned()),
        port: 80,
        target_port: Some(IntOrString::String("http".to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    if let Some(ports) = service.spec.as_mut().and_then(|spec| spec.ports.as_mut()) {
        ports.insert(0, http);
    }
    service
}

fn deployment(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Object {
    let mut deployment = process::deployment(
        hub,
        secrets,
        &Process {
            name: hub.names.api(),
            component: COMPONENT,
            replicas: Some(hub.api.replicas),
            service_account: hub.names.api(),
            access: ACCESS,
            image: &hub.images.api,
            command: &["/usr/local/bin/flickrhub-api"],
            resources: &hub.api.resources,
            grace_seconds: GRACE_SECONDS,
        },
    );
    let pod = deployment
        .spec
        .as_mut()
        .and_then(|spec| spec.template.spec.as_mut());
    for container in pod.into_iter().flat_map(|pod| &mut pod.containers) {
        container
            .ports
            .get_or_insert_default()
            .insert(0, pod::port("http", API_PORT));
        container.readiness_probe = Some(pod::FAST.http("/readyz", "http"));
        container.liveness_probe = Some(pod::PATIENT.http("/healthz", "http"));
        container.lifecycle = Some(process::linger(i64::from(LINGER_SECONDS)));
    }
    deployment.into()
}

fn ingress(hub: &ValidatedHub, plan: &IngressPlan) -> Ingress {
    let mut metadata = labels::meta(hub, hub.names.api(), COMPONENT);
    metadata.annotations = (!plan.annotations.is_empty()).then(|| plan.annotations.clone());
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: plan.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(plan.host.clone()),
                http: Some(HTTPIngressRuleValue {
                    paths: vec![HTTPIngressPath {
                        backend: IngressBackend {
                            service: Some(IngressServiceBackend {
                                name: hub.names.api(),
                                port: Some(ServiceBackendPort {
                                    name: Some("http".to_owned()),
                                    ..ServiceBackendPort::default()
                                }),
                            }),
                            ..IngressBackend::default()
                        },
                        path: Some("/".to_owned()),
                        path_type: "Prefix".to_owned(),
                    }],
                }),
            }]),
            tls: plan.tls_secret_name.as_ref().map(|secret| {
                vec![IngressTLS {
                    hosts: Some(vec![plan.host.clone()]),
                    secret_name: Some(secret.clone()),
                }]
            }),
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    }
}

//! The HTTP API.

use k8s_openapi::api::core::v1::{Container, Service, ServiceAccount, ServicePort};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::process::{self, Access, Process};
use super::tls::{self, TLS};
use super::{Object, labels, pod, stateful};
use crate::names::{API_PORT, API_TLS_PORT, METRICS_PORT};
use crate::pki::Server;
use crate::secrets::SecretsChecksums;
use crate::validate::{IngressPlan, ValidatedHub};

pub(super) const COMPONENT: &str = "api";
/// Where its certificate is mounted.
pub(super) const TLS_DIR: &str = "/etc/flickrhub-tls";
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
    let port = |name: &str, port| ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    if let Some(ports) = service.spec.as_mut().and_then(|spec| spec.ports.as_mut()) {
        if !hub.api.tls_only {
            ports.insert(0, port("http", 80));
        }
        ports.insert(0, port("https", 443));
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
    if let Some(spec) = deployment.spec.as_mut() {
        let (annotation, value) = labels::LEAVES_AUDIT_LOG;
        let metadata = spec.template.metadata.get_or_insert_default();
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(annotation.to_owned(), value.to_owned());
    }
    let pod = deployment
        .spec
        .as_mut()
        .and_then(|spec| spec.template.spec.as_mut());
    if let Some(pod) = pod {
        let volumes = pod.volumes.get_or_insert_default();
        volumes.push(tls::volume(hub, Server::Api));
        for container in &mut pod.containers {
            speak_to_clients(hub, container);
        }
    }
    deployment.into()
}

/// What only the container of the API has. Its health is asked for at the port for metrics, as that of every process: at a
/// port of clients a pod with as many connections as it may have would look dead, and its load go to the others.
fn speak_to_clients(hub: &ValidatedHub, container: &mut Container) {
    let ports = container.ports.get_or_insert_default();
    ports.insert(0, pod::port("https", API_TLS_PORT));
    if hub.api.tls_only {
        let arguments = container.args.get_or_insert_default();
        arguments.push(format!("--listen=127.0.0.1:{API_PORT}"));
    } else {
        ports.insert(0, pod::port("http", API_PORT));
    }
    let mounts = container.volume_mounts.get_or_insert_default();
    mounts.push(pod::read_only(TLS, TLS_DIR));
    container.lifecycle = Some(process::linger(i64::from(LINGER_SECONDS)));
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
                                    name: Some(if hub.api.tls_only { "https" } else { "http" }.to_owned()),
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

//! What the processes of FlickrHub have in common: their image's user, their configuration, their secrets, their ports.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, KeyToPath, Lifecycle, LifecycleHandler, PodSpec, ProjectedVolumeSource,
    SecretProjection, ServiceAccountTokenProjection, SleepAction, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{checksum, config, labels, pod};
use crate::names::METRICS_PORT;
use crate::secrets::SecretsChecksums;
use crate::validate::{ContainerResources, ValidatedHub, VaultAuthPlan, VaultPlan};

/// Where the secrets are mounted.
pub(super) const SECRETS_DIR: &str = "/etc/flickrhub-secrets";
/// Where the token for Vault is mounted.
pub(super) const TOKEN_DIR: &str = "/var/run/secrets/flickrhub";
/// The file of the token for Vault.
pub(super) const TOKEN_FILE: &str = "vault-token";

const CONFIG: &str = "config";
const SECRETS: &str = "secrets";
const TOKEN: &str = "vault-token";

/// A process of FlickrHub.
pub(super) struct Process<'a> {
    /// The name of its Deployment.
    pub(super) name: String,
    /// The part that it is.
    pub(super) component: &'a str,
    /// Its pods; `None` leaves the number to an autoscaler.
    pub(super) replicas: Option<u32>,
    /// Who it is to Vault.
    pub(super) service_account: String,
    /// Its image.
    pub(super) image: &'a str,
    /// The program and its arguments, without those for the configuration.
    pub(super) command: &'a [&'a str],
    /// CPU and memory.
    pub(super) resources: &'a ContainerResources,
    /// Seconds that it has to finish what it holds.
    pub(super) grace_seconds: u32,
}

/// The Deployment of a process, without what only the API has.
pub(super) fn deployment(
    hub: &ValidatedHub,
    secrets: &SecretsChecksums,
    process: &Process<'_>,
) -> Deployment {
    Deployment {
        metadata: labels::meta(hub, process.name.clone(), process.component),
        spec: Some(DeploymentSpec {
            replicas: process.replicas.map(pod::count),
            revision_history_limit: Some(5),
            selector: labels::selector(hub, process.component),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: pod::template(
                hub,
                process.component,
                pod::FLICKRHUB,
                mounted_checksum(hub, secrets),
                pod_spec(hub, process),
            ),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// The checksum of everything that the pod mounts.
fn mounted_checksum(hub: &ValidatedHub, secrets: &SecretsChecksums) -> String {
    let config = config::yaml(hub);
    let own = [
        config.as_str(),
        secrets.redis.as_str(),
        secrets.mongodb_app.as_str(),
        secrets.rabbitmq_app.as_str(),
    ];
    let users = hub
        .user_secrets
        .iter()
        .flat_map(|(name, checksum)| [name.as_str(), checksum.as_str()]);
    checksum::of_texts(own.into_iter().chain(users))
}

fn pod_spec(hub: &ValidatedHub, process: &Process<'_>) -> PodSpec {
    let mut volumes = vec![config_volume(hub), secrets_volume(hub)];
    volumes.extend(token_volume(hub));
    PodSpec {
        containers: vec![container(hub, process)],
        service_account_name: Some(process.service_account.clone()),
        termination_grace_period_seconds: Some(i64::from(process.grace_seconds)),
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

fn container(hub: &ValidatedHub, process: &Process<'_>) -> Container {
    let (program, arguments) = process.command.split_first().unwrap_or((&"", &[]));
    let config = ["--config", flickrhub_job::config::CONFIG_PATH];
    let arguments = config
        .iter()
        .chain(arguments)
        .map(|argument| (*argument).to_owned());
    Container {
        name: process.component.to_owned(),
        image: Some(process.image.to_owned()),
        image_pull_policy: Some(hub.images.pull_policy.to_owned()),
        command: Some(vec![(*program).to_owned()]),
        args: Some(arguments.collect()),
        ports: Some(vec![pod::port("metrics", METRICS_PORT)]),
        readiness_probe: Some(pod::FAST.http("/readyz", "metrics")),
        liveness_probe: Some(pod::PATIENT.http("/healthz", "metrics")),
        resources: Some(pod::resources(process.resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(mounts(hub)),
        ..Container::default()
    }
}

/// Lets a container live for a moment after its pod is told to stop, until nobody sends it requests any more.
pub(super) fn linger(seconds: i64) -> Lifecycle {
    Lifecycle {
        pre_stop: Some(LifecycleHandler {
            sleep: Some(SleepAction { seconds }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    }
}

fn mounts(hub: &ValidatedHub) -> Vec<VolumeMount> {
    let mut mounts = vec![
        pod::read_only(CONFIG, "/etc/flickrhub"),
        pod::read_only(SECRETS, SECRETS_DIR),
    ];
    if logs_in_by_token(hub) {
        mounts.push(pod::read_only(TOKEN, TOKEN_DIR));
    }
    mounts
}

fn config_volume(hub: &ValidatedHub) -> Volume {
    Volume {
        name: CONFIG.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: hub.names.config(),
            default_mode: Some(0o444),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// All secrets in one directory, so that a change of any reaches the pod in one step.
fn secrets_volume(hub: &ValidatedHub) -> Volume {
    let mut sources = vec![
        secret(hub.names.redis_auth(), &[("password", "redis/password")]),
        secret(hub.names.mongodb_auth(), &[("app-password", "mongodb/password")]),
        secret(hub.names.rabbitmq_auth(), &[("password", "rabbitmq/password")]),
    ];
    for app in &hub.apps {
        let path = |key: &str| format!("flickr/{}/{key}", app.name);
        let (key, secret_key) = (path("consumerKey"), path("consumerSecret"));
        let files = [
            ("consumerKey", key.as_str()),
            ("consumerSecret", secret_key.as_str()),
        ];
        sources.push(secret(app.secret.clone(), &files));
    }
    if let VaultPlan::External(vault) = &hub.vault {
        if let Some(ca) = &vault.ca_secret {
            sources.push(secret(ca.clone(), &[("ca.crt", "vault/ca.crt")]));
        }
        match &vault.auth {
            VaultAuthPlan::Kubernetes { .. } => {}
            VaultAuthPlan::AppRole { secret: name, .. } => sources.push(secret(
                name.clone(),
                &[("roleId", "vault/role-id"), ("secretId", "vault/secret-id")],
            )),
            VaultAuthPlan::Token { secret: name } => {
                sources.push(secret(name.clone(), &[("token", "vault/token")]));
            }
        }
    }
    projected(SECRETS, sources)
}

fn secret(name: String, files: &[(&str, &str)]) -> VolumeProjection {
    let items = files.iter().map(|(key, path)| KeyToPath {
        key: (*key).to_owned(),
        path: (*path).to_owned(),
        ..KeyToPath::default()
    });
    VolumeProjection {
        secret: Some(SecretProjection {
            name,
            items: Some(items.collect()),
            ..SecretProjection::default()
        }),
        ..VolumeProjection::default()
    }
}

/// Whether pods log in to Vault by the token of their service account.
fn logs_in_by_token(hub: &ValidatedHub) -> bool {
    match &hub.vault {
        VaultPlan::Managed(_) => true,
        VaultPlan::External(vault) => matches!(vault.auth, VaultAuthPlan::Kubernetes { .. }),
    }
}

fn token_volume(hub: &ValidatedHub) -> Option<Volume> {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            expiration_seconds: Some(3600),
            path: TOKEN_FILE.to_owned(),
            ..ServiceAccountTokenProjection::default()
        }),
        ..VolumeProjection::default()
    };
    logs_in_by_token(hub).then(|| projected(TOKEN, vec![token]))
}

fn projected(name: &str, sources: Vec<VolumeProjection>) -> Volume {
    Volume {
        name: name.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(sources),
        }),
        ..Volume::default()
    }
}

//! What the processes of FlickrHub have in common: their image's user, their configuration, their secrets, their ports.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, KeyToPath, Lifecycle, LifecycleHandler, PodSpec, ProjectedVolumeSource,
    SecretProjection, ServiceAccountTokenProjection, SleepAction, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{checksum, config, labels, pod, tls};
use crate::names::{METRICS_PORT, VAULT_AUDIENCE};
use crate::pki::Server;
use crate::secrets::SecretsChecksums;
use crate::validate::{AppPlan, ContainerResources, ValidatedHub, VaultAuthPlan, VaultPlan};

/// Where the secrets are mounted.
pub(super) const SECRETS_DIR: &str = "/etc/flickrhub-secrets";
/// The file with the authorities by which the data tier is known, below [`SECRETS_DIR`].
pub(super) const TRUST_FILE: &str = "ca/ca.crt";
/// The directory with the certificate that is shown at the port for metrics, below [`SECRETS_DIR`].
pub(super) const METRICS_TLS: &str = "metrics-tls";
/// Where the token for Vault is mounted.
pub(super) const TOKEN_DIR: &str = "/var/run/secrets/flickrhub";
/// The file of the token for Vault.
pub(crate) const TOKEN_FILE: &str = "vault-token";

const CONFIG: &str = "config";
const SECRETS: &str = "secrets";
const TOKEN: &str = "vault-token";

/// What a process is given the credentials of. It gets none that its work does not need: what it does not have cannot
/// be stolen from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Redis and its Sentinels.
    Redis,
    /// The database.
    MongoDb,
    /// The queues.
    RabbitMq,
    /// The applications registered at Flickr.
    Flickr,
    /// Vault or OpenBao.
    Vault,
}

/// A process of FlickrHub.
pub(super) struct Process<'a> {
    /// The name of its Deployment.
    pub(super) name: String,
    /// The part that it is.
    pub(super) component: &'a str,
    /// Its pods; `None` leaves the number to an autoscaler.
    pub(super) replicas: Option<u32>,
    /// Who it is, to Vault too where it has access.
    pub(super) service_account: String,
    /// What it is let into, in the order of [`Access`].
    pub(super) access: &'a [Access],
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
                mounted_checksum(hub, secrets, process.access),
                pod_spec(hub, process),
            ),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// The checksum of everything that the pod mounts, except for the limits, which processes read while they run.
fn mounted_checksum(hub: &ValidatedHub, secrets: &SecretsChecksums, access: &[Access]) -> String {
    let config = config::yaml(hub);
    let made_up = access.iter().filter_map(|access| match access {
        Access::Redis => Some(secrets.redis.as_str()),
        Access::MongoDb => Some(secrets.mongodb_app.as_str()),
        Access::RabbitMq => Some(secrets.rabbitmq_app.as_str()),
        Access::Flickr | Access::Vault => None,
    });
    let mounted: BTreeSet<String> = sources(hub, access)
        .into_iter()
        .map(|source| source.secret)
        .collect();
    let users = hub
        .user_secrets
        .iter()
        .filter(|(name, _)| mounted.contains(*name));
    let users = users.flat_map(|(name, checksum)| [name.as_str(), checksum.as_str()]);
    checksum::of_texts([config.as_str()].into_iter().chain(made_up).chain(users))
}

fn pod_spec(hub: &ValidatedHub, process: &Process<'_>) -> PodSpec {
    let mut volumes = vec![config_volume(hub), secrets_volume(hub, process.access)];
    volumes.extend(token_audience(hub, process.access).map(token_volume));
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
        readiness_probe: Some(pod::FAST.https("/readyz", "metrics")),
        liveness_probe: Some(pod::PATIENT.https("/healthz", "metrics")),
        resources: Some(pod::resources(process.resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(mounts(hub, process.access)),
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

fn mounts(hub: &ValidatedHub, access: &[Access]) -> Vec<VolumeMount> {
    let mut mounts = vec![
        pod::read_only(CONFIG, "/etc/flickrhub"),
        pod::read_only(SECRETS, SECRETS_DIR),
    ];
    if token_audience(hub, access).is_some() {
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

/// Keys of a Secret as files below [`SECRETS_DIR`].
struct Source {
    secret: String,
    /// Each key with the path of its file.
    files: Vec<(&'static str, String)>,
}

impl Source {
    fn new(secret: &str, files: &[(&'static str, &str)]) -> Self {
        let files = files.iter().map(|(key, path)| (*key, (*path).to_owned()));
        Self {
            secret: secret.to_owned(),
            files: files.collect(),
        }
    }
}

/// What has to be mounted for this access.
fn sources(hub: &ValidatedHub, access: &[Access]) -> Vec<Source> {
    let names = &hub.names;
    let of = |access: &Access| match access {
        Access::Redis => vec![Source::new(
            &names.redis_auth(),
            &[("password", "redis/password")],
        )],
        Access::MongoDb => vec![Source::new(
            &names.mongodb_auth(),
            &[
                ("app-username", "mongodb/username"),
                ("app-password", "mongodb/password"),
            ],
        )],
        Access::RabbitMq => vec![Source::new(
            &names.rabbitmq_auth(),
            &[
                ("username", "rabbitmq/username"),
                ("password", "rabbitmq/password"),
            ],
        )],
        Access::Flickr => hub.apps.iter().map(of_app).collect(),
        Access::Vault => of_vault(&hub.vault),
    };
    access.iter().flat_map(of).collect()
}

fn of_app(app: &AppPlan) -> Source {
    let file = |key: &'static str| (key, format!("flickr/{}/{key}", app.name));
    Source {
        secret: app.secret.clone(),
        files: vec![file("consumerKey"), file("consumerSecret")],
    }
}

fn of_vault(vault: &VaultPlan) -> Vec<Source> {
    let VaultPlan::External(vault) = vault else {
        return Vec::new();
    };
    let ca = vault.ca_secret.as_deref();
    let ca = ca.map(|secret| Source::new(secret, &[("ca.crt", "vault/ca.crt")]));
    let login = match &vault.auth {
        VaultAuthPlan::Kubernetes { .. } => None,
        VaultAuthPlan::AppRole { secret, .. } => Some(Source::new(
            secret,
            &[("roleId", "vault/role-id"), ("secretId", "vault/secret-id")],
        )),
        VaultAuthPlan::Token { secret } => Some(Source::new(secret, &[("token", "vault/token")])),
    };
    ca.into_iter().chain(login).collect()
}

/// All secrets in one directory, with the authorities and the certificate for metrics, so that a change of any reaches the pod
/// in one step.
fn secrets_volume(hub: &ValidatedHub, access: &[Access]) -> Volume {
    let sources = sources(hub, access).into_iter().map(projection);
    let trust = tls::trust_projection(hub, TRUST_FILE);
    let metrics = tls::leaf_projection(hub, Server::Metrics, METRICS_TLS);
    projected(SECRETS, sources.chain([trust, metrics]).collect())
}

fn projection(source: Source) -> VolumeProjection {
    let items = source.files.into_iter().map(|(key, path)| KeyToPath {
        key: key.to_owned(),
        path,
        ..KeyToPath::default()
    });
    VolumeProjection {
        secret: Some(SecretProjection {
            name: source.secret,
            items: Some(items.collect()),
            ..SecretProjection::default()
        }),
        ..VolumeProjection::default()
    }
}

/// Whom the token is for by which pods log in to Vault; `None` if they log in otherwise, or not at all.
fn token_audience<'a>(hub: &'a ValidatedHub, access: &[Access]) -> Option<&'a str> {
    let audience = match &hub.vault {
        VaultPlan::Managed(_) => Some(VAULT_AUDIENCE),
        VaultPlan::External(vault) => match &vault.auth {
            VaultAuthPlan::Kubernetes { audience, .. } => Some(audience.as_str()),
            VaultAuthPlan::AppRole { .. } | VaultAuthPlan::Token { .. } => None,
        },
    };
    audience.filter(|_| access.contains(&Access::Vault))
}

fn token_volume(audience: &str) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            audience: Some(audience.to_owned()),
            expiration_seconds: Some(3600),
            path: TOKEN_FILE.to_owned(),
        }),
        ..VolumeProjection::default()
    };
    projected(TOKEN, vec![token])
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

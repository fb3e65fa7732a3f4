//! From the raw spec and what it refers to, to a [`ValidatedHub`] from which everything can be built without failing.
//!
//! Most mistakes are refused by the API server before they get here (see [`crate::crd`]). What only the operator can
//! see (amounts that contradict each other) becomes a [`ValidationError`], and that a condition with a sentence that
//! tells what to do. A Secret that does not exist is no mistake but a [`Lack`], which holds up only what needs it.

mod data;
mod error;
mod flickr;
mod missing;
mod network;
mod processes;
mod references;
mod resources;
mod vault;

use std::collections::BTreeMap;

use flickrhub_job::cache::CacheConfig;
use flickrhub_job::config::FlickrEndpoints;
use flickrhub_job::connection::trust::Trust;
use flickrhub_job::queue::Queue;
use kube::ResourceExt;

pub use data::{MongoDbPlan, RabbitMqPlan, RedisPlan, StoragePlan};
pub use error::ValidationError;
pub use flickr::AppPlan;
pub use missing::MissingSecret;
pub use network::NetworkPlan;
pub use processes::{ApiPlan, CallbacksPlan, DispatcherPlan, IngressPlan, QueuePlan};
pub use references::{References, SecretDigest, referenced_secrets};
pub use resources::ContainerResources;
pub use vault::{ExternalVaultPlan, ManagedVaultPlan, VaultAuthPlan, VaultPlan};

use crate::autoscaling::AutoscalingPlan;
use crate::crd::{BreakerSpec, FlickrHub, IssuerRef, LimitsSpec};
use crate::lack::Lack;
use crate::names::{HubNames, MAX_HUB_NAME};
use crate::part::Part;

/// A hub of which everything is known to fit together.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedHub {
    /// The names of its children.
    pub names: HubNames,
    /// The UID of the `FlickrHub`, for owner references.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// Whether it is to sleep.
    pub hibernated: bool,
    /// Whether what pods are made from stays as another version of the operator built it (see [`crate::consent`]).
    pub keeps_templates: bool,
    /// The images of every container.
    pub images: Images,
    /// Flickr's addresses.
    pub endpoints: FlickrEndpoints,
    /// The applications registered at Flickr.
    pub apps: Vec<AppPlan>,
    /// The HTTP API.
    pub api: ApiPlan,
    /// The dispatcher.
    pub dispatcher: DispatcherPlan,
    /// The delivery of callbacks.
    pub callbacks: CallbacksPlan,
    /// The workers of each queue.
    pub queues: BTreeMap<Queue, QueuePlan>,
    /// By what the workers are scaled.
    pub autoscaling: AutoscalingPlan,
    /// What users may ask of the hub.
    pub limits: LimitsSpec,
    /// When requests to Flickr stop because it does not answer.
    pub breaker: BreakerSpec,
    /// Answers of Flickr that are kept.
    pub cache: CacheConfig,
    /// Redis with Sentinel.
    pub redis: RedisPlan,
    /// The MongoDB replica set.
    pub mongodb: MongoDbPlan,
    /// The RabbitMQ cluster.
    pub rabbitmq: RabbitMqPlan,
    /// Vault or OpenBao.
    pub vault: VaultPlan,
    /// Who may talk to whom; no NetworkPolicies if `None`.
    pub network: Option<NetworkPlan>,
    /// The issuer of cert-manager that issues the certificates of the hub; the operator does if `None`.
    pub issuer: Option<IssuerRef>,
    /// Days between two rotations of the transit keys.
    pub key_rotation_days: u32,
    /// Days after which the credentials of the engines are replaced; 0: only when a person asks for it.
    pub credential_rotation_days: u32,
    /// The checksums of the Secrets that the user gave, by name: a change restarts the pods that mount them.
    pub user_secrets: BTreeMap<String, String>,
    /// Secrets that the user has to give and that are not there.
    pub lacks: Vec<Lack>,
    /// The authorities by which the servers of the hub are known. Not of the spec: they are looked up before anything is built
    /// or connected to.
    pub trust: Option<Trust>,
    /// The parts that have ever been ready, each with the last generation in which it was.
    pub ready_generations: BTreeMap<Part, i64>,
}

impl ValidatedHub {
    /// Whether the part has ever been ready: its data exists and must never be initialised again.
    pub fn was_ready(&self, part: Part) -> bool {
        self.ready_generations.contains_key(&part)
    }

    /// Whether every part that holds data has ever been ready: from then on processes run whatever becomes of the data
    /// tier, and do what they can without the part that is away.
    pub fn data_was_ready(&self) -> bool {
        Part::DATA.into_iter().all(|part| self.was_ready(part))
    }

    /// Whether the part has been ready with the settings of this generation: from then on it stays ready while some of
    /// its pods are away, as long as the others do its work.
    pub fn is_settled(&self, part: Part) -> bool {
        self.ready_generations.get(&part) == Some(&self.generation)
    }
}

/// The images of every container, with registry and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The API.
    pub api: String,
    /// Workers, dispatcher and sender of callbacks.
    pub worker: String,
    /// Redis and Sentinel.
    pub redis: String,
    /// MongoDB.
    pub mongodb: String,
    /// RabbitMQ.
    pub rabbitmq: String,
    /// OpenBao.
    pub openbao: String,
    /// When the kubelet pulls them.
    pub pull_policy: &'static str,
    /// Secrets with the credentials of registries.
    pub pull_secrets: Vec<String>,
}

impl Images {
    fn of(spec: &crate::crd::ImagesSpec, version: &str) -> Self {
        let image = |own: &Option<String>, default: &str| {
            own.clone()
                .unwrap_or_else(|| format!("{}/{default}", spec.registry.trim_end_matches('/')))
        };
        Self {
            api: image(&spec.api, &format!("flickrhub/api:{version}")),
            worker: image(&spec.worker, &format!("flickrhub/worker:{version}")),
            redis: image(&spec.redis, "library/redis:8.0.2"),
            mongodb: image(&spec.mongodb, "library/mongo:6.0.27"),
            rabbitmq: image(&spec.rabbitmq, "library/rabbitmq:4.3.6-management"),
            openbao: image(&spec.openbao, "openbao/openbao:2.7.2"),
            pull_policy: spec.pull_policy.as_str(),
            pull_secrets: spec.pull_secrets.clone(),
        }
    }
}

/// What a hub depends on and does not say itself: where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The DNS domain of the cluster, `cluster.local` nearly everywhere.
    pub cluster_domain: String,
    /// The namespace that the operator runs in, out of which it reaches the engines.
    pub operator_namespace: String,
    /// The version of the operator, and of the images that belong to it.
    pub version: String,
}

/// Checks a hub against itself, and notes what it refers to that is not there.
///
/// # Errors
/// The first mistake that is found, with a sentence that tells what to do.
pub fn validate(
    hub: &FlickrHub,
    references: &References,
    surroundings: &Surroundings,
) -> Result<ValidatedHub, ValidationError> {
    let name = hub.name_any();
    if !is_service_name(&name) {
        return Err(ValidationError::Name(name));
    }
    let names = HubNames::new(
        name,
        hub.namespace().unwrap_or_default(),
        &surroundings.cluster_domain,
    );
    let spec = &hub.spec;
    references::check_names(spec)?;
    Ok(ValidatedHub {
        uid: hub.uid().unwrap_or_default(),
        generation: hub.metadata.generation.unwrap_or_default(),
        hibernated: spec.hibernated,
        keeps_templates: false,
        images: Images::of(&spec.images, &surroundings.version),
        endpoints: flickr::endpoints(&spec.flickr.endpoints)?,
        apps: flickr::apps(&spec.flickr.apps),
        api: processes::api(&spec.api, &names)?,
        dispatcher: processes::dispatcher(&spec.dispatcher)?,
        callbacks: processes::callbacks(&spec.callbacks)?,
        queues: processes::queues(&spec.queues)?,
        autoscaling: AutoscalingPlan::of(&spec.autoscaling),
        limits: spec.limits.clone(),
        breaker: spec.flickr.breaker.clone(),
        cache: processes::cache(&spec.cache)?,
        redis: data::redis(&spec.redis)?,
        mongodb: data::mongodb(&spec.mongodb)?,
        rabbitmq: data::rabbitmq(&spec.rabbitmq)?,
        vault: vault::vault(&spec.vault, &names)?,
        network: network::network(&spec.network_policy, surroundings)?,
        issuer: spec.tls.issuer_ref.clone(),
        key_rotation_days: spec.vault.key_rotation_days,
        credential_rotation_days: spec.credential_rotation_days,
        user_secrets: references.checksums(),
        lacks: missing::lacks(spec, references),
        trust: None,
        ready_generations: ready_generations(hub),
        names,
    })
}

/// What the status remembers of parts that have been ready.
fn ready_generations(hub: &FlickrHub) -> BTreeMap<Part, i64> {
    let remembered = |part: Part| {
        hub.status
            .as_ref()?
            .ready_generations
            .get(part.condition())
            .copied()
    };
    Part::ALL
        .into_iter()
        .filter_map(|part| Some((part, remembered(part)?)))
        .collect()
}

/// Whether names of Services can be made of it (RFC 1035 section 2.3.1) and stay short enough.
pub(crate) fn is_service_name(name: &str) -> bool {
    name.len() <= MAX_HUB_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests;

//! `spec.api`, `spec.dispatcher`, `spec.callbacks` and `spec.queues`.

use std::collections::BTreeMap;

use flickrhub_job::cache::CacheConfig;
use flickrhub_job::queue::Queue;
use ipnet::IpNet;
use url::Url;

use super::flickr::http_url;
use super::resources::Defaults;
use super::{ContainerResources, ValidationError};
use crate::crd::{ApiSpec, CacheSpec, CallbacksSpec, DispatcherSpec, IngressSpec, QueuesSpec};
use crate::names::HubNames;

/// The HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiPlan {
    /// Pods.
    pub replicas: u32,
    /// The address under which browsers reach it.
    pub public_url: Url,
    /// Origins that may call it from a browser.
    pub cors_allowed_origins: Vec<String>,
    /// Networks of the proxies before it.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether it is reached over TLS only.
    pub tls_only: bool,
    /// Most connections of one pod.
    pub max_connections: u32,
    /// Its Ingress.
    pub ingress: Option<IngressPlan>,
    /// CPU and memory of one pod.
    pub resources: ContainerResources,
}

/// The Ingress of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressPlan {
    /// The host name.
    pub host: String,
    /// The class of the controller; the cluster's default if `None`.
    pub class_name: Option<String>,
    /// The Secret with the certificate; plain http if `None`.
    pub tls_secret_name: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatcherPlan {
    /// Pods.
    pub replicas: u32,
    /// CPU and memory of one pod.
    pub resources: ContainerResources,
}

/// The delivery of callbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbacksPlan {
    /// Pods.
    pub replicas: u32,
    /// Networks that are allowed although they are private.
    pub allowed_networks: Vec<IpNet>,
    /// CPU and memory of one pod.
    pub resources: ContainerResources,
}

/// The workers of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePlan {
    /// Jobs that one worker runs at a time.
    pub concurrency: u32,
    /// Messages held ahead of their acknowledgement.
    pub prefetch: u16,
    /// Jobs released and not finished, over all workers.
    pub window: u32,
    /// Fewest workers.
    pub min_replicas: u32,
    /// Most workers.
    pub max_replicas: u32,
    /// Jobs, running and waiting, that are enough for one worker.
    pub jobs_per_replica: u32,
    /// Attempts before a job is dead.
    pub max_attempts: u32,
    /// Seconds until one attempt is given up.
    pub timeout_seconds: u32,
    /// CPU and memory of one worker.
    pub resources: ContainerResources,
}

pub(super) fn api(spec: &ApiSpec, names: &HubNames) -> Result<ApiPlan, ValidationError> {
    const DEFAULTS: Defaults = Defaults {
        cpu: ("50m", "1"),
        memory: ("64Mi", "256Mi"),
    };
    let public_url = match (&spec.public_url, &spec.ingress) {
        (Some(url), _) => url.clone(),
        (None, Some(ingress)) if ingress.tls_secret_name.is_some() => format!("https://{}", ingress.host),
        (None, Some(ingress)) => format!("http://{}", ingress.host),
        (None, None) => {
            let scheme = if spec.tls_only { "https" } else { "http" };
            format!("{scheme}://{}", names.service_host(&names.api()))
        }
    };
    Ok(ApiPlan {
        replicas: spec.replicas,
        public_url: http_url("api.publicUrl", &public_url)?,
        cors_allowed_origins: spec.cors.allowed_origins.clone(),
        trusted_proxies: networks("api.trustedProxies", &spec.trusted_proxies)?,
        tls_only: spec.tls_only,
        max_connections: spec.max_connections,
        ingress: spec.ingress.as_ref().map(ingress),
        resources: DEFAULTS.with(spec.resources.as_ref(), "api.resources")?,
    })
}

fn ingress(spec: &IngressSpec) -> IngressPlan {
    IngressPlan {
        host: spec.host.clone(),
        class_name: spec.class_name.clone(),
        tls_secret_name: spec.tls_secret_name.clone(),
        annotations: spec.annotations.clone(),
    }
}

pub(super) fn cache(spec: &CacheSpec) -> Result<CacheConfig, ValidationError> {
    let max_bytes = spec
        .max_size
        .units()
        .map_err(|source| ValidationError::Quantity {
            field: "cache.maxSize".to_owned(),
            source,
        })?;
    Ok(spec.config(max_bytes))
}

/// Defaults of the processes that mostly wait.
const LIGHT: Defaults = Defaults {
    cpu: ("20m", "1"),
    memory: ("48Mi", "192Mi"),
};

pub(super) fn dispatcher(spec: &DispatcherSpec) -> Result<DispatcherPlan, ValidationError> {
    Ok(DispatcherPlan {
        replicas: spec.replicas,
        resources: LIGHT.with(spec.resources.as_ref(), "dispatcher.resources")?,
    })
}

pub(super) fn callbacks(spec: &CallbacksSpec) -> Result<CallbacksPlan, ValidationError> {
    Ok(CallbacksPlan {
        replicas: spec.replicas,
        allowed_networks: networks("callbacks.allowedNetworks", &spec.allowed_networks)?,
        resources: LIGHT.with(spec.resources.as_ref(), "callbacks.resources")?,
    })
}

fn networks(field: &'static str, texts: &[String]) -> Result<Vec<IpNet>, ValidationError> {
    let network = |text: &String| {
        text.parse().map_err(|_| ValidationError::Network {
            field,
            value: text.clone(),
        })
    };
    texts.iter().map(network).collect()
}

pub(super) fn queues(spec: &QueuesSpec) -> Result<BTreeMap<Queue, QueuePlan>, ValidationError> {
    Queue::ALL
        .into_iter()
        .map(|queue| Ok((queue, queue_plan(queue, spec)?)))
        .collect()
}

fn queue_plan(queue: Queue, spec: &QueuesSpec) -> Result<QueuePlan, ValidationError> {
    const DEFAULTS: Defaults = Defaults {
        cpu: ("100m", "1"),
        memory: ("64Mi", "384Mi"),
    };
    let default_timeout = if queue.has_body() { 600 } else { 60 };
    let field = format!("queues.{}.resources", queue.short_name());
    let spec = spec.get(queue);
    Ok(QueuePlan {
        concurrency: spec.concurrency,
        prefetch: spec.prefetch,
        window: spec.window,
        min_replicas: spec.min_replicas,
        max_replicas: spec.max_replicas,
        jobs_per_replica: spec.jobs_per_replica.unwrap_or(spec.concurrency),
        max_attempts: spec.max_attempts,
        timeout_seconds: spec.timeout_seconds.unwrap_or(default_timeout),
        resources: DEFAULTS.with(spec.resources.as_ref(), &field)?,
    })
}

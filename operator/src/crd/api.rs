//! `spec.api`, `spec.dispatcher` and `spec.callbacks`: the processes of FlickrHub that are not workers of a queue.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ResourcesSpec, SUBDOMAIN, rules};

/// The HTTP API.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.trustedProxies.all(n, isCIDR(n))", "each of trustedProxies must be a network in CIDR notation, for example 10.20.0.0/16"),
    ("!has(self.publicUrl) || (isURL(self.publicUrl) && url(self.publicUrl).getScheme() in ['http', 'https'])", "publicUrl must be an http or https URL, for example https://photos.example.org"),
])))]
pub struct ApiSpec {
    /// Pods of the API.
    #[schemars(range(min = 1, max = 100))]
    pub replicas: u32,
    /// The address under which browsers reach the API; Flickr sends users back to it after a login. Without it, the
    /// host of the Ingress, or the address inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub public_url: Option<String>,
    /// CPU and memory of one pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
    /// Cross-origin requests from browsers.
    pub cors: CorsSpec,
    /// Networks (CIDR) of the proxies before the API, such as those of the ingress controller's pods: from these, and only
    /// from these, `X-Forwarded-For` is believed. Without them every request comes from the address of its connection, which
    /// behind an Ingress is the same for all.
    #[schemars(length(max = 32), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub trusted_proxies: Vec<String>,
    /// Whether clients can reach the API over TLS only (port 443 of its Service). Otherwise port 80 is there too, as most Ingress
    /// controllers expect it; with this, tell yours to speak HTTPS to the API.
    pub tls_only: bool,
    /// Most connections that one pod has open to clients; who comes then is told to try again. Each costs some kilobytes of
    /// memory, more with TLS.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub max_connections: u32,
    /// An Ingress for the API; none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,
}

impl Default for ApiSpec {
    fn default() -> Self {
        Self {
            replicas: 2,
            public_url: None,
            resources: None,
            cors: CorsSpec::default(),
            trusted_proxies: Vec::new(),
            tls_only: false,
            max_connections: 12_000,
            ingress: None,
        }
    }
}

/// Cross-origin requests from browsers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.allowedOrigins.all(o, o.matches('^https?://[^/?#*]+$'))", "each of allowedOrigins must be one origin without path or wildcard, for example https://app.example.org"),
])))]
pub struct CorsSpec {
    /// Origins that may call the API from a browser, for example `https://app.example.org`; none by default.
    #[schemars(length(max = 64), inner(length(max = 255)), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_origins: Vec<String>,
}

/// An Ingress for the API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("!isIP(self.host)", "ingress.host must be a name and no IP address, for example photos.example.org"),
])))]
pub struct IngressSpec {
    /// The host name under which the API is reached.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub host: String,
    /// The class of the Ingress controller; the cluster's default without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = SUBDOMAIN))]
    pub class_name: Option<String>,
    /// The Secret with the certificate of the host; plain http without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = SUBDOMAIN))]
    pub tls_secret_name: Option<String>,
    /// Annotations for the Ingress controller or a certificate issuer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

/// The dispatcher.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DispatcherSpec {
    /// Pods of the dispatcher. They share the work without a leader.
    #[schemars(range(min = 1, max = 20))]
    pub replicas: u32,
    /// CPU and memory of one pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
}

impl Default for DispatcherSpec {
    fn default() -> Self {
        Self {
            replicas: 2,
            resources: None,
        }
    }
}

/// The delivery of callbacks.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.allowedNetworks.all(n, isCIDR(n))", "each of allowedNetworks must be a network in CIDR notation, for example 10.20.0.0/16"),
])))]
pub struct CallbacksSpec {
    /// Pods that deliver callbacks.
    #[schemars(range(min = 1, max = 20))]
    pub replicas: u32,
    /// Networks (CIDR) that callbacks may go to although they are private; plain http is allowed only into these.
    /// Private, loopback, link-local and metadata addresses are refused otherwise.
    #[schemars(length(max = 64), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_networks: Vec<String>,
    /// CPU and memory of one pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
}

impl Default for CallbacksSpec {
    fn default() -> Self {
        Self {
            replicas: 2,
            allowed_networks: Vec::new(),
            resources: None,
        }
    }
}

//! The names of everything that belongs to a hub: one place, so that builders, engine steps and documents agree.

use flickrhub_job::queue::Queue;

/// The longest name of a hub: its longest child (`<hub>-rabbitmq-nodes`) and the labels that a StatefulSet puts on
/// its pods (`<set>-<ten digits>`) stay within the 63 characters of a DNS label.
pub const MAX_HUB_NAME: usize = 40;

/// The port of Redis.
pub const REDIS_PORT: u16 = 6379;
/// The port of a Sentinel.
pub const SENTINEL_PORT: u16 = 26379;
/// The port of MongoDB.
pub const MONGODB_PORT: u16 = 27017;
/// The AMQP port of RabbitMQ, over TLS.
pub const AMQP_PORT: u16 = 5671;
/// The management port of RabbitMQ (HTTP API), over TLS.
pub const RABBITMQ_MANAGEMENT_PORT: u16 = 15671;
/// The metrics port of RabbitMQ.
pub const RABBITMQ_METRICS_PORT: u16 = 15691;
/// The port of Vault.
pub const VAULT_PORT: u16 = 8200;
/// The port on which the members of Vault talk to each other.
pub const VAULT_CLUSTER_PORT: u16 = 8201;
/// The port of the API in its pods.
pub const API_PORT: u16 = 8080;
/// The port of the API in its pods, over TLS.
pub const API_TLS_PORT: u16 = 8443;
/// The port of metrics and health in the pods of FlickrHub.
pub const METRICS_PORT: u16 = 9090;

/// The port by which RabbitMQ's nodes find each other's distribution port.
pub const EPMD_PORT: u16 = 4369;
/// The port on which RabbitMQ's nodes talk to each other.
pub const DISTRIBUTION_PORT: u16 = 25672;

/// The name under which the Sentinels monitor the master.
pub const REDIS_MASTER: &str = "flickrhub";
/// What precedes every key of a hub in its Redis.
pub const REDIS_KEY_PREFIX: &str = "fh:";
/// The MongoDB replica set.
pub const MONGODB_REPLICA_SET: &str = "rs0";
/// The MongoDB database.
pub const MONGODB_DATABASE: &str = "flickrhub";
/// The first MongoDB user of the API and the workers; its successors have a suffix.
pub const MONGODB_USER: &str = "flickrhub";
/// The MongoDB role of that user, in the database of the application.
pub const MONGODB_ROLE: &str = "flickrhub-processes";
/// The MongoDB user of the operator.
pub const MONGODB_ADMIN: &str = "admin";
/// The first RabbitMQ user; its successors have a suffix.
pub const RABBITMQ_USER: &str = "flickrhub";
/// The RabbitMQ virtual host.
pub const RABBITMQ_VHOST: &str = "/";
/// Where the transit engine of a managed Vault is mounted.
pub const TRANSIT_MOUNT: &str = "transit";
/// Where the Kubernetes auth method of a managed Vault is mounted.
pub const KUBERNETES_AUTH_MOUNT: &str = "kubernetes";
/// Whom the tokens are for that service accounts log in to Vault with, where the user names nobody else: the Kubernetes API
/// refuses them, so that nothing but a login can be done with one that Vault, or whoever listens in its place, was sent.
pub const VAULT_AUDIENCE: &str = "vault";
/// The transit key of users' Flickr tokens.
pub const USER_TOKENS_KEY: &str = "flickrhub-user-tokens";
/// The transit key of application credentials and webhook secrets.
pub const APP_CREDENTIALS_KEY: &str = "flickrhub-app-credentials";
/// The id of the API client that every hub starts with.
pub const DEFAULT_CLIENT: &str = "default";

/// Where a hub lives: what its children's names and addresses are made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubNames {
    hub: String,
    namespace: String,
    cluster_domain: String,
}

impl HubNames {
    /// The names of the children of `hub`.
    pub fn new(
        hub: impl Into<String>,
        namespace: impl Into<String>,
        cluster_domain: impl Into<String>,
    ) -> Self {
        Self {
            hub: hub.into(),
            namespace: namespace.into(),
            cluster_domain: cluster_domain.into(),
        }
    }

    /// The name of the `FlickrHub`.
    pub fn hub(&self) -> &str {
        &self.hub
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn child(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.hub)
    }

    /// The DNS name of a Service of this hub.
    pub fn service_host(&self, service: &str) -> String {
        format!("{service}.{}.svc.{}", self.namespace, self.cluster_domain)
    }

    /// The namespace of the Service that a host name is of, as pods of the hub resolve it; `None` if it is of none.
    pub fn namespace_of_service<'a>(&'a self, host: &'a str) -> Option<&'a str> {
        let host = host.trim_end_matches('.');
        if !host.is_empty() && !host.contains('.') {
            return Some(&self.namespace);
        }
        let name = host
            .strip_suffix(&self.cluster_domain)
            .and_then(|name| name.strip_suffix('.'))
            .unwrap_or(host);
        let (_, namespace) = name.strip_suffix(".svc")?.rsplit_once('.')?;
        Some(namespace)
    }

    /// The DNS names of the pods of a StatefulSet behind its headless Service.
    pub fn member_hosts(&self, set: &str, service: &str, members: u32) -> Vec<String> {
        let service = self.service_host(service);
        (0..members)
            .map(|ordinal| format!("{set}-{ordinal}.{service}"))
            .collect()
    }

    /// StatefulSet, headless Service and PodDisruptionBudget of Redis.
    pub fn redis(&self) -> String {
        self.child("redis")
    }

    /// Secret with the password of Redis and Sentinel.
    pub fn redis_auth(&self) -> String {
        self.child("redis-auth")
    }

    /// The DNS names of the pods of Redis.
    pub fn redis_hosts(&self, replicas: u32) -> Vec<String> {
        self.member_hosts(&self.redis(), &self.redis(), replicas)
    }

    /// StatefulSet, headless Service and PodDisruptionBudget of MongoDB.
    pub fn mongodb(&self) -> String {
        self.child("mongodb")
    }

    /// Secret with the key file and the passwords of MongoDB.
    pub fn mongodb_auth(&self) -> String {
        self.child("mongodb-auth")
    }

    /// The DNS names of the members of MongoDB.
    pub fn mongodb_hosts(&self, members: u32) -> Vec<String> {
        self.member_hosts(&self.mongodb(), &self.mongodb(), members)
    }

    /// StatefulSet, client Service and PodDisruptionBudget of RabbitMQ.
    pub fn rabbitmq(&self) -> String {
        self.child("rabbitmq")
    }

    /// Headless Service of RabbitMQ.
    pub fn rabbitmq_nodes(&self) -> String {
        self.child("rabbitmq-nodes")
    }

    /// Secret with the password and the Erlang cookie of RabbitMQ.
    pub fn rabbitmq_auth(&self) -> String {
        self.child("rabbitmq-auth")
    }

    /// The DNS names of the nodes of RabbitMQ.
    pub fn rabbitmq_hosts(&self, replicas: u32) -> Vec<String> {
        self.member_hosts(&self.rabbitmq(), &self.rabbitmq_nodes(), replicas)
    }

    /// StatefulSet, client Service, ServiceAccount and PodDisruptionBudget of Vault.
    pub fn vault(&self) -> String {
        self.child("vault")
    }

    /// Headless Service of Vault.
    pub fn vault_nodes(&self) -> String {
        self.child("vault-nodes")
    }

    /// ServiceAccount by which the operator logs in to a Vault of the user. No pod runs under it.
    pub fn vault_login(&self) -> String {
        self.child("vault-login")
    }

    /// Secret with the unseal key and the root token of Vault.
    pub fn vault_keys(&self) -> String {
        self.child("vault-keys")
    }

    /// The DNS names of the members of Vault.
    pub fn vault_hosts(&self, replicas: u32) -> Vec<String> {
        self.member_hosts(&self.vault(), &self.vault_nodes(), replicas)
    }

    /// ClusterRoleBinding that lets Vault review the tokens of service accounts. It is the only child without a
    /// namespace, so its name holds the hub's, apart by colons, which neither name can hold.
    pub fn vault_token_review(&self) -> String {
        format!("flickrhub:{}:{}:vault-token-review", self.namespace, self.hub)
    }

    /// Deployment, Service, ServiceAccount and PodDisruptionBudget of the API; also its role in Vault.
    pub fn api(&self) -> String {
        self.child("api")
    }

    /// ServiceAccount of the workers; also their role in Vault.
    pub fn worker(&self) -> String {
        self.child("worker")
    }

    /// Deployment, autoscaler (of whatever kind) and PodDisruptionBudget of the workers of a queue.
    pub fn queue_worker(&self, queue: Queue) -> String {
        self.child(&format!("worker-{}", queue.short_name()))
    }

    /// `TriggerAuthentication` by which KEDA logs in to Redis.
    pub fn keda_login(&self) -> String {
        self.child("keda-login")
    }

    /// Deployment, ServiceAccount and PodDisruptionBudget of the dispatcher, which has no role in Vault.
    pub fn dispatcher(&self) -> String {
        self.child("dispatcher")
    }

    /// Deployment, ServiceAccount and PodDisruptionBudget of the sender of callbacks; also its role in Vault.
    pub fn callbacks(&self) -> String {
        self.child("callbacks")
    }

    /// NetworkPolicy of a component.
    pub fn network_policy(&self, component: &str) -> String {
        self.child(component)
    }

    /// NetworkPolicy that denies every pod what no other allows.
    pub fn default_deny(&self) -> String {
        self.child("default-deny")
    }

    /// Secret with the certificate authority, key included. No pod mounts it.
    pub fn authority(&self) -> String {
        self.child("ca")
    }

    /// ConfigMap with the certificates of the authorities that everybody in the hub trusts.
    pub fn trust(&self) -> String {
        self.child("trust")
    }

    /// The DNS name in the certificate that every process shows at its port for metrics. Nothing has to resolve it: who reads
    /// metrics finds pods by their addresses, and checks this name.
    pub fn metrics(&self) -> String {
        self.child("metrics")
    }

    /// Secret with the certificate and the key of the servers of a component.
    pub fn server_tls(&self, component: &str) -> String {
        self.child(&format!("{component}-tls"))
    }

    /// Secret with what cert-manager issued for the servers of a component.
    pub fn issued_tls(&self, component: &str) -> String {
        self.child(&format!("{component}-issued"))
    }

    /// ConfigMap with the configuration of every process.
    pub fn config(&self) -> String {
        self.child("config")
    }

    /// Secret with the key of the API client that every hub starts with.
    pub fn default_client(&self) -> String {
        self.child("client-default")
    }
}

/// The StatefulSet whose member a volume claim belongs to, by the name that Kubernetes gives it (`data-<set>-<ordinal>`);
/// `None` for another claim.
pub fn set_of_claim(claim: &str) -> Option<&str> {
    let (set, ordinal) = claim.strip_prefix("data-")?.rsplit_once('-')?;
    let is_ordinal = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    is_ordinal.then_some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_children_of_the_longest_name_fit_into_a_dns_label() {
        let names = HubNames::new("h".repeat(MAX_HUB_NAME), "ns", "cluster.local");
        let stateful_sets = [names.redis(), names.mongodb(), names.rabbitmq(), names.vault()];
        for set in stateful_sets {
            assert!(set.len() + "-0123456789".len() <= 63, "{set}");
        }
        let others = [
            names.rabbitmq_nodes(),
            names.queue_worker(Queue::Replace),
            names.default_client(),
            names.default_deny(),
        ];
        for other in others {
            assert!(other.len() <= 63, "{other}");
        }
    }

    #[test]
    fn a_claim_tells_its_set() {
        assert_eq!(set_of_claim("data-gallery-redis-12"), Some("gallery-redis"));
        for claim in ["data-gallery-redis-x", "gallery-redis-0", "data-gallery-", "data"] {
            assert_eq!(set_of_claim(claim), None, "{claim}");
        }
    }

    #[test]
    fn hubs_of_two_namespaces_never_share_an_object_without_namespace() {
        let review = |hub, namespace| HubNames::new(hub, namespace, "cluster.local").vault_token_review();
        assert_ne!(review("a-b", "c"), review("a", "b-c"));
    }

    #[test]
    fn members_are_addressed_through_their_headless_service() {
        let names = HubNames::new("gallery", "photos", "cluster.local");
        assert_eq!(
            names.rabbitmq_hosts(2),
            [
                "gallery-rabbitmq-0.gallery-rabbitmq-nodes.photos.svc.cluster.local",
                "gallery-rabbitmq-1.gallery-rabbitmq-nodes.photos.svc.cluster.local",
            ]
        );
    }
}

//! The configuration of every process, by the very types that the processes read it with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flickrhub_job::config::{
    ApiConfig, CallbackConfig, Config, FlickrApp, FlickrConfig, MetricsConfig, MongoConfig, QueueConfig,
    RabbitConfig, RedisConfig, VaultAuth, VaultConfig,
};
use flickrhub_job::limits::LIMITS_FILE;
use flickrhub_job::queue::Queue;

use super::process::{METRICS_TLS, SECRETS_DIR, TOKEN_DIR, TOKEN_FILE, TRUST_FILE};
use super::{Object, api, limits, stateful, tls};
use crate::names::{
    AMQP_PORT, APP_CREDENTIALS_KEY, KUBERNETES_AUTH_MOUNT, MONGODB_DATABASE, MONGODB_PORT,
    MONGODB_REPLICA_SET, MONGODB_USER, RABBITMQ_USER, RABBITMQ_VHOST, REDIS_KEY_PREFIX, REDIS_MASTER,
    SENTINEL_PORT, TRANSIT_MOUNT, USER_TOKENS_KEY,
};
use crate::validate::{AppPlan, ExternalVaultPlan, QueuePlan, ValidatedHub, VaultAuthPlan, VaultPlan};

/// Largest upload in bytes: what Flickr takes of a photo.
const MAX_UPLOAD_BYTES: u64 = 100 * 1024 * 1024;
/// Largest other request body in bytes.
const MAX_BODY_BYTES: u64 = 10 * 1024 * 1024;
/// Most connections of one process to one member of MongoDB.
const MAX_POOL_SIZE: u32 = 50;
/// Most members of a quorum queue: more make writes slower and losses no less likely.
const MAX_QUORUM_GROUP: u32 = 5;

pub(super) fn objects(hub: &ValidatedHub) -> Vec<Object> {
    let files = [("config.yaml", yaml(hub)), (LIMITS_FILE, limits::yaml(hub))];
    vec![stateful::config_map(hub, hub.names.config(), "config", &files).into()]
}

/// The content of `config.yaml`.
pub(super) fn yaml(hub: &ValidatedHub) -> String {
    // A structure of strings, numbers and lists always has a YAML form.
    serde_yaml_ng::to_string(&config(hub)).unwrap_or_default()
}

/// The configuration of every process of the hub.
pub fn config(hub: &ValidatedHub) -> Config {
    Config {
        hub: hub.names.hub().to_owned(),
        redis: redis(hub),
        mongodb: mongodb(hub),
        rabbitmq: rabbitmq(hub),
        vault: vault(hub),
        flickr: FlickrConfig {
            endpoints: hub.endpoints.clone(),
            apps: hub.apps.iter().map(app).collect(),
        },
        queues: queues(hub),
        api: ApiConfig {
            public_url: hub.api.public_url.clone(),
            cors_allowed_origins: hub.api.cors_allowed_origins.clone(),
            trusted_proxies: hub.api.trusted_proxies.clone(),
            tls: Some(tls::files(Path::new(api::TLS_DIR))),
            max_connections: hub.api.max_connections,
            max_upload_bytes: MAX_UPLOAD_BYTES,
            max_body_bytes: MAX_BODY_BYTES,
        },
        callbacks: CallbackConfig {
            allowed_networks: hub.callbacks.allowed_networks.clone(),
        },
        metrics: MetricsConfig {
            tls: Some(tls::files(&secret(METRICS_TLS))),
        },
        cache: hub.cache.clone(),
        retention_days: hub.mongodb.retention_days,
    }
}

fn secret(path: &str) -> PathBuf {
    PathBuf::from(SECRETS_DIR).join(path)
}

fn with_port(hosts: Vec<String>, port: u16) -> Vec<String> {
    hosts.into_iter().map(|host| format!("{host}:{port}")).collect()
}

fn redis(hub: &ValidatedHub) -> RedisConfig {
    RedisConfig {
        sentinels: with_port(hub.names.redis_hosts(hub.redis.replicas), SENTINEL_PORT),
        master_name: REDIS_MASTER.to_owned(),
        password_file: secret("redis/password"),
        ca_file: Some(secret(TRUST_FILE)),
        key_prefix: REDIS_KEY_PREFIX.to_owned(),
    }
}

fn mongodb(hub: &ValidatedHub) -> MongoConfig {
    MongoConfig {
        hosts: with_port(hub.names.mongodb_hosts(hub.mongodb.members), MONGODB_PORT),
        replica_set: MONGODB_REPLICA_SET.to_owned(),
        database: MONGODB_DATABASE.to_owned(),
        username: MONGODB_USER.to_owned(),
        username_file: Some(secret("mongodb/username")),
        password_file: secret("mongodb/password"),
        ca_file: Some(secret(TRUST_FILE)),
        max_pool_size: MAX_POOL_SIZE,
    }
}

fn rabbitmq(hub: &ValidatedHub) -> RabbitConfig {
    RabbitConfig {
        hosts: with_port(hub.names.rabbitmq_hosts(hub.rabbitmq.replicas), AMQP_PORT),
        vhost: RABBITMQ_VHOST.to_owned(),
        username: RABBITMQ_USER.to_owned(),
        username_file: Some(secret("rabbitmq/username")),
        password_file: secret("rabbitmq/password"),
        ca_file: Some(secret(TRUST_FILE)),
        quorum_group_size: hub.rabbitmq.replicas.min(MAX_QUORUM_GROUP),
    }
}

fn vault(hub: &ValidatedHub) -> VaultConfig {
    match &hub.vault {
        VaultPlan::Managed(vault) => VaultConfig {
            address: vault.address.clone(),
            namespace: None,
            ca_file: Some(secret(TRUST_FILE)),
            auth: VaultAuth::Kubernetes {
                mount: KUBERNETES_AUTH_MOUNT.to_owned(),
                role: hub.names.hub().to_owned(),
                token_file: PathBuf::from(TOKEN_DIR).join(TOKEN_FILE),
            },
            transit_mount: TRANSIT_MOUNT.to_owned(),
            user_tokens_key: USER_TOKENS_KEY.to_owned(),
            app_credentials_key: APP_CREDENTIALS_KEY.to_owned(),
        },
        VaultPlan::External(vault) => VaultConfig {
            address: vault.address.clone(),
            namespace: vault.namespace.clone(),
            ca_file: vault.ca_secret.as_ref().map(|_| secret("vault/ca.crt")),
            auth: external_auth(vault),
            transit_mount: vault.transit_mount.clone(),
            user_tokens_key: USER_TOKENS_KEY.to_owned(),
            app_credentials_key: APP_CREDENTIALS_KEY.to_owned(),
        },
    }
}

fn external_auth(vault: &ExternalVaultPlan) -> VaultAuth {
    match &vault.auth {
        VaultAuthPlan::Kubernetes { mount, role, .. } => VaultAuth::Kubernetes {
            mount: mount.clone(),
            role: role.clone(),
            token_file: PathBuf::from(TOKEN_DIR).join(TOKEN_FILE),
        },
        VaultAuthPlan::AppRole { mount, .. } => VaultAuth::AppRole {
            mount: mount.clone(),
            role_id_file: secret("vault/role-id"),
            secret_id_file: secret("vault/secret-id"),
        },
        VaultAuthPlan::Token { .. } => VaultAuth::Token {
            token_file: secret("vault/token"),
        },
    }
}

fn app(app: &AppPlan) -> FlickrApp {
    FlickrApp {
        name: app.name.clone(),
        consumer_key_file: secret(&format!("flickr/{}/consumerKey", app.name)),
        consumer_secret_file: secret(&format!("flickr/{}/consumerSecret", app.name)),
        requests_per_hour: app.requests_per_hour,
    }
}

fn queues(hub: &ValidatedHub) -> BTreeMap<Queue, QueueConfig> {
    hub.queues
        .iter()
        .map(|(queue, plan)| (*queue, queue_config(plan)))
        .collect()
}

fn queue_config(plan: &QueuePlan) -> QueueConfig {
    QueueConfig {
        concurrency: plan.concurrency,
        prefetch: plan.prefetch,
        window: plan.window,
        max_attempts: plan.max_attempts,
        timeout_seconds: plan.timeout_seconds,
    }
}

//! The servers of a hub that show certificates, and their names. Pure.

use crate::names::{
    AMQP_PORT, API_TLS_PORT, METRICS_PORT, MONGODB_PORT, RABBITMQ_MANAGEMENT_PORT, REDIS_PORT, SENTINEL_PORT,
    VAULT_PORT,
};
use crate::validate::{ValidatedHub, VaultPlan};

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// Redis and the Sentinels.
    Redis,
    /// The members of MongoDB.
    MongoDb,
    /// The nodes of RabbitMQ.
    RabbitMq,
    /// The members of a managed OpenBao.
    Vault,
    /// The API.
    Api,
    /// The ports for metrics and health of every process.
    Metrics,
}

impl Server {
    /// The servers of a hub.
    pub fn of(hub: &ValidatedHub) -> Vec<Self> {
        let mut servers = vec![
            Self::Redis,
            Self::MongoDb,
            Self::RabbitMq,
            Self::Api,
            Self::Metrics,
        ];
        if matches!(hub.vault, VaultPlan::Managed(_)) {
            servers.push(Self::Vault);
        }
        servers
    }

    /// The component whose pods they are.
    pub const fn component(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::MongoDb => "mongodb",
            Self::RabbitMq => "rabbitmq",
            Self::Vault => "vault",
            Self::Api => "api",
            Self::Metrics => "metrics",
        }
    }

    /// The Secret with their certificate.
    pub fn secret(self, hub: &ValidatedHub) -> String {
        hub.names.server_tls(self.component())
    }

    /// The Secret into which cert-manager puts it, where an issuer of the user issues it.
    pub fn issued_secret(self, hub: &ValidatedHub) -> String {
        hub.names.issued_tls(self.component())
    }

    /// The members, each by the name that stays when its pod is replaced. Pods of processes have no such names.
    pub fn hosts(self, hub: &ValidatedHub) -> Vec<String> {
        let names = &hub.names;
        match (self, &hub.vault) {
            (Self::Redis, _) => names.redis_hosts(hub.redis.replicas),
            (Self::MongoDb, _) => names.mongodb_hosts(hub.mongodb.members),
            (Self::RabbitMq, _) => names.rabbitmq_hosts(hub.rabbitmq.replicas),
            (Self::Vault, VaultPlan::Managed(vault)) => names.vault_hosts(vault.replicas),
            (Self::Vault, VaultPlan::External(_)) | (Self::Api | Self::Metrics, _) => Vec::new(),
        }
    }

    /// Every name under which they are connected to: the members, the Service before them, and the loopback address for
    /// programs in the same pod and behind a port-forward.
    pub fn names(self, hub: &ValidatedHub) -> Vec<String> {
        let mut names = self.hosts(hub);
        match self {
            Self::Redis | Self::MongoDb => {}
            Self::RabbitMq => names.push(hub.names.service_host(&hub.names.rabbitmq())),
            Self::Vault => names.push(hub.names.service_host(&hub.names.vault())),
            Self::Api => names.extend(reached_by(hub, &hub.names.api())),
            Self::Metrics => names.extend(reached_by(hub, &hub.names.metrics())),
        }
        names.push("localhost".to_owned());
        names
    }

    /// The ports at which they show it.
    pub const fn ports(self) -> &'static [u16] {
        match self {
            Self::Redis => &[REDIS_PORT, SENTINEL_PORT],
            Self::MongoDb => &[MONGODB_PORT],
            Self::RabbitMq => &[AMQP_PORT, RABBITMQ_MANAGEMENT_PORT],
            Self::Vault => &[VAULT_PORT],
            Self::Api => &[API_TLS_PORT],
            Self::Metrics => &[METRICS_PORT],
        }
    }
}

/// The names of what is no member: with the domain of the cluster, and without it for those that do not know it.
fn reached_by(hub: &ValidatedHub, service: &str) -> [String; 2] {
    [
        hub.names.service_host(service),
        format!("{service}.{}.svc", hub.names.namespace()),
    ]
}

/// The domains below which the names of every server are; an authority of the hub vouches for no other.
pub(super) fn domains(hub: &ValidatedHub) -> [String; 3] {
    let names = &hub.names;
    let any = names.service_host("x");
    let domain = any.strip_prefix("x.").unwrap_or(&any);
    [
        domain.to_owned(),
        format!("{}.svc", names.namespace()),
        "localhost".to_owned(),
    ]
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::authority::Authority;
    use super::super::authority::tests::now;
    use super::super::leaf::is_current;
    use super::*;
    use crate::fixtures;

    #[test]
    fn every_server_can_have_a_certificate_for_all_of_its_names() {
        let hub = fixtures::validated(&fixtures::minimal());
        let domains = domains(&hub);
        let authority =
            Authority::generate(&domains.each_ref().map(String::as_str), now()).expect("an authority");
        for server in Server::of(&hub) {
            let names = server.names(&hub);
            assert!(names.len() >= 3, "{names:?}");
            let leaf = authority
                .issue(&server.secret(&hub), &names, now())
                .expect("issued");
            assert!(
                is_current(&leaf, authority.certificate(), &names, now()),
                "{server:?}"
            );
        }
    }

    #[test]
    fn a_vault_of_the_user_shows_its_own_certificate() {
        let hub = fixtures::validated(&fixtures::full());
        assert!(!Server::of(&hub).contains(&Server::Vault));
    }
}

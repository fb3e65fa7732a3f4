//! The one table of what may flow: who connects to whom at which ports.

use super::super::process::Access;
use super::super::{api, dispatcher, mongodb, rabbitmq, redis, vault, worker};
use super::destination::{Destination, port};
use crate::autoscaling::Scaling;
use crate::names::{
    AMQP_PORT, API_PORT, API_TLS_PORT, DISTRIBUTION_PORT, EPMD_PORT, METRICS_PORT, MONGODB_PORT,
    RABBITMQ_MANAGEMENT_PORT, RABBITMQ_METRICS_PORT, REDIS_PORT, SENTINEL_PORT, VAULT_CLUSTER_PORT,
    VAULT_PORT,
};
use crate::validate::{NetworkPlan, ValidatedHub, VaultPlan};

/// Where API servers listen.
const KUBERNETES_API_PORTS: [u16; 2] = [443, 6443];

/// An end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    /// The pods of a component of the hub.
    Component(&'static str),
    /// The operator.
    Operator,
    /// The operator of KEDA.
    Keda,
    /// Who may reach the API.
    ApiClients,
    /// Who may read metrics.
    MetricsReaders,
    /// The DNS of the cluster.
    Dns,
    /// The Kubernetes API.
    KubernetesApi,
    /// What is configured by a URL and is not expected outside alone.
    Host(Destination),
    /// Every public address.
    Public,
    /// Receivers of callbacks that are not at public addresses.
    PrivateReceivers,
}

/// The ports at which a party is connected to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ports {
    /// These, by TCP.
    Tcp(Vec<u16>),
    /// All, by TCP.
    AllTcp,
    /// Those of DNS, by UDP and TCP.
    Dns,
}

/// Connections from one party to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) ports: Ports,
}

fn tcp(from: Party, to: Party, ports: &[u16]) -> Flow {
    Flow {
        from,
        to,
        ports: Ports::Tcp(ports.to_vec()),
    }
}

/// The components that are processes of FlickrHub, each with what its work needs.
fn processes(hub: &ValidatedHub) -> Vec<(&'static str, &'static [Access])> {
    let mut processes = vec![
        (api::COMPONENT, api::ACCESS),
        (dispatcher::DISPATCHER, dispatcher::DISPATCHER_ACCESS),
        (dispatcher::CALLBACKS, dispatcher::CALLBACKS_ACCESS),
    ];
    processes.extend(
        hub.queues
            .keys()
            .map(|queue| (worker::component(*queue), worker::ACCESS)),
    );
    processes
}

/// The components of the hub that have pods.
pub(super) fn components(hub: &ValidatedHub) -> Vec<&'static str> {
    let mut components = vec![redis::COMPONENT, mongodb::COMPONENT, rabbitmq::COMPONENT];
    if matches!(hub.vault, VaultPlan::Managed(_)) {
        components.push(vault::COMPONENT);
    }
    components.extend(processes(hub).into_iter().map(|(component, _)| component));
    components
}

/// Everything that may flow, each flow once.
pub(super) fn flows(hub: &ValidatedHub, plan: &NetworkPlan) -> Vec<Flow> {
    let mut flows = engines();
    if matches!(hub.vault, VaultPlan::Managed(_)) {
        flows.extend(managed_vault());
    }
    for (component, access) in processes(hub) {
        let process = Party::Component(component);
        flows.extend(access.iter().flat_map(|access| accessing(hub, &process, *access)));
        flows.push(tcp(Party::MetricsReaders, process, &[METRICS_PORT]));
    }
    flows.push(tcp(
        Party::ApiClients,
        Party::Component(api::COMPONENT),
        if hub.api.tls_only {
            &[API_TLS_PORT]
        } else {
            &[API_PORT, API_TLS_PORT]
        },
    ));
    if hub.autoscaling.scaling == Scaling::Keda {
        let redis = Party::Component(redis::COMPONENT);
        flows.push(tcp(Party::Keda, redis, &[REDIS_PORT, SENTINEL_PORT]));
    }
    flows.extend(callbacks(hub, plan));
    flows.extend(components(hub).into_iter().map(|component| Flow {
        from: Party::Component(component),
        to: Party::Dns,
        ports: Ports::Dns,
    }));
    flows.sort();
    flows.dedup();
    flows
}

/// What the members of an engine ask each other, and the operator all of them.
fn engines() -> Vec<Flow> {
    let [redis, mongodb, rabbitmq] =
        [redis::COMPONENT, mongodb::COMPONENT, rabbitmq::COMPONENT].map(Party::Component);
    vec![
        tcp(redis.clone(), redis.clone(), &[REDIS_PORT, SENTINEL_PORT]),
        tcp(Party::Operator, redis, &[REDIS_PORT, SENTINEL_PORT]),
        tcp(mongodb.clone(), mongodb.clone(), &[MONGODB_PORT]),
        tcp(Party::Operator, mongodb, &[MONGODB_PORT]),
        tcp(
            rabbitmq.clone(),
            rabbitmq.clone(),
            &[EPMD_PORT, DISTRIBUTION_PORT],
        ),
        tcp(
            Party::Operator,
            rabbitmq.clone(),
            &[AMQP_PORT, RABBITMQ_MANAGEMENT_PORT],
        ),
        tcp(Party::MetricsReaders, rabbitmq, &[RABBITMQ_METRICS_PORT]),
    ]
}

fn managed_vault() -> Vec<Flow> {
    let vault = Party::Component(vault::COMPONENT);
    vec![
        tcp(vault.clone(), vault.clone(), &[VAULT_PORT, VAULT_CLUSTER_PORT]),
        tcp(Party::Operator, vault.clone(), &[VAULT_PORT]),
        // To ask whose the token is that somebody logs in by.
        tcp(vault, Party::KubernetesApi, &KUBERNETES_API_PORTS),
    ]
}

/// What a process needs for one access.
fn accessing(hub: &ValidatedHub, process: &Party, access: Access) -> Vec<Flow> {
    let engine = |component, ports: &[u16]| vec![tcp(process.clone(), Party::Component(component), ports)];
    match access {
        Access::Redis => engine(redis::COMPONENT, &[REDIS_PORT, SENTINEL_PORT]),
        Access::MongoDb => engine(mongodb::COMPONENT, &[MONGODB_PORT]),
        Access::RabbitMq => engine(rabbitmq::COMPONENT, &[AMQP_PORT]),
        Access::Vault => match &hub.vault {
            VaultPlan::Managed(_) => engine(vault::COMPONENT, &[VAULT_PORT]),
            VaultPlan::External(vault) => {
                // A name of yours may well resolve to a private address.
                let host = Party::Host(Destination::of(&vault.address, &hub.names));
                vec![tcp(process.clone(), host, &[port(&vault.address)])]
            }
        },
        Access::Flickr => {
            let endpoints = [&hub.endpoints.rest, &hub.endpoints.upload, &hub.endpoints.oauth];
            let flow = |url| {
                let host = match Destination::of(url, &hub.names) {
                    Destination::Elsewhere => Party::Public,
                    inside => Party::Host(inside),
                };
                tcp(process.clone(), host, &[port(url)])
            };
            endpoints.map(flow).to_vec()
        }
    }
}

/// Clients choose the ports of their receivers.
fn callbacks(hub: &ValidatedHub, plan: &NetworkPlan) -> Vec<Flow> {
    let sender = Party::Component(dispatcher::CALLBACKS);
    let to = |to| Flow {
        from: sender.clone(),
        to,
        ports: Ports::AllTcp,
    };
    let mut flows = vec![to(Party::Public)];
    if !hub.callbacks.allowed_networks.is_empty() || !plan.callbacks_to.is_empty() {
        flows.push(to(Party::PrivateReceivers));
    }
    flows
}

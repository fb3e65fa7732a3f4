//! OpenBao, where the operator runs it.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, PodSpec, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};

use super::stateful::{CONFIG, DATA, Members};
use super::tls::{self, TLS};
use super::{Object, api, checksum, labels, pod, stateful};
use crate::names::{VAULT_CLUSTER_PORT, VAULT_PORT};
use crate::pki::Server;
use crate::validate::{ExternalVaultPlan, ManagedVaultPlan, ValidatedHub, VaultAuthPlan};

pub(super) const COMPONENT: &str = "vault";
const SETTINGS: &str = include_str!("scripts/openbao.hcl");
const START: &str = include_str!("scripts/openbao-start.sh");
const CERTIFICATE: &str = include_str!("scripts/watch-certificate.sh");

pub(super) fn objects(hub: &ValidatedHub, vault: &ManagedVaultPlan) -> Vec<Object> {
    let name = hub.names.vault();
    let nodes = hub.names.vault_nodes();
    let settings = settings(hub, vault);
    let checksum = checksum::of_texts([settings.as_str(), START, CERTIFICATE]);
    let files = [
        ("openbao.hcl", settings),
        ("start.sh", START.to_owned()),
        ("certificate.sh", CERTIFICATE.to_owned()),
    ];
    let client_ports = [("https", VAULT_PORT)];
    let node_ports = [("https", VAULT_PORT), ("cluster", VAULT_CLUSTER_PORT)];
    vec![
        ServiceAccount {
            metadata: labels::meta(hub, name.clone(), COMPONENT),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        }
        .into(),
        token_review(hub).into(),
        stateful::config_map(hub, name.clone(), COMPONENT, &files).into(),
        stateful::headless(hub, nodes.clone(), COMPONENT, &node_ports).into(),
        stateful::service(hub, name.clone(), COMPONENT, &client_ports).into(),
        pod::disruption_budget(hub, name.clone(), COMPONENT).into(),
        stateful::set(
            hub,
            Members {
                name,
                component: COMPONENT,
                service: nodes,
                replicas: vault.replicas,
                storage: &vault.storage,
                template: pod::template(hub, COMPONENT, pod::OPENBAO, checksum, pod_spec(hub, vault)),
            },
        )
        .into(),
    ]
}

/// What the operator needs to log in to a Vault of the user.
pub(super) fn login_objects(hub: &ValidatedHub, vault: &ExternalVaultPlan) -> Vec<Object> {
    match vault.auth {
        VaultAuthPlan::Kubernetes { .. } => {
            vec![api::service_account(hub, hub.names.vault_login(), COMPONENT).into()]
        }
        VaultAuthPlan::AppRole { .. } | VaultAuthPlan::Token { .. } => Vec::new(),
    }
}

/// Lets OpenBao ask the API server whose token it was given.
fn token_review(hub: &ValidatedHub) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: labels::cluster_meta(hub, hub.names.vault_token_review(), COMPONENT),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: "system:auth-delegator".to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: hub.names.vault(),
            namespace: Some(hub.names.namespace().to_owned()),
            ..Subject::default()
        }]),
    }
}

fn settings(hub: &ValidatedHub, vault: &ManagedVaultPlan) -> String {
    let mut settings = format!("{SETTINGS}\nstorage \"raft\" {{\n  path = \"/openbao/data\"\n");
    for host in hub.names.vault_hosts(vault.replicas) {
        let _ = write!(
            settings,
            "\n  retry_join {{\n    leader_api_addr     = \"https://{host}:{VAULT_PORT}\"\n    \
             leader_ca_cert_file = \"/etc/openbao-tls/ca.crt\"\n  }}\n"
        );
    }
    settings.push_str("}\n");
    settings
}

fn pod_spec(hub: &ValidatedHub, vault: &ManagedVaultPlan) -> PodSpec {
    PodSpec {
        containers: vec![member(hub, vault)],
        // Its own token is how it asks the API server about others'.
        service_account_name: Some(hub.names.vault()),
        automount_service_account_token: Some(true),
        termination_grace_period_seconds: Some(30),
        volumes: Some(vec![
            stateful::config_volume(hub.names.vault()),
            tls::volume(hub, Server::Vault),
            pod::scratch_dir("tmp", "64Mi"),
        ]),
        ..PodSpec::default()
    }
}

fn member(hub: &ValidatedHub, vault: &ManagedVaultPlan) -> Container {
    let domain = hub.names.service_host(&hub.names.vault_nodes());
    let own = |scheme: &str, port: u16| format!("{scheme}://$(POD_NAME).{domain}:{port}");
    Container {
        name: "openbao".to_owned(),
        image: Some(hub.images.openbao.clone()),
        image_pull_policy: Some(hub.images.pull_policy.to_owned()),
        command: Some(vec!["sh".to_owned(), "/etc/openbao/start.sh".to_owned()]),
        env: Some(vec![
            pod::pod_name_env(),
            pod::env("BAO_RAFT_NODE_ID", "$(POD_NAME)"),
            pod::env("BAO_API_ADDR", own("https", VAULT_PORT)),
            pod::env("BAO_CLUSTER_ADDR", own("https", VAULT_CLUSTER_PORT)),
            pod::env("BAO_ADDR", format!("https://localhost:{VAULT_PORT}")),
            pod::env("BAO_CACERT", "/etc/openbao-tls/ca.crt"),
            pod::env("HOME", "/tmp"),
        ]),
        ports: Some(vec![
            pod::port("https", VAULT_PORT),
            pod::port("cluster", VAULT_CLUSTER_PORT),
        ]),
        // Sealed and uninitialised members answer 503 and 501; standbys forward what they are asked.
        readiness_probe: Some(pod::FAST.https("/v1/sys/health?standbyok=true", "https")),
        resources: Some(pod::resources(&vault.resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(vec![
            pod::mount(DATA, "/openbao/data"),
            pod::mount("tmp", "/tmp"),
            pod::read_only(CONFIG, "/etc/openbao"),
            pod::read_only(TLS, "/etc/openbao-tls"),
        ]),
        ..Container::default()
    }
}

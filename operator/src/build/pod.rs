//! What every pod has in common: the `restricted` Pod Security Standard, a read-only root, spread over nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, ExecAction, HTTPGetAction,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, TCPSocketAction, TopologySpreadConstraint, Volume,
    VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{checksum, labels};
use crate::pki;
use crate::validate::{ContainerResources, ValidatedHub};

/// The user and group that a pod runs as.
#[derive(Clone, Copy)]
pub(super) struct RunAs {
    pub(super) user: i64,
    pub(super) group: i64,
}

/// The images of FlickrHub.
pub(super) const FLICKRHUB: RunAs = RunAs {
    user: 65532,
    group: 65532,
};
/// The official images of Redis, MongoDB and RabbitMQ.
pub(super) const ENGINE: RunAs = RunAs {
    user: 999,
    group: 999,
};
/// The official image of OpenBao.
pub(super) const OPENBAO: RunAs = RunAs {
    user: 100,
    group: 1000,
};

/// Kubernetes counts in `i32`; every number that gets here is bounded far below it.
pub(super) fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The security context of every container.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}

fn pod_security(run_as: RunAs) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(run_as.user),
        run_as_group: Some(run_as.group),
        fs_group: Some(run_as.group),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Requests and limits of a container.
pub(super) fn resources(resources: &ContainerResources) -> ResourceRequirements {
    requirements(
        (resources.cpu_request.as_str(), resources.cpu_limit.as_str()),
        (resources.memory_request.as_str(), resources.memory_limit.as_str()),
    )
}

/// Requests and limits, each as (request, limit).
pub(super) fn requirements(cpu: (&str, &str), memory: (&str, &str)) -> ResourceRequirements {
    let amounts = |cpu: &str, memory: &str| {
        Some(BTreeMap::from([
            ("cpu".to_owned(), Quantity(cpu.to_owned())),
            ("memory".to_owned(), Quantity(memory.to_owned())),
        ]))
    };
    ResourceRequirements {
        requests: amounts(cpu.0, memory.0),
        limits: amounts(cpu.1, memory.1),
        ..ResourceRequirements::default()
    }
}

/// Spreads the pods of a component over nodes and zones as far as there are any.
fn spread(hub: &ValidatedHub, component: &str) -> Vec<TopologySpreadConstraint> {
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .map(|key| TopologySpreadConstraint {
            label_selector: Some(labels::selector(hub, component)),
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            ..TopologySpreadConstraint::default()
        })
        .to_vec()
}

/// The template of a pod: `spec` with everything that all pods have in common. `checksum` is that of what it mounts.
pub(super) fn template(
    hub: &ValidatedHub,
    component: &str,
    run_as: RunAs,
    checksum: String,
    spec: PodSpec,
) -> PodTemplateSpec {
    let pull_secrets = hub.images.pull_secrets.iter();
    let pull_secrets: Vec<_> = pull_secrets
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::labels(hub, component)),
            annotations: Some(BTreeMap::from([
                (checksum::ANNOTATION.to_owned(), checksum),
                (
                    checksum::TRUST.to_owned(),
                    pki::trust_checksum(hub.trust.as_ref()),
                ),
            ])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: spec.automount_service_account_token.or(Some(false)),
            enable_service_links: Some(false),
            image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
            security_context: Some(pod_security(run_as)),
            topology_spread_constraints: Some(spread(hub, component)),
            ..spec
        }),
    }
}

/// Lets one pod of a component be away on purpose, and pods that do not work at any time.
pub(super) fn disruption_budget(hub: &ValidatedHub, name: String, component: &str) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: labels::meta(hub, name, component),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(labels::selector(hub, component)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

/// A named TCP port of a container.
pub(super) fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// An environment variable with a value that is no secret.
pub(super) fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.into()),
        ..EnvVar::default()
    }
}

/// An environment variable with the name of the pod.
pub(super) fn pod_name_env() -> EnvVar {
    EnvVar {
        name: "POD_NAME".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.name".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// A directory in memory: for files with secrets, which must not reach a disk.
pub(super) fn memory_dir(name: &str, limit: &str) -> Volume {
    empty_dir(name, Some("Memory"), limit)
}

/// A directory on the node that goes with the pod.
pub(super) fn scratch_dir(name: &str, limit: &str) -> Volume {
    empty_dir(name, None, limit)
}

fn empty_dir(name: &str, medium: Option<&str>, limit: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            size_limit: Some(Quantity(limit.to_owned())),
        }),
        ..Volume::default()
    }
}

/// Mounts a volume to be written.
pub(super) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

/// Mounts a volume to be read.
pub(super) fn read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        read_only: Some(true),
        ..mount(name, path)
    }
}

/// How often a probe looks, and how often it may fail.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) period_seconds: i32,
    pub(super) timeout_seconds: i32,
    pub(super) failures: i32,
}

/// For readiness: a change shows within seconds.
pub(super) const FAST: Pace = Pace {
    period_seconds: 2,
    timeout_seconds: 3,
    failures: 3,
};
/// For readiness that a script finds out, which costs several processes.
pub(super) const SCRIPTED: Pace = Pace {
    period_seconds: 3,
    timeout_seconds: 5,
    failures: 3,
};
/// For liveness: only what has hung for a minute is restarted.
pub(super) const PATIENT: Pace = Pace {
    period_seconds: 15,
    timeout_seconds: 5,
    failures: 4,
};

impl Pace {
    fn probe(self) -> Probe {
        Probe {
            period_seconds: Some(self.period_seconds),
            timeout_seconds: Some(self.timeout_seconds),
            failure_threshold: Some(self.failures),
            ..Probe::default()
        }
    }

    /// Asks over HTTPS; the kubelet does not look at the certificate.
    pub(super) fn https(self, path: &str, port: &str) -> Probe {
        Probe {
            http_get: Some(HTTPGetAction {
                path: Some(path.to_owned()),
                port: IntOrString::String(port.to_owned()),
                scheme: Some("HTTPS".to_owned()),
                ..HTTPGetAction::default()
            }),
            ..self.probe()
        }
    }

    /// Opens a connection.
    pub(super) fn tcp(self, port: &str) -> Probe {
        Probe {
            tcp_socket: Some(TCPSocketAction {
                port: IntOrString::String(port.to_owned()),
                ..TCPSocketAction::default()
            }),
            ..self.probe()
        }
    }

    /// Runs a shell script.
    pub(super) fn script(self, path: &str) -> Probe {
        Probe {
            exec: Some(script(path)),
            ..self.probe()
        }
    }
}

/// Runs a shell script in a container.
pub(super) fn script(path: &str) -> ExecAction {
    ExecAction {
        command: Some(vec!["sh".to_owned(), path.to_owned()]),
    }
}

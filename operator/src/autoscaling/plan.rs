//! By what the workers of a hub are scaled: what the resource wants, in the cluster as it is. Pure.

use super::cluster::Facts;
use crate::build::Kind;
use crate::crd::{AutoscalingProvider, AutoscalingSpec};

/// The condition. It is no part of `Ready`: the workers that are there do their work.
pub const WORKERS_AUTOSCALED: &str = "WorkersAutoscaled";

/// What scales the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// An HPA by the backlog, which the operator serves.
    Backlog,
    /// KEDA by the backlog.
    Keda,
    /// An HPA by CPU: nobody can serve the backlog.
    Cpu,
    /// The cluster could not be asked: what is there stays as it is.
    Unknown,
}

/// What the resource says, and what follows in this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoscalingPlan {
    /// Who is wanted.
    pub provider: AutoscalingProvider,
    /// What scales the workers.
    pub scaling: Scaling,
    /// Whether the cluster knows the kinds of KEDA.
    pub knows_keda: bool,
    /// Seconds without need for a worker before it goes.
    pub scale_in_delay_seconds: u32,
    /// The namespace of KEDA.
    pub keda_namespace: String,
    /// What the condition says.
    pub finding: Finding,
}

/// What the condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the workers are scaled by their backlog, as the resource wants it.
    pub holds: bool,
    /// One word in `CamelCase`.
    pub reason: &'static str,
    /// A sentence that tells what is the case and what to do.
    pub message: String,
}

impl AutoscalingPlan {
    /// What the resource says, in a cluster that is not known yet.
    pub fn of(spec: &AutoscalingSpec) -> Self {
        Self {
            provider: spec.provider,
            scaling: Scaling::Unknown,
            knows_keda: false,
            scale_in_delay_seconds: spec.scale_in_delay_seconds,
            keda_namespace: spec.keda_namespace.clone(),
            finding: Finding {
                holds: false,
                reason: "ClusterUnknown",
                message: "It is not known who serves external metrics in the cluster; what scales the workers stays as it is."
                    .to_owned(),
            },
        }
    }

    /// The same in a cluster of which this is known.
    #[must_use]
    pub fn within(&self, facts: &Facts) -> Self {
        let (scaling, finding) = choose(self.provider, facts);
        Self {
            scaling,
            finding,
            knows_keda: facts.keda,
            ..self.clone()
        }
    }

    /// Whether objects of a kind are looked at: those that the cluster does not know cannot be, and what scales the workers
    /// is left alone while nobody knows what should.
    pub const fn looks_at(&self, kind: Kind) -> bool {
        match kind {
            Kind::HorizontalPodAutoscaler => !matches!(self.scaling, Scaling::Unknown),
            Kind::ScaledObject | Kind::TriggerAuthentication => {
                self.knows_keda && !matches!(self.scaling, Scaling::Unknown)
            }
            _ => true,
        }
    }
}

fn choose(provider: AutoscalingProvider, facts: &Facts) -> (Scaling, Finding) {
    let finding = |holds, reason, message: String| Finding {
        holds,
        reason,
        message,
    };
    match (provider, facts.keda, &facts.other_adapter, facts.served) {
        (AutoscalingProvider::Keda, true, ..) => (
            Scaling::Keda,
            finding(true, "Keda", "KEDA scales the workers by their backlog.".to_owned()),
        ),
        (AutoscalingProvider::Keda, false, None, true) => (
            Scaling::Backlog,
            finding(
                false,
                "KedaMissing",
                "spec.autoscaling.provider is KEDA, which is not installed; until it is, HorizontalPodAutoscalers scale \
                 the workers by their backlog. Install KEDA, or set the provider to HPA."
                    .to_owned(),
            ),
        ),
        (AutoscalingProvider::Hpa, _, None, true) => (
            Scaling::Backlog,
            finding(
                true,
                "ExternalMetrics",
                "HorizontalPodAutoscalers scale the workers by their backlog, which the operator serves.".to_owned(),
            ),
        ),
        (AutoscalingProvider::Hpa, true, other, _) => (
            Scaling::Keda,
            finding(
                true,
                "KedaInstead",
                match other {
                    Some(other) => format!(
                        "{other} serves the external metrics of the cluster, which the operator leaves to it, so KEDA \
                         scales the workers by their backlog."
                    ),
                    None => "The operator does not serve external metrics, so KEDA scales the workers by their backlog."
                        .to_owned(),
                },
            ),
        ),
        (_, false, Some(other), _) => (
            Scaling::Cpu,
            finding(
                false,
                "MetricsApiTaken",
                format!(
                    "{other} serves the external metrics of the cluster, and KEDA is not installed, so the workers are \
                     scaled by CPU, which says little of their backlog. Install KEDA, or remove that adapter."
                ),
            ),
        ),
        (_, false, None, false) => (
            Scaling::Cpu,
            finding(
                false,
                "MetricsNotServed",
                "The operator was told not to serve external metrics, so the workers are scaled by CPU, which says little \
                 of their backlog. Start it with --external-metrics-service, or install KEDA."
                    .to_owned(),
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_cluster(provider: AutoscalingProvider, facts: &Facts) -> (Scaling, bool, &'static str) {
        let spec = AutoscalingSpec {
            provider,
            ..AutoscalingSpec::default()
        };
        let plan = AutoscalingPlan::of(&spec).within(facts);
        (plan.scaling, plan.finding.holds, plan.finding.reason)
    }

    fn facts(served: bool, other: Option<&str>, keda: bool) -> Facts {
        Facts {
            served,
            other_adapter: other.map(str::to_owned),
            keda,
        }
    }

    #[test]
    fn the_operator_serves_the_backlog_unless_another_adapter_serves_metrics() {
        use AutoscalingProvider::Hpa;
        assert_eq!(
            in_cluster(Hpa, &facts(true, None, false)),
            (Scaling::Backlog, true, "ExternalMetrics")
        );
        assert_eq!(
            in_cluster(Hpa, &facts(true, None, true)).0,
            Scaling::Backlog,
            "KEDA alone changes nothing"
        );
        let keda = Some("keda/keda-operator-metrics-apiserver");
        assert_eq!(
            in_cluster(Hpa, &facts(true, keda, true)),
            (Scaling::Keda, true, "KedaInstead")
        );
        assert_eq!(
            in_cluster(Hpa, &facts(true, Some("monitoring/prometheus-adapter"), false)),
            (Scaling::Cpu, false, "MetricsApiTaken")
        );
    }

    #[test]
    fn keda_scales_where_it_is_wanted_and_there() {
        use AutoscalingProvider::Keda;
        assert_eq!(
            in_cluster(Keda, &facts(true, None, true)),
            (Scaling::Keda, true, "Keda")
        );
        assert_eq!(
            in_cluster(Keda, &facts(true, None, false)),
            (Scaling::Backlog, false, "KedaMissing")
        );
        assert_eq!(in_cluster(Keda, &facts(false, None, false)).0, Scaling::Cpu);
    }

    #[test]
    fn the_condition_names_the_adapter_that_serves_metrics() {
        let facts = facts(true, Some("monitoring/prometheus-adapter"), false);
        let plan = AutoscalingPlan::of(&AutoscalingSpec::default()).within(&facts);
        assert!(
            plan.finding.message.starts_with("monitoring/prometheus-adapter "),
            "{}",
            plan.finding.message
        );
    }

    #[test]
    fn what_scales_is_left_alone_while_the_cluster_is_unknown() {
        let plan = AutoscalingPlan::of(&AutoscalingSpec::default());
        for kind in [
            Kind::HorizontalPodAutoscaler,
            Kind::ScaledObject,
            Kind::TriggerAuthentication,
        ] {
            assert!(!plan.looks_at(kind), "{kind:?}");
        }
        assert!(plan.looks_at(Kind::Deployment));
        assert!(
            !plan
                .within(&facts(true, None, false))
                .looks_at(Kind::ScaledObject)
        );
    }
}

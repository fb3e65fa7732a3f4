//! NetworkPolicies: every pod of a hub is denied everything, and allowed what the table of [`flows`] says.
//!
//! Policies add up: one denies, and one for each component allows what that component is asked and what it asks for. Both
//! ends of a flow inside the hub are limited, each by the policy of its own component.

mod destination;
mod flows;
mod peers;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicySpec,
};

use super::{Object, labels};
use crate::validate::{NetworkPlan, ValidatedHub};
use flows::{Flow, Party, components, flows};

/// The component of the policy that denies, which concerns all.
const ALL: &str = "network";

pub(super) fn objects(hub: &ValidatedHub) -> Vec<Object> {
    hub.network.as_ref().map_or_else(Vec::new, |plan| {
        let flows = flows(hub, plan);
        let allowing = components(hub)
            .into_iter()
            .map(|component| allow(hub, plan, &flows, component).into());
        [default_deny(hub).into()].into_iter().chain(allowing).collect()
    })
}

/// Also for pods that carry the labels of the hub and are no component of it.
fn default_deny(hub: &ValidatedHub) -> NetworkPolicy {
    NetworkPolicy {
        metadata: labels::meta(hub, hub.names.default_deny(), ALL),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels::all_pods(hub)),
            policy_types: Some(both_directions()),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn allow(hub: &ValidatedHub, plan: &NetworkPlan, flows: &[Flow], component: &'static str) -> NetworkPolicy {
    let own = Party::Component(component);
    let ingress = flows.iter().filter(|flow| flow.to == own).filter_map(|flow| {
        let from = peers::of(hub, plan, &flow.from)?;
        Some(NetworkPolicyIngressRule {
            from: from.limited(),
            ports: Some(peers::ports(&flow.ports)),
        })
    });
    let egress = flows.iter().filter(|flow| flow.from == own).filter_map(|flow| {
        let to = peers::of(hub, plan, &flow.to)?;
        Some(NetworkPolicyEgressRule {
            to: to.limited(),
            ports: Some(peers::ports(&flow.ports)),
        })
    });
    NetworkPolicy {
        metadata: labels::meta(hub, hub.names.network_policy(component), component),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels::selector(hub, component)),
            policy_types: Some(both_directions()),
            ingress: some(ingress.collect()),
            egress: some(egress.collect()),
        }),
    }
}

fn both_directions() -> Vec<String> {
    ["Ingress", "Egress"].map(str::to_owned).to_vec()
}

/// The API server leaves out empty lists.
fn some<T>(rules: Vec<T>) -> Option<Vec<T>> {
    (!rules.is_empty()).then_some(rules)
}

#[cfg(test)]
mod tests;

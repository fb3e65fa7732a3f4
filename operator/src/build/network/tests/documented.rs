//! The table as `docs/network.md` shows it, from where the end-to-end test of the enforcement reads it.

use std::path::Path;

use super::super::destination::Destination;
use super::*;

const BEGIN: &str = "<!-- flows -->\n";
const END: &str = "<!-- end of flows -->";

fn name(party: &Party) -> String {
    let name = match party {
        Party::Component(name) => return format!("`{name}`"),
        Party::Operator => "`operator`",
        Party::Keda => "KEDA",
        Party::ApiClients => "`apiFrom`",
        Party::MetricsReaders => "`metricsFrom`",
        Party::Dns => "the cluster's DNS",
        Party::KubernetesApi => "`kubernetesApiTo`",
        Party::Public => "public addresses",
        Party::PrivateReceivers => "`callbacks.allowedNetworks`, `callbacksTo`",
        Party::Host(Destination::Elsewhere) => "anywhere",
        Party::Host(Destination::Address(address)) => return address.to_string(),
        Party::Host(Destination::Namespace(namespace)) => return format!("namespace {namespace}"),
    };
    name.to_owned()
}

fn row(flow: &Flow) -> String {
    let ports = match &flow.ports {
        Ports::Tcp(ports) => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
        Ports::AllTcp => "all".to_owned(),
        Ports::Dns => "53 (UDP, TCP)".to_owned(),
    };
    format!("| {} | {} | {ports} |\n", name(&flow.from), name(&flow.to))
}

fn table() -> String {
    let mut sample = fixtures::minimal();
    // So that the flow is there; the networks themselves are not in the table.
    sample.spec.callbacks.allowed_networks = vec!["10.0.0.0/8".to_owned()];
    let hub = fixtures::validated(&sample);
    let flows = flows(&hub, hub.network.as_ref().unwrap());
    let rows: String = flows.iter().map(row).collect();
    format!("| from | to | ports |\n| --- | --- | --- |\n{rows}")
}

/// Rewritten when `UPDATE_FLOWS` is set, compared otherwise.
#[test]
fn the_documented_flows_are_those_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/network.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (kept, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("UPDATE_FLOWS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        kept == table,
        "docs/network.md is old; set UPDATE_FLOWS=1 and run the test again"
    );
}

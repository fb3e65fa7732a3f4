//! That a new version of the operator restarts no pod before the resource allows it, and does when it does.

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_bench::quantile::number;
use flickrhub_bench::report::Report;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, DEPLOYMENT, HUB, STATEFUL_SET};
use crate::{Failure, hubs};

const BENCH: &str = "operator";
const NAMESPACE: &str = "bench-upgrade";
const NAME: &str = "gallery";
const QUIET: Duration = Duration::from_secs(3);

pub(crate) async fn run(cluster: &Cluster, report: &mut Report) -> Result<(), Failure> {
    let old = cluster.operator_of_version("upgrade-old", "0.1.0").await?;
    old.wait_to_lead().await?;
    hubs::prepare(cluster, NAMESPACE).await?;
    hubs::make(cluster, NAMESPACE, &hubs::hub(NAME)).await?;
    cluster.settled(QUIET).await?;
    let before = templates(cluster).await?;
    old.kill().await?;

    let new = cluster.operator_of_version("upgrade-new", "0.2.0").await?;
    new.wait_to_lead().await?;
    cluster.settled(QUIET).await?;
    let restarts = differing(&before, &templates(cluster).await?);
    report.figure(
        BENCH,
        "upgrade_restarts",
        number(restarts),
        "workloads",
        Value::Null,
    )?;

    let allow = Patch::Merge(json!({"spec": {"operatorUpgrades": "Automatic"}}));
    let api = cluster.objects(&HUB, NAMESPACE);
    api.patch(NAME, &PatchParams::default(), &allow).await?;
    cluster.settled(QUIET).await?;
    let allowed = differing(&before, &templates(cluster).await?);
    report.figure(
        BENCH,
        "upgrade_restarts_allowed",
        number(allowed),
        "workloads",
        Value::Null,
    )?;
    new.kill().await?;
    if restarts > 0 {
        return Err(format!("{restarts} workloads restart without consent").into());
    }
    if allowed == 0 {
        return Err("nothing restarts with consent".into());
    }
    Ok(())
}

/// The pod templates of the hub, by the name of the workload.
async fn templates(cluster: &Cluster) -> Result<BTreeMap<String, Value>, Failure> {
    let mut templates = BTreeMap::new();
    for kind in [STATEFUL_SET, DEPLOYMENT] {
        let api = cluster.objects(&kind, NAMESPACE);
        for object in api.list(&ListParams::default()).await?.items {
            let template = object.data.pointer("/spec/template").cloned();
            templates.insert(
                object.metadata.name.unwrap_or_default(),
                template.unwrap_or_default(),
            );
        }
    }
    Ok(templates)
}

fn differing(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> usize {
    let differs = |(name, template): &(&String, &Value)| after.get(*name) != Some(*template);
    before.iter().filter(differs).count()
}

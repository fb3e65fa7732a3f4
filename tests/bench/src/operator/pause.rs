//! That a paused hub is left as it is, and repaired when it goes on.

use std::time::Duration;

use flickrhub_bench::quantile::number;
use flickrhub_bench::report::Report;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::audit::total;
use crate::cluster::{Cluster, HUB, SERVICE};
use crate::{Failure, hubs};

const NAMESPACE: &str = "bench-pause";
const NAME: &str = "gallery";
const CHILD: &str = "gallery-api";
const QUIET: Duration = Duration::from_secs(3);

pub(crate) async fn run(cluster: &Cluster, report: &mut Report) -> Result<(), Failure> {
    let operator = cluster.operator("pause").await?;
    operator.wait_to_lead().await?;
    hubs::prepare(cluster, NAMESPACE).await?;
    hubs::make(cluster, NAMESPACE, &hubs::hub(NAME)).await?;
    cluster.settled(QUIET).await?;
    let services = cluster.objects(&SERVICE, NAMESPACE);

    set_paused(cluster, true).await?;
    cluster.settled(QUIET).await?;
    let mark = cluster.audit.mark()?;
    services.delete(CHILD, &DeleteParams::default()).await?;
    hubs::touch(cluster, NAMESPACE, NAME).await?;
    tokio::time::sleep(QUIET).await;
    let writes = total(&cluster.audit.writes_since(mark)?);
    report.figure("operator", "paused_writes", number(writes), "writes", Value::Null)?;

    set_paused(cluster, false).await?;
    cluster.settled(QUIET).await?;
    let is_back = services.get_opt(CHILD).await?.is_some();
    operator.kill().await?;
    match (writes, is_back) {
        (0, true) => Ok(()),
        (0, false) => Err("a hub that goes on is not repaired".into()),
        (writes, _) => Err(format!("{writes} writes although it is paused").into()),
    }
}

async fn set_paused(cluster: &Cluster, paused: bool) -> Result<(), Failure> {
    let patch = Patch::Merge(json!({"spec": {"paused": paused}}));
    let api = cluster.objects(&HUB, NAMESPACE);
    api.patch(NAME, &PatchParams::default(), &patch).await?;
    Ok(())
}

//! How soon another process does the leader's work after the leader was killed.

use std::time::{Duration, Instant};

use flickrhub_bench::report::Report;
use kube::api::DeleteParams;
use serde_json::Value;

use crate::cluster::{Cluster, SERVICE};
use crate::{Failure, hubs};

const NAMESPACE: &str = "bench-takeover";
/// Longer than any takeover may take.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn run(cluster: &Cluster, report: &mut Report) -> Result<(), Failure> {
    let leader = cluster.operator("leader").await?;
    leader.wait_to_lead().await?;
    hubs::prepare(cluster, NAMESPACE).await?;
    hubs::make(cluster, NAMESPACE, &hubs::hub("gallery")).await?;
    let standby = cluster.operator("standby").await?;
    cluster.settled(Duration::from_secs(3)).await?;

    let services = cluster.objects(&SERVICE, NAMESPACE);
    let killed = Instant::now();
    leader.kill().await?;
    services.delete("gallery-api", &DeleteParams::default()).await?;
    // That it is back is what counts, not that somebody says to lead.
    while services.get_opt("gallery-api").await?.is_none() {
        if killed.elapsed() > PATIENCE {
            return Err("nobody took over".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = killed.elapsed().as_secs_f64();
    report.figure("operator", "takeover_s", took, "s", Value::Null)?;
    standby.kill().await
}

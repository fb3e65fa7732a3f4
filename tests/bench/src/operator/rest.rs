//! What many resources without pods cost: memory and CPU at rest, reconciliations while they change, and writes where
//! nothing is to be written.

use std::time::Duration;

use flickrhub_bench::quantile::number;
use flickrhub_bench::report::Report;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::audit::total;
use crate::cluster::{Cluster, HUB};
use crate::histogram::Histogram;
use crate::process::Operator;
use crate::{Failure, Options, hubs};

const BENCH: &str = "operator";
const NAMESPACE: &str = "bench-rest";
/// How long the operator writes nothing before it counts as done.
const QUIET: Duration = Duration::from_secs(5);
/// The pause between two changes of hubs: about as many as one operator of a large cluster sees.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(cluster: &Cluster, options: &Options, report: &mut Report) -> Result<(), Failure> {
    hubs::prepare(cluster, NAMESPACE).await?;
    let mut there = 0;
    for resources in &options.resources {
        let resources = *resources;
        let operator = cluster.operator(&format!("rest-{resources}")).await?;
        operator.wait_to_lead().await?;
        let (before, cpu) = (operator.reconciliations().await?, operator.cpu()?);
        hubs::make_many(cluster, NAMESPACE, there..resources).await?;
        there = resources;
        settle(cluster, &operator, resources).await?;
        let created = operator.reconciliations().await?;
        let created = created.since(&before);
        quantiles(report, "create", resources, &created)?;
        cpu_per_look(
            report,
            "create",
            resources,
            cpu.ms_until(operator.cpu()?),
            &created,
        )?;

        idle(cluster, options, report, resources, &operator).await?;
        let (rested, cpu) = (operator.reconciliations().await?, operator.cpu()?);
        change(cluster, resources).await?;
        settle(cluster, &operator, resources).await?;
        let changed = operator.reconciliations().await?.since(&rested);
        quantiles(report, "reconcile", resources, &changed)?;
        cpu_per_look(
            report,
            "reconcile",
            resources,
            cpu.ms_until(operator.cpu()?),
            &changed,
        )?;
        operator.kill().await?;

        restart(cluster, report, resources).await?;
    }
    Ok(())
}

/// Waits until every hub was looked at and nothing is written any more.
async fn settle(cluster: &Cluster, operator: &Operator, resources: usize) -> Result<(), Failure> {
    for _ in 0..60 {
        cluster.settled(QUIET).await?;
        // One that has ended writes nothing, too.
        operator.cpu()?;
        if hubs::observed(cluster, NAMESPACE).await? >= resources {
            return Ok(());
        }
    }
    Err("the operator does not look at every hub".into())
}

async fn idle(
    cluster: &Cluster,
    options: &Options,
    report: &mut Report,
    resources: usize,
    operator: &Operator,
) -> Result<(), Failure> {
    let (mark, before) = (cluster.audit.mark()?, operator.cpu()?);
    let reconciliations = operator.reconciliations().await?;
    tokio::time::sleep(Duration::from_secs(options.idle_seconds)).await;
    let millicores = before.millicores_until(operator.cpu()?);
    let looks = operator.reconciliations().await?.since(&reconciliations).count();
    let writes = cluster.audit.writes_since(mark)?;
    let labels = json!({"resources": resources});
    report.figure(BENCH, "rss_mib", operator.resident_mib()?, "MiB", labels.clone())?;
    report.figure(BENCH, "idle_cpu_millicores", millicores, "millicores", labels)?;
    let labels = json!({"resources": resources, "seconds": options.idle_seconds});
    report.figure(BENCH, "idle_looks", looks, "looks", labels.clone())?;
    report.figure(BENCH, "idle_writes", number(total(&writes)), "writes", labels)?;
    if writes.is_empty() {
        Ok(())
    } else {
        Err(format!("writes at rest: {writes:?}").into())
    }
}

/// Changes the number of API pods of every hub.
async fn change(cluster: &Cluster, resources: usize) -> Result<(), Failure> {
    let api = cluster.objects(&HUB, NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"api": {"replicas": 3}}}));
    for index in 0..resources {
        api.patch(&hubs::name(index), &PatchParams::default(), &patch)
            .await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Another process begins and finds everything as it should be.
async fn restart(cluster: &Cluster, report: &mut Report, resources: usize) -> Result<(), Failure> {
    let mark = cluster.audit.mark()?;
    let operator = cluster.operator(&format!("restart-{resources}")).await?;
    operator.wait_to_lead().await?;
    for _ in 0..300 {
        if operator.reconciliations().await?.count() >= number(resources) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.settled(QUIET).await.ok();
    let writes = cluster.audit.writes_since(mark)?;
    let labels = json!({"resources": resources});
    report.figure(
        BENCH,
        "restart_writes",
        number(total(&writes)),
        "writes",
        labels.clone(),
    )?;
    quantiles(report, "restart", resources, &operator.reconciliations().await?)?;
    report.figure(BENCH, "restart_rss_mib", operator.resident_mib()?, "MiB", labels)?;
    operator.kill().await?;
    if writes.is_empty() {
        Ok(())
    } else {
        Err(format!("writes at a restart: {writes:?}").into())
    }
}

fn quantiles(report: &mut Report, what: &str, resources: usize, times: &Histogram) -> Result<(), Failure> {
    let labels = json!({"resources": resources});
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        let metric = format!("{what}_{name}_ms");
        report.figure(BENCH, metric, times.quantile_ms(q), "ms", labels.clone())?;
    }
    report.figure(BENCH, format!("{what}_looks"), times.count(), "looks", labels)?;
    Ok(())
}

/// The operator's CPU time for each look at a hub, all else that it did meanwhile included: what holds across machines and runs,
/// where the time that a look takes is most of all the API server's.
fn cpu_per_look(
    report: &mut Report,
    what: &str,
    resources: usize,
    cpu_ms: f64,
    looks: &Histogram,
) -> Result<(), Failure> {
    let per_look = cpu_ms / looks.count().max(1.0);
    let labels = json!({"resources": resources});
    Ok(report.figure(BENCH, format!("{what}_cpu_ms_per_look"), per_look, "ms", labels)?)
}

//! How soon another process does the operator's work when the one that leads is lost.
//!
//! An object of the hub is deleted when the leader is lost; that it is there anew is what counts, not that somebody says to
//! lead. It is one that nothing depends on at the moment, so the hub serves on.

use std::time::Duration;

use flickrhub_chaos::process::Processes;
use flickrhub_e2e::cluster;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::loss::Kind;
use crate::members::Members;

/// The lease that elects the leader.
const LEASE: &str = "flickrhub-operator";
/// Longer than any takeover may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often the object is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// From the loss of the leader until the object is there anew.
///
/// # Errors
/// When the cluster does not answer, nobody leads, or nobody takes over.
pub(crate) async fn one(client: &Client, namespace: &str, kind: Kind) -> Result<Duration, Failure> {
    let members = Members::of_the_operator(client.clone(), namespace);
    members.whole().await?;
    let leader = leader(client, namespace).await?;
    let container = members.container(&leader).await?;
    let began = Instant::now();
    let lasting = kind.begin(&members, &leader).await?;
    if matches!(kind, Kind::Delete | Kind::Graceful) {
        gone(&container).await?;
    }
    let (ended, took) = tokio::join!(lasting.end(), repaired(client, began));
    ended?;
    members.whole().await?;
    took
}

/// The pod of the process that holds the lease.
async fn leader(client: &Client, namespace: &str) -> Result<String, Failure> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let holder = leases
        .get(LEASE)
        .await?
        .spec
        .and_then(|spec| spec.holder_identity);
    // `<pod>_<eight digits of the process>`
    let pod = holder.as_deref().and_then(|holder| holder.rsplit_once('_'));
    let (pod, _) = pod.ok_or("nobody leads")?;
    Ok(pod.to_owned())
}

/// Waits until a pod that was deleted does not repair any more.
async fn gone(container: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !Processes::of_container(container).is_empty() {
        if Instant::now() > deadline {
            return Err("the leader does not go".into());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Deletes the object, and waits until it is there anew; the time since the leader was lost.
async fn repaired(client: &Client, began: Instant) -> Result<Duration, Failure> {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), &cluster::namespace());
    let name = format!("{}-callbacks", cluster::hub());
    let before = budgets.get(&name).await?.uid();
    budgets.delete(&name, &DeleteParams::default()).await?;
    while began.elapsed() < PATIENCE {
        // An API server that is busy may not answer; the next look tells.
        if let Ok(Some(budget)) = budgets.get_opt(&name).await
            && budget.uid() != before
        {
            return Ok(began.elapsed());
        }
        sleep(LOOK).await;
    }
    Err("nobody took over".into())
}

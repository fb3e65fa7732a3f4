//! The pods of an engine.

use std::collections::BTreeSet;
use std::time::Duration;

use flickrhub_e2e::cluster;
use flickrhub_e2e::processes::is_ready;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::engine::Engine;

/// How long the engine may take to be whole again.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long a pod that was lost may look ready: until its next probe.
const NOTICED: Duration = Duration::from_secs(4);
/// How often pods are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The members of an engine as the cluster sees them.
pub(crate) struct Members {
    client: Client,
    engine: Engine,
}

impl Members {
    /// Those of the hub under test.
    pub(crate) const fn of(client: Client, engine: Engine) -> Self {
        Self { client, engine }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &cluster::namespace())
    }

    /// All of them, whatever state they are in.
    async fn all(&self) -> Result<Vec<Pod>, Failure> {
        let labels = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component={}",
            cluster::hub(),
            self.engine.name()
        );
        Ok(self
            .pods()
            .list(&ListParams::default().labels(&labels))
            .await?
            .items)
    }

    async fn uids(&self) -> Result<BTreeSet<String>, Failure> {
        Ok(self.all().await?.iter().filter_map(ResourceExt::uid).collect())
    }

    /// Waits until the hub is Ready and every pod of the engine is.
    ///
    /// # Errors
    /// When that takes longer than [`PATIENCE`].
    pub(crate) async fn whole(&self) -> Result<(), Failure> {
        sleep(NOTICED).await;
        let hubs = cluster::hubs(&self.client, &cluster::namespace());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let pods = self.all().await?;
            let hub = hubs.get(&cluster::hub()).await?;
            let ready = cluster::condition(&hub, "Ready").is_some_and(|condition| condition.status == "True");
            if ready && !pods.is_empty() && pods.iter().all(is_ready) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("{} is not whole again", self.engine.name()).into())
    }

    /// Deletes a pod, with its own grace period unless another is given, in seconds.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub(crate) async fn delete(&self, pod: &str, grace_period: Option<u32>) -> Result<(), Failure> {
        let how = DeleteParams {
            grace_period_seconds: grace_period,
            ..DeleteParams::default()
        };
        self.pods().delete(pod, &how).await?;
        Ok(())
    }

    /// The id of the container in which the engine runs, without the runtime's prefix.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) async fn container(&self, pod: &str) -> Result<String, Failure> {
        let pod = self.pods().get(pod).await?;
        let statuses = pod.status.and_then(|status| status.container_statuses);
        let mut statuses = statuses.into_iter().flatten();
        let status = statuses.find(|status| status.name == self.engine.container());
        let id = status.and_then(|status| status.container_id);
        let id = id.as_deref().and_then(|id| id.split_once("://"));
        Ok(id.ok_or("the engine's container does not run")?.1.to_owned())
    }

    /// Changes the resource so that every member is replaced, and waits until that has happened to each. The resource stays
    /// changed.
    ///
    /// # Errors
    /// When the cluster does not answer, or some member is still there after [`PATIENCE`].
    pub(crate) async fn replace_all(&self) -> Result<(), Failure> {
        let before = self.uids().await?;
        let hubs = cluster::hubs(&self.client, &cluster::namespace());
        let hub = hubs.get(&cluster::hub()).await?;
        let path = format!("/spec/{}/resources/requests/cpu", self.engine.name());
        let present = hub.data.pointer(&path).and_then(|cpu| cpu.as_str());
        let other = if present == Some("51m") { "52m" } else { "51m" };
        let resources = json!({"resources": {"requests": {"cpu": other}}});
        let patch = Patch::Merge(json!({"spec": {self.engine.name(): resources}}));
        hubs.patch(&cluster::hub(), &PatchParams::default(), &patch)
            .await?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.uids().await?.is_disjoint(&before) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("the members of {} are not replaced", self.engine.name()).into())
    }
}

//! The pods of an engine, or of the operator.

use std::collections::BTreeSet;
use std::time::Duration;

use flickrhub_e2e::cluster;
use flickrhub_e2e::processes::is_ready;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::engine::Engine;

/// How long the engine may take to be whole again.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long a pod that was lost may look ready: until its next probe.
const NOTICED: Duration = Duration::from_secs(4);
/// How often pods are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Members that do the same work, one of which leads, as the cluster sees them.
pub(crate) struct Members {
    client: Client,
    /// In messages.
    name: &'static str,
    namespace: String,
    labels: String,
    container: &'static str,
    /// The part of the hub's `spec` by which all of them can be replaced, as a JSON pointer.
    settings: Option<&'static str>,
}

impl Members {
    /// Those of an engine of the hub under test.
    pub(crate) fn of(client: Client, engine: Engine) -> Self {
        Self {
            client,
            name: engine.name(),
            namespace: cluster::namespace(),
            labels: format!(
                "app.kubernetes.io/instance={},app.kubernetes.io/component={}",
                cluster::hub(),
                engine.component()
            ),
            container: engine.container(),
            settings: Some(engine.settings()),
        }
    }

    /// Those of the operator, in its namespace.
    pub(crate) fn of_the_operator(client: Client, namespace: &str) -> Self {
        Self {
            client,
            name: "the operator",
            namespace: namespace.to_owned(),
            labels: "app.kubernetes.io/name=flickrhub-operator".to_owned(),
            container: "operator",
            settings: None,
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// All of them, whatever state they are in.
    async fn all(&self) -> Result<Vec<Pod>, Failure> {
        Ok(self
            .pods()
            .list(&ListParams::default().labels(&self.labels))
            .await?
            .items)
    }

    /// The identity of a pod.
    ///
    /// # Errors
    /// When there is no such pod.
    pub(crate) async fn uid(&self, pod: &str) -> Result<String, Failure> {
        let pod = self.pods().get(pod).await?;
        Ok(pod.uid().ok_or("a pod without a UID")?)
    }

    async fn uids(&self) -> Result<BTreeSet<String>, Failure> {
        Ok(self.all().await?.iter().filter_map(ResourceExt::uid).collect())
    }

    /// Waits until the hub is Ready and every member is.
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
        Err(format!("{} is not whole again", self.name).into())
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

    /// The id of the container in which the member itself runs, without the runtime's prefix.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) async fn container(&self, pod: &str) -> Result<String, Failure> {
        let pod = self.pods().get(pod).await?;
        let statuses = pod.status.and_then(|status| status.container_statuses);
        let mut statuses = statuses.into_iter().flatten();
        let status = statuses.find(|status| status.name == self.container);
        let id = status.and_then(|status| status.container_id);
        let id = id.as_deref().and_then(|id| id.split_once("://"));
        Ok(id.ok_or("the member's container does not run")?.1.to_owned())
    }

    /// Changes the resource so that every member is replaced, and waits until that has happened to each. The resource stays
    /// changed.
    ///
    /// # Errors
    /// When the cluster does not answer, or some member is still there after [`PATIENCE`].
    pub(crate) async fn replace_all(&self) -> Result<(), Failure> {
        let settings = self
            .settings
            .ok_or_else(|| format!("no setting replaces {}", self.name))?;
        let before = self.uids().await?;
        let hubs = cluster::hubs(&self.client, &cluster::namespace());
        let hub = hubs.get(&cluster::hub()).await?;
        let path = format!("/spec{settings}/resources/requests/cpu");
        let present = hub.data.pointer(&path).and_then(|cpu| cpu.as_str());
        let other = if present == Some("51m") { "52m" } else { "51m" };
        let resources = json!({"resources": {"requests": {"cpu": other}}});
        let patch = Patch::Merge(json!({"spec": nested(settings, resources)}));
        hubs.patch(&cluster::hub(), &PatchParams::default(), &patch)
            .await?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.uids().await?.is_disjoint(&before) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("the members of {} are not replaced", self.name).into())
    }
}

/// An object in which the value is at this JSON pointer.
fn nested(pointer: &str, value: Value) -> Value {
    pointer
        .rsplit('/')
        .filter(|name| !name.is_empty())
        .fold(value, |value, name| json!({name: value}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_put_where_the_pointer_says() {
        assert_eq!(nested("/redis", json!(1)), json!({"redis": 1}));
        let vault = nested("/vault/managed", json!({"a": 1}));
        assert_eq!(vault, json!({"vault": {"managed": {"a": 1}}}));
    }
}

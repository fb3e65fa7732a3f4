//! What benches change of the hub, and how it is put back.
//!
//! How the hub was is written to a file before the first change, and the file goes when everything is as it was. A bench
//! that was killed in between is made good by the next one, which finds the file.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use flickrhub_e2e::cluster;
use flickrhub_e2e::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::Failure;

/// How long the hub may take to be as its resource says.
const PATIENCE: Duration = Duration::from_mins(5);

/// The hub under test.
pub(crate) struct Hub {
    client: Client,
    record: PathBuf,
}

impl Hub {
    /// The hub under test; how it was is kept in `folder`.
    pub(crate) fn new(client: Client, folder: &std::path::Path) -> Self {
        let record = folder.join(format!("hub-{}-{}.json", cluster::namespace(), cluster::hub()));
        Self { client, record }
    }

    /// Raises what users and the application may do as far as the resource allows, and keeps the number of workers: so
    /// that the limits are not what is measured. Processes whose settings changed are replaced, and waited for.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn raise_limits(&self) -> Result<(), Failure> {
        self.note().await?;
        let spec = self.resource().await?.data["spec"].take();
        self.patch(raised(&spec)).await?;
        self.settled().await?;
        // Processes that run would see their new limits when the kubelet brings them the file, within a minute or two.
        for component in ["api", "dispatcher"] {
            self.replace(component).await?;
        }
        self.settled().await
    }

    /// Lets each worker of the REST queue run so many jobs at a time, out of a window of sixteen times as many over all.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn widen(&self, concurrency: u32) -> Result<(), Failure> {
        self.note().await?;
        let rest =
            json!({"concurrency": concurrency, "prefetch": concurrency * 3 / 2, "window": concurrency * 16});
        self.patch(json!({"queues": {"rest": rest}})).await?;
        self.settled().await
    }

    /// Undoes [`widen`](Self::widen).
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn narrow(&self) -> Result<(), Failure> {
        let before = self.noted()?;
        let mut rest = rest_queue(&before["spec"]);
        // Still raised, as the other limits are.
        if let Some(rest) = rest.as_object_mut() {
            rest.remove("maxReplicas");
        }
        self.patch(json!({"queues": {"rest": rest}})).await?;
        self.settled().await
    }

    /// Has the workers of the queue `rest` be so many, no fewer and no more.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn set_workers(&self, workers: u32) -> Result<(), Failure> {
        self.note().await?;
        let rest = json!({"minReplicas": workers, "maxReplicas": workers});
        self.patch(json!({"queues": {"rest": rest}})).await
    }

    /// Gives users other shares of a queue than the one that most have, and has the API know it.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn set_weights(&self, weights: &[(&str, u32)]) -> Result<(), Failure> {
        self.note().await?;
        let weights: Vec<Value> = weights
            .iter()
            .map(|(user, weight)| json!({"userId": user, "weight": weight}))
            .collect();
        self.patch(json!({"limits": {"weights": weights}})).await?;
        self.settled().await?;
        self.replace("api").await?;
        self.settled().await
    }

    /// Undoes [`set_weights`](Self::set_weights); processes see it when the kubelet brings them the file.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn reset_weights(&self) -> Result<(), Failure> {
        let before = self.noted()?;
        let weights = &before["spec"]["limits"]["weights"];
        self.patch(json!({"limits": {"weights": weights}})).await
    }

    /// Replaces the pods of a component.
    async fn replace(&self, component: &str) -> Result<(), Failure> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &cluster::namespace());
        let labels = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component={component}",
            cluster::hub()
        );
        pods.delete_collection(&DeleteParams::default(), &ListParams::default().labels(&labels))
            .await?;
        let name = format!("{}-{component}", cluster::hub());
        let rolled_out = || async {
            let status = self.deployments().get(&name).await.ok()?.status?;
            let all = status.replicas.filter(|replicas| *replicas > 0);
            (status.ready_replicas == all && all.is_some()).then_some(())
        };
        eventually("pods are away", PATIENCE, || async {
            rolled_out().await.is_none().then_some(())
        })
        .await;
        eventually("pods are back", PATIENCE, rolled_out).await;
        Ok(())
    }

    /// Stops the dispatcher: accepted jobs stay in their lanes. The operator is told to leave the hub alone meanwhile, or
    /// it would start the dispatcher again.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn stop_dispatcher(&self) -> Result<(), Failure> {
        self.note().await?;
        self.patch(json!({"paused": true})).await?;
        let generation = self.resource().await?.metadata.generation;
        eventually("the operator leaves the hub alone", PATIENCE, || async {
            let hub = self.resource().await.ok()?;
            let seen = hub.data.pointer("/status/observedGeneration")?.as_i64();
            (seen >= generation).then_some(())
        })
        .await;
        self.scale_dispatcher(0).await
    }

    /// Lets the dispatcher run again, if it was stopped.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn start_dispatcher(&self) -> Result<(), Failure> {
        if !self.record.exists() {
            return Ok(());
        }
        let before = self.noted()?;
        self.scale_dispatcher(before["dispatchers"].as_i64().unwrap_or(1))
            .await?;
        self.patch(json!({"paused": before["spec"]["paused"]})).await?;
        self.settled().await
    }

    /// Puts everything back as it was before the first change, if anything was changed.
    ///
    /// # Errors
    /// When the cluster does not answer; the record stays then, and the next bench tries again.
    pub(crate) async fn restore(&self) -> Result<(), Failure> {
        if !self.record.exists() {
            return Ok(());
        }
        let before = self.noted()?;
        self.scale_dispatcher(before["dispatchers"].as_i64().unwrap_or(1))
            .await?;
        self.patch(restoring(&before["spec"])).await?;
        self.settled().await?;
        fs::remove_file(&self.record)?;
        Ok(())
    }

    async fn note(&self) -> Result<(), Failure> {
        if self.record.exists() {
            return Ok(());
        }
        let dispatcher = self.deployments().get(&dispatcher()).await?;
        let replicas = dispatcher.spec.and_then(|spec| spec.replicas);
        let before = json!({"spec": self.resource().await?.data["spec"], "dispatchers": replicas});
        if let Some(folder) = self.record.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.record, before.to_string())?;
        Ok(())
    }

    fn noted(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&fs::read(&self.record)?)?)
    }

    async fn resource(&self) -> Result<DynamicObject, Failure> {
        let hubs = cluster::hubs(&self.client, &cluster::namespace());
        Ok(hubs.get(&cluster::hub()).await?)
    }

    async fn patch(&self, spec: Value) -> Result<(), Failure> {
        let hubs = cluster::hubs(&self.client, &cluster::namespace());
        let patch = Patch::Merge(json!({"spec": spec}));
        hubs.patch(&cluster::hub(), &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Waits until the hub is Ready, and no pod of it is on its way out.
    async fn settled(&self) -> Result<(), Failure> {
        let hubs = cluster::hubs(&self.client, &cluster::namespace());
        cluster::ready(&hubs, &cluster::hub(), PATIENCE).await;
        eventually("no pod is being replaced", PATIENCE, || async {
            let pods = self.pods("").await.ok()?;
            let leaving = pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
            (!leaving).then_some(())
        })
        .await;
        Ok(())
    }

    async fn scale_dispatcher(&self, replicas: i64) -> Result<(), Failure> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.deployments()
            .patch(&dispatcher(), &PatchParams::default(), &patch)
            .await?;
        if replicas == 0 {
            let selector = ",app.kubernetes.io/component=dispatcher";
            eventually("the dispatcher is gone", PATIENCE, || async {
                self.pods(selector).await.ok()?.is_empty().then_some(())
            })
            .await;
        }
        Ok(())
    }

    async fn pods(&self, selector: &str) -> Result<Vec<Pod>, Failure> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &cluster::namespace());
        let selector = format!("app.kubernetes.io/instance={}{selector}", cluster::hub());
        Ok(pods.list(&ListParams::default().labels(&selector)).await?.items)
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &cluster::namespace())
    }
}

/// The name of the dispatcher's Deployment.
fn dispatcher() -> String {
    format!("{}-dispatcher", cluster::hub())
}

/// The patch of a spec that lets limits be no bottleneck: the greatest values that the resource allows.
fn raised(spec: &Value) -> Value {
    let apps = spec["flickr"]["apps"].as_array().cloned().unwrap_or_default();
    let apps: Vec<Value> = apps
        .into_iter()
        .map(|mut app| {
            app["requestsPerHour"] = 1_000_000.into();
            app
        })
        .collect();
    json!({
        "limits": {
            "perUserPerHour": 1_000_000,
            "classes": {"read": 1_000_000, "write": 1_000_000, "upload": 1_000_000},
            "perClientPerMinute": 1_000_000,
            "pendingPerUser": 100_000,
            "bufferPerQueue": 1_000_000,
        },
        "flickr": {"apps": apps},
        "queues": {"rest": {"maxReplicas": spec["queues"]["rest"]["minReplicas"]}},
    })
}

/// The patch that undoes [`raised`] and a stopped dispatcher: what the spec said, and null for what it did not say.
fn restoring(before: &Value) -> Value {
    let limits = &before["limits"];
    let mut before_limits = fields_of(
        limits,
        &[
            "perUserPerHour",
            "perClientPerMinute",
            "pendingPerUser",
            "bufferPerQueue",
            "weights",
        ],
    );
    before_limits["classes"] = fields_of(&limits["classes"], &["read", "write", "upload"]);
    json!({
        "limits": before_limits,
        "flickr": {"apps": before["flickr"]["apps"]},
        "queues": {"rest": rest_queue(before)},
        "paused": before["paused"],
    })
}

/// What benches change of the REST queue, as the spec before said it.
fn rest_queue(before: &Value) -> Value {
    fields_of(
        &before["queues"]["rest"],
        &["minReplicas", "maxReplicas", "concurrency", "prefetch", "window"],
    )
}

/// The fields of these names, null where there is none.
fn fields_of(part: &Value, names: &[&str]) -> Value {
    let fields = names.iter().map(|name| ((*name).to_owned(), part[*name].clone()));
    Value::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_raised_is_put_back() {
        let before = json!({
            "flickr": {"apps": [{"name": "main", "requestsPerHour": 3600}]},
            "limits": {"perUserPerHour": 3500, "classes": {"read": 3000, "write": null, "upload": null}},
            "queues": {"rest": {"minReplicas": 2, "maxReplicas": 10, "window": 100}},
            "paused": false,
        });
        let raised = raised(&before);
        assert_eq!(raised["flickr"]["apps"][0]["requestsPerHour"], 1_000_000);
        assert_eq!(raised["queues"]["rest"]["maxReplicas"], 2);
        let back = restoring(&before);
        for (part, fields) in raised.as_object().into_iter().flatten() {
            assert!(back[part].is_object(), "{part} is changed and not put back");
            for field in fields.as_object().into_iter().flatten().map(|(name, _)| name) {
                assert!(back[part].get(field).is_some(), "{part}.{field}");
                if part != "queues" {
                    assert_eq!(back[part][field], before[part][field], "{part}.{field}");
                }
            }
        }
        let rest = json!({"minReplicas": 2, "maxReplicas": 10, "concurrency": null, "prefetch": null, "window": 100});
        assert_eq!(back["queues"]["rest"], rest);
        assert_eq!(back["limits"].get("weights"), Some(&Value::Null));
        assert_eq!(back["paused"], false);
    }
}

//! The hub under test and its operator at their most verbose, and everything that their pods write meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_e2e::{cluster, eventually, processes};
use futures::AsyncReadExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// The namespace of the operator (`scripts/environment.sh`), and the label of its pods.
pub(crate) const OPERATOR: (&str, &str) = ("flickrhub-system", "app.kubernetes.io/name=flickrhub-operator");
const VARIABLE: &str = "RUST_LOG";
const MOST: &str = "trace";
/// How long processes may take to be replaced: workers finish what they hold.
const REPLACED: Duration = Duration::from_mins(4);

/// A Deployment whose processes say everything.
struct Told {
    namespace: String,
    name: String,
    container: String,
    before: Option<String>,
}

/// Ends with [`Verbose::end`].
pub(crate) struct Verbose {
    client: Client,
    told: Vec<Told>,
    logs: Vec<(String, JoinHandle<Vec<u8>>)>,
    over: tokio_util::sync::CancellationToken,
}

impl Verbose {
    /// Every process says everything from now on, and what it says is kept.
    pub(crate) async fn begin(client: &Client) -> Self {
        let of_hub = format!("app.kubernetes.io/instance={}", cluster::hub());
        let hub = cluster::namespace();
        let mut told = Vec::new();
        for (namespace, label) in [(hub.as_str(), of_hub.as_str()), OPERATOR] {
            let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
            let listed = deployments.list(&ListParams::default().labels(label)).await;
            for deployment in listed.expect("Deployments") {
                told.extend(tell(client, namespace, &deployment).await);
            }
        }
        assert!(
            told.len() > processes::COMPONENTS.len(),
            "the operator and every component"
        );
        for told in &told {
            replaced(client, told).await;
        }
        let over = tokio_util::sync::CancellationToken::new();
        let mut logs = Vec::new();
        for (namespace, label) in [(hub.as_str(), of_hub.as_str()), OPERATOR] {
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let listed = pods.list(&ListParams::default().labels(label)).await;
            for pod in listed.expect("pods") {
                for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
                    let (name, container) = (pod.name_any(), container.name.clone());
                    let place = format!("{name}, {container}");
                    logs.push((
                        place,
                        tokio::spawn(follow(pods.clone(), name, container, over.clone())),
                    ));
                }
            }
        }
        Self {
            client: client.clone(),
            told,
            logs,
            over,
        }
    }

    /// The processes say what they said before. Answers what each container wrote.
    pub(crate) async fn end(self) -> Vec<(String, Vec<u8>)> {
        self.over.cancel();
        let mut written = BTreeMap::new();
        for (place, log) in self.logs {
            written.insert(place, log.await.expect("the log was read"));
        }
        for told in &self.told {
            let entry = match &told.before {
                Some(value) => json!({"name": VARIABLE, "value": value}),
                None => json!({"name": VARIABLE, "$patch": "delete"}),
            };
            patch(&self.client, told, entry).await;
        }
        for told in &self.told {
            replaced(&self.client, told).await;
        }
        written.into_iter().collect()
    }
}

async fn tell(client: &Client, namespace: &str, deployment: &Deployment) -> Option<Told> {
    let spec = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let ours = |name: &str| name == "operator" || processes::COMPONENTS.contains(&name);
    let container = spec.containers.iter().find(|container| ours(&container.name))?;
    let variables = container.env.iter().flatten();
    let before = variables.clone().find(|variable| variable.name == VARIABLE);
    let told = Told {
        namespace: namespace.to_owned(),
        name: deployment.name_any(),
        container: container.name.clone(),
        before: before.and_then(|variable| variable.value.clone()),
    };
    patch(client, &told, json!({"name": VARIABLE, "value": MOST})).await;
    Some(told)
}

async fn patch(client: &Client, told: &Told, entry: Value) {
    let container = json!({"name": told.container, "env": [entry]});
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &told.namespace);
    deployments
        .patch(&told.name, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", told.name));
}

async fn replaced(client: &Client, told: &Told) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &told.namespace);
    eventually(&format!("{} is replaced", told.name), REPLACED, || async {
        let deployment = deployments.get(&told.name).await.ok()?;
        let wanted = deployment.spec.as_ref()?.replicas;
        let status = deployment.status.as_ref()?;
        let is_seen = status.observed_generation >= deployment.metadata.generation;
        let all_new = status.updated_replicas == wanted && status.replicas == wanted;
        (is_seen && all_new && status.available_replicas == wanted).then_some(())
    })
    .await;
}

/// What a container writes from its start until `over`: at its start a process logs in everywhere.
async fn follow(
    pods: Api<Pod>,
    pod: String,
    container: String,
    over: tokio_util::sync::CancellationToken,
) -> Vec<u8> {
    let params = LogParams {
        container: Some(container),
        follow: true,
        ..LogParams::default()
    };
    let mut written = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    // A pod that ends, or is only just coming, is read as far as there is something.
    let Ok(mut log) = pods.log_stream(&pod, &params).await.map(Box::pin) else {
        return written;
    };
    loop {
        tokio::select! {
            read = log.read(&mut piece) => match read {
                Ok(length) if length > 0 => written.extend_from_slice(&piece[..length]),
                _ => return written,
            },
            () = over.cancelled() => return written,
        }
    }
}

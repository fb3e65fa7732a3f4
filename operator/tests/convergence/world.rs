//! A namespace with its data tier and its Kubernetes, in which operators live and die.

use std::collections::BTreeSet;
use std::sync::Arc;

use flickrhub_operator::api_client;
use flickrhub_operator::context::{Context, Settings};
use flickrhub_operator::crd::{FlickrHub, FlickrHubClient};
use flickrhub_operator::reconcile::{ReconcileError, reconcile, report_unreadable};
use flickrhub_operator::validate::Surroundings;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::ControlPlane;
use crate::ending::{Ending, Keepsakes, keepsakes};
use crate::etcd::{Etcd, Stored};
use crate::fault::{Asked, Line};
use crate::tier::{Data, Tier};

/// The name of the hub.
pub(crate) const HUB: &str = "gallery";
/// The name of the client.
pub(crate) const CLIENT: &str = "acme";
/// Rounds after which everything has to be quiet.
const PATIENCE: usize = 120;

/// Everything there is at one moment.
#[derive(Clone, Default)]
pub(crate) struct Moment {
    stored: Stored,
    data: Data,
    owners: BTreeSet<String>,
}

/// One namespace.
pub(crate) struct World {
    /// Its name.
    pub(crate) namespace: String,
    client: Client,
    etcd: Etcd,
    tier: Tier,
    /// What Kubernetes does.
    pub(crate) cluster: Cluster,
}

/// An operator, with everything that it has in memory.
pub(crate) struct Operator {
    /// What it works with.
    pub(crate) ctx: Context,
    /// How it reaches the API server.
    pub(crate) line: Line,
}

/// What one round of an operator came to.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Everything that it asked.
    pub(crate) asked: Vec<Asked>,
    /// Whether something failed, so that it would try again.
    pub(crate) failed: bool,
}

impl Round {
    /// Whether nothing was written and nothing failed.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.failed && !self.asked.iter().any(Asked::is_write)
    }
}

impl World {
    /// An empty one.
    pub(crate) async fn new(plane: &ControlPlane, namespace: &str) -> Self {
        let client = plane.client();
        let api: Api<Namespace> = Api::all(client.clone());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let params = PatchParams::apply("convergence").force();
        let made = api.patch(namespace, &params, &Patch::Apply(object)).await;
        made.expect("a namespace");
        let tier = Tier::default();
        Self {
            namespace: namespace.to_owned(),
            cluster: Cluster::new(client.clone(), namespace, tier.clone()),
            client,
            etcd: plane.etcd(),
            tier,
        }
    }

    /// Everything as it is now.
    pub(crate) async fn moment(&self) -> Moment {
        Moment {
            stored: self.etcd.take(&self.namespace).await,
            data: self.tier.data().clone(),
            owners: self.cluster.owners_seen().clone(),
        }
    }

    /// Makes everything what it was.
    pub(crate) async fn go_back(&self, moment: &Moment) {
        self.etcd.put_back(&self.namespace, &moment.stored).await;
        *self.tier.data() = moment.data.clone();
        self.cluster.owners_seen().clone_from(&moment.owners);
    }

    /// What it has come to.
    pub(crate) async fn ending(&self, with_secrets: bool) -> Ending {
        Ending::of(&self.cluster, &self.tier, with_secrets).await
    }

    /// What must not be lost.
    pub(crate) async fn keepsakes(&self) -> Keepsakes {
        keepsakes(&self.cluster).await
    }

    /// Whether every member of every engine is needed.
    pub(crate) fn hold_members(&self, are_needed: bool) {
        self.tier.data().every_member_is_needed = are_needed;
    }

    /// What the engines lost.
    pub(crate) fn losses(&self) -> Vec<String> {
        self.tier.data().losses.iter().cloned().collect()
    }

    /// The person gives up an OpenBao whose keys were lost before it was ever used, as the condition says.
    pub(crate) fn give_up_bao(&self) {
        self.tier.data().bao = crate::bao::Bao::default();
    }

    /// A new operator behind a line.
    pub(crate) fn operator(&self, line: Line) -> Operator {
        let ctx = self.context(&line.client(self.client.clone()));
        Operator { ctx, line }
    }

    /// What an operator works with that reaches the API server by this client.
    pub(crate) fn context(&self, client: &Client) -> Context {
        let reporter = Reporter {
            controller: "flickrhub-operator".to_owned(),
            instance: None,
        };
        let settings = Settings {
            surroundings: Surroundings {
                cluster_domain: "cluster.local".to_owned(),
                operator_namespace: "flickrhub-system".to_owned(),
                version: "1.0.0".to_owned(),
            },
            namespace: None,
            concurrency: 1,
            external_metrics: None,
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Context::new(client.clone(), client.clone(), recorder, settings).with_data_tier(self.tier.clone())
    }

    /// One round of an operator: the hub and the client, each reconciled once. It may die on the way.
    pub(crate) async fn round(&self, operator: &Operator) -> Round {
        let work = async {
            let hub = Box::pin(self.reconcile_hub(&operator.ctx)).await;
            let client = Box::pin(api_client::reconcile::reconcile(
                &operator.ctx,
                &self.namespace,
                CLIENT,
            ))
            .await;
            if std::env::var_os("FLICKRHUB_TEST_VERBOSE").is_some() {
                eprintln!("{:?} {:?}", hub.as_ref().err(), client.as_ref().err());
            }
            hub.is_err() || client.is_err()
        };
        let failed = tokio::select! {
            failed = work => failed,
            () = operator.line.death() => true,
        };
        Round {
            asked: operator.line.take_asked(),
            failed,
        }
    }

    /// What the controller does with what its watch gives it.
    async fn reconcile_hub(&self, ctx: &Context) -> Result<(), ReconcileError> {
        let watched: Api<DeserializeGuard<FlickrHub>> = Api::namespaced(self.client.clone(), &self.namespace);
        let watched = watched.get_opt(HUB).await.expect("the API server answers");
        match watched {
            None => Ok(()),
            Some(DeserializeGuard(Ok(_))) => Box::pin(reconcile(ctx, &self.namespace, HUB)).await.map(drop),
            Some(DeserializeGuard(Err(invalid))) => report_unreadable(ctx, &invalid).await.map(drop),
        }
    }

    /// Rounds of an operator until nothing changes any more. A dead one is followed by a new one. `Err` if it never ends.
    pub(crate) async fn until_quiet(&self, operator: Operator) -> Result<Vec<Asked>, String> {
        let mut operator = operator;
        let mut asked = Vec::new();
        for _ in 0..PATIENCE {
            if operator.line.is_dead() {
                operator = self.operator(Line::default());
            }
            let settled = !self.cluster.settle().await;
            let round = self.round(&operator).await;
            let is_quiet = settled && round.is_quiet();
            asked.extend(round.asked);
            if is_quiet {
                return Ok(asked);
            }
        }
        let before = self.hub().await.unwrap_or_default();
        self.round(&operator).await;
        let after = self.hub().await.unwrap_or_default();
        let last = asked.iter().rev().filter(|asked| asked.is_write()).take(5);
        Err(format!(
            "it does not come to rest; the last writes are {:?}, and the status goes on\nfrom {}\nto   {}",
            last.map(|asked| &asked.address).collect::<Vec<_>>(),
            before["status"],
            after["status"],
        ))
    }

    /// Somebody applies an object.
    pub(crate) async fn apply(&self, object: &Value) -> Result<(), kube::Error> {
        let resource = match object["kind"].as_str() {
            Some("FlickrHub") => ApiResource::erase::<FlickrHub>(&()),
            Some("FlickrHubClient") => ApiResource::erase::<FlickrHubClient>(&()),
            _ => ApiResource::erase::<k8s_openapi::api::core::v1::Secret>(&()),
        };
        let params = PatchParams::apply("somebody").force();
        let name = object["metadata"]["name"].as_str().expect("a name");
        self.cluster
            .api(&resource)
            .patch(name, &params, &Patch::Apply(object))
            .await?;
        Ok(())
    }

    /// Somebody replaces the spec of the hub by another one as a whole, as an editor does.
    pub(crate) async fn replace_spec(&self, spec: &Value) -> Result<(), kube::Error> {
        let api = self.cluster.api(&ApiResource::erase::<FlickrHub>(&()));
        let mut hub = api.get(HUB).await?;
        hub.data["spec"] = spec.clone();
        api.replace(HUB, &PostParams::default(), &hub).await?;
        Ok(())
    }

    /// Puts a spec in the place of the hub's that the API server would refuse, as one that an older definition allowed.
    pub(crate) async fn smuggle_spec(&self, spec: &Value) {
        let key = format!("/registry/flickrhub.dev/flickrhubs/{}/{HUB}", self.namespace);
        let change = |hub: &mut Value| {
            hub["spec"] = spec.clone();
            let generation = hub["metadata"]["generation"].as_i64().unwrap_or_default();
            hub["metadata"]["generation"] = json!(generation + 1);
        };
        self.etcd.change(&key, change).await;
    }

    /// Lets operators work until nothing changes any more.
    pub(crate) async fn rest(&self) -> Vec<Asked> {
        let rested = self.until_quiet(self.operator(Line::default())).await;
        rested.expect("it comes to rest")
    }

    /// A condition of the hub: its status, its reason and its message.
    pub(crate) async fn condition(&self, type_: &str) -> (String, String, String) {
        let hub = self.hub().await.expect("a hub");
        let conditions = hub["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = conditions
            .into_iter()
            .find(|condition| condition["type"] == type_);
        let found = found.expect("the condition");
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    /// The hub as it is; `None` if it is gone.
    pub(crate) async fn hub(&self) -> Option<Value> {
        let api = self.cluster.api(&ApiResource::erase::<FlickrHub>(&()));
        let hub = api.get_opt(HUB).await.expect("the API server answers")?;
        Some(serde_json::to_value(&hub).expect("JSON"))
    }

    /// Somebody deletes an object.
    pub(crate) async fn delete(&self, resource: &ApiResource, name: &str) {
        let deleted = self
            .cluster
            .api(resource)
            .delete(name, &DeleteParams::background())
            .await;
        deleted.expect("deleted");
    }

    /// Somebody changes the metadata or the spec of an object.
    pub(crate) async fn merge(&self, resource: &ApiResource, name: &str, patch: &Value) {
        let api = self.cluster.api(resource);
        let merged = api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        merged.expect("merged").name_any();
    }
}

/// Worlds of their own on one API server.
pub(crate) async fn worlds(plane: &Arc<ControlPlane>, name: &str, count: usize) -> Vec<World> {
    let mut worlds = Vec::new();
    for number in 0..count {
        worlds.push(World::new(plane, &format!("{name}-{number}")).await);
    }
    worlds
}

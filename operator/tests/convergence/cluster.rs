//! What Kubernetes itself would do: the controllers of StatefulSets, Deployments and their budgets, volumes, pods that
//! run at once, and the collector of garbage, each as far as the operator can tell the difference.
//!
//! A pod of an engine that was taken away is missed for one round before it is made anew, so that the operator meets a set
//! that is not whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use flickrhub_operator::build::Kind;
use flickrhub_operator::crd::{FlickrHub, FlickrHubClient};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::quorum::Quorum;
use crate::tier::Tier;

/// The label by which a pod tells the template that it was made of.
const REVISION: &str = "controller-revision-hash";

/// The cluster, for one namespace.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
    tier: Tier,
    owners: Mutex<BTreeSet<String>>,
}

/// Every kind of object that is looked at here.
pub(crate) fn kinds() -> Vec<ApiResource> {
    // KEDA is not installed in it.
    let is_of_keda = |kind: &&Kind| matches!(kind, Kind::ScaledObject | Kind::TriggerAuthentication);
    let children = Kind::ALL
        .iter()
        .filter(|kind| !is_of_keda(kind))
        .map(|kind| kind.resource());
    children
        .chain([
            ApiResource::erase::<Secret>(&()),
            ApiResource::erase::<PersistentVolumeClaim>(&()),
            ApiResource::erase::<Pod>(&()),
            ApiResource::erase::<FlickrHub>(&()),
            ApiResource::erase::<FlickrHubClient>(&()),
        ])
        .collect()
}

impl Cluster {
    /// Plays for a namespace; which pods run is told to the engines.
    pub(crate) fn new(client: Client, namespace: &str, tier: Tier) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            tier,
            owners: Mutex::default(),
        }
    }

    /// The objects of a kind in the namespace, or those that belong to it.
    pub(crate) fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        if resource.kind == "ClusterRoleBinding" {
            Api::all_with(self.client.clone(), resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, resource)
        }
    }

    /// The objects of a kind in the namespace, or those that belong to it.
    pub(crate) async fn list(&self, resource: &ApiResource) -> Vec<DynamicObject> {
        let found = self.api(resource).list(&ListParams::default()).await;
        let found = found.expect("the API server lists").items;
        let is_cluster_wide = resource.kind == "ClusterRoleBinding";
        let is_ours = |object: &DynamicObject| {
            !is_cluster_wide || object.name_any().contains(&format!(":{}:", self.namespace))
        };
        found.into_iter().filter(is_ours).collect()
    }

    /// Lets Kubernetes do what it would do by itself, to the end. Whether there was anything to do.
    pub(crate) async fn settle(&self) -> bool {
        let mut did = self.collect_garbage().await;
        did |= self.members().await;
        did |= self.budgets().await;
        did | self.deployments().await
    }

    /// Deletes what belongs to owners that are gone, once for every generation of children, and lets go what is orphaned on
    /// purpose.
    async fn collect_garbage(&self) -> bool {
        let owners = self.owners().await;
        if *self.owners_seen() == owners {
            return false;
        }
        let mut did = false;
        loop {
            let mut uids = BTreeSet::new();
            let mut objects = Vec::new();
            for resource in kinds() {
                for object in self.list(&resource).await {
                    uids.extend(object.uid());
                    objects.push((resource.clone(), object));
                }
            }
            let orphaning: BTreeSet<String> = objects
                .iter()
                .filter(|(_, object)| object.metadata.deletion_timestamp.is_some())
                .filter(|(_, object)| object.finalizers().iter().any(|name| name == "orphan"))
                .filter_map(|(_, object)| object.uid())
                .collect();
            let mut went = false;
            for (resource, object) in &objects {
                let owners = object.owner_references();
                if owners.iter().any(|owner| orphaning.contains(&owner.uid)) {
                    let others: Vec<_> = owners
                        .iter()
                        .filter(|owner| !orphaning.contains(&owner.uid))
                        .collect();
                    self.patch(
                        resource,
                        object,
                        &json!({"metadata": {"ownerReferences": others}}),
                    )
                    .await;
                } else if !owners.is_empty() && owners.iter().all(|owner| !uids.contains(&owner.uid)) {
                    self.delete(resource, object).await;
                    went = true;
                }
            }
            for (resource, object) in &objects {
                if object.uid().is_some_and(|uid| orphaning.contains(&uid)) {
                    let others: Vec<&String> = object
                        .finalizers()
                        .iter()
                        .filter(|name| *name != "orphan")
                        .collect();
                    self.patch(resource, object, &json!({"metadata": {"finalizers": others}}))
                        .await;
                    went = true;
                }
            }
            if !went {
                let owners = self.owners().await;
                *self.owners_seen() = owners;
                return did;
            }
            did = true;
        }
    }

    /// The owners that were there when garbage was collected last.
    pub(crate) fn owners_seen(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.owners.lock().expect("nobody panicked with it")
    }

    /// What can own something, with a mark on what is to go.
    async fn owners(&self) -> BTreeSet<String> {
        let mut owners = BTreeSet::new();
        for resource in [
            ApiResource::erase::<FlickrHub>(&()),
            ApiResource::erase::<FlickrHubClient>(&()),
            Kind::StatefulSet.resource(),
        ] {
            for object in self.list(&resource).await {
                let leaves = object.metadata.deletion_timestamp.is_some();
                owners.insert(format!("{} {leaves}", object.uid().unwrap_or_default()));
            }
        }
        owners
    }

    /// Every member has a volume and a pod. Which template it runs is the operator's business (`OnDelete`).
    async fn members(&self) -> bool {
        let mut did = false;
        let (pods, claims) = (
            self.list(&ApiResource::erase::<Pod>(&())).await,
            self.list(&ApiResource::erase::<PersistentVolumeClaim>(&())).await,
        );
        let sets = self.list(&Kind::StatefulSet.resource()).await;
        self.tier.data().quorums.iter_mut().for_each(|(name, quorum)| {
            let has_pod = pods.iter().any(|pod| ordinal_of(name, &pod.name_any()).is_some());
            if !has_pod && sets.iter().all(|set| set.name_any() != *name) {
                quorum.rest();
            }
        });
        for set in sets {
            // Pods of a set that is made anew go on meanwhile.
            if set.metadata.deletion_timestamp.is_none() {
                did |= self.members_of(&set, &pods, &claims).await;
            }
        }
        did
    }

    async fn members_of(
        &self,
        set: &DynamicObject,
        pods: &[DynamicObject],
        claims: &[DynamicObject],
    ) -> bool {
        let pod_kind = ApiResource::erase::<Pod>(&());
        let (name, wanted, revision) = (set.name_any(), replicas(set), revision(set));
        let own: BTreeMap<usize, &DynamicObject> = pods
            .iter()
            .filter_map(|pod| Some((ordinal_of(&name, &pod.name_any())?, pod)))
            .collect();
        let mut did = false;
        for (_, surplus) in own.range(wanted..) {
            self.delete(&pod_kind, surplus).await;
            did = true;
        }
        let missed = self.miss(&name, wanted, &own);
        did |= !missed.is_empty();
        let mut current = 0;
        let mut there = 0;
        for member in 0..wanted {
            let claim = format!("data-{name}-{member}");
            if !claims.iter().any(|found| found.name_any() == claim) {
                self.make_claim(set, &claim).await;
                did = true;
            }
            let is_current = match own.get(&member) {
                Some(pod) => {
                    if pod.owner_references().is_empty() {
                        let adopt = json!({"metadata": {"ownerReferences": [owner(set)]}});
                        self.patch(&pod_kind, pod, &adopt).await;
                        did = true;
                    }
                    pod.labels().get(REVISION) == Some(&revision)
                }
                None if missed.contains(&member) => continue,
                None => {
                    self.make_pod(set, &format!("{name}-{member}"), &revision).await;
                    did = true;
                    true
                }
            };
            self.starts(&name, member, !own.contains_key(&member));
            there += 1;
            current += usize::from(is_current);
        }
        let status = json!({
            "observedGeneration": set.metadata.generation, "replicas": there, "readyReplicas": there,
            "availableReplicas": there, "updatedReplicas": current, "updateRevision": revision,
        });
        did | self.set_status(&Kind::StatefulSet.resource(), set, status).await
    }

    /// The members that ran when it was looked last and are gone; what that does to their engine is noted.
    fn miss(&self, set: &str, wanted: usize, own: &BTreeMap<usize, &DynamicObject>) -> BTreeSet<usize> {
        let mut data = self.tier.data();
        let quorum = data.quorums.entry(set.to_owned()).or_default();
        let ran = own
            .keys()
            .copied()
            .chain(0..wanted)
            .filter(|member| quorum.runs(*member));
        let is_gone = |member: &usize| *member >= wanted || !own.contains_key(member);
        let away: BTreeSet<usize> = ran.filter(is_gone).collect();
        let harm = quorum.stop(&away, wanted);
        data.losses
            .extend(harm.into_iter().map(|harm| format!("{set}: {harm}")));
        away
    }

    /// A member runs, whose pod may be a new one.
    fn starts(&self, set: &str, member: usize, is_new: bool) {
        let mut data = self.tier.data();
        data.quorums.entry(set.to_owned()).or_default().starts(member);
        if is_new && set.ends_with("-vault") {
            data.bao.restarted(member);
        }
    }

    /// One member may be away of each set that is whole.
    async fn budgets(&self) -> bool {
        let kind = Kind::PodDisruptionBudget.resource();
        let sets = self.list(&Kind::StatefulSet.resource()).await;
        let mut did = false;
        for budget in self.list(&kind).await {
            let Some(set) = sets.iter().find(|set| set.name_any() == budget.name_any()) else {
                continue;
            };
            let expected = replicas(set);
            let healthy = self
                .tier
                .data()
                .quorums
                .get(&set.name_any())
                .map_or(0, Quorum::running);
            let desired = expected.saturating_sub(1);
            let status = json!({
                "observedGeneration": budget.metadata.generation, "expectedPods": expected,
                "currentHealthy": healthy, "desiredHealthy": desired,
                "disruptionsAllowed": healthy.saturating_sub(desired), "disruptedPods": null,
            });
            did |= self.set_status(&kind, &budget, status).await;
        }
        did
    }

    async fn make_claim(&self, set: &DynamicObject, name: &str) {
        let mut claim = set.data["spec"]["volumeClaimTemplates"][0].clone();
        claim["metadata"]["name"] = json!(name);
        claim["status"] = Value::Null;
        let made = self
            .create(&ApiResource::erase::<PersistentVolumeClaim>(&()), claim)
            .await;
        // Only one that is bound can grow.
        let status = json!({"phase": "Bound"});
        self.set_status(&ApiResource::erase::<PersistentVolumeClaim>(&()), &made, status)
            .await;
    }

    async fn make_pod(&self, set: &DynamicObject, name: &str, revision: &str) {
        let mut pod = set.data["spec"]["template"].clone();
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["labels"][REVISION] = json!(revision);
        pod["metadata"]["ownerReferences"] = json!([owner(set)]);
        let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": format!("data-{name}")}});
        match pod["spec"]["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => pod["spec"]["volumes"] = json!([volume]),
        }
        let made = self.create(&ApiResource::erase::<Pod>(&()), pod).await;
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"phase": "Running", "conditions": [ready]});
        self.set_status(&ApiResource::erase::<Pod>(&()), &made, status)
            .await;
    }

    async fn deployments(&self) -> bool {
        let mut did = false;
        for deployment in self.list(&Kind::Deployment.resource()).await {
            let count = replicas(&deployment);
            let status = json!({
                "observedGeneration": deployment.metadata.generation, "replicas": count, "updatedReplicas": count,
                "readyReplicas": count, "availableReplicas": count,
            });
            did |= self
                .set_status(&Kind::Deployment.resource(), &deployment, status)
                .await;
        }
        did
    }

    /// Sets a status where it is another one.
    async fn set_status(&self, resource: &ApiResource, object: &DynamicObject, status: Value) -> bool {
        let current = &object.data["status"];
        let fields = status.as_object().into_iter().flatten();
        if fields.clone().all(|(field, value)| {
            current[field] == *value || (*value == json!(0) && current[field].is_null())
        }) {
            return false;
        }
        let patch = Patch::Merge(json!({"status": status}));
        let patched = self
            .api(resource)
            .patch_status(&object.name_any(), &PatchParams::default(), &patch)
            .await;
        patched.expect("a status is set");
        true
    }

    async fn create(&self, resource: &ApiResource, object: Value) -> DynamicObject {
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let made = self.api(resource).create(&PostParams::default(), &object).await;
        made.expect("created")
    }

    async fn patch(&self, resource: &ApiResource, object: &DynamicObject, patch: &Value) {
        let params = PatchParams::default();
        let patched = self
            .api(resource)
            .patch(&object.name_any(), &params, &Patch::Merge(patch))
            .await;
        patched.expect("patched");
    }

    async fn delete(&self, resource: &ApiResource, object: &DynamicObject) {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::background()
        };
        match self.api(resource).delete(&object.name_any(), &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("cannot delete {}: {error}", object.name_any()),
        }
    }
}

fn replicas(object: &DynamicObject) -> usize {
    let replicas = object.data["spec"]["replicas"].as_u64().unwrap_or(1);
    usize::try_from(replicas).unwrap_or_default()
}

/// The number of a pod in a set; `None` if it is none of it.
fn ordinal_of(set: &str, pod: &str) -> Option<usize> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

/// Tells one template from another.
fn revision(set: &DynamicObject) -> String {
    let template = set.data["spec"]["template"].to_string();
    let digest = Sha256::digest(template.as_bytes());
    digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

fn owner(set: &DynamicObject) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": set.name_any(), "uid": set.uid(), "controller": true})
}

//! What a test finds and what it makes. What it made is removed when it ends, also when it failed.
//!
//! Names are new in each run, so that nothing of an earlier run on a lab that was kept can stand in for what this one
//! did. Jobs stay: the hub deletes them by itself, and they belong to a user that no other test has.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster;
use crate::gateway::Gateway;
use crate::mock::Mock;

/// How long the hub under test may take to be as it was.
const RESTORED: Duration = Duration::from_mins(5);
/// How long the hubs of a test may take to go.
const LEAVING: Duration = Duration::from_mins(3);

/// The hub under test with all that surrounds it; clones share what was made.
#[derive(Clone)]
pub struct Scene {
    /// The cluster.
    pub client: Client,
    /// The API of the hub under test.
    pub gateway: Gateway,
    /// The Flickr of the hub under test.
    pub mock: Mock,
    made: Arc<Mutex<Vec<Made>>>,
}

#[derive(Debug)]
enum Made {
    User(String),
    Sink(String),
    /// A change of the hub under test: the patch of its `spec` that undoes it.
    Change(Value),
    Namespace(String),
    Pod {
        namespace: String,
        name: String,
    },
}

/// Runs a test, and then removes what it made.
pub async fn play<F: Future<Output = ()>>(test: impl FnOnce(Scene) -> F) {
    let scene = Scene {
        client: cluster::client().await,
        gateway: Gateway::of_the_hub().await,
        mock: Mock::of_the_hub(),
        made: Arc::default(),
    };
    let test = Box::pin(test(scene.clone()));
    let outcome = AssertUnwindSafe(test).catch_unwind().await;
    scene.clean_up().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// A name that no run before this one has used.
pub fn unique(name: &str) -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{name}-{:x}", since_epoch.as_nanos())
}

impl Scene {
    /// Takes a new Flickr user through the OAuth flow; answers the user's id.
    pub async fn authorise(&self, name: &str, permission: &str) -> String {
        let user = self.gateway.authorise(&unique(name), permission).await;
        self.note(Made::User(user.clone()));
        user
    }

    /// A new place at the mock that receives callbacks; answers its name.
    pub fn sink(&self, name: &str) -> String {
        let name = unique(name);
        self.note(Made::Sink(name.clone()));
        name
    }

    /// Changes the `spec` of the hub under test by a merge patch, until the end of the test.
    pub async fn change_hub(&self, change: &Value) {
        let hubs = cluster::hubs(&self.client, &cluster::namespace());
        let hub = hubs.get(&cluster::hub()).await.expect("the hub under test");
        // Noted first: what is undone without having been done does no harm.
        self.note(Made::Change(undoing(&hub.data["spec"], change)));
        let patch = Patch::Merge(json!({"spec": change}));
        hubs.patch(&cluster::hub(), &PatchParams::default(), &patch)
            .await
            .expect("the change is accepted");
    }

    /// A new namespace; answers its name.
    pub async fn namespace(&self, name: &str) -> String {
        let name = unique(&format!("flickrhub-test-{name}"));
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                // Nothing of the project may need more.
                labels: Some(BTreeMap::from([(
                    "pod-security.kubernetes.io/enforce".to_owned(),
                    "restricted".to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        self.note(Made::Namespace(name.clone()));
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("a new namespace");
        name
    }

    /// A new pod.
    pub async fn pod(&self, namespace: &str, pod: &Pod) {
        let name = pod.name_any();
        self.note(Made::Pod {
            namespace: namespace.to_owned(),
            name: name.clone(),
        });
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let made = pods.create(&PostParams::default(), pod).await;
        made.unwrap_or_else(|error| panic!("pod {name}: {error}"));
    }

    fn note(&self, made: Made) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(made);
    }

    /// What cannot be removed is told and left: the test's own outcome matters more.
    async fn clean_up(&self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        for made in made.into_iter().rev() {
            let removed = match &made {
                Made::User(user) => self.gateway.forget(user).await,
                Made::Sink(name) => self.mock.forget_sink(name).await,
                Made::Change(undo) => self.undo(undo).await,
                Made::Namespace(name) => self.delete_namespace(name).await,
                Made::Pod { namespace, name } => self.delete_pod(namespace, name).await,
            };
            if let Err(error) = removed {
                eprintln!("{made:?} stays: {error}");
            }
        }
    }

    async fn undo(&self, undo: &Value) -> Result<(), String> {
        let hubs = cluster::hubs(&self.client, &cluster::namespace());
        let patch = Patch::Merge(json!({"spec": undo}));
        hubs.patch(&cluster::hub(), &PatchParams::default(), &patch)
            .await
            .map_err(text)?;
        let name = cluster::hub();
        let ready = AssertUnwindSafe(cluster::ready(&hubs, &name, RESTORED)).catch_unwind();
        ready
            .await
            .map(drop)
            .map_err(|_| "the hub is not Ready again".to_owned())
    }

    async fn delete_pod(&self, namespace: &str, name: &str) -> Result<(), String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        unless_gone(pods.delete(name, &DeleteParams::default().grace_period(0)).await)
    }

    /// The hubs first, with their data: their operator has to let them go while the namespace is still there.
    async fn delete_namespace(&self, name: &str) -> Result<(), String> {
        let hubs = cluster::hubs(&self.client, name);
        let listed = async || hubs.list(&ListParams::default()).await.map_err(text);
        let with_data = Patch::Merge(json!({"spec": {"deletionPolicy": "Delete"}}));
        for hub in listed().await? {
            let hub = hub.name_any();
            unless_gone(hubs.patch(&hub, &PatchParams::default(), &with_data).await)?;
            unless_gone(hubs.delete(&hub, &DeleteParams::default()).await)?;
        }
        let deadline = tokio::time::Instant::now() + LEAVING;
        while !listed().await?.items.is_empty() {
            if tokio::time::Instant::now() > deadline {
                return Err("a hub does not go".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(name, &DeleteParams::default())
            .await
            .map_err(text)?;
        Ok(())
    }
}

/// A hub with the smallest footprint: it has to find room on a small node beside the hub under test.
pub fn small_hub(credentials: &str) -> Value {
    let little = json!({"requests": {"cpu": "5m"}});
    let queue = json!({"minReplicas": 1, "resources": little});
    json!({
        "flickr": {"apps": [{"name": "default", "credentialsSecretRef": {"name": credentials}}]},
        "deletionPolicy": "Delete",
        "api": {"replicas": 1, "resources": little},
        "dispatcher": {"replicas": 1, "resources": little},
        "callbacks": {"replicas": 1, "resources": little},
        "queues": {"rest": queue, "upload": queue, "replace": queue},
        "redis": {"replicas": 1, "resources": little},
        "mongodb": {"members": 1, "resources": little},
        "rabbitmq": {"replicas": 1, "resources": little},
        "vault": {"managed": {"replicas": 1, "resources": little}},
    })
}

/// The merge patch (RFC 7396) that undoes a merge patch of `before`: what was there, and null for what was not.
fn undoing(before: &Value, change: &Value) -> Value {
    match change {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, change)| (name.clone(), undoing(&before[name.as_str()], change)))
            .collect(),
        _ => before.clone(),
    }
}

/// What is gone already needs nothing done to it.
fn unless_gone<T>(outcome: kube::Result<T>) -> Result<(), String> {
    match outcome {
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        other => other.map(drop).map_err(text),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_undone_field_by_field() {
        let before = json!({"limits": {"perUserPerHour": 3500}, "flickr": {"apps": [{"name": "main"}]}});
        let change = json!({
            "limits": {"perUserPerHour": 18, "classes": {"write": 3, "read": null}},
            "flickr": {"apps": [{"name": "main", "requestsPerHour": 240}]},
        });
        let undo = json!({
            "limits": {"perUserPerHour": 3500, "classes": {"write": null, "read": null}},
            "flickr": {"apps": [{"name": "main"}]},
        });
        assert_eq!(undoing(&before, &change), undo);
    }
}

//! What happens to a hub from its creation to its end, one after the other.

use flickrhub_operator::crd::{FlickrHub, FlickrHubClient};
use kube::api::ApiResource;
use serde_json::{Value, json};

use crate::world::{CLIENT, HUB, World};

/// One turn in the life of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is created.
    Create,
    /// Settings change, and an Ingress is no longer wanted.
    Change,
    /// More processes and workers.
    Scale,
    /// Volumes grow, which makes a set anew.
    Grow,
    /// Other images and resources for everything, so that every member restarts.
    Upgrade,
    /// More members of the engines.
    AddMembers,
    /// Fewer of them again.
    RemoveMembers,
    /// It is paused, and changed meanwhile.
    Pause,
    /// It goes on.
    Resume,
    /// The credentials of its engines are replaced.
    RotateCredentials,
    /// It goes to sleep.
    Hibernate,
    /// It wakes.
    Wake,
    /// A client is declared.
    DeclareClient,
    /// The key of the client is replaced.
    RotateKey,
    /// The client goes.
    DeleteClient,
    /// The hub goes and leaves its data.
    Delete,
    /// A hub of the same name takes the data up again.
    Adopt,
    /// The hub goes with its data.
    DeleteWithData,
}

impl Turn {
    /// Every turn, in the order of a life.
    pub(crate) const ALL: [Self; 18] = [
        Self::Create,
        Self::Change,
        Self::Scale,
        Self::Grow,
        Self::Upgrade,
        Self::AddMembers,
        Self::RemoveMembers,
        Self::Pause,
        Self::Resume,
        Self::RotateCredentials,
        Self::Hibernate,
        Self::Wake,
        Self::DeclareClient,
        Self::RotateKey,
        Self::DeleteClient,
        Self::Delete,
        Self::Adopt,
        Self::DeleteWithData,
    ];

    /// Whether data is to be deleted.
    pub(crate) fn deletes_data(self) -> bool {
        self == Self::DeleteWithData
    }

    /// Whether secrets are made up in it, so that they differ from one run to the other.
    pub(crate) fn makes_up_secrets(self) -> bool {
        // Members that come need certificates with their names, and certificates go with the hub that they were made for.
        matches!(
            self,
            Self::Create | Self::AddMembers | Self::DeclareClient | Self::RotateKey | Self::Adopt
        ) || self.replaces_credentials()
    }

    /// Whether the values of made-up Secrets are to become others.
    pub(crate) fn replaces_credentials(self) -> bool {
        self == Self::RotateCredentials
    }

    /// Whether the hub is ready at its end.
    pub(crate) fn ends_ready(self) -> bool {
        !matches!(
            self,
            Self::Pause | Self::Hibernate | Self::Delete | Self::DeleteWithData
        )
    }

    /// Does what begins the turn.
    pub(crate) async fn begin(self, world: &World) {
        let hubs = ApiResource::erase::<FlickrHub>(&());
        let clients = ApiResource::erase::<FlickrHubClient>(&());
        match self {
            Self::Create => {
                let applied = world.apply(&credentials()).await;
                applied.expect("a Secret");
                world.apply(&hub()).await.expect("a hub");
            }
            Self::Change => {
                let change = json!({
                    "api": {"ingress": null, "cors": {"allowedOrigins": ["https://app.example.org"]}},
                    "limits": {"perUserPerHour": 3000},
                });
                world.merge(&hubs, HUB, &json!({"spec": change})).await;
            }
            Self::Scale => {
                let change = json!({
                    "api": {"replicas": 3}, "dispatcher": {"replicas": 3},
                    "queues": {"rest": {"minReplicas": 4}},
                });
                world.merge(&hubs, HUB, &json!({"spec": change})).await;
            }
            Self::Grow => {
                let change =
                    json!({"redis": {"storage": {"size": "4Gi"}}, "mongodb": {"storage": {"size": "16Gi"}}});
                world.merge(&hubs, HUB, &json!({"spec": change})).await;
            }
            Self::Upgrade => {
                let change = json!({
                    "images": {"registry": "mirror.example.org"},
                    "mongodb": {"resources": {"limits": {"memory": "2Gi"}}},
                });
                world.merge(&hubs, HUB, &json!({"spec": change})).await;
            }
            Self::AddMembers => world.merge(&hubs, HUB, &members(5)).await,
            Self::RemoveMembers => world.merge(&hubs, HUB, &members(3)).await,
            Self::Hibernate => {
                world
                    .merge(&hubs, HUB, &json!({"spec": {"hibernated": true}}))
                    .await;
            }
            Self::Wake => {
                world
                    .merge(&hubs, HUB, &json!({"spec": {"hibernated": false}}))
                    .await;
            }
            Self::Pause => {
                let change = json!({"paused": true, "api": {"replicas": 2}});
                world.merge(&hubs, HUB, &json!({"spec": change})).await;
            }
            Self::Resume => world.merge(&hubs, HUB, &json!({"spec": {"paused": false}})).await,
            Self::RotateCredentials => {
                let request =
                    json!({"metadata": {"annotations": {"flickrhub.dev/rotate-credentials": "now"}}});
                world.merge(&hubs, HUB, &request).await;
            }
            Self::DeclareClient => world.apply(&client()).await.expect("a client"),
            Self::RotateKey => {
                let request = json!({"metadata": {"annotations": {"flickrhub.dev/rotate": "now"}}});
                world.merge(&clients, CLIENT, &request).await;
            }
            Self::DeleteClient => world.delete(&clients, CLIENT).await,
            Self::Delete => world.delete(&hubs, HUB).await,
            Self::Adopt => world.apply(&hub()).await.expect("a hub"),
            Self::DeleteWithData => {
                let change = json!({"spec": {"deletionPolicy": "Delete"}});
                world.merge(&hubs, HUB, &change).await;
                world.delete(&hubs, HUB).await;
            }
        }
    }
}

/// So many members of each engine that can have more and fewer.
fn members(count: u32) -> Value {
    json!({"spec": {"redis": {"replicas": count}, "mongodb": {"members": count}, "rabbitmq": {"replicas": count}}})
}

/// The credentials of the application at Flickr.
pub(crate) fn credentials() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "flickr-app"},
        "stringData": {"consumerKey": "key", "consumerSecret": "secret"},
    })
}

/// A hub with every kind of object.
pub(crate) fn hub() -> Value {
    json!({
        "apiVersion": "flickrhub.dev/v1alpha1", "kind": "FlickrHub", "metadata": {"name": HUB},
        "spec": {
            "flickr": {"apps": [{"name": "main", "credentialsSecretRef": {"name": "flickr-app"}}]},
            "api": {"ingress": {"host": "photos.example.org"}},
        },
    })
}

fn client() -> Value {
    json!({
        "apiVersion": "flickrhub.dev/v1alpha1", "kind": "FlickrHubClient", "metadata": {"name": CLIENT},
        "spec": {"hubRef": {"name": HUB}, "scopes": ["jobs:read"]},
    })
}

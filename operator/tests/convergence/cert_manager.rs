//! A hub that names an issuer, in a cluster that does not know cert-manager.

use kube::api::ApiResource;
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::turn::Turn;
use crate::world::{HUB, World};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn a_hub_that_works_goes_on_and_says_that_cert_manager_is_missing() {
    let plane = ControlPlane::start("cert-manager").await;
    let world = World::new(&plane, "cert-manager").await;
    Turn::Create.begin(&world).await;
    world.rest().await;
    let issuer = json!({"spec": {"tls": {"issuerRef": {"name": "internal"}}}});
    let hubs = ApiResource::erase::<flickrhub_operator::crd::FlickrHub>(&());
    world.merge(&hubs, HUB, &issuer).await;
    world.rest().await;
    let (status, reason, message) = world.condition("CertificatesReady").await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "CertManagerMissing"),
        "{message}"
    );
    let (status, _, message) = world.condition("Ready").await;
    assert_eq!(status, "True", "{message}");
}

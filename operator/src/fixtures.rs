//! Hubs for tests: the very samples that users start from.
#![expect(clippy::unwrap_used, reason = "only tests use it")]

use std::collections::BTreeMap;

use flickrhub_job::connection::trust::Trust;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::autoscaling::cluster::Facts;
use crate::crd::FlickrHub;
use crate::secrets::SecretsChecksums;
use crate::validate::{References, SecretDigest, Surroundings, ValidatedHub, validate};

const MINIMAL: &str = include_str!("../../manifests/samples/flickrhub.yaml");
const FULL: &str = include_str!("../../manifests/samples/flickrhub-full.yaml");

/// A certificate authority, without its key.
const AUTHORITY: &str = include_str!("fixtures/ca.pem");

/// The value of every key of every Secret that hubs refer to.
pub(crate) const SECRET_VALUE: &str = "value-of-a-secret";

fn hub(text: &str) -> FlickrHub {
    let mut hub: FlickrHub = serde_yaml_ng::from_str(text).unwrap();
    hub.metadata.namespace = Some("photos".to_owned());
    hub.metadata.uid = Some("7d1f3c52-9f0e-4c61-9a35-0d5a4d3f2b10".to_owned());
    hub.metadata.generation = Some(1);
    hub
}

/// The sample with only what is needed.
pub(crate) fn minimal() -> FlickrHub {
    hub(MINIMAL)
}

/// The sample with every field.
pub(crate) fn full() -> FlickrHub {
    hub(FULL)
}

/// A Secret with `value` under each key.
pub(crate) fn secret(keys: &[&str], value: &str) -> Secret {
    let entry = |key: &&str| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()));
    Secret {
        data: Some(keys.iter().map(entry).collect::<BTreeMap<_, _>>()),
        ..Secret::default()
    }
}

/// Every Secret that the samples refer to.
pub(crate) fn references() -> References {
    let mut references = References::default();
    for (name, keys) in [
        ("flickr-app", &["consumerKey", "consumerSecret"][..]),
        ("flickr-partner", &["consumerKey", "consumerSecret"]),
        ("vault-ca", &["ca.crt"]),
        ("vault-approle", &["roleId", "secretId"]),
    ] {
        references.insert(name, SecretDigest::from(&secret(keys, SECRET_VALUE)));
    }
    references
}

/// A cluster with an operator as the chart installs it.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: "flickrhub-system".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

/// A cluster in which the operator serves external metrics and KEDA is installed.
pub(crate) fn cluster() -> Facts {
    Facts {
        served: true,
        other_adapter: None,
        keda: true,
    }
}

/// The hub, validated with every Secret there, in that cluster, and with an authority.
pub(crate) fn validated(hub: &FlickrHub) -> ValidatedHub {
    let mut validated = validate(hub, &references(), &surroundings()).unwrap();
    validated.autoscaling = validated.autoscaling.within(&cluster());
    validated.trust = Some(Trust::from_pem(AUTHORITY).unwrap());
    validated
}

/// Checksums of made-up Secrets.
pub(crate) fn checksums() -> SecretsChecksums {
    SecretsChecksums {
        redis: "1111111111111111".to_owned(),
        mongodb_keyfile: "2222222222222222".to_owned(),
        mongodb_app: "3333333333333333".to_owned(),
        rabbitmq_nodes: "4444444444444444".to_owned(),
        rabbitmq_app: "5555555555555555".to_owned(),
    }
}

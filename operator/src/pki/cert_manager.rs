//! The kind `Certificate` of cert-manager (`cert-manager.io/v1`), as far as it is used here:
//! <https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.Certificate>. Pure.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::Server;
use super::authority::{LEAF_LIFETIME, LEAF_REMAINDER};
use crate::build::labels;
use crate::crd::IssuerRef;
use crate::validate::ValidatedHub;

/// The most characters of a common name (RFC 5280, appendix A.1).
const MAX_COMMON_NAME: usize = 64;

/// What is to be issued, by whom, and where it is to be put.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    namespaced,
    schema = "disabled",
    derive = "PartialEq",
    status = "CertificateStatus"
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateSpec {
    /// The Secret that it is put into.
    pub(crate) secret_name: String,
    /// The common name, which some TLS libraries show.
    pub(crate) common_name: String,
    /// The names of the server.
    pub(crate) dns_names: Vec<String>,
    /// How long it is valid.
    pub(crate) duration: String,
    /// How long before its end it is renewed.
    pub(crate) renew_before: String,
    /// What it may be used for.
    pub(crate) usages: Vec<String>,
    /// Its key.
    pub(crate) private_key: PrivateKey,
    /// Who issues it.
    pub(crate) issuer_ref: IssuerRef,
    /// How many former requests are kept.
    pub(crate) revision_history_limit: i32,
}

/// The key of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PrivateKey {
    /// `ECDSA`.
    pub(crate) algorithm: String,
    /// Its bits.
    pub(crate) size: i32,
    /// `PKCS8`.
    pub(crate) encoding: String,
    /// Whether each certificate has a key of its own.
    pub(crate) rotation_policy: String,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct CertificateStatus {
    /// `Ready` and, while one is being issued, `Issuing`.
    #[serde(default)]
    pub(crate) conditions: Vec<CertificateCondition>,
}

/// One fact of how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct CertificateCondition {
    /// `Ready` or `Issuing`.
    #[serde(rename = "type")]
    pub(crate) type_: String,
    /// `True`, `False` or `Unknown`.
    pub(crate) status: String,
    /// One word.
    #[serde(default)]
    pub(crate) reason: String,
    /// A sentence.
    #[serde(default)]
    pub(crate) message: String,
}

/// Why there is no certificate yet, or no other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// One word in `CamelCase`.
    pub(super) reason: &'static str,
    /// What is the case, and what to do.
    pub(super) message: String,
    /// Whether somebody has to do something.
    pub(super) stalls: bool,
}

/// The `Certificate` of a server, the same in names and uses as what the operator issues by itself.
pub(super) fn certificate(hub: &ValidatedHub, issuer: &IssuerRef, server: Server) -> Certificate {
    let name = server.secret(hub);
    let common_name = format!("{}-{}", hub.names.hub(), server.component());
    Certificate {
        spec: CertificateSpec {
            secret_name: server.issued_secret(hub),
            common_name: common_name.chars().take(MAX_COMMON_NAME).collect(),
            dns_names: server.names(hub),
            duration: hours(LEAF_LIFETIME),
            renew_before: hours(LEAF_REMAINDER),
            usages: ["digital signature", "server auth", "client auth"]
                .map(str::to_owned)
                .to_vec(),
            private_key: PrivateKey {
                algorithm: "ECDSA".to_owned(),
                size: 256,
                encoding: "PKCS8".to_owned(),
                rotation_policy: "Always".to_owned(),
            },
            issuer_ref: issuer.clone(),
            revision_history_limit: 1,
        },
        metadata: labels::meta(hub, name, server.component()),
        status: None,
    }
}

/// As Go writes it.
fn hours(duration: jiff::SignedDuration) -> String {
    format!("{}h0m0s", duration.as_hours())
}

/// What a `Certificate` waits for; `None` if its Secret is as it should be.
pub(super) fn pending(certificate: &Certificate) -> Option<Pending> {
    let conditions = certificate.status.iter().flat_map(|status| &status.conditions);
    let of_type = |type_: &str| conditions.clone().find(|condition| condition.type_ == type_);
    let name = certificate.metadata.name.as_deref().unwrap_or_default();
    let issuer = &certificate.spec.issuer_ref;
    if let Some(issuing) = of_type("Issuing").filter(|issuing| issuing.reason == "Failed") {
        return Some(Pending {
            reason: "IssuerFails",
            message: format!(
                "cert-manager cannot issue Certificate {name:?} by {} {:?}: {} Correct the issuer; cert-manager tries again by itself.",
                issuer.kind,
                issuer.name,
                crate::brought::sentence(&issuing.message)
            ),
            stalls: true,
        });
    }
    let ready = of_type("Ready");
    if ready.is_some_and(|ready| ready.status == "True") {
        return None;
    }
    let said = ready.map_or_else(String::new, |ready| {
        format!(" {}", crate::brought::sentence(&ready.message))
    });
    Some(Pending {
        reason: "IssuerPending",
        message: format!(
            "Waits until cert-manager has issued Certificate {name:?} by {} {:?}.{said}",
            issuer.kind, issuer.name
        ),
        stalls: false,
    })
}

/// There is no cert-manager.
pub(super) fn missing(issuer: &IssuerRef) -> Pending {
    Pending {
        reason: "CertManagerMissing",
        message: format!(
            "spec.tls.issuerRef names {} {:?}, but the cluster does not know the kind Certificate of cert-manager.io/v1: install cert-manager.",
            issuer.kind, issuer.name
        ),
        stalls: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn issuer() -> IssuerRef {
        IssuerRef {
            name: "internal".to_owned(),
            kind: "ClusterIssuer".to_owned(),
            group: "cert-manager.io".to_owned(),
        }
    }

    fn with(conditions: &[(&str, &str, &str)]) -> Certificate {
        let hub = fixtures::validated(&fixtures::minimal());
        let conditions = conditions
            .iter()
            .map(|(type_, status, reason)| CertificateCondition {
                type_: (*type_).to_owned(),
                status: (*status).to_owned(),
                reason: (*reason).to_owned(),
                message: "Said by cert-manager".to_owned(),
            });
        Certificate {
            status: Some(CertificateStatus {
                conditions: conditions.collect(),
            }),
            ..certificate(&hub, &issuer(), Server::Redis)
        }
    }

    #[test]
    fn a_certificate_asks_for_what_the_operator_would_issue() {
        let hub = fixtures::validated(&fixtures::minimal());
        insta::assert_yaml_snapshot!("certificate", certificate(&hub, &issuer(), Server::Api));
    }

    #[test]
    fn what_it_waits_for_is_told_in_the_words_of_cert_manager() {
        let reason = |conditions: &[(&str, &str, &str)]| {
            let pending = pending(&with(conditions))?;
            assert!(pending.message.contains("gallery-redis-tls"), "{pending:?}");
            Some((pending.reason, pending.stalls))
        };
        assert_eq!(reason(&[]), Some(("IssuerPending", false)));
        let waits = [
            ("Ready", "False", "DoesNotExist"),
            ("Issuing", "True", "DoesNotExist"),
        ];
        assert_eq!(reason(&waits), Some(("IssuerPending", false)));
        let fails = [("Ready", "False", "DoesNotExist"), ("Issuing", "False", "Failed")];
        assert_eq!(reason(&fails), Some(("IssuerFails", true)));
        assert_eq!(reason(&[("Ready", "True", "Ready")]), None);
    }
}

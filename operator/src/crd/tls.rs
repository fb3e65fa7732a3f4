//! `spec.tls`: who issues the certificates inside of the hub.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Who issues the certificates inside of the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("has(self.issuerRef) || !has(oldSelf.issuerRef)", "tls.issuerRef cannot be taken away: pods that run know the authority of the issuer alone; name another issuer, or create another FlickrHub"),
])))]
pub struct TlsSpec {
    /// The issuer of cert-manager that issues them. Without it the operator does, by an authority of the hub's own. It can be
    /// named for a hub that runs, and changed; it cannot be taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// An issuer of cert-manager. Its certificates have to come with their authority (`ca.crt`), and it has to issue for names of
/// the cluster: a `CA`, Vault or Venafi issuer does, a public ACME issuer does not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its kind: `Issuer` in the namespace of the hub, `ClusterIssuer`, or one of another group.
    #[serde(default = "issuer")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The group of its kind.
    #[serde(default = "cert_manager")]
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
}

fn issuer() -> String {
    "Issuer".to_owned()
}

fn cert_manager() -> String {
    "cert-manager.io".to_owned()
}

//! Whom the aggregation layer is known by, and who its user is.
//!
//! The API server publishes for its extensions, in the ConfigMap `extension-apiserver-authentication` of `kube-system`, the CA
//! of the certificate that it comes with, the names that this certificate may have, and the headers in which it says for
//! whom it asks. Whoever has no such certificate is not talked to at all, so those headers can be believed.

use std::collections::BTreeMap;

use http::HeaderMap;
use k8s_openapi::api::core::v1::ConfigMap;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{DistinguishedName, RootCertStore};
use webpki::EndEntityCert;

/// The namespace of the ConfigMap.
pub const NAMESPACE: &str = "kube-system";
/// The ConfigMap by which API servers tell their extensions whom to trust.
pub const CONFIG_MAP: &str = "extension-apiserver-authentication";
const CA: &str = "requestheader-client-ca-file";
const USERNAME: &str = "requestheader-username-headers";
/// The common name of a subject (X.520, RFC 5280 appendix A.1).
const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];

/// What is known of the aggregation layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontProxy {
    /// The CAs of its certificate, as PEM.
    ca: String,
    /// The common names that its certificate may have; any if empty.
    allowed_names: Vec<String>,
    username_headers: Vec<String>,
    uid_headers: Vec<String>,
    group_headers: Vec<String>,
    extra_prefixes: Vec<String>,
}

/// What the API server publishes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrontProxyError {
    /// The cluster has no aggregation layer.
    #[error("ConfigMap {CONFIG_MAP} has no {0}: the API server runs without an aggregation layer")]
    Missing(&'static str),
    /// A value is not what it has to be.
    #[error("{0} of ConfigMap {CONFIG_MAP} cannot be read")]
    Invalid(&'static str),
}

/// Why a request is not from the aggregation layer, or for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// The certificate is of the right CA and for something else.
    #[error("the client certificate is not one of the aggregation layer")]
    AnotherName,
    /// No user is named.
    #[error("the request names no user")]
    NoUser,
}

/// Who asks, as the API server says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// The name.
    pub name: String,
    /// The UID, where there is one.
    pub uid: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the authenticator said.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl FrontProxy {
    /// Reads what the API server publishes.
    ///
    /// # Errors
    /// When there is no aggregation layer, or a value is not what it has to be.
    pub fn read(map: &ConfigMap) -> Result<Self, FrontProxyError> {
        let data = map.data.as_ref();
        let value = |key: &str| data.and_then(|data| data.get(key));
        let list = |key: &'static str| -> Result<Vec<String>, FrontProxyError> {
            match value(key) {
                None => Ok(Vec::new()),
                // As the API server writes it: JSON.
                Some(text) => serde_json::from_str(text).map_err(|_| FrontProxyError::Invalid(key)),
            }
        };
        let proxy = Self {
            ca: value(CA).ok_or(FrontProxyError::Missing(CA))?.clone(),
            allowed_names: list("requestheader-allowed-names")?,
            username_headers: list(USERNAME)?,
            uid_headers: list("requestheader-uid-headers")?,
            group_headers: list("requestheader-group-headers")?,
            extra_prefixes: list("requestheader-extra-headers-prefix")?,
        };
        if proxy.username_headers.is_empty() {
            return Err(FrontProxyError::Missing(USERNAME));
        }
        proxy.roots()?;
        Ok(proxy)
    }

    /// The CAs of the certificate of the aggregation layer.
    ///
    /// # Errors
    /// When there is none.
    pub fn roots(&self) -> Result<RootCertStore, FrontProxyError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            let certificate = certificate.map_err(|_| FrontProxyError::Invalid(CA))?;
            roots.add(certificate).map_err(|_| FrontProxyError::Invalid(CA))?;
        }
        if roots.is_empty() {
            return Err(FrontProxyError::Invalid(CA));
        }
        Ok(roots)
    }

    /// For whom the holder of a verified certificate asks.
    ///
    /// # Errors
    /// When the certificate has another name than those of the aggregation layer, or no user is named.
    pub fn user(
        &self,
        certificate: &CertificateDer<'_>,
        headers: &HeaderMap,
    ) -> Result<User, Unauthenticated> {
        if !self.allowed_names.is_empty() {
            let name = common_name(certificate).ok_or(Unauthenticated::AnotherName)?;
            if !self.allowed_names.contains(&name) {
                return Err(Unauthenticated::AnotherName);
            }
        }
        Ok(User {
            name: first(headers, &self.username_headers).ok_or(Unauthenticated::NoUser)?,
            uid: first(headers, &self.uid_headers),
            groups: all(headers, &self.group_headers),
            extra: self.extra(headers),
        })
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            let key = self.extra_prefixes.iter().find_map(|prefix| {
                // Names of headers are in lower case here.
                let key = name.as_str().strip_prefix(&prefix.to_lowercase())?;
                percent_decode_str(key).decode_utf8().ok()
            });
            if let (Some(key), Ok(value)) = (key, value.to_str()) {
                extra.entry(key.into_owned()).or_default().push(value.to_owned());
            }
        }
        extra
    }
}

/// The first value of the first of these headers that has one.
fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    let mut values = names.iter().filter_map(|name| headers.get(name)?.to_str().ok());
    values.find(|value| !value.is_empty()).map(str::to_owned)
}

fn all(headers: &HeaderMap, names: &[String]) -> Vec<String> {
    let values = names.iter().flat_map(|name| headers.get_all(name));
    values
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect()
}

/// The common name of the subject of a certificate; the last one if it has several, which is the one that Kubernetes takes.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let subject = DistinguishedName::in_sequence(certificate.subject());
    let mut name = None;
    // RFC 5280 section 4.1.2.4: a sequence of sets of attributes, each a type and a value.
    let read = yasna::parse_der(subject.as_ref(), |subject| {
        subject.read_sequence_of(|step| {
            step.read_set_of(|attribute| {
                attribute.read_sequence(|attribute| {
                    let kind = attribute.next().read_oid()?;
                    let value = attribute.next().read_tagged_der()?;
                    if kind.components().as_slice() == COMMON_NAME {
                        name = String::from_utf8(value.value().to_vec()).ok();
                    }
                    Ok(())
                })
            })
        })
    });
    read.ok().and(name)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
pub(super) mod tests {
    use http::HeaderValue;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use serde_json::json;

    use super::*;

    /// An aggregation layer: what its API server publishes, and its certificate with the key.
    pub(in crate::external_metrics) struct Layer {
        pub(in crate::external_metrics) map: ConfigMap,
        pub(in crate::external_metrics) certificate: CertificateDer<'static>,
        pub(in crate::external_metrics) key: PrivateKeyDer<'static>,
    }

    /// One whose certificate has this common name.
    pub(in crate::external_metrics) fn layer(common_name: &str) -> Layer {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "front-proxy-ca");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "o");
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        Layer {
            map: serde_json::from_value(json!({"data": {
                "requestheader-client-ca-file": ca.pem(),
                "requestheader-allowed-names": r#"["front-proxy"]"#,
                "requestheader-username-headers": r#"["X-Remote-User"]"#,
                "requestheader-group-headers": r#"["X-Remote-Group"]"#,
                "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
                "requestheader-uid-headers": r#"["X-Remote-Uid"]"#,
            }}))
            .unwrap(),
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_user_is_who_the_aggregation_layer_says() {
        let layer = layer("front-proxy");
        let proxy = FrontProxy::read(&layer.map).unwrap();
        let headers = headers(&[
            (
                "x-remote-user",
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
            ),
            ("x-remote-group", "system:serviceaccounts"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-uid", "u1"),
            ("x-remote-extra-authentication.kubernetes.io%2fpod-name", "p"),
            ("x-other", "o"),
        ]);
        let user = proxy.user(&layer.certificate, &headers).unwrap();
        assert_eq!(
            user.name,
            "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
        );
        assert_eq!(user.uid.as_deref(), Some("u1"));
        assert_eq!(user.groups, ["system:serviceaccounts", "system:authenticated"]);
        let extra = BTreeMap::from([(
            "authentication.kubernetes.io/pod-name".to_owned(),
            vec!["p".to_owned()],
        )]);
        assert_eq!(user.extra, extra);
    }

    #[test]
    fn a_certificate_of_the_same_ca_for_something_else_is_refused() {
        let layer = layer("another");
        let proxy = FrontProxy::read(&layer.map).unwrap();
        let headers = headers(&[("x-remote-user", "admin")]);
        assert_eq!(
            proxy.user(&layer.certificate, &headers),
            Err(Unauthenticated::AnotherName)
        );
        let mut map = layer.map;
        map.data
            .as_mut()
            .unwrap()
            .insert("requestheader-allowed-names".to_owned(), "[]".to_owned());
        let proxy = FrontProxy::read(&map).unwrap();
        assert!(
            proxy.user(&layer.certificate, &headers).is_ok(),
            "any name is allowed"
        );
    }

    #[test]
    fn a_request_for_nobody_is_refused() {
        let layer = layer("front-proxy");
        let proxy = FrontProxy::read(&layer.map).unwrap();
        for none in [&[][..], &[("x-remote-user", "")]] {
            assert_eq!(
                proxy.user(&layer.certificate, &headers(none)),
                Err(Unauthenticated::NoUser)
            );
        }
    }

    #[test]
    fn an_api_server_without_an_aggregation_layer_is_told() {
        for key in ["requestheader-client-ca-file", "requestheader-username-headers"] {
            let mut map = layer("front-proxy").map;
            map.data.as_mut().unwrap().remove(key);
            let error = FrontProxy::read(&map).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        let mut map = layer("front-proxy").map;
        map.data
            .as_mut()
            .unwrap()
            .insert("requestheader-client-ca-file".to_owned(), "x".to_owned());
        assert!(FrontProxy::read(&map).is_err(), "no certificate");
    }
}

//! The certificate authorities by which the data tier is known.
//!
//! Whoever connects checks the chain and the name of the server against these authorities and no others: a certificate that
//! a public authority issued is refused inside of the hub. While an authority is being replaced the file holds both, the old
//! and the new one; it is read again for every connection, so that no process has to start anew for that.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::ConnectError;
use crate::config::ConfigError;

/// Authorities in PEM, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pem: Arc<str>,
}

/// The text holds no authority that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// There is no certificate in it.
    #[error("there is no certificate (PEM)")]
    Empty,
    /// One of them is no X.509 certificate of an authority.
    #[error("a certificate is not that of an authority")]
    Malformed,
    /// The TLS library cannot do what every TLS library can.
    #[error("the TLS library supports no version of TLS")]
    Unsupported,
}

impl Trust {
    /// The authorities in this text (PEM, RFC 7468).
    ///
    /// # Errors
    /// When it holds none, or something else.
    pub fn from_pem(pem: impl Into<Arc<str>>) -> Result<Self, TrustError> {
        let trust = Self { pem: pem.into() };
        trust.roots().map(|_| trust)
    }

    /// The authorities in a file, if one is configured.
    ///
    /// # Errors
    /// When it cannot be read or holds no authority.
    pub fn read(file: Option<&Path>) -> Result<Option<Self>, ConnectError> {
        let Some(path) = file else {
            return Ok(None);
        };
        let pem = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_pem(pem)
            .map(Some)
            .map_err(|source| ConnectError::Trust {
                path: path.to_owned(),
                source,
            })
    }

    /// As text.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What a client needs that presents no certificate of its own: TLS 1.2 or 1.3.
    ///
    /// # Errors
    /// [`TrustError::Unsupported`]; cannot happen with the provider of this crate.
    pub fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TrustError::Unsupported)?;
        Ok(config.with_root_certificates(self.roots()?).with_no_client_auth())
    }

    /// As a set of trust anchors.
    ///
    /// # Errors
    /// When it holds none, or something else.
    pub fn roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.pem.as_bytes()) {
            let certificate = certificate.map_err(|_| TrustError::Malformed)?;
            roots.add(certificate).map_err(|_| TrustError::Malformed)?;
        }
        if roots.is_empty() {
            return Err(TrustError::Empty);
        }
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_certificate_is_refused() {
        assert_eq!(Trust::from_pem("").err(), Some(TrustError::Empty));
        assert_eq!(Trust::from_pem("no PEM").err(), Some(TrustError::Empty));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(Trust::from_pem(pem).err(), Some(TrustError::Malformed));
    }

    #[test]
    fn without_a_file_there_is_no_tls() {
        assert!(matches!(Trust::read(None), Ok(None)));
        let nowhere = Path::new("/nowhere/ca.crt");
        assert!(matches!(Trust::read(Some(nowhere)), Err(ConnectError::Secret(_))));
    }
}

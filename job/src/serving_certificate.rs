//! The certificate that a process shows to whoever connects to it, and another one while it runs.
//!
//! Files are read anew every [`POLL`]: what was replaced is shown on new connections from then on. What cannot be used is
//! reported, and the certificate before is shown on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(30);

/// The certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// The key is none that is supported, or not that of the certificate.
    #[error("the key cannot be used: {0}")]
    Key(#[from] rustls::Error),
}

/// A certificate with its key; clones show the same one.
#[derive(Clone, Debug)]
pub struct ServingCertificate(Arc<Shown>);

#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServingCertificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be read or do not belong together.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Shown(ArcSwap::from_pointee(read(files)?)))))
    }

    /// Shows this one, the certificate of the server first.
    ///
    /// # Errors
    /// When the key is none that is supported, or not that of the certificate.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(Shown(ArcSwap::from_pointee(together(
            chain, key,
        )?)))))
    }

    /// Shows another one on new connections from now on.
    ///
    /// # Errors
    /// As for [`new`](Self::new); then the certificate before is shown on.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<(), TlsError> {
        self.show(together(chain, key)?);
        Ok(())
    }

    /// Shows it to whoever connects: TLS 1.2 or 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// Never in practice: when the library supports no version of TLS.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.0.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Keeps it as the files are, for ever.
    pub async fn follow(&self, files: &TlsFiles) {
        loop {
            tokio::time::sleep(POLL).await;
            self.look(files);
        }
    }

    fn look(&self, files: &TlsFiles) {
        match read(files) {
            Ok(read) => self.show(read),
            Err(error) => tracing::error!(%error, "the certificate stays as it is"),
        }
    }

    fn show(&self, certificate: CertifiedKey) {
        if certificate.cert != self.0.0.load().cert {
            tracing::info!("shows another certificate");
            self.0.0.store(Arc::new(certificate));
        }
    }
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::File { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(&files.certificate_file))?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(failed(&files.key_file))?;
    Ok(together(chain, &key)?)
}

fn together(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
) -> Result<CertifiedKey, rustls::Error> {
    let key = CertifiedKey::new(chain, ring::sign::any_supported_type(key)?);
    key.keys_match()?;
    Ok(key)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
pub(crate) mod tests {
    use super::*;

    /// A certificate for `localhost` that signs itself, and its key, PEM.
    pub(crate) fn another() -> (String, String) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("issued");
        (issued.cert.pem(), issued.signing_key.serialize_pem())
    }

    /// Where a certificate and its key are, in a folder of this name.
    pub(crate) fn files(name: &str) -> TlsFiles {
        let folder = std::env::temp_dir().join(format!("flickrhub-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        TlsFiles {
            certificate_file: folder.join("tls.crt"),
            key_file: folder.join("tls.key"),
        }
    }

    pub(crate) fn write(files: &TlsFiles, certificate: &str, key: &str) {
        std::fs::write(&files.certificate_file, certificate).expect("written");
        std::fs::write(&files.key_file, key).expect("written");
    }

    #[test]
    fn another_certificate_is_taken_up_once_it_is_whole() {
        let files = files("reload");
        let (one, other) = (another(), another());
        write(&files, &one.0, &one.1);
        let certificate = ServingCertificate::load(&files).expect("it can be used");
        let shown = |certificate: &ServingCertificate| certificate.0.0.load().cert.clone();
        let first = shown(&certificate);
        write(&files, &other.0, &one.1);
        certificate.look(&files);
        assert_eq!(shown(&certificate), first, "the key is that of another");
        write(&files, &other.0, &other.1);
        certificate.look(&files);
        assert_ne!(shown(&certificate), first);
        write(&files, "", "");
        certificate.look(&files);
        assert_ne!(shown(&certificate), first);
        assert!(certificate.acceptor().is_ok());
    }

    #[test]
    fn a_certificate_with_the_key_of_another_is_refused() {
        let files = files("mixed");
        write(&files, &another().0, &another().1);
        assert!(matches!(ServingCertificate::load(&files), Err(TlsError::Key(_))));
    }
}

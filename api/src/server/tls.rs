//! TLS for clients inside the cluster, and another certificate while the process runs.
//!
//! The files are read anew every [`POLL`]: what was replaced is shown on new connections from then on. What cannot be used is
//! reported, and the certificate before is shown on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flickrhub_job::config::TlsFiles;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

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

/// A certificate with its key that are kept up to date.
#[derive(Debug)]
pub struct Certificate {
    files: TlsFiles,
    shown: Arc<Shown>,
}

#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be read or do not belong together.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            files: files.clone(),
            shown: Arc::new(Shown(ArcSwap::from_pointee(read(files)?))),
        })
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
            .with_cert_resolver(self.shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Keeps it up to date, for ever.
    pub async fn follow(self) {
        loop {
            tokio::time::sleep(POLL).await;
            self.look();
        }
    }

    fn look(&self) {
        match read(&self.files) {
            Ok(read) => {
                if read.cert != self.shown.0.load().cert {
                    tracing::info!("shows another certificate");
                    self.shown.0.store(Arc::new(read));
                }
            }
            Err(error) => tracing::error!(%error, "the certificate stays as it is"),
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
    let key = CertifiedKey::new(chain, ring::sign::any_supported_type(&key)?);
    key.keys_match()?;
    Ok(key)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// A certificate and its key, PEM.
    fn another() -> (String, String) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("issued");
        (issued.cert.pem(), issued.signing_key.serialize_pem())
    }

    fn files(name: &str) -> TlsFiles {
        let folder = std::env::temp_dir().join(format!("flickrhub-api-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        TlsFiles {
            certificate_file: folder.join("tls.crt"),
            key_file: folder.join("tls.key"),
        }
    }

    fn write(files: &TlsFiles, certificate: &str, key: &str) {
        std::fs::write(&files.certificate_file, certificate).expect("written");
        std::fs::write(&files.key_file, key).expect("written");
    }

    #[test]
    fn another_certificate_is_taken_up_once_it_is_whole() {
        let files = files("reload");
        let (one, other) = (another(), another());
        write(&files, &one.0, &one.1);
        let certificate = Certificate::load(&files).expect("it can be used");
        let shown = |certificate: &Certificate| certificate.shown.0.load().cert.clone();
        let first = shown(&certificate);
        write(&files, &other.0, &one.1);
        certificate.look();
        assert_eq!(shown(&certificate), first, "the key is that of another");
        write(&files, &other.0, &other.1);
        certificate.look();
        assert_ne!(shown(&certificate), first);
        write(&files, "", "");
        certificate.look();
        assert_ne!(shown(&certificate), first);
        assert!(certificate.acceptor().is_ok());
    }

    #[test]
    fn a_certificate_with_the_key_of_another_is_refused() {
        let files = files("mixed");
        write(&files, &another().0, &another().1);
        assert!(matches!(Certificate::load(&files), Err(TlsError::Key(_))));
    }
}

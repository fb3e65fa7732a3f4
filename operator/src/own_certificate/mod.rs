//! The certificate of the operator itself, by which the API server knows its external metrics, and Prometheus its metrics.
//!
//! It is kept in the Secret `<service>-tls` in the namespace of the operator, with the CAs that a client must trust (`ca.crt`).
//! Every replica looks at it by itself and renews it when the time has come; two that do so at the same time are told apart by
//! the Secret's version: the one that is late takes what the other has stored.
//!
//! # If the process dies
//!
//! | after | then |
//! | --- | --- |
//! | another certificate was stored | the next look of any replica takes it from there; the CA of the one before stays in `ca.crt` |

pub mod serving;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use flickrhub_job::serving_certificate::{ServingCertificate, TlsError};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::sleep;

use crate::backoff;
use crate::build::labels::MANAGED_BY;
use crate::external_metrics::ServiceAddress;
use serving::{CertificateError, Serving};

/// How often the Secret is looked at.
const REFRESH: Duration = Duration::from_mins(1);
/// The same after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How long whoever reads metrics has to learn of another CA before it is needed.
const SETTLE: Duration = Duration::from_mins(10);

/// The certificate cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OwnCertificateError {
    /// The API server did not answer, or refused.
    #[error("Secret {name}: {source}")]
    Kubernetes {
        /// The name of the Secret.
        name: String,
        /// What the client says.
        source: kube::Error,
    },
    /// It cannot be made, or what another replica stored cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It cannot be shown.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The certificate of the operator behind a Service, as it is kept.
#[derive(Clone)]
pub struct OwnCertificate {
    secrets: Api<Secret>,
    service: ServiceAddress,
}

impl OwnCertificate {
    /// That of the operator behind `service`.
    pub fn new(client: Client, service: ServiceAddress) -> Self {
        Self {
            secrets: Api::namespaced(client, &service.namespace),
            service,
        }
    }

    /// The Secret that it is kept in, in the namespace of the Service.
    pub fn secret_name(&self) -> String {
        format!("{}-tls", self.service.name)
    }

    /// One that nobody has to know yet: the kubelet does not look whose certificate it is shown, and its probes must not wait
    /// for the API server.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn provisional(&self) -> Result<ServingCertificate, OwnCertificateError> {
        let serving = Serving::issue(&self.names(), None, Timestamp::now())?;
        let shown = ServingCertificate::new(serving.chain()?, &serving.private_key()?)?;
        Ok(shown)
    }

    /// Keeps what is shown as the Secret has it, for ever.
    pub async fn follow(&self, shown: &ServingCertificate) -> Infallible {
        let mut last: Option<Serving> = None;
        loop {
            let pause = match self.current().await {
                Ok(current) => {
                    let is_another = |last: &Serving| last.certificate != current.certificate;
                    if last.as_ref().is_some_and(is_another) {
                        sleep(SETTLE).await;
                    }
                    if let Err(error) = show(shown, &current) {
                        tracing::warn!(%error, "the certificate of the operator cannot be shown");
                    }
                    last = Some(current);
                    REFRESH
                }
                // What was shown before is shown on.
                Err(error) => {
                    tracing::warn!(%error, "the certificate of the operator cannot be had");
                    RETRY
                }
            };
            sleep(backoff::jittered(pause)).await;
        }
    }

    /// The certificate in the Secret; a new one is made where there is none, or none that can be used, or the time for it has
    /// come.
    ///
    /// # Errors
    /// When the API server does not answer; another try goes on.
    pub async fn current(&self) -> Result<Serving, OwnCertificateError> {
        let name = self.secret_name();
        let found = self.secrets.get_opt(&name).await;
        let Some(mut secret) = found.map_err(|source| self.failed(source))? else {
            let serving = Serving::issue(&self.names(), None, Timestamp::now())?;
            let secret = self.secret(&serving);
            let created = self.secrets.create(&PostParams::default(), &secret).await;
            return self.unless_late(created, serving).await;
        };
        let before = read(&secret);
        match before {
            Ok(serving) if !serving.is_due(Timestamp::now()) => return Ok(serving),
            _ => {}
        }
        if let Err(error) = &before {
            tracing::warn!(%error, secret = name, "the certificate cannot be used; a new one takes its place");
        }
        let serving = Serving::issue(&self.names(), before.as_ref().ok(), Timestamp::now())?;
        tracing::info!(secret = name, not_after = %serving.not_after, "renew the certificate of the operator");
        secret.data = Some(serving.data());
        let params = PostParams::default();
        let replaced = self.secrets.replace(&name, &params, &secret).await;
        self.unless_late(replaced, serving).await
    }

    /// What was written, or what another replica stored a moment ago.
    async fn unless_late(
        &self,
        written: Result<Secret, kube::Error>,
        serving: Serving,
    ) -> Result<Serving, OwnCertificateError> {
        match written {
            Ok(_) => Ok(serving),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let stored = self.secrets.get(&self.secret_name()).await;
                Ok(read(&stored.map_err(|source| self.failed(source))?)?)
            }
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: kube::Error) -> OwnCertificateError {
        OwnCertificateError::Kubernetes {
            name: self.secret_name(),
            source,
        }
    }

    fn names(&self) -> Vec<String> {
        vec![self.service.host()]
    }

    fn secret(&self, serving: &Serving) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(self.secret_name()),
                namespace: Some(self.service.namespace.clone()),
                labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(serving.data()),
            ..Secret::default()
        }
    }
}

fn read(secret: &Secret) -> Result<Serving, CertificateError> {
    Serving::read(secret.data.as_ref().unwrap_or(&BTreeMap::new()))
}

fn show(shown: &ServingCertificate, serving: &Serving) -> Result<(), OwnCertificateError> {
    shown.replace(serving.chain()?, &serving.private_key()?)?;
    Ok(())
}

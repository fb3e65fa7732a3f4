//! What the servers of a hub show, and telling MongoDB to show another certificate.
//!
//! The other servers take up a certificate by themselves: Redis and OpenBao are told by a script in their pods, a Sentinel is
//! started anew by one, RabbitMQ looks at the files. Nobody tells a `mongod` but the operator. That the files in a pod are
//! those of the Secret can only be seen by what it shows afterwards: the kubelet takes a minute or two, so it is told until
//! it does. To be told for nothing costs a `mongod` the reading of two files.

use std::sync::Arc;
use std::time::Duration;

use flickrhub_job::connection::trust::Trust;
use futures::future::join_all;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{LATER, OBSERVE_TIMEOUT, Size, mongodb};
use crate::names::MONGODB_PORT;
use crate::pki::{Leaf, Server};
use crate::secrets::MongoDbSecrets;
use crate::validate::ValidatedHub;

/// A server shows no certificate that a client would take.
#[derive(Debug, thiserror::Error)]
pub enum ShownError {
    /// It cannot be reached, or its certificate is not that of this name, or of no authority that is trusted.
    #[error("the handshake failed: {0}")]
    Handshake(#[from] std::io::Error),
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The name is none.
    #[error("not a name: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// The authorities cannot be used.
    #[error(transparent)]
    Trust(#[from] flickrhub_job::connection::trust::TrustError),
    /// It showed none.
    #[error("no certificate was shown")]
    None,
}

/// The certificate that a server shows to a client that trusts these authorities and checks the name.
///
/// # Errors
/// When the client would not go on.
pub async fn shown(host: &str, port: u16, trust: &Trust) -> Result<CertificateDer<'static>, ShownError> {
    let look = async {
        let name = ServerName::try_from(host.to_owned())?;
        let connector = TlsConnector::from(Arc::new(trust.client_config()?));
        let stream = TcpStream::connect((host, port)).await?;
        let stream = connector.connect(name, stream).await?;
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or(ShownError::None)?;
        Ok::<_, ShownError>(leaf.clone())
    };
    timeout(OBSERVE_TIMEOUT, look)
        .await
        .unwrap_or(Err(ShownError::TimedOut))
}

/// Whether every member shows this certificate at each of its ports.
pub async fn all_show(hub: &ValidatedHub, server: Server, leaf: &Leaf, trust: &Trust) -> bool {
    let hosts = server.hosts(hub);
    let places = hosts
        .iter()
        .flat_map(|host| server.ports().iter().map(move |port| (host, *port)));
    let looks = places.map(|(host, port)| shows(host, port, leaf, trust));
    join_all(looks).await.into_iter().all(|shows| shows)
}

async fn shows(host: &str, port: u16, leaf: &Leaf, trust: &Trust) -> bool {
    match shown(host, port, trust).await {
        Ok(certificate) => leaf.der() == Some(certificate),
        Err(error) => {
            tracing::debug!(host, port, %error, "cannot see the certificate of a server");
            false
        }
    }
}

/// What came of telling the members of MongoDB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Whether every member shows the certificate.
    pub is_complete: bool,
    /// When to look again, where one does not show it yet.
    pub look_again: Option<Duration>,
}

/// Tells the members of MongoDB that show another certificate to take up this one.
pub async fn renew_mongodb(
    hub: &ValidatedHub,
    secrets: &MongoDbSecrets,
    leaf: &Leaf,
    trust: &Trust,
) -> Renewal {
    let desired = mongodb::Desired::of(
        hub,
        secrets,
        Size::settled(hub.mongodb.members),
        mongodb::Rights::OwnRole,
    );
    let tell = Server::MongoDb.hosts(hub).into_iter().map(|host| {
        let desired = &desired;
        async move {
            // Nobody is told who cannot be reached: it reads its certificate when it starts.
            let Ok(certificate) = shown(&host, MONGODB_PORT, trust).await else {
                return Renewal::default();
            };
            if leaf.der() == Some(certificate) {
                return Renewal {
                    is_complete: true,
                    look_again: None,
                };
            }
            let address = format!("{host}:{MONGODB_PORT}");
            match mongodb::Members::new(desired).rotate_certificate(&address).await {
                Ok(()) => tracing::info!(host, "told a member of MongoDB to take up another certificate"),
                Err(error) => {
                    tracing::warn!(host, %error, "a member of MongoDB takes up no other certificate");
                }
            }
            Renewal {
                is_complete: false,
                look_again: Some(LATER),
            }
        }
    });
    let told = join_all(tell).await;
    Renewal {
        is_complete: told.iter().all(|member| member.is_complete),
        look_again: told.iter().find_map(|member| member.look_again),
    }
}

//! Connections of the AMQP library over TLS.
//!
//! The library's own way to TLS trusts the authorities of the system beside ours, and brings code for formats of keys that
//! nobody here uses. It lets itself be given connections, so it is given such as are encrypted already.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures::Stream;
use futures::io::{AsyncRead, AsyncWrite};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::connection::trust::Trust;

/// The library's runtime, with connections to one server over TLS.
pub(super) type TlsRuntime = Runtime<RuntimeParts<Tokio, TlsReactor>>;

/// Connects to one server, whose certificate has to be of its name and of an authority that is trusted.
#[derive(Clone)]
pub(super) struct TlsReactor {
    tokio: Tokio,
    connector: TlsConnector,
    server: ServerName<'static>,
}

/// A runtime for connections to `host`. To be called in the runtime of Tokio.
///
/// # Errors
/// When the host is no name, or the authorities cannot be used.
pub(super) fn runtime(host: &str, trust: &Trust) -> io::Result<TlsRuntime> {
    let config = trust.client_config().map_err(io::Error::other)?;
    let tokio = Tokio::current();
    let reactor = TlsReactor {
        tokio: tokio.clone(),
        connector: TlsConnector::from(Arc::new(config)),
        server: ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
    };
    Ok(Runtime::new(RuntimeParts::new(tokio, reactor)))
}

impl std::fmt::Debug for TlsReactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TlsReactor")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Reactor for TlsReactor {
    type TcpStream = Compat<TlsStream<TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// For other kinds of sockets, which the library does not use here.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.tokio.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.tokio.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let (connector, server) = (self.connector.clone(), self.server.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(connector.connect(server, stream).await?.compat())
        }
    }
}

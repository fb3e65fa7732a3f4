//! Name resolution for callbacks: what the policy does not permit is as if it did not exist.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The name resolves to nothing that a callback may go to.
#[derive(Debug, thiserror::Error)]
#[error("the host has no address that a callback may go to")]
pub(super) struct NotPermitted;

/// Asks for the addresses of a name.
pub(super) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Asks the operating system.
pub(super) fn system() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            // The port is replaced by that of the URL.
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Resolves, and keeps the addresses that pass.
///
/// The connection is made to the very addresses that were checked, so a name that resolves to something else a moment
/// later (DNS rebinding) gains nothing.
pub(super) struct FilteredResolver<F> {
    lookup: Lookup,
    passes: F,
}

impl<F: Fn(IpAddr) -> bool> FilteredResolver<F> {
    pub(super) const fn new(lookup: Lookup, passes: F) -> Self {
        Self { lookup, passes }
    }
}

impl<F: Fn(IpAddr) -> bool + Clone + Send + Sync + 'static> Resolve for FilteredResolver<F> {
    fn resolve(&self, name: Name) -> Resolving {
        let (passes, found) = (self.passes.clone(), (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let permitted: Vec<_> = found
                .await?
                .into_iter()
                .filter(|address| passes(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if permitted.is_empty() {
                return Err(NotPermitted.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(passes: fn(IpAddr) -> bool) -> Option<Vec<SocketAddr>> {
        let name = "localhost".parse().ok()?;
        FilteredResolver::new(system(), passes)
            .resolve(name)
            .await
            .ok()
            .map(Iterator::collect)
    }

    #[tokio::test]
    async fn an_address_that_does_not_pass_is_as_if_it_did_not_exist() {
        assert_eq!(resolve(|_| false).await, None);
        let found = resolve(|address| address.is_loopback()).await.unwrap_or_default();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()));
    }
}

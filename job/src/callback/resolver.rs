//! Name resolution for callbacks: what the policy does not permit is as if it did not exist.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The name resolves to nothing that a callback may go to.
#[derive(Debug, thiserror::Error)]
#[error("the host has no address that a callback may go to")]
pub(super) struct NotPermitted;

/// Resolves by the operating system and keeps the addresses that pass.
///
/// The connection is made to the very addresses that were checked, so a name that resolves to something else a moment
/// later (DNS rebinding) gains nothing.
pub(super) struct FilteredResolver<F> {
    passes: F,
}

impl<F: Fn(IpAddr) -> bool> FilteredResolver<F> {
    pub(super) const fn new(passes: F) -> Self {
        Self { passes }
    }
}

impl<F: Fn(IpAddr) -> bool + Clone + Send + Sync + 'static> Resolve for FilteredResolver<F> {
    fn resolve(&self, name: Name) -> Resolving {
        let passes = self.passes.clone();
        Box::pin(async move {
            // The port is replaced by that of the URL.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|address| passes(address.ip())).collect();
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
        FilteredResolver::new(passes)
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

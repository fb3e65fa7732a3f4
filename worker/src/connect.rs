//! Connecting to the data tier, with patience: at the start of a cluster its servers come up in any order.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::{fmt, time::Duration};

use flickrhub_job::telemetry::CheckFailed;
use tokio_util::sync::CancellationToken;

use crate::backoff::DATA_TIER;
use crate::shutdown::{pause, unless_stopped};

/// A server that this process is connected to, or not yet.
///
/// It exists before the connection so that readiness can already be asked for while the process waits.
#[derive(Debug)]
pub struct Server<T> {
    name: &'static str,
    handle: Arc<OnceLock<T>>,
}

/// The process was asked to stop while it waited for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped while waiting for the data tier")]
pub struct Stopped;

impl<T> Clone for Server<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<T: Clone> Server<T> {
    /// A server that is not connected yet.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            handle: Arc::default(),
        }
    }

    /// Tries `connect` until it succeeds. Connected already, it gives the same handle again.
    ///
    /// # Errors
    /// When the process is asked to stop meanwhile.
    pub async fn connect<E, F>(
        &self,
        mut connect: impl FnMut() -> F,
        stop: &CancellationToken,
    ) -> Result<T, Stopped>
    where
        E: fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        if let Some(handle) = self.handle.get() {
            return Ok(handle.clone());
        }
        let mut tries = 0;
        loop {
            match unless_stopped(connect(), stop).await.ok_or(Stopped)? {
                Ok(handle) => {
                    tracing::info!(server = self.name, "connected");
                    return Ok(self.handle.get_or_init(|| handle).clone());
                }
                Err(error) => {
                    tries += 1;
                    tracing::warn!(server = self.name, %error, "cannot connect yet");
                }
            }
            // Not below a second: at the start there is nothing to be gained by haste.
            let wait = DATA_TIER.wait(tries).max(Duration::from_secs(1));
            if !pause(wait, stop).await {
                return Err(Stopped);
            }
        }
    }

    /// Whether it answers `ping`.
    ///
    /// # Errors
    /// When it is not connected, or does not answer.
    pub async fn check<E, F>(self, ping: impl FnOnce(T) -> F) -> Result<(), CheckFailed>
    where
        E: fmt::Display,
        F: Future<Output = Result<(), E>>,
    {
        match self.handle.get() {
            Some(handle) => ping(handle.clone()).await.map_err(CheckFailed::new),
            None => Err(CheckFailed::new("not connected yet")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connecting_goes_on_until_the_server_is_there() {
        let server = Server::new("test");
        let mut tries = 0;
        let connect = || {
            tries += 1;
            let outcome = if tries < 2 { Err("refused") } else { Ok(tries) };
            async move { outcome }
        };
        assert_eq!(server.connect(connect, &CancellationToken::new()).await, Ok(2));
        assert!(server.check(|_| async { Ok::<_, String>(()) }).await.is_ok());
    }

    #[tokio::test]
    async fn a_process_that_is_stopped_does_not_wait_for_a_server() {
        let stop = CancellationToken::new();
        stop.cancel();
        let server = Server::<u32>::new("test");
        let connected = server.connect(|| async { Err::<u32, _>("refused") }, &stop).await;
        assert_eq!(connected, Err(Stopped));
        assert!(server.check(|_| async { Ok::<_, String>(()) }).await.is_err());
    }
}

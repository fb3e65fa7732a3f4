//! How many connections are open, and a bound on them: each costs memory and a file descriptor until its client closes it.

use std::sync::Arc;

use flickrhub_job::telemetry::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that are told at the same time that there are too many; further ones are closed without a word.
const TURNED_AWAY: usize = 64;

/// Where a client connects.
#[derive(Clone, Copy, Debug)]
pub(super) enum Port {
    /// Plain HTTP.
    Http,
    /// TLS.
    Https,
}

impl Port {
    /// The label in metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The places for connections.
pub(super) struct Places {
    free: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    metrics: Metrics,
}

/// A place that is taken; free again when it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    port: Port,
    metrics: Metrics,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics
            .api_connections
            .with_label_values(&[self.port.name()])
            .dec();
    }
}

impl Places {
    /// As many places as there may be connections.
    pub(super) fn new(count: u32, metrics: Metrics) -> Self {
        // No process has more file descriptors than this.
        let count = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(count)),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
            metrics,
        }
    }

    /// A place for a connection; `None`, and counted as refused, if all are taken.
    pub(super) fn take(&self, port: Port) -> Option<Place> {
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            let refused = &self.metrics.api_connections_refused;
            refused.with_label_values(&[port.name()]).inc();
            return None;
        };
        self.metrics
            .api_connections
            .with_label_values(&[port.name()])
            .inc();
        Some(Place {
            _permit: permit,
            port,
            metrics: self.metrics.clone(),
        })
    }

    /// A place among those that are told that there are too many.
    pub(super) fn turn_away(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turned_away).try_acquire_owned().ok()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_is_over() {
        let metrics = Metrics::new().unwrap();
        let places = Places::new(2, metrics.clone());
        let open = |port: &str| metrics.api_connections.with_label_values(&[port]).get();
        let (first, second) = (places.take(Port::Http), places.take(Port::Https));
        assert!(first.is_some() && second.is_some() && places.take(Port::Http).is_none());
        assert_eq!((open("http"), open("https")), (1, 1));
        drop(first);
        assert_eq!((open("http"), open("https")), (0, 1));
        assert!(places.take(Port::Https).is_some());
        let refused = metrics.api_connections_refused.with_label_values(&["http"]).get();
        assert_eq!(refused, 1);
    }
}

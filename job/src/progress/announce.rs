//! Sends notices, as many at a time as have come together.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::notice::Notice;
use crate::connection::redis::Redis;

/// Most notices of one round trip.
const BATCH: usize = 500;
/// For how long Redis is tried: a notice that comes later than the next look of its waiters is of no use.
const PATIENCE: Duration = Duration::from_secs(2);

/// Publishes what comes until nothing more can come. What Redis does not take in time is lost.
pub(super) async fn send(redis: Redis, channel: String, mut notices: mpsc::Receiver<Notice>) {
    let mut batch = Vec::with_capacity(BATCH);
    while notices.recv_many(&mut batch, BATCH).await > 0 {
        let mut pipeline = redis::pipe();
        for notice in batch.drain(..) {
            pipeline.publish(&channel, notice.to_bytes()).ignore();
        }
        match timeout(PATIENCE, redis.pipeline(&pipeline)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "notices were lost"),
            Err(_) => tracing::debug!("notices were lost: no answer in time"),
        }
    }
}

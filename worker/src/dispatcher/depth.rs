//! How much waits in the lanes, for the metrics.

use super::{Dispatcher, RecoveryError};

impl Dispatcher {
    /// Sets the lane gauges of every queue. Each dispatcher shows the same numbers: they are Redis's.
    pub(super) async fn record_depths(&self) -> Result<(), RecoveryError> {
        for &queue in self.queues.keys() {
            let depth = self.lanes.depth(queue).await?;
            self.metrics.record_depth(queue, &depth);
        }
        Ok(())
    }
}

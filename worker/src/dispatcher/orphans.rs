//! Photos that no job needs any more: their job is deleted, was never stored, or succeeded without saying so.

use jiff::{Timestamp, ToSpan};

use super::{Dispatcher, ORPHANS_PERIOD, RecoveryError};

impl Dispatcher {
    /// Deletes them, if it is this dispatcher's turn.
    pub(super) async fn delete_orphans_in_turn(&self) -> Result<(), RecoveryError> {
        if !self.has_turn("orphans", ORPHANS_PERIOD).await? {
            return Ok(());
        }
        // No request takes a day from its upload to its job.
        let older_than = Timestamp::now() - 24.hours();
        let deleted = self.bodies.delete_orphans(&self.store, older_than).await?;
        if deleted > 0 {
            tracing::info!(deleted, "photos that no job needed were deleted");
        }
        Ok(())
    }
}

//! Learns that a job which runs here is to be cancelled.
//!
//! Flickr knows no way to take a call back. So a call that only reads is dropped at once; one that acts is not made if it
//! was not yet begun, and otherwise goes on to its end, because its effect is perhaps there already.
//!
//! | the client asks | then |
//! | --- | --- |
//! | before the claim | the job is cancelled without the worker, and its claim is refused |
//! | between the claim and the call | the call is not made: `cancelled` |
//! | during a call that reads | it is dropped: `cancelled` |
//! | during a call that acts | the job ends as what Flickr answers; if another attempt would be made, `cancelled` instead |
//! | once a photo may be at Flickr | what became of it is found out, by further attempts too |
//!
//! The wish is a mark in MongoDB. A notice over Redis says that there may be one; the sign of life that every claim gives
//! finds it too, so a lost notice costs at most the time between two of those.

use flickrhub_flickr::Effect;
use flickrhub_job::model::Job;
use tokio_util::sync::CancellationToken;

use crate::flickr_call::effect;

/// Whether the client wants the job cancelled; clones are of the same job.
#[derive(Clone, Debug, Default)]
pub(super) struct Cancellation {
    requested: CancellationToken,
}

impl Cancellation {
    /// That of a job which was just claimed.
    pub(super) fn of(job: &Job) -> Self {
        let cancellation = Self::default();
        if job.trail.cancel_requested_at.is_some() {
            cancellation.request();
        }
        cancellation
    }

    /// The client wants it.
    pub(super) fn request(&self) {
        self.requested.cancel();
    }

    /// Whether a call of the job must not be begun any more.
    pub(super) fn forbids_call(&self, job: &Job) -> bool {
        self.requested.is_cancelled() && !job.trail.may_be_at_flickr()
    }

    /// Resolves when a call of the job that is under way is to be dropped; never, for a call that acts.
    pub(super) async fn drops_call(&self, job: &Job) {
        if effect(job) != Some(Effect::Read) {
            return std::future::pending().await;
        }
        self.requested.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use tokio::time::timeout;

    use super::*;
    use crate::fixtures::job;

    async fn is_dropped(cancellation: &Cancellation, job: &Job) -> bool {
        timeout(Duration::from_millis(20), cancellation.drops_call(job))
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn a_call_that_reads_is_dropped_and_one_that_acts_is_not() {
        let cancellation = Cancellation::default();
        let read = job().method("flickr.photos.search").build();
        let write = job().method("flickr.photos.setMeta").build();
        let upload = job().with_photo().build();
        assert!(!is_dropped(&cancellation, &read).await, "nobody asked for it");
        cancellation.request();
        assert!(is_dropped(&cancellation, &read).await);
        assert!(!is_dropped(&cancellation, &write).await);
        assert!(!is_dropped(&cancellation, &upload).await);
    }

    #[test]
    fn no_call_is_begun_after_the_wish_unless_flickr_may_have_the_photo() {
        let mut upload = job().with_photo().build();
        assert!(!Cancellation::of(&upload).forbids_call(&upload));
        upload.trail.cancel_requested_at = Some(Timestamp::now());
        assert!(Cancellation::of(&upload).forbids_call(&upload));
        upload.trail.sent_by = Some(1);
        assert!(!Cancellation::of(&upload).forbids_call(&upload));
    }
}

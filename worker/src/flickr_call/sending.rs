//! What is stored while a photo is sent; [`flickrhub_job::store`], module `sending`, says what each step is for.

use std::future::Future;

use flickrhub_flickr::TicketId;
use flickrhub_job::model::Job;
use flickrhub_job::store::{JobStore, StoreError};

/// Keeps how far a photo came.
pub trait KeepSending: Sync {
    /// The photo is about to be sent. `false`: it must not be sent, because somebody else has the job.
    fn begins(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Flickr surely did not act on what was sent.
    fn came_to_nothing(&self) -> impl Future<Output = ()> + Send;

    /// Flickr gave this ticket, or knows it no more (`None`). Whether that is stored.
    fn has_ticket(&self, ticket: Option<&TicketId>) -> impl Future<Output = bool> + Send;
}

/// The photo of a job that is held here, kept in MongoDB.
pub struct Sending<'a> {
    /// The jobs.
    pub store: &'a JobStore,
    /// The job.
    pub job: &'a Job,
}

impl KeepSending for Sending<'_> {
    async fn begins(&self) -> Result<bool, StoreError> {
        self.store.mark_sent(self.job.id, self.job.attempt).await
    }

    async fn came_to_nothing(&self) {
        // What stays behind makes the next attempt careful, nothing else.
        if let Err(error) = self.store.clear_sent(self.job.id, self.job.attempt).await {
            tracing::warn!(%error, "that the photo was not sent could not be stored");
        }
    }

    async fn has_ticket(&self, ticket: Option<&TicketId>) -> bool {
        let ticket = ticket.map(TicketId::as_str);
        let kept = self
            .store
            .keep_ticket(self.job.id, self.job.attempt, ticket)
            .await;
        match kept {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "the ticket could not be stored yet");
                false
            }
        }
    }
}

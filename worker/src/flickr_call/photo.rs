//! Uploads and replacements: the photo is streamed from the body store to Flickr, and Flickr asked until it has finished.
//!
//! They are sent with `async=1`, so the connection does not have to live as long as Flickr converts the photo. What
//! becomes of it is asked within the same attempt; when the attempt ends first, the outcome is unknown and says so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flickrhub_flickr::{Failure, FlickrError, PhotoBody, PhotoId, TicketId, TicketState, Uploaded};
use flickrhub_job::budget::Endpoint;
use flickrhub_job::model::Body;
use flickrhub_job::queue::Queue;
use flickrhub_job::store::StoreError;
use futures::{Stream, TryStreamExt};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Call, Signers, TICKET_TIMEOUT, verdict};
use crate::backoff::{Backoff, about};
use crate::decision::Outcome;

/// Between two questions about a ticket.
const TICKETS: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(5),
};

/// Questions after which a ticket that Flickr does not know is believed to be unknown.
const QUESTIONS_BEFORE_UNKNOWN: u32 = 5;

/// Most questions about a ticket that an attempt of this length has time for: each waits for at least four fifths of its
/// pause.
pub(crate) fn most_questions(attempt: Duration) -> usize {
    let pauses = (1..).map(|questions| TICKETS.ceiling(questions).mul_f64(0.8));
    let asked_after = pauses.scan(Duration::ZERO, |sum, pause| {
        *sum += pause;
        Some(*sum)
    });
    asked_after.take_while(|asked| *asked <= attempt).count()
}

impl Call<'_> {
    pub(super) async fn photo<S>(&self, body: &Body, stream: S) -> Outcome
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let store_away = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&store_away);
        let stream = stream.inspect_err(move |error| {
            if is_of_the_store(error) {
                seen.store(true, Ordering::Relaxed);
            }
        });
        let photo = PhotoBody {
            file_name: body.file_name.clone(),
            content_type: body.content_type.clone(),
            length: body.length,
            stream,
        };
        let mut fields = self.arguments();
        fields.retain(|(name, _)| name != "async" && name != "photo_id");
        fields.push(("async".to_owned(), "1".to_owned()));
        let replaced = self.job.params.get("photo_id").cloned().map(PhotoId);
        if self.job.queue == Queue::Replace && replaced.is_none() {
            return Outcome::Failed(verdict::incomplete("photo_id"));
        }
        let permit = match self.permit(Endpoint::Upload).await {
            Ok(permit) => permit,
            Err(refused) => return Outcome::Failed(refused),
        };
        let Signers { app, user, .. } = self.signers;
        let client = &self.caller.client;
        let sent = if let Some(photo_id) = replaced.filter(|_| self.job.queue == Queue::Replace) {
            let replace = client.replace(app, user, &photo_id, &fields, photo, &self.headers);
            self.observed("replace", permit, replace).await
        } else {
            let upload = client.upload(app, user, &fields, photo, &self.headers);
            self.observed("upload", permit, upload).await
        };
        match sent {
            Ok(Uploaded::Photo(id)) => Outcome::Done(uploaded(&id)),
            Ok(Uploaded::Ticket(ticket)) => self.until_finished(&ticket).await,
            Err(error)
                if matches!(error.failure(), Failure::PhotoSource) && store_away.load(Ordering::Relaxed) =>
            {
                Outcome::Failed(verdict::photo_unavailable())
            }
            Err(error) => verdict::of(&error, self.job.tries),
        }
    }

    async fn until_finished(&self, ticket: &TicketId) -> Outcome {
        let mut questions = 0;
        while Instant::now() < self.deadline {
            questions += 1;
            sleep(about(TICKETS.ceiling(questions))).await;
            match self.state_of(ticket).await {
                Some(TicketState::Complete(id)) => return Outcome::Done(uploaded(&id)),
                Some(TicketState::Failed) => return Outcome::Failed(verdict::not_converted()),
                Some(TicketState::Unknown) if questions >= QUESTIONS_BEFORE_UNKNOWN => break,
                Some(TicketState::Pending | TicketState::Unknown) | None => {}
            }
        }
        Outcome::Failed(verdict::unfinished(ticket))
    }

    /// The state of a ticket; `None` when it could not be had this time.
    async fn state_of(&self, ticket: &TicketId) -> Option<TicketState> {
        let permit = self.permit_in_time(Endpoint::Rest).await?;
        let tickets = [ticket.clone()];
        let ask = self
            .caller
            .client
            .check_tickets(&self.signers.app, &tickets, &self.headers);
        let ask = self.observed("flickr.photos.upload.checkTickets", permit, ask);
        let answer: Result<_, FlickrError> = timeout(TICKET_TIMEOUT, ask).await.ok()?;
        answer.ok()?.into_iter().next().map(|(_, state)| state)
    }
}

/// Whether the body store is away, and not this one photo lost.
fn is_of_the_store(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|source| source.downcast_ref::<StoreError>())
        .is_some_and(StoreError::is_transient)
}

fn uploaded(photo: &PhotoId) -> Value {
    json!({ "photo_id": photo.as_str() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_has_time_for_as_many_questions_as_their_pauses_allow() {
        let most = |millis| most_questions(Duration::from_millis(millis));
        assert_eq!(
            [399, 400, 1_200, 6_000, 9_999, 10_000].map(most),
            [0, 1, 2, 4, 4, 5]
        );
    }
}

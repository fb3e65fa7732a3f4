//! Uploads and replacements: the photo is streamed from the body store to Flickr, and Flickr asked until it has finished.
//!
//! They are sent with `async=1`, so the connection does not have to live as long as Flickr converts the photo. What
//! becomes of it is asked within the same attempt, and by the next one when this one ends first.
//!
//! # An upload whose outcome is unknown
//!
//! A second upload is a second photo. So it is noted before the first byte goes out that the photo may be at Flickr from now
//! on, and the next attempt does this:
//!
//! | what is known | what the next attempt does |
//! | --- | --- |
//! | Flickr gave a ticket | it sends nothing, and asks what became of the ticket (`flickr.photos.upload.checkTickets`) |
//! | Flickr does not know the ticket any more, or the answer that held it was lost | it sends the photo with `dedup_check=1`: Flickr refuses a photo that the account has already with error 9 and its id, which is the result |
//! | Flickr surely did not act on it (it refused, or the photo was not sent whole) | it sends the photo as the first attempt did |
//!
//! The checked upload is not asynchronous: Flickr documents error 9 for the answer to the upload, and not for a ticket. What
//! is left open: Flickr does not document how soon after an upload its duplicate is recognised, so that a photo which is
//! still being processed may come in twice; and a photo that the account had before, put there by somebody else, is taken for
//! the one that was sent. The first attempt never asks for the check, so that a photo can be uploaded twice on purpose.
//!
//! A replacement is sent again: the same content comes to where it was.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flickrhub_flickr::{
    Disposition, Failure, FlickrError, PhotoBody, PhotoId, TicketId, TicketState, Uploaded,
};
use flickrhub_job::budget::{Endpoint, Permit};
use flickrhub_job::model::Body;
use flickrhub_job::queue::Queue;
use flickrhub_job::store::StoreError;
use futures::{Stream, TryStreamExt};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Call, KeepSending, Signers, TICKET_TIMEOUT, verdict};
use crate::backoff::{Backoff, DATA_TIER, about};
use crate::decision::Outcome;

/// Between two questions about a ticket.
const TICKETS: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(5),
};

/// Questions after which a ticket that Flickr does not know is believed to be unknown.
const QUESTIONS_BEFORE_UNKNOWN: u32 = 5;

/// Most questions about tickets that an attempt of this length has time for: each waits for at least four fifths of its
/// pause. They may be about two: the ticket of an earlier attempt, until that is believed to be unknown, and a new one.
pub(crate) fn most_questions(attempt: Duration) -> usize {
    let unknown_after: Duration = (1..=QUESTIONS_BEFORE_UNKNOWN)
        .map(|questions| TICKETS.ceiling(questions).mul_f64(0.8))
        .sum();
    let about_two = attempt.checked_sub(unknown_after).map_or(0, |left| {
        QUESTIONS_BEFORE_UNKNOWN as usize + questions_about_one(left)
    });
    questions_about_one(attempt).max(about_two)
}

fn questions_about_one(time: Duration) -> usize {
    let pauses = (1..).map(|questions| TICKETS.ceiling(questions).mul_f64(0.8));
    let asked_after = pauses.scan(Duration::ZERO, |sum, pause| {
        *sum += pause;
        Some(*sum)
    });
    asked_after.take_while(|asked| *asked <= time).count()
}

impl Call<'_> {
    pub(super) async fn photo<S>(
        &self,
        body: &Body,
        open: impl FnOnce(&Body) -> S,
        sending: &impl KeepSending,
    ) -> Outcome
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        if let Some(ticket) = self.job.trail.ticket.clone().map(TicketId) {
            match self.until_finished(&ticket).await {
                Told::Over(outcome) => return outcome,
                Told::Nothing => return Outcome::Failed(verdict::unfinished(&ticket)),
                Told::Unknown => {
                    tracing::warn!(%ticket, "Flickr does not know the ticket any more; the photo is sent to be checked");
                    sending.has_ticket(None).await;
                }
            }
        }
        let replaced = self.job.params.get("photo_id").cloned().map(PhotoId);
        if self.job.queue == Queue::Replace && replaced.is_none() {
            return Outcome::Failed(verdict::incomplete("photo_id"));
        }
        // Before the mark: without a permit nothing is sent, and the next attempt has nothing to check.
        let permit = match self.permit(Endpoint::Upload).await {
            Ok(permit) => permit,
            Err(refused) => return Outcome::Failed(refused),
        };
        match sending.begins().await {
            Ok(true) => {}
            // The outcome will be refused, whatever it is.
            Ok(false) => return Outcome::Failed(verdict::photo_unavailable()),
            Err(error) => {
                tracing::warn!(%error, "the photo is not sent: that it is could not be stored");
                return Outcome::Failed(verdict::photo_unavailable());
            }
        }
        // MongoDB may have taken its time, and a permit counts for a short one only.
        let permit = match permit {
            Some(old) if !old.is_usable() => match self.permit(Endpoint::Upload).await {
                Ok(permit) => permit,
                Err(refused) => {
                    sending.came_to_nothing().await;
                    return Outcome::Failed(refused);
                }
            },
            permit => permit,
        };
        let replaced = replaced.filter(|_| self.job.queue == Queue::Replace);
        let photo = (body, open(body));
        self.send(photo, replaced.as_ref(), permit, sending).await
    }

    /// Sends the photo, in the place of `replaced` if there is one, and asks what becomes of it.
    async fn send<S>(
        &self,
        (body, stream): (&Body, S),
        replaced: Option<&PhotoId>,
        permit: Option<Permit>,
        sending: &impl KeepSending,
    ) -> Outcome
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
        let fields = self.photo_fields();
        let Signers { app, user, .. } = self.signers;
        let client = &self.caller.client;
        let sent = if let Some(photo_id) = replaced {
            let replace = client.replace(app, user, photo_id, &fields, photo, &self.headers);
            self.observed("replace", permit, replace).await
        } else {
            let upload = client.upload(app, user, &fields, photo, &self.headers);
            self.observed("upload", permit, upload).await
        };
        let error = match sent {
            Ok(Uploaded::Photo(id)) => return Outcome::Done(uploaded(&id)),
            Ok(Uploaded::Ticket(ticket)) => return self.until_kept_and_finished(&ticket, sending).await,
            Err(error) => error,
        };
        if let Some(id) = error.duplicate_of().filter(|_| self.is_checked()) {
            tracing::info!(photo_id = %id, "Flickr has the photo already: an earlier attempt got through");
            return Outcome::Done(uploaded(id));
        }
        if error.disposition() != Disposition::OutcomeUnknown {
            sending.came_to_nothing().await;
        }
        if matches!(error.failure(), Failure::PhotoSource) && store_away.load(Ordering::Relaxed) {
            return Outcome::Failed(verdict::photo_unavailable());
        }
        verdict::of(&error, self.job.tries)
    }

    /// Whether Flickr may have the photo of an earlier attempt, and is asked to refuse a second one.
    fn is_checked(&self) -> bool {
        self.job.queue == Queue::Upload && self.job.trail.may_be_at_flickr()
    }

    fn photo_fields(&self) -> Vec<(String, String)> {
        let mut fields = self.arguments();
        fields.retain(|(name, _)| !["async", "photo_id", "dedup_check"].contains(&name.as_str()));
        let how = if self.is_checked() { "dedup_check" } else { "async" };
        fields.push((how.to_owned(), "1".to_owned()));
        fields
    }

    /// Asks about a ticket that is new, and stores it meanwhile.
    async fn until_kept_and_finished(&self, ticket: &TicketId, sending: &impl KeepSending) -> Outcome {
        let keep = async {
            let mut tries = 0;
            while !sending.has_ticket(Some(ticket)).await {
                tries += 1;
                sleep(DATA_TIER.wait(tries)).await;
            }
            // What is left is the question.
            std::future::pending::<Infallible>().await
        };
        let told = tokio::select! {
            never = keep => match never {},
            told = self.until_finished(ticket) => told,
        };
        match told {
            Told::Over(outcome) => outcome,
            Told::Unknown | Told::Nothing => Outcome::Failed(verdict::unfinished(ticket)),
        }
    }

    async fn until_finished(&self, ticket: &TicketId) -> Told {
        let mut questions = 0;
        while Instant::now() < self.deadline {
            questions += 1;
            sleep(about(TICKETS.ceiling(questions))).await;
            match self.state_of(ticket).await {
                Some(TicketState::Complete(id)) => return Told::Over(Outcome::Done(uploaded(&id))),
                Some(TicketState::Failed) => {
                    return Told::Over(Outcome::Failed(verdict::not_converted()));
                }
                Some(TicketState::Unknown) if questions >= QUESTIONS_BEFORE_UNKNOWN => return Told::Unknown,
                Some(TicketState::Pending | TicketState::Unknown) | None => {}
            }
        }
        Told::Nothing
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

/// What Flickr told about a ticket within the time of the attempt.
enum Told {
    /// It has finished with the photo.
    Over(Outcome),
    /// It does not know the ticket.
    Unknown,
    /// It has not finished, or did not answer.
    Nothing,
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
        assert_eq!(most(11_200), 7, "a new ticket is asked about sooner again");
    }
}

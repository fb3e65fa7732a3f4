//! What happened to a job on its way: its last attempts, and the marks that its holders and its client leave on it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::JobId;

/// The most attempts that a job remembers; the oldest go first.
pub const MAX_ATTEMPTS_KEPT: usize = 10;

/// The trail of a job. Empty, and then not stored, until something happens to the job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trail {
    /// The last attempts that a worker made, the oldest first; at most [`MAX_ATTEMPTS_KEPT`]. Each is added by the transition
    /// that ends it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// The process that claimed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// When its client asked to have it cancelled while it ran.
    #[serde(with = "crate::store::time::option", skip_serializing_if = "Option::is_none")]
    pub cancel_requested_at: Option<Timestamp>,
    /// The attempt that began to send its photo, unless Flickr surely did not act on it. Set before the first byte goes
    /// out, so that whoever comes after a crash knows that the photo may be at Flickr.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_by: Option<u32>,
    /// The ticket that Flickr gave for its photo: what became of the upload can be asked, however often the worker dies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The job that replays it: chosen before that one is stored, so that two replays of one job make one new job.
    #[serde(with = "crate::store::id::option", skip_serializing_if = "Option::is_none")]
    pub replayed_as: Option<JobId>,
    /// When the job that replays it was stored.
    #[serde(with = "crate::store::time::option", skip_serializing_if = "Option::is_none")]
    pub replayed_at: Option<Timestamp>,
    /// The job that it replays.
    #[serde(with = "crate::store::id::option", skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<JobId>,
}

impl Trail {
    /// Whether nothing has happened to the job.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether Flickr may have a photo of this job already.
    pub const fn may_be_at_flickr(&self) -> bool {
        self.sent_by.is_some() || self.ticket.is_some()
    }
}

/// One attempt that a worker made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number; numbers that are missing were dispatched and not begun.
    pub number: u32,
    /// When a worker claimed the job.
    #[serde(with = "crate::store::time::option")]
    pub started_at: Option<Timestamp>,
    /// When its outcome was stored.
    #[serde(with = "crate::store::time")]
    pub ended_at: Timestamp,
    /// The process that made it.
    pub worker: Option<String>,
    /// The code of its error; none if it succeeded.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_read_back_and_an_empty_one_holds_nothing() {
        let trail = Trail {
            attempts: vec![AttemptRecord {
                number: 3,
                started_at: Some(Timestamp::UNIX_EPOCH),
                ended_at: Timestamp::UNIX_EPOCH,
                worker: Some("worker-rest-1".to_owned()),
                error: None,
            }],
            cancel_requested_at: Some(Timestamp::UNIX_EPOCH),
            replayed_as: Some(JobId::new()),
            sent_by: Some(3),
            ..Trail::default()
        };
        let bytes = bson::serialize_to_vec(&trail).unwrap_or_default();
        assert_eq!(bson::deserialize_from_slice::<Trail>(&bytes).ok(), Some(trail));
        let empty = bson::serialize_to_document(&Trail::default()).unwrap_or_default();
        assert!(empty.is_empty(), "{empty}");
    }

    #[test]
    fn a_photo_that_was_sent_or_has_a_ticket_may_be_at_flickr() {
        assert!(!Trail::default().may_be_at_flickr());
        let ticket = Some("1-2".to_owned());
        assert!(
            Trail {
                ticket,
                ..Trail::default()
            }
            .may_be_at_flickr()
        );
    }
}

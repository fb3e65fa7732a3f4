//! The message in RabbitMQ: just enough to find the job. The document in MongoDB stays the only copy of its content.

use serde::{Deserialize, Serialize};

use crate::model::{JobId, TraceContext};

/// What the dispatcher publishes and a worker receives, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The job to run.
    pub job_id: JobId,
    /// The attempt this message stands for; a claim with another attempt number is refused, so a message that is
    /// redelivered, or overtaken by a later dispatch, does nothing.
    pub attempt: u32,
    /// The Flickr user, for logs.
    pub user_id: String,
    /// The trace that the job belongs to.
    pub trace: TraceContext,
}

/// The message is no envelope.
#[derive(Debug, thiserror::Error)]
#[error("the message is not a job envelope: {0}")]
pub struct InvalidEnvelope(#[from] serde_json::Error);

impl Envelope {
    /// The bytes on the wire.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidEnvelope> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`InvalidEnvelope`] when it is not JSON of this shape; such a message can never run and is dead-lettered.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidEnvelope> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

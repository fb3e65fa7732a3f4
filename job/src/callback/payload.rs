//! What a callback says.

use serde_json::{Value, json};

use crate::model::Job;
use crate::view::JobView;

/// The only type of event: a job reached its final state, whichever it is.
pub const EVENT_TYPE: &str = "job.completed";

/// `{"type": "job.completed", "timestamp": …, "data": …}` (Standard Webhooks, "Payload structure"); the timestamp is
/// that of the event, the data are the job as `GET /api/v1/jobs/{id}` gives it.
pub fn payload(job: &Job) -> Value {
    let view = JobView::from(job);
    json!({
        "type": EVENT_TYPE,
        "timestamp": view.finished_at.unwrap_or(view.updated_at),
        "data": view,
    })
}

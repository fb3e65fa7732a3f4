//! A job as its client sees it: the same JSON in answers of the HTTP API and in callbacks.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::{CallbackFailure, CallbackState, Job, JobError, JobId, JobState, Priority};
use crate::queue::Queue;
use crate::store;

/// The public form of a job.
///
/// Every field is always present; what does not apply (yet) is null. Times are RFC 3339 in UTC with at most
/// milliseconds, as they are stored, so that the answer to a submission equals every later one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Identity.
    pub job_id: JobId,
    /// Where the job stands.
    pub state: JobState,
    /// The queue it belongs to.
    pub queue: Queue,
    /// The Flickr method, `upload` or `replace`.
    pub method: String,
    /// The Flickr user (NSID) on whose behalf it runs.
    pub user_id: String,
    /// Its order among the user's other jobs.
    pub priority: Priority,
    /// How often it was tried, the present try included; not those that FlickrHub could not make for a reason of its own.
    pub attempts: u32,
    /// Flickr's answer, once the job succeeded.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// The last thing that went wrong; after a retry it stays until the job succeeds.
    pub error: Option<JobError>,
    /// The trace it belongs to, as in the header `X-Trace-Id`.
    pub trace_id: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its state changed last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it was started last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// It is not started after this time.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Its callback, if it has one.
    pub callback: Option<CallbackView>,
    /// Whether its client wants it cancelled; while it runs that is a wish, which the state `cancelled` fulfils.
    #[serde(default)]
    pub cancel_requested: bool,
    /// The job that replays it, if it was replayed.
    #[serde(default)]
    pub replayed_as: Option<JobId>,
}

/// Where the callback of a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallbackView {
    /// Where the delivery stands.
    pub state: CallbackState,
    /// Tries so far; a retry that the client asked for begins to count anew.
    pub attempts: u32,
    /// Why it was given up, where it was.
    pub failure: Option<CallbackFailure>,
}

impl From<Job> for JobView {
    fn from(mut job: Job) -> Self {
        let result = job.result.take();
        Self::with_result(&job, result)
    }
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        Self::with_result(job, job.result.clone())
    }
}

impl JobView {
    /// Of everything in a job, only the result may be large.
    fn with_result(job: &Job, result: Option<Value>) -> Self {
        Self {
            job_id: job.id,
            state: job.state,
            queue: job.queue,
            method: job.method.clone(),
            user_id: job.user_id.clone(),
            priority: job.priority,
            attempts: job.tries,
            result,
            error: job.error.clone(),
            trace_id: job.trace.trace_id.clone(),
            created_at: to_milliseconds(job.created_at),
            updated_at: to_milliseconds(job.updated_at),
            started_at: job.started_at.map(to_milliseconds),
            finished_at: job.finished_at.map(to_milliseconds),
            expires_at: to_milliseconds(job.expires_at),
            callback: job.callback.as_ref().map(|callback| CallbackView {
                state: callback.state,
                attempts: callback.attempts,
                failure: callback.failure,
            }),
            cancel_requested: job.trail.cancel_requested_at.is_some(),
            replayed_as: job.trail.replayed_as,
        }
    }
}

/// Cuts off what MongoDB does not store.
fn to_milliseconds(time: Timestamp) -> Timestamp {
    store::time::from_bson(store::time::to_bson(time)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use utoipa::PartialSchema;

    use super::*;
    use crate::store::fixture::{finished_job, queued_job};

    #[test]
    fn a_waiting_job_shows_every_field() {
        let job = queued_job();
        let expected = json!({
            "job_id": job.id.to_string(),
            "state": "queued",
            "queue": "flickr_rest",
            "method": "flickr.photos.search",
            "user_id": "12037949754@N01",
            "priority": "normal",
            "attempts": 0,
            "result": null,
            "error": null,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "created_at": "2027-01-01T00:00:00Z",
            "updated_at": "2027-01-01T00:00:00Z",
            "started_at": null,
            "finished_at": null,
            "expires_at": "2027-01-01T01:00:00Z",
            "callback": { "state": "waiting", "attempts": 0, "failure": null },
            "cancel_requested": false,
            "replayed_as": null,
        });
        assert_eq!(serde_json::to_value(JobView::from(&job)).ok(), Some(expected));
    }

    #[test]
    fn a_dead_job_shows_its_error_and_its_times() {
        let job = Job {
            error: Some(JobError {
                code: "timeout".to_owned(),
                message: "Flickr did not answer in time.".to_owned(),
                flickr_code: None,
            }),
            ..finished_job(JobState::Dead)
        };
        assert_eq!(JobView::from(job.clone()), JobView::from(&job));
        let view = serde_json::to_value(JobView::from(&job)).unwrap_or_default();
        let error =
            json!({ "code": "timeout", "message": "Flickr did not answer in time.", "flickr_code": null });
        assert_eq!(view["error"], error);
        assert_eq!(view["finished_at"], "2027-01-01T00:02:00Z");
        assert_eq!(
            view["callback"],
            json!({ "state": "delivered", "attempts": 2, "failure": null })
        );
    }

    #[test]
    fn a_job_that_was_just_accepted_looks_as_it_will_be_read_back() {
        let job = Job {
            created_at: Timestamp::constant(1_798_761_600, 123_456_789),
            ..queued_job()
        };
        assert_eq!(
            JobView::from(&job).created_at.to_string(),
            "2027-01-01T00:00:00.123Z"
        );
    }

    #[test]
    fn times_are_described_as_rfc_3339() {
        let schema = serde_json::to_value(JobView::schema()).unwrap_or_default();
        assert_eq!(schema["properties"]["created_at"]["format"], "date-time");
        assert_eq!(schema["properties"]["started_at"]["format"], "date-time");
    }
}

//! Jobs for tests.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Callback, CallbackState, Job, JobState, NewJob, TraceContext};
use crate::queue::Queue;

/// A job that was accepted at the beginning of 2027 and may be started for one hour.
pub(crate) fn queued_job() -> Job {
    let created_at = Timestamp::constant(1_798_761_600, 0);
    Job {
        callback: Some(Callback::waiting("https://acme.example/hook")),
        ..NewJob {
            client_id: "acme".to_owned(),
            user_id: "12037949754@N01".to_owned(),
            app: "main".to_owned(),
            queue: Queue::Rest,
            method: "flickr.photos.search".to_owned(),
            params: BTreeMap::from([("text".to_owned(), "lighthouse".to_owned())]),
            trace: TraceContext {
                trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
                traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
            },
        }
        .accepted(created_at, created_at + SignedDuration::from_hours(1))
    }
}

/// What is left of a job in a final state.
pub(crate) fn finished_job(state: JobState) -> Job {
    let job = queued_job();
    let finished_at = job.created_at + SignedDuration::from_mins(2);
    Job {
        state,
        attempt: 3,
        tries: 3,
        callback: job.callback.clone().map(|callback| Callback {
            state: CallbackState::Delivered,
            attempts: 2,
            ..callback
        }),
        updated_at: finished_at,
        started_at: Some(finished_at),
        finished_at: Some(finished_at),
        ..job
    }
}

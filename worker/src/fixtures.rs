//! Jobs for tests, built so that a test reads as a sentence.

use std::collections::BTreeMap;

use flickrhub_job::model::{Body, Job, JobState, NewJob, TraceContext};
use flickrhub_job::queue::Queue;
use jiff::{Timestamp, ToSpan};

/// A job that was accepted now and waits for its first attempt.
pub(crate) fn job() -> JobFixture {
    let now = Timestamp::now();
    JobFixture(
        NewJob {
            client_id: "default".to_owned(),
            user_id: "12345678@N00".to_owned(),
            app: "main".to_owned(),
            queue: Queue::Rest,
            method: "flickr.photos.search".to_owned(),
            params: BTreeMap::new(),
            trace: TraceContext {
                trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
                traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            },
        }
        .accepted(now, now + 1.hour()),
    )
}

/// A job under construction.
pub(crate) struct JobFixture(Job);

impl JobFixture {
    pub(crate) fn queued(self) -> Self {
        self.state(JobState::Queued)
    }

    pub(crate) fn state(mut self, state: JobState) -> Self {
        self.0.state = state;
        self
    }

    pub(crate) fn attempt(mut self, attempt: u32) -> Self {
        self.0.attempt = attempt;
        self
    }

    pub(crate) fn tries(mut self, tries: u32) -> Self {
        self.0.tries = tries;
        self
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.0.method);
        self
    }

    pub(crate) fn available_at(mut self, at: Timestamp) -> Self {
        self.0.available_at = at;
        self
    }

    pub(crate) fn expires_at(mut self, at: Timestamp) -> Self {
        self.0.expires_at = at;
        self
    }

    pub(crate) fn lease_until(mut self, at: Timestamp) -> Self {
        self.0.lease_until = Some(at);
        self
    }

    pub(crate) fn with_photo(mut self) -> Self {
        self.0.queue = Queue::Upload;
        self.0.method = "upload".to_owned();
        self.0.body = Some(Body {
            file_id: "1".to_owned(),
            length: 1,
            file_name: "a.jpg".to_owned(),
            content_type: "image/jpeg".to_owned(),
        });
        self
    }

    pub(crate) fn build(self) -> Job {
        self.0
    }
}

//! One job's call of Flickr, from its stored arguments to an [`Outcome`].
//!
//! | module | does |
//! | --- | --- |
//! | `permit` | asks before each request whether it may be sent, and tells how it ended |
//! | `photo` | uploads and replacements, until Flickr has finished with the photo |
//! | `sending` | what is stored while a photo is sent, so that no crash sends it twice |
//! | `verdict` | what Flickr's errors mean for the job |

mod permit;
mod photo;
mod sending;
mod verdict;

pub(crate) use photo::most_questions;

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flickrhub_flickr::{
    AppCredentials, ClientError, Effect, Endpoints, FlickrClient, FlickrError, Method, Operation, Timeouts,
    TraceHeaders, UserToken,
};
use flickrhub_job::budget::{CONNECT, Endpoint, FlickrBudget, Permit};
use flickrhub_job::config::{FlickrEndpoints, QueueConfig};
use flickrhub_job::model::{Body, Job};
use flickrhub_job::queue::Queue;
use flickrhub_job::telemetry::Metrics;
use futures::Stream;

pub use self::sending::{KeepSending, Sending};
pub use self::verdict::USER_NOT_AUTHORISED;
use crate::decision::{Outcome, Repeat};

/// How long a question about an asynchronous upload may take.
const TICKET_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether a second call of the job would be harmless.
///
/// An upload is no second photo: its next attempt asks first what became of the one before (module `photo`). A replacement
/// puts the same content where it was put before.
pub fn repeat(job: &Job) -> Repeat {
    match (operation(job), effect(job)) {
        (Some(Operation::Upload), _) => Repeat::Checked {
            acted: job.trail.may_be_at_flickr(),
        },
        (_, Some(Effect::Read | Effect::Repeatable)) => Repeat::Harmless,
        (_, Some(Effect::Once) | None) => Repeat::ActsAgain,
    }
}

/// What the call of the job does; `None` for a method that Flickr does not have.
pub fn effect(job: &Job) -> Option<Effect> {
    operation(job).map(Operation::effect)
}

/// What the job does at Flickr; `None` for a method that Flickr does not have.
fn operation(job: &Job) -> Option<Operation> {
    match job.queue {
        Queue::Rest => Method::lookup(&job.method).map(Operation::Call),
        Queue::Upload => Some(Operation::Upload),
        Queue::Replace => Some(Operation::Replace),
    }
}

/// Calls Flickr.
#[derive(Clone)]
pub struct FlickrCaller {
    client: FlickrClient,
    budget: Option<FlickrBudget>,
    /// How long one attempt may take.
    limit: Duration,
}

/// The client of Flickr cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FlickrCallerError {
    /// An endpoint in the configuration is no folder of addresses.
    #[error("spec.flickr.endpoints: {0}")]
    Endpoint(#[from] url::ParseError),
    /// The HTTP client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Who signs a call.
#[derive(Debug)]
pub struct Signers {
    /// Our name of the application, whose budget the call uses.
    pub app_name: String,
    /// Our application.
    pub app: AppCredentials,
    /// The user.
    pub user: UserToken,
}

impl FlickrCaller {
    /// A caller for the jobs of one queue.
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn new(endpoints: &FlickrEndpoints, settings: &QueueConfig) -> Result<Self, FlickrCallerError> {
        let endpoints = Endpoints::from_bases(&endpoints.rest, &endpoints.upload, &endpoints.oauth)?;
        let limit = Duration::from_secs(u64::from(settings.timeout_seconds));
        let timeouts = Timeouts {
            connect: CONNECT,
            call: limit,
            upload: limit,
        };
        Ok(Self {
            client: FlickrClient::new(endpoints, timeouts)?,
            budget: None,
            limit,
        })
    }

    /// The same caller, which sends no request without a permit.
    #[must_use]
    pub fn within(self, budget: FlickrBudget) -> Self {
        Self {
            budget: Some(budget),
            ..self
        }
    }

    /// Makes the call of `job`; `open` opens its photo, if it has one, and `sending` stores how far that comes.
    ///
    /// Takes at most the queue's timeout and one question about a ticket.
    pub async fn call<S>(
        &self,
        job: &Job,
        signers: &Signers,
        open: impl FnOnce(&Body) -> S,
        sending: &impl KeepSending,
        metrics: &Metrics,
    ) -> Outcome
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let trace = job.trace.child();
        let call = Call {
            caller: self,
            job,
            signers,
            headers: TraceHeaders::new(Some(&trace.traceparent), Some(&trace.trace_id)),
            metrics,
            deadline: Instant::now() + self.limit,
        };
        match (operation(job), &job.body) {
            (Some(Operation::Call(method)), _) => call.method(method).await,
            (Some(_), Some(body)) => call.photo(body, open, sending).await,
            (Some(_), None) => Outcome::Failed(verdict::incomplete("photo")),
            (None, _) => Outcome::Failed(verdict::unknown_method(&job.method)),
        }
    }
}

/// A call under way.
struct Call<'a> {
    caller: &'a FlickrCaller,
    job: &'a Job,
    signers: &'a Signers,
    headers: TraceHeaders,
    metrics: &'a Metrics,
    deadline: Instant,
}

impl Call<'_> {
    async fn method(&self, method: &'static Method) -> Outcome {
        let permit = match self.permit(Endpoint::Rest).await {
            Ok(permit) => permit,
            Err(refused) => return Outcome::Failed(refused),
        };
        let arguments = self.arguments();
        let Signers { app, user, .. } = self.signers;
        let call = self
            .caller
            .client
            .call(app, Some(user), method, &arguments, &self.headers);
        match self.observed(method.name, permit, call).await {
            Ok(answer) => Outcome::Done(answer),
            Err(error) => verdict::of(&error, self.job.tries),
        }
    }

    fn arguments(&self) -> Vec<(String, String)> {
        self.job
            .params
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Makes one request with its permit and reports it: to the circuit breaker, event `flickr_api_call`, duration, errors
    /// by code.
    async fn observed<T>(
        &self,
        method: &str,
        permit: Option<Permit>,
        request: impl Future<Output = Result<T, FlickrError>>,
    ) -> Result<T, FlickrError> {
        let started = Instant::now();
        let answer = request.await;
        let seconds = started.elapsed().as_secs_f64();
        self.report(permit, answer.as_ref().err());
        let code = answer.as_ref().err().map_or("ok".into(), FlickrError::label);
        self.metrics
            .flickr_api_call_duration
            .with_label_values(&[method])
            .observe(seconds);
        if answer.is_err() {
            self.metrics
                .flickr_api_errors
                .with_label_values(&[code.as_ref(), method])
                .inc();
        }
        tracing::info!(
            event = "flickr_api_call",
            method,
            code = code.as_ref(),
            seconds,
            job_id = %self.job.id,
            user_id = self.job.user_id,
            trace_id = self.job.trace.trace_id,
            attempt = self.job.attempt,
            "Flickr was called"
        );
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::job;

    #[test]
    fn a_read_may_be_repeated_and_a_comment_may_not() {
        assert_eq!(
            repeat(&job().method("flickr.photos.search").build()),
            Repeat::Harmless
        );
        assert_eq!(
            repeat(&job().method("flickr.photos.setMeta").build()),
            Repeat::Harmless
        );
        assert_eq!(
            repeat(&job().method("flickr.photos.comments.addComment").build()),
            Repeat::ActsAgain
        );
    }

    #[test]
    fn an_upload_may_be_repeated_because_its_repetition_is_checked() {
        let mut upload = job().with_photo().build();
        assert_eq!(repeat(&upload), Repeat::Checked { acted: false });
        upload.trail.sent_by = Some(1);
        assert_eq!(repeat(&upload), Repeat::Checked { acted: true });
    }

    #[test]
    fn a_method_that_nobody_knows_is_not_repeated() {
        assert_eq!(
            repeat(&job().method("flickr.photos.explode").build()),
            Repeat::ActsAgain
        );
    }
}

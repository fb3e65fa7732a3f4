//! `/api/v1/jobs`: calls of the REST methods of Flickr.

use axum::Extension;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use flickrhub_job::lane::LaneEntry;
use flickrhub_job::model::{Job, JobId, JobState};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{CancelOutcome, JobFilter, JobList};
use flickrhub_job::telemetry::lifecycle;
use flickrhub_job::view::JobView;
use serde::Serialize;
use utoipa::ToSchema;

use super::accepted::Accepted;
use crate::accept::{accept, now};
use crate::auth::{Authorised, JobsRead, JobsWrite};
use crate::authorisation::authorised_user;
use crate::cached::wants_no_cache;
use crate::callback_endpoint::refuse_disabled;
use crate::cursor::Cursor;
use crate::extract::{JsonBody, PathParam};
use crate::idempotency::Idempotent;
use crate::middleware::trace::Traced;
use crate::middleware::wait::ShownJob;
use crate::order::Order;
use crate::problem::{Problem, ProblemDocument};
use crate::replay::replay as replay_once;
use crate::state::AppState;
use crate::validate::{JobSubmission, ListQuery};

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobPage {
    /// Newest first.
    pub jobs: Vec<JobView>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// Submit a job
///
/// The job is stored before the answer is sent: from the 202 on it will be run, or be reported as failed, dead or expired.
/// Where the method reads and its answer is cached, the job is done at once; with `Cache-Control: no-cache` Flickr is asked
/// in any case.
#[utoipa::path(
    post,
    path = "/api/v1/jobs",
    tag = "jobs",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to send again; 1 to 255 visible ASCII characters. `X-Idempotency-Key` does too."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60, for the job to end."),
    ),
    request_body = JobSubmission,
    responses(
        (status = 200, description = "Over already: the answer was cached, or the job ended within `Prefer: wait=N`.", body = JobView,
            headers(("Location" = String, description = "The address of the job."))),
        (status = 202, description = "Accepted.", body = JobView,
            headers(
                ("Location" = String, description = "The address of the job."),
                ("Idempotent-Replayed" = Option<bool>, description = "True where the job was accepted for an earlier request with the same key."),
                ("RateLimit-Policy" = String, description = "The rates that limit the submission."),
                ("RateLimit" = String, description = "What is left of the tightest rate."),
                ("FlickrHub-Circuit" = Option<String>, description = "`open; until=\"…\"` while Flickr is left alone because it does not answer: the job waits."),
            )),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:write"]))
)]
pub async fn submit(
    caller: Authorised<JobsWrite>,
    State(state): State<AppState>,
    Traced(trace): Traced,
    Idempotent(key): Idempotent,
    headers: HeaderMap,
    JsonBody(submission): JsonBody<JobSubmission>,
) -> Result<Accepted, Problem> {
    let order = submission.validate(&state.callback_policy)?;
    let user = authorised_user(
        &state.data()?.users,
        &caller,
        &order.user_id,
        order.method.permission,
        "method",
    )
    .await?;
    refuse_disabled(
        state.data()?,
        &caller.client_id,
        order.options.callback_url.as_ref(),
    )
    .await?;
    let order = Order {
        user_id: user.id.clone(),
        app: user.app.clone(),
        queue: Queue::Rest,
        method: order.method.name.to_owned(),
        params: order.params,
        body: None,
        options: order.options,
    };
    let idempotency = key.map(|key| key.of_request(&caller.client_id, &order.payload(None)));
    let mut job = order.into_job(&caller, trace, now(), &state.limits.get(), idempotency);
    job.no_cache = wants_no_cache(&headers);
    take_on(&state, job).await
}

/// Accepts a job that has no body of its own, whether or not the client waits for the answer.
async fn take_on(state: &AppState, job: Job) -> Result<Accepted, Problem> {
    let work = state.clone();
    state
        .to_the_end(async move {
            let receipt = accept(&work, job).await.map_err(|refusal| refusal.problem)?;
            Ok(Accepted::new(&work, receipt).await)
        })
        .await
}

/// Look at a job
///
/// With `Prefer: wait=N` the answer comes when the job is over, or after N seconds.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job.", format = Uuid),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60, for the job to end."),
    ),
    responses(
        (status = 200, description = "The job.", body = JobView,
            headers(("Preference-Applied" = Option<String>, description = "`wait=N`, if the request waited."))),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn read(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    PathParam(id): PathParam<JobId>,
) -> Result<(Extension<ShownJob>, Json<JobView>), Problem> {
    let job = state.data()?.jobs.get_for_client(&caller.client_id, id).await?;
    job.map(|job| (Extension(ShownJob::from(&job)), Json(JobView::from(job))))
        .ok_or(Problem::JobNotFound)
}

/// List jobs
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "jobs",
    params(
        ("state" = Option<JobState>, Query, description = "In this state only."),
        ("queue" = Option<Queue>, Query, description = "Of this queue only; the short names do too."),
        ("method" = Option<String>, Query, description = "Of this method of Flickr only, or `upload` or `replace`.",
            example = "flickr.photos.search"),
        ("user_id" = Option<String>, Query, description = "Of this user (NSID) only."),
        ("created_after" = Option<String>, Query, description = "Accepted at this time or later (RFC 3339).", format = DateTime),
        ("created_before" = Option<String>, Query, description = "Accepted before this time (RFC 3339).", format = DateTime),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Jobs on a page, 50 without it; a page has fewer where their results are large.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "The client's jobs, newest first.", body = JobPage),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn list(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<JobPage>, Problem> {
    let query = ListQuery::parse(query.as_deref().unwrap_or_default())?;
    let filter = JobFilter {
        client_id: caller.client_id.clone(),
        user_id: query.user_id,
        state: query.state,
        queue: query.queue,
        method: query.method,
        created_after: query.created_after,
        created_before: query.created_before,
        before: query.cursor.map(|cursor| cursor.0),
        limit: query.limit,
    };
    Ok(Json(page(state.data()?.jobs.list(&filter).await?)))
}

/// The jobs, and where to go on if there are more.
fn page(list: JobList) -> JobPage {
    JobPage {
        next_cursor: list
            .jobs
            .last()
            .filter(|_| list.more)
            .map(|last| Cursor(last.job_id).to_string()),
        jobs: list.jobs,
    }
}

/// Cancel a job
///
/// A job that no worker has begun with is cancelled at once. Of one that runs the wish is noted: a call that only reads, or
/// was not made yet, is dropped; one that acts and was made goes on, and the job ends as what Flickr answers. Cancelling a
/// job that is cancelled already gives the same answer again.
#[utoipa::path(
    delete,
    path = "/api/v1/jobs/{id}",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job.", format = Uuid),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60, for the job to end."),
    ),
    responses(
        (status = 200, description = "The job is cancelled and will not run; with `Prefer: wait=N`, it may be over as \
            something else.", body = JobView),
        (status = 202, description = "The job runs, and is cancelled if that is possible still.", body = JobView),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:write"]))
)]
pub async fn cancel(
    caller: Authorised<JobsWrite>,
    State(state): State<AppState>,
    PathParam(id): PathParam<JobId>,
) -> Result<(StatusCode, Extension<ShownJob>, Json<JobView>), Problem> {
    let (work, caller) = (state.clone(), caller.into_caller());
    state
        .to_the_end(async move {
            let data = work.data()?;
            let (status, job) = match data.jobs.cancel(&caller.client_id, id).await? {
                CancelOutcome::Cancelled(job) => {
                    lifecycle::report(&job, &work.metrics);
                    // If this is lost, the dispatcher finds a final job in the lane and removes it.
                    if let Err(error) = data.lanes.done(&LaneEntry::from(&job)).await {
                        tracing::warn!(job_id = %id, %error, "a cancelled job stays in its lane for now");
                    }
                    (StatusCode::OK, job)
                }
                CancelOutcome::Requested(job) => {
                    // If this is lost, the worker finds the wish with its next sign of life.
                    if let Err(error) = data.progress.announce_cancellation(id).await {
                        tracing::warn!(job_id = %id, %error, "the worker is not told of the cancellation for now");
                    }
                    (StatusCode::ACCEPTED, job)
                }
                CancelOutcome::TooLate(job) if job.state == JobState::Cancelled => (StatusCode::OK, job),
                CancelOutcome::TooLate(job) => return Err(Problem::JobNotCancellable(job.state)),
                CancelOutcome::NotFound => return Err(Problem::JobNotFound),
            };
            Ok((status, Extension(ShownJob::from(&job)), Json(JobView::from(job))))
        })
        .await
}

/// Replay a job
///
/// Submits a dead, failed or expired job once more, as a new job; a job has one replay, and asking for it again gives that
/// one. An upload can be replayed as long as its photo is kept.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/replay",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job to be replayed.", format = Uuid),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds, at most 60, for the new job to end."),
    ),
    responses(
        (status = 200, description = "The new job, which is over.", body = JobView),
        (status = 202, description = "The new job.", body = JobView,
            headers(
                ("Location" = String, description = "The address of the new job."),
                ("Idempotent-Replayed" = Option<bool>, description = "True where the job had been replayed already."),
                ("RateLimit-Policy" = Option<String>, description = "The rates that limit the submission, where the job had not been replayed yet."),
                ("RateLimit" = Option<String>, description = "What is left of the tightest rate."),
            )),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:write"]))
)]
pub async fn replay(
    caller: Authorised<JobsWrite>,
    State(state): State<AppState>,
    Traced(trace): Traced,
    PathParam(id): PathParam<JobId>,
) -> Result<Accepted, Problem> {
    let (work, caller) = (state.clone(), caller.into_caller());
    state
        .to_the_end(async move {
            let jobs = &work.data()?.jobs;
            let old = jobs
                .get_for_client(&caller.client_id, id)
                .await?
                .ok_or(Problem::JobNotFound)?;
            let receipt = replay_once(&work, &caller, &trace, &old).await?;
            Ok(Accepted::new(&work, receipt).await)
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::job;

    fn jobs(count: usize) -> Vec<Job> {
        (0..count).map(|_| job()).collect()
    }

    #[test]
    fn a_page_has_a_cursor_only_if_another_page_follows() {
        for (found, more) in [(0, false), (4, false), (4, true)] {
            let jobs: Vec<_> = jobs(found).iter().map(JobView::from).collect();
            let last = jobs.last().map(|job| Cursor(job.job_id).to_string());
            let page = page(JobList { jobs, more });
            assert_eq!(page.jobs.len(), found);
            assert_eq!(page.next_cursor, last.filter(|_| more), "{found}, {more}");
        }
    }
}

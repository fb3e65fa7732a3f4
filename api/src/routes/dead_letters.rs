//! `/api/v1/dead-letters`: jobs that were given up after their last attempt.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use flickrhub_job::model::{AttemptRecord, Job, JobError, JobId, JobState, TraceContext};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::DeadLetterFilter;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Authorised, Caller, JobsRead, JobsWrite};
use crate::cursor::Cursor;
use crate::extract::{JsonBody, PathParam};
use crate::middleware::trace::Traced;
use crate::problem::{Problem, ProblemDocument};
use crate::replay::{Replayed, replay_all};
use crate::state::AppState;
use crate::validate::{BulkReplay, DeadLettersQuery};

/// A dead letter.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct DeadLetterView {
    /// The job.
    pub job_id: JobId,
    /// The queue it belongs to.
    pub queue: Queue,
    /// The Flickr method, `upload` or `replace`.
    pub method: String,
    /// The Flickr user (NSID) on whose behalf it ran.
    pub user_id: String,
    /// What it died of.
    pub error: Option<JobError>,
    /// How often it was tried.
    pub attempts: u32,
    /// The trace it belongs to.
    pub trace_id: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub dead_since: Option<Timestamp>,
    /// The job that replays it, if it was replayed.
    pub replayed_as: Option<JobId>,
}

impl From<&Job> for DeadLetterView {
    fn from(job: &Job) -> Self {
        Self {
            job_id: job.id,
            queue: job.queue,
            method: job.method.clone(),
            user_id: job.user_id.clone(),
            error: job.error.clone(),
            attempts: job.tries,
            trace_id: job.trace.trace_id.clone(),
            created_at: job.created_at,
            dead_since: job.finished_at,
            replayed_as: job.trail.replayed_as,
        }
    }
}

/// The photo of an upload or a replacement.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PhotoView {
    /// The name of the file.
    pub file_name: String,
    /// Its media type.
    pub content_type: String,
    /// Its length in bytes.
    pub length: u64,
}

/// One attempt that a worker made.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AttemptView {
    /// Its number; numbers that are missing were dispatched and not begun.
    pub number: u32,
    /// When a worker began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub ended_at: Timestamp,
    /// The process that made it.
    pub worker: Option<String>,
    /// The code of its error.
    pub error: Option<String>,
}

impl From<AttemptRecord> for AttemptView {
    fn from(attempt: AttemptRecord) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            worker: attempt.worker,
            error: attempt.error,
        }
    }
}

/// A dead letter with everything that helps to find out why.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct DeadLetterDetail {
    /// What a list shows of it.
    #[serde(flatten)]
    pub letter: DeadLetterView,
    /// The arguments of the method.
    pub params: BTreeMap<String, String>,
    /// The photo, of an upload or a replacement.
    pub photo: Option<PhotoView>,
    /// Its last attempts, at most ten, the oldest first.
    pub history: Vec<AttemptView>,
}

impl From<Job> for DeadLetterDetail {
    fn from(job: Job) -> Self {
        Self {
            letter: DeadLetterView::from(&job),
            params: job.params,
            photo: job.body.map(|body| PhotoView {
                file_name: body.file_name,
                content_type: body.content_type,
                length: body.length,
            }),
            history: job.trail.attempts.into_iter().map(AttemptView::from).collect(),
        }
    }
}

/// A page of dead letters.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct DeadLetterPage {
    /// The job accepted last comes first.
    pub dead_letters: Vec<DeadLetterView>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// What became of one dead letter of a bulk.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplayItem {
    /// The job that was to be replayed.
    pub job_id: JobId,
    /// The job that replays it.
    pub replayed_as: Option<JobId>,
    /// Why it was not replayed; it stays as it is.
    pub problem: Option<ProblemDocument>,
}

/// What became of a bulk.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BulkReplayed {
    /// One for each dead letter that was looked at.
    pub items: Vec<ReplayItem>,
    /// Whether there may be more that match: send the same request again.
    pub more: bool,
}

/// List dead letters
///
/// The jobs that were given up after their last attempt, for as long as finished jobs are kept.
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters",
    tag = "dead letters",
    params(
        ("queue" = Option<Queue>, Query, description = "Of this queue only; the short names do too."),
        ("user_id" = Option<String>, Query, description = "Of this user (NSID) only."),
        ("code" = Option<String>, Query, description = "With this `error.code` only."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Dead letters on a page, 50 without it.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "The client's dead letters, newest first.", body = DeadLetterPage),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn list(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeadLetterPage>, Problem> {
    let query = DeadLettersQuery::parse(query.as_deref().unwrap_or_default())?;
    let filter = DeadLetterFilter {
        client_id: caller.client_id.clone(),
        queue: query.queue,
        user_id: query.user_id,
        code: query.code,
        ..DeadLetterFilter::default()
    };
    let before = query.cursor.map(|cursor| cursor.0);
    let found = state
        .data()?
        .jobs
        .dead_letters(&filter, before, query.limit)
        .await?;
    let last = found.letters.last().filter(|_| found.more);
    Ok(Json(DeadLetterPage {
        next_cursor: last.map(|job| Cursor(job.id).to_string()),
        dead_letters: found.letters.iter().map(DeadLetterView::from).collect(),
    }))
}

/// Look at a dead letter
///
/// With its arguments and the history of its attempts.
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/{id}",
    tag = "dead letters",
    params(("id" = String, Path, description = "The job.", format = Uuid)),
    responses(
        (status = 200, description = "The dead letter.", body = DeadLetterDetail),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn read(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    PathParam(id): PathParam<JobId>,
) -> Result<Json<DeadLetterDetail>, Problem> {
    let job = state.data()?.jobs.get_for_client(&caller.client_id, id).await?;
    job.filter(|job| job.state == JobState::Dead)
        .map(|job| Json(DeadLetterDetail::from(job)))
        .ok_or(Problem::DeadLetterNotFound)
}

/// Replay dead letters
///
/// Submits those that match once more, each as a new job, the oldest first. A dead letter is replayed by one new job, however
/// often it is asked for. Those for which there is no room stay.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/replay",
    tag = "dead letters",
    request_body = BulkReplay,
    responses(
        (status = 200, description = "What became of each.", body = BulkReplayed),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:write"]))
)]
pub async fn replay(
    caller: Authorised<JobsWrite>,
    State(state): State<AppState>,
    Traced(trace): Traced,
    JsonBody(bulk): JsonBody<BulkReplay>,
) -> Result<Json<BulkReplayed>, Problem> {
    let (filter, limit) = bulk.validate(&caller.client_id)?;
    let (work, caller) = (state.clone(), caller.into_caller());
    state
        .to_the_end(async move { Ok(Json(replay_matching(&work, &caller, trace, filter, limit).await?)) })
        .await
}

async fn replay_matching(
    state: &AppState,
    caller: &Arc<Caller>,
    trace: TraceContext,
    filter: DeadLetterFilter,
    limit: usize,
) -> Result<BulkReplayed, Problem> {
    let jobs = &state.data()?.jobs;
    // What was named and is replayed already is answered too, with the job that replays it.
    let ids: Vec<JobId> = if filter.ids.is_empty() {
        jobs.replayable_letters(&filter, limit).await?
    } else {
        let found = jobs.dead_letters(&filter, None, limit).await?;
        found.letters.iter().rev().map(|job| job.id).collect()
    };
    let found: HashSet<_> = ids.iter().copied().collect();
    let replayed = replay_all(state, caller, &trace, &ids).await;
    let is_whole = replayed.len() == ids.len() && (ids.len() < limit || !filter.ids.is_empty());
    let missing = filter.ids.into_iter().filter(|id| !found.contains(id));
    let missing = missing.map(|id| Replayed {
        id,
        outcome: Err(Problem::DeadLetterNotFound),
    });
    let item = |replayed: Replayed| {
        let (replayed_as, problem) = match replayed.outcome {
            Ok(id) => (Some(id), None),
            Err(problem) => (None, Some(problem.document(&trace.trace_id))),
        };
        ReplayItem {
            job_id: replayed.id,
            replayed_as,
            problem,
        }
    };
    Ok(BulkReplayed {
        items: replayed.into_iter().chain(missing).map(item).collect(),
        more: !is_whole,
    })
}

//! `/api/v1/jobs/batch`: many jobs in one request.
//!
//! Each job is validated, admitted and answered by itself, as if it had come alone. What they share is the work: the
//! users are looked up once, the admissions travel together, and the jobs are stored by one commit, which the majority
//! acknowledges once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flickrhub_job::lane::Quotas;
use flickrhub_job::model::{Job, TraceContext};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::User;
use flickrhub_job::view::JobView;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accept::{NotAccepted, Receipt, accept_all, now};
use crate::auth::{Authorised, Caller, JobsWrite};
use crate::authorisation::{permitted, user_of_client};
use crate::cached::wants_no_cache;
use crate::callback_endpoint::refuse_disabled;
use crate::extract::JsonBody;
use crate::idempotency::{IdempotencyKey, Idempotent};
use crate::middleware::trace::Traced;
use crate::order::Order;
use crate::problem::{Problem, ProblemDocument};
use crate::rate_limit;
use crate::state::AppState;
use crate::validate::{BatchItem, BatchSubmission, ValidJob};

/// Users that are looked up at the same time.
const LOOK_UPS: usize = 16;

/// What became of each job of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResults {
    /// One for each job, in the order of the request.
    pub results: Vec<BatchResult>,
}

/// What became of one job.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// Which job, from 0.
    pub index: usize,
    /// The status that the job would have had alone: 202, 200 where it is done already, or that of its problem.
    #[schema(example = 202)]
    pub status: u16,
    /// The job, if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
    /// Whether it was accepted for an earlier request with the same idempotency key; left out where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub idempotent_replayed: bool,
    /// Why not, if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemDocument>,
    /// Seconds after which the job can be sent again, where that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// The answer to a batch.
#[derive(Debug)]
pub struct BatchAnswer {
    results: BatchResults,
    quotas: Option<Quotas>,
}

impl IntoResponse for BatchAnswer {
    fn into_response(self) -> Response {
        let mut response = Json(self.results).into_response();
        if let Some(quotas) = self.quotas {
            rate_limit::add(&quotas, response.headers_mut());
        }
        response
    }
}

/// Submit many jobs
///
/// Each job is accepted or refused by itself; the answer has a result for each. With an `Idempotency-Key` each item has a
/// key of its own, made of the key and its index: the same batch sent again accepts only what was refused before.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/batch",
    tag = "jobs",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the batch safe to send again; 1 to 255 visible ASCII characters. `X-Idempotency-Key` does too.")),
    request_body = BatchSubmission,
    responses(
        (status = 200, description = "What became of each job.", body = BatchResults,
            headers(
                ("RateLimit-Policy" = String, description = "The rates that limit the tightest of the jobs."),
                ("RateLimit" = String, description = "What is left of the tightest rate."),
            )),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:write"]))
)]
pub async fn submit_batch(
    caller: Authorised<JobsWrite>,
    State(state): State<AppState>,
    Traced(trace): Traced,
    Idempotent(key): Idempotent,
    headers: HeaderMap,
    JsonBody(batch): JsonBody<BatchSubmission>,
) -> Result<BatchAnswer, Problem> {
    let items = batch.items()?;
    let batch = Batch {
        state: state.clone(),
        caller: caller.into_caller(),
        trace,
        key,
        no_cache: wants_no_cache(&headers),
    };
    state.to_the_end(async move { Ok(batch.run(items).await) }).await
}

type LookedUp = BTreeMap<String, Result<Arc<User>, Problem>>;

struct Batch {
    state: AppState,
    caller: Arc<Caller>,
    trace: TraceContext,
    key: Option<IdempotencyKey>,
    no_cache: bool,
}

impl Batch {
    async fn run(&self, items: Vec<BatchItem>) -> BatchAnswer {
        let policy = &self.state.callback_policy;
        let valid: Vec<_> = items
            .into_iter()
            .map(|item| item.submission().and_then(|job| job.validate(policy)))
            .collect();
        let users = self.users(&valid).await;
        let jobs = valid.into_iter().enumerate();
        let jobs = join_all(jobs.map(|(index, job)| self.job(index, job, &users))).await;
        let outcomes = self.accept(jobs).await;
        let quotas = outcomes.iter().filter_map(left).min_by_key(|quotas| {
            let tightest = quotas.tightest();
            (tightest.remaining, std::cmp::Reverse(tightest.reset))
        });
        let results = outcomes.into_iter().enumerate();
        BatchAnswer {
            results: BatchResults {
                results: results
                    .map(|(index, outcome)| self.result(index, outcome))
                    .collect(),
            },
            quotas,
        }
    }

    /// Every user of the batch, once.
    async fn users(&self, jobs: &[Result<ValidJob, Problem>]) -> LookedUp {
        let ids: BTreeSet<_> = jobs.iter().flatten().map(|job| job.user_id.clone()).collect();
        let look_ups = stream::iter(ids).map(|id| async move {
            let user = match self.state.data() {
                Ok(data) => user_of_client(&data.users, &self.caller, &id).await,
                Err(problem) => Err(problem),
            };
            (id, user)
        });
        look_ups.buffer_unordered(LOOK_UPS).collect().await
    }

    /// The jobs that are good are taken on together.
    async fn accept(&self, jobs: Vec<Result<Job, Problem>>) -> Vec<Result<Receipt, Problem>> {
        let mut good = Vec::with_capacity(jobs.len());
        let mut checked = Vec::with_capacity(jobs.len());
        for job in jobs {
            checked.push(job.map(|job| good.push(job)));
        }
        let mut accepted = accept_all(&self.state, good).await.into_iter();
        let outcome = |checked: Result<(), Problem>| {
            checked?;
            let outcome = accepted.next().unwrap_or_else(|| Err(Problem::Internal.into()));
            outcome.map_err(|NotAccepted { problem, .. }| problem)
        };
        checked.into_iter().map(outcome).collect()
    }

    /// The job of an item, if nothing but a limit can be against it.
    async fn job(
        &self,
        index: usize,
        job: Result<ValidJob, Problem>,
        users: &LookedUp,
    ) -> Result<Job, Problem> {
        let job = job?;
        let user = users.get(&job.user_id).ok_or(Problem::Internal)?.as_ref();
        let user = Arc::clone(user.map_err(Clone::clone)?);
        let data = self.state.data()?;
        let needed = job.method.permission;
        let user = permitted(&data.users, user, &self.caller, needed, "method").await?;
        let callback = job.options.callback_url.as_ref();
        refuse_disabled(data, &self.caller.client_id, callback).await?;
        let order = Order {
            user_id: user.id.clone(),
            app: user.app.clone(),
            queue: Queue::Rest,
            method: job.method.name.to_owned(),
            params: job.params,
            body: None,
            options: job.options,
        };
        let idempotency = self.key.as_ref().map(|key| {
            let payload = order.payload(None);
            key.of_item(&self.caller.client_id, index, &payload)
        });
        let limits = self.state.limits.get();
        let mut job = order.into_job(&self.caller, self.trace.clone(), now(), &limits, idempotency);
        job.no_cache = self.no_cache;
        Ok(job)
    }

    fn result(&self, index: usize, outcome: Result<Receipt, Problem>) -> BatchResult {
        match outcome {
            Ok(receipt) => BatchResult {
                index,
                status: if receipt.job.state.is_final() {
                    StatusCode::OK.as_u16()
                } else {
                    StatusCode::ACCEPTED.as_u16()
                },
                job: Some(JobView::from(&receipt.job)),
                idempotent_replayed: receipt.replayed,
                problem: None,
                retry_after: None,
            },
            Err(problem) => BatchResult {
                index,
                status: problem.status().as_u16(),
                job: None,
                idempotent_replayed: false,
                problem: Some(problem.document(&self.trace.trace_id)),
                retry_after: problem.retry_after_seconds(),
            },
        }
    }
}

/// What is left of the rates after a job.
fn left(outcome: &Result<Receipt, Problem>) -> Option<Quotas> {
    match outcome {
        Ok(receipt) => receipt.quotas,
        Err(problem) => problem.quotas().copied(),
    }
}

//! Waiting for a job to end, where the client prefers that (`Prefer: wait=N`, RFC 7240).
//!
//! A handler answers at once and says which job its answer shows ([`ShownJob`]); this waits until that job is over or the
//! time is, and shows it anew. So it is outside of the time limit of the request, which ends before the waiting begins, and
//! whatever happens while it waits, there is an answer: the one that the handler gave.
//!
//! Who waits holds nothing of MongoDB or Redis: it is woken by a notice ([`flickrhub_job::progress`]), and looks by itself
//! every few seconds.
//!
//! | the client's wish meets | answer |
//! | --- | --- |
//! | a job that ends in time | 200 with the finished job |
//! | a job that does not | what the handler answered, with the job as it is now |
//! | as many waiting requests as there may be, a process that stops, or a key that was revoked meanwhile | what the handler answered, at once and without `Preference-Applied` |

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flickrhub_job::model::{Job, JobId};
use flickrhub_job::progress::look_again;
use flickrhub_job::view::JobView;
use tokio::time::{Instant, timeout};

use crate::auth::{AuthRecord, Caller};
use crate::prefer::{self, PREFERENCE_APPLIED};
use crate::state::AppState;

/// How much longer than its wait a request may take for a look that MongoDB is slow to answer.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// The job that an answer shows, as an extension of the response.
#[derive(Clone, Debug)]
pub struct ShownJob {
    /// The job.
    pub job_id: JobId,
    /// Its client.
    pub client_id: String,
    /// Whether it is over.
    pub is_over: bool,
}

impl From<&Job> for ShownJob {
    fn from(job: &Job) -> Self {
        Self {
            job_id: job.id,
            client_id: job.client_id.clone(),
            is_over: job.state.is_final(),
        }
    }
}

/// For how long a request waited because its client wished so, as an extension of the response: that is none of the
/// latency of the API.
#[derive(Clone, Copy, Debug)]
pub struct Waited(pub Duration);

/// Waits as the client prefers.
pub async fn wait(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let patience = prefer::wait(request.headers());
    let record = request
        .extensions()
        .get::<AuthRecord>()
        .cloned()
        .unwrap_or_default();
    let response = next.run(request).await;
    let shown = response.extensions().get::<ShownJob>().cloned();
    let (Some(patience), Some(shown)) = (patience, shown) else {
        return response;
    };
    if shown.is_over || patience.is_zero() {
        return applied(response, patience);
    }
    let Some(seat) = state.waits.take(&shown.client_id) else {
        return response;
    };
    let start = Instant::now();
    let found = until_over(&state, &shown, record.caller(), start + patience).await;
    drop(seat);
    let mut response = match found {
        Found::Job(view) => applied(showing(response, &view), patience),
        Found::Nothing => applied(response, patience),
        Found::Stopping => response,
    };
    response.extensions_mut().insert(Waited(start.elapsed()));
    response
}

/// Resolves when the key that the request is by holds no more.
async fn revoked(state: &AppState, caller: Option<&Caller>) {
    match caller {
        Some(caller) => state.authenticator.revoked(caller).await,
        None => std::future::pending().await,
    }
}

/// What a wait ended with.
enum Found {
    /// The job, over or not.
    Job(Box<JobView>),
    /// MongoDB did not answer, or the job is gone.
    Nothing,
    /// The process stops, or the key of the request was revoked.
    Stopping,
}

async fn until_over(state: &AppState, shown: &ShownJob, caller: Option<&Caller>, deadline: Instant) -> Found {
    let Ok(data) = state.data() else {
        return Found::Nothing;
    };
    let (client_id, id) = (shown.client_id.as_str(), shown.job_id);
    // Before the first look: what happens after it is heard.
    let mut watch = data.progress.watch(id);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let look = data.jobs.get_in_brief_for_client(client_id, id);
        match timeout(left + LAST_LOOK, look).await {
            Ok(Ok(Some(job))) if job.state.is_final() => break,
            Ok(Ok(None)) => return Found::Nothing,
            Ok(Ok(Some(_))) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a waiting request could not look"),
            Err(_) => return Found::Nothing,
        }
        tokio::select! {
            () = watch.moved(left.min(look_again())) => {}
            () = state.stopping.cancelled() => return Found::Stopping,
            () = revoked(state, caller) => return Found::Stopping,
        }
    }
    match timeout(LAST_LOOK, data.jobs.get_for_client(client_id, id)).await {
        Ok(Ok(Some(job))) => Found::Job(Box::new(JobView::from(job))),
        _ => Found::Nothing,
    }
}

/// The same answer with another state of its job; 200 if that is over.
fn showing(response: Response, view: &JobView) -> Response {
    let (mut parts, _) = response.into_parts();
    if view.state.is_final() {
        parts.status = StatusCode::OK;
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_TYPE);
    let mut shown = Json(view).into_response();
    *shown.status_mut() = parts.status;
    shown.headers_mut().extend(parts.headers);
    shown.extensions_mut().extend(parts.extensions);
    shown
}

fn applied(mut response: Response, patience: Duration) -> Response {
    response
        .headers_mut()
        .insert(PREFERENCE_APPLIED, prefer::applied(patience));
    response
}

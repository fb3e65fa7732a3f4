//! `/api/v1/jobs/{id}/events`: the states of a job as they come, as server-sent events (HTML standard, section 9.2).
//!
//! Each event is numbered by where the job stands ([`sequence`]), and not by who sends it: any process can go on where another
//! one ended, from the `Last-Event-ID` alone. A state that lasts shorter than it takes to look may be skipped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use flickrhub_job::model::{Job, JobId, JobState};
use flickrhub_job::progress::{Watch, look_again};
use flickrhub_job::view::JobView;
use futures::{Stream, stream};
use tokio::time::Instant;

use crate::auth::{Authorised, Caller, JobsRead};
use crate::extract::PathParam;
use crate::problem::{Problem, ProblemDocument};
use crate::seats::Seat;
use crate::state::AppState;

/// After so much silence a comment is sent, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client waits before it connects again.
const RECONNECT_AFTER: Duration = Duration::from_secs(3);
/// After this time the client has to connect again.
const LONGEST_STREAM: Duration = Duration::from_hours(1);

/// The event's number that a client has seen last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells proxies of the nginx family not to keep events back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Follow a job
///
/// Server-sent events: one of the type `state` for the job's present state, and one for each that follows, until it is over. Their
/// data is the job without its result. A client that connects again with the header `Last-Event-ID` gets what it has not
/// seen, and 204 if that is nothing and the job is over.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/events",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job.", format = Uuid),
        ("Last-Event-ID" = Option<u64>, Header, description = "The id of the last event that was seen."),
    ),
    responses(
        (status = 200, description = "The events, until the job is over.", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The job is over, and its last event was seen: do not connect again."),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn events(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    headers: HeaderMap,
    PathParam(id): PathParam<JobId>,
) -> Result<Response, Problem> {
    let data = state.data()?;
    if state.stopping.is_cancelled() {
        return Err(Problem::Unavailable);
    }
    let seat = state
        .streams
        .take(&caller.client_id)
        .ok_or(Problem::TooManyStreams)?;
    let watch = data.progress.watch(id);
    let job = data
        .jobs
        .get_in_brief_for_client(&caller.client_id, id)
        .await?
        .ok_or(Problem::JobNotFound)?;
    let seen = last_event_id(&headers);
    if job.state.is_final() && seen >= sequence(&job) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follower = Follower {
        caller: caller.into_caller(),
        state: state.clone(),
        watch,
        next: Some(job),
        id,
        seen,
        is_first: true,
        ends_at: Instant::now() + LONGEST_STREAM,
        _seat: seat,
    };
    let events = Sse::new(follower.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let headers = [
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
        // As on every other answer; by itself it would be no-cache.
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, events).into_response())
}

/// Where a job stands, as a number that grows with each of its moves.
fn sequence(job: &Job) -> u64 {
    let step = match job.state {
        JobState::Dispatched => 0,
        JobState::Running => 1,
        JobState::Queued => 2,
        JobState::Succeeded | JobState::Failed | JobState::Dead | JobState::Expired | JobState::Cancelled => {
            3
        }
    };
    u64::from(job.attempt) * 4 + step
}

/// What is no number of an event counts as nothing seen: then everything is sent again.
fn last_event_id(headers: &HeaderMap) -> u64 {
    headers
        .get(LAST_EVENT_ID)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .unwrap_or(0)
}

/// Follows one job for one client.
struct Follower {
    state: AppState,
    caller: Arc<Caller>,
    id: JobId,
    watch: Watch,
    /// What was read last, and is not sent yet.
    next: Option<Job>,
    /// The number of the last event that the client has.
    seen: u64,
    is_first: bool,
    ends_at: Instant,
    _seat: Seat,
}

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        stream::unfold(Some(self), |follower| async move {
            let mut follower: Self = follower?;
            let job = follower.next_state().await?;
            let event = event_of(&job, follower.is_first);
            follower.is_first = false;
            let rest = (!job.state.is_final()).then_some(follower);
            Some((Ok(event), rest))
        })
    }

    /// The next state that the client has not seen; `None` when there is nothing more to be sent.
    async fn next_state(&mut self) -> Option<Job> {
        loop {
            if let Some(job) = self.next.take() {
                let number = sequence(&job);
                if number > self.seen {
                    self.seen = number;
                    return Some(job);
                }
            }
            let left = self.ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            tokio::select! {
                () = self.watch.moved(left.min(look_again())) => {}
                () = self.state.stopping.cancelled() => return None,
                () = self.state.authenticator.revoked(&self.caller) => return None,
            }
            let data = self.state.data().ok()?;
            match data
                .jobs
                .get_in_brief_for_client(&self.caller.client_id, self.id)
                .await
            {
                Ok(Some(job)) => self.next = Some(job),
                // It was deleted, long after its end.
                Ok(None) => return None,
                Err(error) => tracing::debug!(%error, "a stream of events could not look"),
            }
        }
    }
}

fn event_of(job: &Job, is_first: bool) -> Event {
    let event = Event::default()
        .event("state")
        .id(sequence(job).to_string())
        .data(data_of(job));
    if is_first {
        event.retry(RECONNECT_AFTER)
    } else {
        event
    }
}

/// The job without its result, which may be large and is to be had at the job's address.
fn data_of(job: &Job) -> String {
    let mut view = serde_json::to_value(JobView::from(job)).unwrap_or_default();
    if let Some(fields) = view.as_object_mut() {
        fields.remove("result");
    }
    view.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn job(state: JobState, attempt: u32) -> Job {
        Job {
            state,
            attempt,
            ..fixtures::job()
        }
    }

    #[test]
    fn every_move_of_a_job_has_a_greater_number_than_the_one_before() {
        for from in JobState::ALL {
            for to in JobState::ALL.into_iter().filter(|to| from.may_become(*to)) {
                for attempt in [0, 1, 7, u32::MAX - 1] {
                    let next = attempt + u32::from(to == JobState::Dispatched);
                    let (before, after) = (sequence(&job(from, attempt)), sequence(&job(to, next)));
                    assert!(before < after, "{from} → {to}");
                }
            }
        }
        assert!(
            sequence(&job(JobState::Queued, 0)) > 0,
            "a job is seen from its beginning"
        );
    }

    #[test]
    fn an_event_holds_the_job_without_its_result() {
        let data: serde_json::Value =
            serde_json::from_str(&data_of(&job(JobState::Running, 1))).unwrap_or_default();
        assert_eq!(data["state"], "running");
        assert!(data.get("result").is_none());
        assert!(data["job_id"].is_string());
    }

    #[test]
    fn a_last_event_id_that_is_none_counts_as_nothing_seen() {
        for (value, seen) in [("5", 5), (" 5", 5), ("-1", 0), ("five", 0), ("", 0)] {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_EVENT_ID, HeaderValue::from_static(value));
            assert_eq!(last_event_id(&headers), seen, "{value:?}");
        }
    }
}

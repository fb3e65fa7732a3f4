//! Replaying a job that was given up: the steps of [`crate::accept`], made so that a job is replayed by one new job only.
//!
//! | step | where | if the process dies after it |
//! | --- | --- | --- |
//! | 1 admit | Redis, under an id chosen for the new job | the reservation runs out by itself, the job counts in its windows until they are over; nothing was promised |
//! | 2 mark | MongoDB: the old job names the new one, unless it names one already | the next replay goes on with the marked id |
//! | 3 insert | MongoDB, under the marked id, in its final state where its answer is cached | the new job is queued, and the dispatcher finds it; the next replay finds it too |
//! | 4 push | Redis: the user's lane; a job that is over gives its place back instead | the same, only sooner |
//! | 5 note | MongoDB: the old job notes that the new one is stored | over |
//!
//! Two that replay one job at once agree on its id in step 2; whoever comes second gives its own place back and does the rest
//! for the same id, where every step does nothing if it was done. An insertion whose outcome is not known is not taken back:
//! it may be the other's. No idempotency key is needed: the job that is replayed is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flickrhub_job::fail_point;
use flickrhub_job::lane::{Admission, AdmissionLimits, LaneEntry, Submission};
use flickrhub_job::limits::RequestClass;
use flickrhub_job::model::{Job, JobId, TraceContext};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::replay_of;
use futures::future::join_all;
use tokio::time::Instant;

use crate::accept::{Receipt, class_of, now, refusal, report, tell_lanes};
use crate::auth::Caller;
use crate::authorisation::{authorised_user, permission_for};
use crate::cached;
use crate::data_tier::DataTier;
use crate::problem::Problem;
use crate::state::AppState;

/// Jobs of a bulk that are replayed at the same time.
const AT_A_TIME: usize = 16;
/// How long a bulk begins further jobs, so that its answer comes within the time of a request.
const BULK_TIME: Duration = Duration::from_secs(20);
/// How often the marked id may turn out to be another one: it never changes once it is there.
const ROUNDS: u32 = 3;

/// Replays a job; the job that replays it, which may be there already. Must run to its end: see
/// [`crate::state::AppState::to_the_end`].
///
/// # Errors
/// When the job was not given up, the user does not allow it any more, its photo is gone, there is no place for the new job,
/// or the data tier fails. A replay that failed half-way goes on when it is asked for again.
pub async fn replay(
    state: &AppState,
    caller: &Caller,
    trace: &TraceContext,
    old: &Job,
) -> Result<Receipt, Problem> {
    let data = state.data()?;
    let copy = replay_of(old, now()).ok_or(Problem::JobNotReplayable(old.state))?;
    let mut marked = old.trail.replayed_as;
    for _ in 0..ROUNDS {
        if let Some(id) = marked
            && let Some(job) = data.jobs.get_for_client(&caller.client_id, id).await?
        {
            note(data, old, id).await;
            return Ok(Receipt {
                job,
                replayed: true,
                quotas: None,
            });
        }
        let new = permitted(state, data, caller, &copy).await?;
        let new = Job {
            id: marked.unwrap_or(copy.id),
            trace: trace.clone(),
            ..new
        };
        let entry = LaneEntry::from(&new);
        let class = class_of(new.queue, &new.method);
        let submission = Submission {
            entry: &entry,
            client_id: &caller.client_id,
            class,
            idempotency: None,
        };
        let limits = AdmissionLimits::of(&state.limits.get(), class);
        let (admission, quotas) = data.lanes.admit(&submission, &limits).await?;
        let Admission::Admitted(admitted) = admission else {
            return Err(refusal(&admission, quotas).unwrap_or(Problem::Internal));
        };
        fail_point!("replay/after-admit");
        let agreed = data
            .jobs
            .begin_replay(&caller.client_id, old.id, new.id)
            .await?
            .ok_or(Problem::JobNotFound)?;
        fail_point!("replay/after-mark");
        if agreed == new.id {
            let job = store(state, data, old, new, &entry).await?;
            return Ok(Receipt {
                job,
                replayed: false,
                quotas: Some(quotas),
            });
        }
        if let Err(error) = data.lanes.give_back(&submission, admitted).await {
            tracing::warn!(job_id = %new.id, %error, "the place of a replay that another one made runs out by itself");
        }
        marked = Some(agreed);
    }
    Err(Problem::Internal)
}

/// The copy, if its user and its photo allow it still.
async fn permitted(state: &AppState, data: &DataTier, caller: &Caller, copy: &Job) -> Result<Job, Problem> {
    let needed = permission_for(&copy.method);
    let user = authorised_user(&data.users, caller, &copy.user_id, needed, "id").await?;
    if let Some(body) = &copy.body
        && !data.has_body(body).await?
    {
        return Err(Problem::JobBodyGone);
    }
    Ok(Job {
        app: user.app.clone(),
        weight: state.limits.get().weight_of(&user.id),
        ..copy.clone()
    })
}

async fn store(
    state: &AppState,
    data: &DataTier,
    old: &Job,
    new: Job,
    entry: &LaneEntry,
) -> Result<Job, Problem> {
    let new = cached::finished(data, &state.metrics, &new).await.unwrap_or(new);
    data.jobs.insert(&new).await?;
    fail_point!("replay/after-insert");
    tell_lanes(data, entry, new.state.is_final()).await;
    fail_point!("replay/after-push");
    report(state, &new);
    tracing::info!(job_id = %new.id, replay_of = %old.id, "the job replays another one");
    note(data, old, new.id).await;
    fail_point!("replay/after-note");
    Ok(new)
}

/// Without the note the next bulk looks at the job once more.
async fn note(data: &DataTier, old: &Job, new: JobId) {
    if old.trail.replayed_at.is_some() {
        return;
    }
    if let Err(error) = data.jobs.end_replay(old.id, new).await {
        tracing::warn!(job_id = %old.id, %error, "that the job was replayed could not be noted");
    }
}

/// What became of one job of a bulk.
#[derive(Debug)]
pub struct Replayed {
    /// The job that was to be replayed.
    pub id: JobId,
    /// The job that replays it, or why there is none.
    pub outcome: Result<JobId, Problem>,
}

/// Replays many jobs of the caller, in this order. What is not replayed stays as it is.
///
/// Where a client, a user or a queue takes no further job now, the rest of the same client, user or queue is not tried. The jobs that are
/// missing in the answer were not tried for want of time.
pub async fn replay_all(
    state: &AppState,
    caller: &Arc<Caller>,
    trace: &TraceContext,
    ids: &[JobId],
) -> Vec<Replayed> {
    let deadline = Instant::now() + BULK_TIME;
    let mut full = Full::default();
    let mut replayed = Vec::with_capacity(ids.len());
    for ids in ids.chunks(AT_A_TIME) {
        if Instant::now() >= deadline {
            break;
        }
        let tried = join_all(ids.iter().map(|id| one_of_all(state, caller, trace, *id, &full))).await;
        for (job, outcome) in &tried {
            if let (Some(job), Err(problem)) = (job, &outcome.outcome) {
                full.note(job, problem);
            }
        }
        replayed.extend(tried.into_iter().map(|(_, outcome)| outcome));
    }
    replayed
}

async fn find(state: &AppState, caller: &Caller, id: JobId) -> Result<Option<Job>, Problem> {
    Ok(state.data()?.jobs.get_for_client(&caller.client_id, id).await?)
}

async fn one_of_all(
    state: &AppState,
    caller: &Caller,
    trace: &TraceContext,
    id: JobId,
    full: &Full,
) -> (Option<Job>, Replayed) {
    let (job, outcome) = match find(state, caller, id).await {
        Ok(Some(job)) => {
            let outcome = match full.refuses(&job) {
                Some(problem) => Err(problem),
                None => replay(state, caller, trace, &job)
                    .await
                    .map(|receipt| receipt.job.id),
            };
            (Some(job), outcome)
        }
        Ok(None) => (None, Err(Problem::JobNotFound)),
        Err(problem) => (None, Err(problem)),
    };
    (job, Replayed { id, outcome })
}

/// What takes no further jobs now, and the problem that told so.
#[derive(Debug, Default)]
struct Full {
    client: Option<Problem>,
    users: HashMap<String, Problem>,
    classes: HashMap<(String, RequestClass), Problem>,
    queues: HashMap<Queue, Problem>,
}

impl Full {
    fn note(&mut self, job: &Job, problem: &Problem) {
        let problem = problem.clone();
        match problem {
            Problem::ClientRateExceeded { .. } => self.client = Some(problem),
            Problem::TooManyPending { .. } | Problem::UserRateExceeded { .. } => {
                self.users.insert(job.user_id.clone(), problem);
            }
            Problem::ClassRateExceeded { class, .. } => {
                self.classes.insert((job.user_id.clone(), class), problem);
            }
            Problem::QueueFull { .. } => {
                self.queues.insert(job.queue, problem);
            }
            _ => {}
        }
    }

    /// Why the job is not tried. One that was replayed already needs no room.
    fn refuses(&self, job: &Job) -> Option<Problem> {
        if job.trail.replayed_at.is_some() {
            return None;
        }
        let class = class_of(job.queue, &job.method);
        let full = [
            self.client.as_ref(),
            self.queues.get(&job.queue),
            self.users.get(&job.user_id),
            self.classes.get(&(job.user_id.clone(), class)),
        ];
        full.into_iter().flatten().next().cloned()
    }
}
